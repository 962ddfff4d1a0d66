"""Streams of generated text, piece by piece, and the score of a given text.

Surprise is the negative log-probability, in nats, that the model itself (temperature 1, no filter) gave to what was
written. At level `bytes` a character's surprise is that of all its bytes.
"""

import itertools
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.cpus import available_cpus
from charlstm.errors import ConfigError, VocabularyError
from charlstm.generation.engine import DecodeSession, SessionStart, start_session
from charlstm.generation.holds import Hold
from charlstm.kernel.decoder import DecodedTokens
from charlstm.model import CharLSTM
from charlstm.vocabulary import Decoder, Vocabulary

_FIRST_PIECE = 8  # characters: soon there
_PIECE_SECONDS = 0.01  # pieces grow until they take this long: rare enough to cost nothing, and soon stopped
# Who writes takes turns, and leaves a core to who serves: *measured*, with 32 threads that compute at once on 2 cores a
# web server's own thread waited for seconds.
turns = threading.BoundedSemaphore(max(1, available_cpus() - 1))


class TextChunk(NamedTuple):
    """A piece of text number `sample`; the last three hold an entry for each of its characters."""

    text: str
    surprises: tuple[float, ...]
    sample: int = 0
    likeliest: tuple[str, ...] = ()  # the likeliest characters there, the first one first, if they were asked for
    probabilities: tuple[tuple[float, ...], ...] = ()  # and their probabilities
    leanings: tuple[float, ...] = ()  # nats by which the second of two models wanted each character more


class TextWriter(ABC):
    """Anything that continues a prompt: a model, two that are mixed, or one that read a text first."""

    vocabulary: Vocabulary
    _longest_piece: ClassVar[int] = 1024  # characters

    @abstractmethod
    def start_session(self, start: SessionStart) -> DecodeSession:
        """Start a session of texts, as `charlstm.generation.engine.start_session` does."""

    def stream(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        written: Sequence[str] = (),
        num_likeliest: int = 0,
        holds: Sequence[Hold] = (),
        rounded: bool = False,
    ) -> Iterator[TextChunk]:
        """Continue `prompt`, yielding each piece as it is written (the prompt itself is not repeated).

        Same seed, same text: alone, beside others, and as one of several, the pieces of which take turns. `written` are
        texts, one a sample, that the same call has written before; they are continued as it would have gone on, and
        `num_chars` counts from there. With `num_chars` 0 there is no end: leaving the iterator is stopping.
        Units in `holds` are held from the end of the prompt on: the first character that is written feels them.
        `rounded` writes with the weights in 8 bits as an exported page has them, at temperature 0 and on every machine.
        Raises `VocabularyError` before anything is written if the prompt can't be read, and `ConfigError` for units
        that the model lacks.
        """
        vocabulary, config = self.vocabulary, config or SampleConfig()
        config = config.model_copy(update={"stop": _normalize_stop(config.stop, vocabulary)})
        opening = vocabulary.encode(vocabulary.normalize(prompt) or default_prompt(vocabulary)).astype(np.int32)
        before = [vocabulary.encode(text).astype(np.int32) for text in written] or [opening[:0]] * config.num_samples
        assert len(before) == config.num_samples, "a text for each sample"
        whole = [np.concatenate([opening, each]) for each in before] if written else [opening] * config.num_samples
        with turns:
            texts = self.start_session(SessionStart(whole, config, holds, len(opening) - 1, rounded))
        tails = written or [""] * config.num_samples
        samples = [_Sample(vocabulary, number, config, tail) for number, tail in enumerate(tails)]
        yield from _write(texts, config, samples, list(map(len, before)), num_likeliest, self._longest_piece)

    def generate(
        self, prompt: str = "", config: SampleConfig | None = None, holds: Sequence[Hold] = (), *, rounded: bool = False
    ) -> str:
        """Return the text that continues `prompt`, without the prompt; of several samples the first."""
        return self.generate_samples(prompt, config, holds, rounded)[0]

    def generate_samples(
        self, prompt: str = "", config: SampleConfig | None = None, holds: Sequence[Hold] = (), rounded: bool = False
    ) -> list[str]:
        """Write `num_samples` texts that continue `prompt`; raise `ConfigError` if they had no end."""
        config = config or SampleConfig()
        return collect_samples(self.stream(prompt, config, holds=holds, rounded=rounded), config)


def collect_samples(chunks: Iterator[TextChunk], config: SampleConfig) -> list[str]:
    """Return the whole texts, one a sample; raise `ConfigError` if they had no end."""
    if not config.num_chars:
        raise ConfigError("nothing ends this text: set num_chars above 0, or take it piece by piece.")
    texts = [""] * config.num_samples
    for chunk in chunks:
        texts[chunk.sample] += chunk.text
    return texts


def _normalize_stop(stop: str, vocabulary: Vocabulary) -> str:
    """Normalize `stop` to the characters that the model writes; one that it can't write ends nothing."""
    try:
        return vocabulary.normalize(stop)
    except VocabularyError:
        return stop


def _write(
    texts: DecodeSession,
    config: SampleConfig,
    samples: "list[_Sample]",
    before: list[int],
    num_likeliest: int,
    longest_piece: int,
) -> Iterator[TextChunk]:
    done, size = 0, min(_FIRST_PIECE, longest_piece)
    while (not config.num_chars or done < config.num_chars) and not all(sample.is_over for sample in samples):
        size = min(size, config.num_chars - done) if config.num_chars else size
        with turns:
            began = time.perf_counter()
            piece = texts.write(config, size, [each + done for each in before], num_likeliest)
            elapsed = time.perf_counter() - began
        if elapsed < _PIECE_SECONDS / 2:
            size = min(2 * size, longest_piece)
        elif elapsed > 2 * _PIECE_SECONDS:
            size = max(1, size // 2)
        done += piece.ids.shape[1]
        for sample in samples:
            if not sample.is_over and (chunk := sample.chunk(piece, is_last=done == config.num_chars)).text:
                yield chunk


def to_chunk(vocabulary: Vocabulary, written: DecodedTokens) -> TextChunk:
    """Return a whole text as one chunk."""
    return _Sample(vocabulary, 0, SampleConfig(), "").chunk(written, is_last=True)


def default_prompt(vocabulary: Vocabulary) -> str:
    """Return the prompt that an empty one stands for: the beginning of a line."""
    return "\n" if not vocabulary.find_unknown("\n") else vocabulary.characters[0]


class _Figures(NamedTuple):
    """Those of one token, or of a character; `None` for what was not asked for."""

    surprise: float
    likeliest: str | None
    probabilities: tuple[float, ...] | None
    leaning: float | None


@dataclass
class _Sample:
    """Turns what is written of one text into pieces of it, until its stop string is there."""

    vocabulary: Vocabulary
    number: int
    config: SampleConfig
    tail: str  # the end of the text, as much as the stop string may begin in
    is_over: bool = False
    _held: list[_Figures] = field(default_factory=list)  # of a character not yet whole

    def __post_init__(self) -> None:
        self._decoder = Decoder(self.vocabulary)
        self._keep = max(0, len(self.config.stop) - 1)
        self.tail = self.tail[-self._keep :] if self._keep else ""
        self._codes = np.array([ord(char) for char in self.vocabulary.characters], np.uint32)

    def chunk(self, piece: DecodedTokens, is_last: bool) -> TextChunk:
        whole = self._characters(piece, is_last)
        if not self.config.stop:
            return whole
        end = len(whole.text)
        found = (self.tail + whole.text).find(self.config.stop)
        if found >= 0:
            self.is_over, end = True, found + len(self.config.stop) - len(self.tail)
        self.tail = (self.tail + whole.text)[-self._keep :] if self._keep else ""
        return whole._replace(
            text=whole.text[:end],
            surprises=whole.surprises[:end],
            likeliest=whole.likeliest[:end],
            probabilities=whole.probabilities[:end],
            leanings=whole.leanings[:end],
        )

    def _characters(self, piece: DecodedTokens, is_last: bool) -> TextChunk:
        """Return the characters that are whole now."""
        row = self.number
        ids, surprises = piece.ids[row].tolist(), piece.surprises[row].tolist()
        likeliest = _strings(self._codes, piece.likeliest[row])
        probabilities = [tuple(each) for each in piece.probabilities[row].tolist()] if likeliest else []
        leanings = piece.leanings[row].tolist() if piece.leanings is not None else []
        if self.vocabulary.level == "chars":
            text = self._decoder.feed(ids, is_last)
            return TextChunk(text, tuple(surprises), row, tuple(likeliest), tuple(probabilities), tuple(leanings))
        text, figures = "", list[_Figures]()
        for index, *each in itertools.zip_longest(ids, surprises, likeliest, probabilities, leanings):
            new = self._decoder.feed([index])
            if self._held and len(new) + self._decoder.is_amid_character > 1:  # what came before is broken off
                figures.append(self._release())
            self._held.append(_Figures(*each))
            if new and not self._decoder.is_amid_character:
                figures.append(self._release())
            text += new
        if is_last and (new := self._decoder.feed([], is_last=True)):
            figures.append(self._release())
            text += new
        return TextChunk(
            text,
            tuple(each.surprise for each in figures),
            row,
            tuple(each.likeliest for each in figures if each.likeliest is not None),
            tuple(each.probabilities for each in figures if each.probabilities is not None),
            tuple(each.leaning for each in figures if each.leaning is not None),
        )

    def _release(self) -> _Figures:
        """Return the figures of the character whose bytes were held."""
        first, surprise = self._held[0], sum(each.surprise for each in self._held)
        leaning = None if first.leaning is None else sum(each.leaning or 0.0 for each in self._held)
        self._held = []
        return first._replace(surprise=surprise, leaning=leaning)


def _strings(codes: NDArray[np.uint32], ids: NDArray[np.int32]) -> list[str]:
    """Map ids (T, n) of characters with these code points to T texts of n characters."""
    length = ids.shape[1]
    whole = codes[ids].tobytes().decode("utf-32-le", "surrogatepass")
    return [whole[begin : begin + length] for begin in range(0, len(whole), length)] if length else []


class Score(NamedTuple):
    """A text's figures; `chunk` holds those of each character."""

    nats: float  # per character
    num_chars: int
    chunk: TextChunk

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """Among how many equally likely characters the model would have had to guess."""
        return math.exp(self.nats)


def score(model: CharLSTM, vocabulary: Vocabulary, text: str, num_likeliest: int = 0) -> Score:
    """Measure how well `model` predicts `text`, whose first character it expects at the beginning of a line.

    Raises `VocabularyError` for an empty text and for characters that the model has never seen.
    """
    fitted = vocabulary.normalize(text)
    if not fitted:
        raise VocabularyError("there is no text to score; write or paste some.")
    ids = vocabulary.encode(fitted).astype(np.int32)
    texts = start_session(
        model, [vocabulary.encode(default_prompt(vocabulary)).astype(np.int32)], SampleConfig(temperature=0)
    )
    chunk = to_chunk(vocabulary, texts.follow(ids[None], num_likeliest))
    return Score(math.fsum(chunk.surprises) / len(fitted), len(fitted), chunk)
