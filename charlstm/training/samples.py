"""Samples during training: when one is due, the opening that it continues, and what is counted in it.

What share of the words in a sample does the training text have too? A word is a run of letters, marks, digits and
underscores with at least one letter; apostrophes inside it belong to it, and case makes no difference. So identifiers
count as words in texts of code. Scripts that put no spaces between words have no such words, and neither has a text of
too few or too long ones.
"""

import math
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from charlstm.config import SampleConfig, TrainConfig
from charlstm.corpus import Split
from charlstm.events import Sampled
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import Tokens, Vocabulary

_READ_AT_MOST = 1 << 21  # tokens: a quarter of a second, and some 10 MB
_PIECES = 8  # that those of a longer text are taken from, evenly
_FEWEST_WORDS = 300
_LONGEST_MEAN = 15.0  # characters; words of a text without spaces, or of digits and codes, are longer
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI", "JAVANESE")
_UNSPACED_SHARE = 0.2  # of the letters, from which on a text counts as one without spaces
_APOSTROPHES = "'’"


class WordCount(NamedTuple):
    """The words of a text, and those of them that are real."""

    num_words: int
    num_real: int


class _Separated(dict[int, int | str | None]):
    """A table for `str.translate` that turns everything between words into spaces; it learns characters as they come.

    The value of a character of a word is the character itself.
    """

    def __missing__(self, code: int) -> int | str:
        char = chr(code)
        if char in _APOSTROPHES:
            found: int | str = "'"
        else:
            category = unicodedata.category(char)
            found = code if category[0] in "LM" or category in ("Nd", "Pc") else " "
        self[code] = found
        return found


class RealWords:
    """The words of a training text."""

    def __init__(self, vocabulary: Vocabulary, train: Tokens) -> None:
        """Collect the words of tokens (N,), of a long text from some pieces of it."""
        self._table = _Separated()
        self._words: frozenset[str] = frozenset()
        num_words, num_chars = 0, 0
        known: set[str] = set()
        letters = ""
        for piece in _pieces(train):
            text = _decode(vocabulary, piece)
            letters += text[:10_000]
            words = self._split(text)
            num_words += len(words)
            num_chars += sum(map(len, words))
            known.update(words)
        if num_words >= _FEWEST_WORDS and num_chars <= _LONGEST_MEAN * num_words and not _is_unspaced(letters):
            self._words = frozenset(known)

    def __len__(self) -> int:
        return len(self._words)

    def _split(self, text: str) -> list[str]:
        words = (word.strip("'") for word in text.casefold().translate(self._table).split())
        return [word for word in words if any(map(str.isalpha, word))]

    def count(self, prompt: str, continuation: str) -> WordCount:
        """Count the words of `continuation`, without a first one that `prompt` begins and a last one that may go on.

        Both counts are 0 for texts without words.
        """
        if not self._words:
            return WordCount(0, 0)
        begin, end = 0, len(continuation)
        if self._is_inside(prompt[-1:]):
            while begin < end and self._is_inside(continuation[begin]):
                begin += 1
        while end > begin and self._is_inside(continuation[end - 1]):
            end -= 1
        words = self._split(continuation[begin:end])
        return WordCount(len(words), sum(word in self._words for word in words))

    def _is_inside(self, char: str) -> bool:
        return bool(char) and not char.translate(self._table).isspace()


def _decode(vocabulary: Vocabulary, tokens: Tokens) -> str:
    """Decode tokens, ten times as fast as one at a time."""
    if vocabulary.level == "bytes":
        return tokens.astype(np.uint8).tobytes().decode("utf-8", "replace")
    codes = np.array([ord(char) for char in vocabulary.characters], "<u4")
    return codes[tokens].tobytes().decode("utf-32-le", "surrogatepass")


def _pieces(train: Tokens) -> list[Tokens]:
    if len(train) <= _READ_AT_MOST:
        return [train]
    size = _READ_AT_MOST // _PIECES
    return [
        train[begin : begin + size] for begin in range(0, len(train) - size + 1, (len(train) - size) // (_PIECES - 1))
    ]


def _is_unspaced(text: str) -> bool:
    """Return whether a good part of the letters of `text` are of scripts that put no spaces between words."""
    letters = [char for char in text if char.isalpha()]
    unspaced = sum(unicodedata.name(char, "").startswith(_UNSPACED) for char in letters if ord(char) > 0xDFF)
    return unspaced > _UNSPACED_SHARE * len(letters)


_FIRST_STEPS = frozenset(1 << power for power in range(3, 11))  # 8, 16, 32 ... 1,024
_LEAST_GAP = 3.0  # seconds
_GROWTH = 0.1  # of the training time: the gap beyond half a minute
_SHARE = 0.015  # of the planned time is spent on samples, but for those that are overdue
_FRONT_LOADED = 0.25  # the exponent of the part of the run by which a part of that may be spent: more is new early on
_FREE = 3  # samples at the start that the share does not limit
_LONGEST_GAP = 0.3  # of the planned time: an older estimate of the loss is due beyond the share,
_LARGEST_SHARE = 0.03  # if a sample takes no more than this part of the time since
_LONGEST_TEXT_GAP = 0.04  # likewise for the text of a sample alone, which takes a fifth of its time,
_LARGEST_TEXT_SHARE = 0.08  # and so no more than a fifth of this part
_OPENING_CHARS = 200
_COUNTED_CHARS = 2000  # some 350 words
_SEARCHED_CHARS = 1000  # of the validation text, for an opening


@dataclass
class SampleState:
    """The samples so far, as far as the automatic schedule needs them."""

    num_samples: int = 0
    sampled_seconds: float = 0.0  # the training time at the last one
    estimated_seconds: float = 0.0  # and at the last one with an estimate of the loss
    sampling_seconds: float = 0.0  # spent on all but the first, which loads what the others find loaded

    def facts(self) -> dict[str, Any]:
        """Return the fields to save in a run's state."""
        return asdict(self)

    def add(self, elapsed_seconds: float, spent_seconds: float, has_estimate: bool = True) -> None:
        """Count a sample written at the training time `elapsed_seconds`, which took `spent_seconds`."""
        self.num_samples += 1
        self.sampled_seconds = elapsed_seconds
        if has_estimate:
            self.estimated_seconds = elapsed_seconds
        if self.num_samples > 1:
            self.sampling_seconds += spent_seconds

    def is_due(self, step: int, elapsed_seconds: float, fraction: float, part_seconds: float) -> bool:
        """Return whether a sample is due after `step`, where `fraction` of the part begun at `part_seconds` is done.

        Due are the steps 0, 8, 16, 32 ... 1,024, and otherwise the moment when the last sample is 3 seconds old and a
        tenth of the training time; each only while the samples together take at most 1.5 % of the planned time, of
        which the more is granted the earlier it is. The first three come soon and are not counted in that. Where the
        share is spent, on a slow machine or because the end was thought to be far, a text alone still is due when the
        last is a twenty-fifth of the planned time old and 12.5 times as old as a sample takes, and one with an estimate
        (see `affords_estimate`) when the last such is three tenths of that time old and 33 times as old.
        """
        if self.num_samples == 0 or step == 0:
            return True
        age = elapsed_seconds - self.sampled_seconds
        gap = max(min(_LEAST_GAP, self.num_samples), _GROWTH * self.sampled_seconds)
        if step not in _FIRST_STEPS and age < gap:
            return False
        is_overdue = fraction > 0 and age >= max(
            _LONGEST_TEXT_GAP * _estimate_end(elapsed_seconds, fraction, part_seconds),
            self._seconds_each / _LARGEST_TEXT_SHARE,
        )
        return is_overdue or self.affords_estimate(elapsed_seconds, fraction, part_seconds)

    def affords_estimate(self, elapsed_seconds: float, fraction: float, part_seconds: float) -> bool:
        """Return whether a sample that is due may take the time of an estimate of the loss as well."""
        age = elapsed_seconds - self.estimated_seconds
        planned = _estimate_end(elapsed_seconds, fraction, part_seconds)
        is_overdue = fraction > 0 and age >= max(_LONGEST_GAP * planned, self._seconds_each / _LARGEST_SHARE)
        return self.num_samples < _FREE or is_overdue or self._is_granted(elapsed_seconds, planned)

    @property
    def _seconds_each(self) -> float:
        return self.sampling_seconds / max(1, self.num_samples - 1)

    def _is_granted(self, elapsed_seconds: float, planned: float) -> bool:
        spent = self._seconds_each * (self.num_samples + 1 - _FREE)  # with another one
        done = min(1.0, elapsed_seconds / planned) if planned else 0.0
        return spent <= _SHARE * planned * math.pow(done, _FRONT_LOADED)


def _estimate_end(elapsed_seconds: float, fraction: float, part_seconds: float) -> float:
    """Return the training time at the planned end, or the time by now where no end is known."""
    return part_seconds + (elapsed_seconds - part_seconds) / fraction if fraction else elapsed_seconds


class Sampler:
    """Writes the samples of one run, always with the same prompt and dice, so that only the training tells in them."""

    def __init__(self, split: Split, config: TrainConfig) -> None:
        self._split, self._config = split, config

    @cached_property
    def prompt(self) -> str:
        """What every sample continues."""
        return self._config.sample_prompt or find_opening(self._split)

    @cached_property
    def _words(self) -> RealWords:
        return RealWords(self._split.vocabulary, self._split.train)

    def write(self, language_model: LanguageModel, on_tick: Callable[[], None], is_last: bool = False) -> Sampled:
        """Write a sample of the model, to be completed by step, time and loss; `on_tick` is called amid it.

        The words of the last sample of a run are counted in a longer text, so that they tell of its last model alone.
        """
        config, text = self._config, ""
        num_chars = max(config.sample_chars, _COUNTED_CHARS) if is_last and self._words else config.sample_chars
        how = SampleConfig(num_chars=num_chars, temperature=config.sample_temperature, seed=config.seed)
        for chunk in language_model.stream(self.prompt, how):
            text += chunk.text
            on_tick()
        num_words, num_real_words = self._words.count(self.prompt, text)
        return Sampled(
            step=0,
            text=self.prompt + text[: config.sample_chars],
            temperature=how.temperature,
            seed=how.seed,
            prompt_chars=len(self.prompt),
            num_words=num_words,
            num_real_words=num_real_words,
        )


def find_opening(split: Split) -> str:
    """Return about 200 characters from the beginning of the validation text: whole lines, if it has any.

    They begin at the beginning of a line, and end with one that another follows without a blank line between, so that
    it is amid a passage that the model goes on. Without lines they end with a word.
    """
    text = split.vocabulary.decode(split.validation[: 4 * _SEARCHED_CHARS]).strip("\ufffd")[:_SEARCHED_CHARS]
    begin = text.find("\n") + 1
    text = text[begin:].lstrip("\n") if begin <= _OPENING_CHARS else text
    ends = [place + 1 for place, char in enumerate(text[: 2 * _OPENING_CHARS]) if char == "\n"]
    amid = [end for end in ends if text[end : end + 1] not in ("", "\n") and text[end - 2 : end - 1] != "\n"]
    if amid or ends:
        return text[: min(amid or ends, key=lambda end: abs(end - _OPENING_CHARS))]
    text = text[:_OPENING_CHARS]
    return text[: text.rfind(" ")] if text.rfind(" ") > _OPENING_CHARS // 2 else text
