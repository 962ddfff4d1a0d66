"""Two models that write one text: their probabilities are mixed at each character.

p = (1 - share) * p_first + share * p_second over the characters of both; one that a model does not know has
probability 0 there. Temperature and filters come after the mix. Each model reads what is written as it would read a
prompt: a character that it does not know is replaced by its equivalent if it knows one (`Vocabulary.normalize`), else
passed over. The share may be turned while the text is written; a `Crossfade` remembers where.

Shapes: B = texts, T = characters, V = characters of both models.
"""

import bisect
import copy
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.errors import ConfigError, VocabularyError
from charlstm.generation import sampling
from charlstm.generation.engine import DecodeSession, SessionStart, start_session
from charlstm.generation.holds import Hold
from charlstm.generation.sampling import SteppedTexts
from charlstm.generation.stream import TextWriter, default_prompt
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

MOST_STEPS = 400  # changes of the share in one text that an address tells
_STEP = re.compile(r"(?:(\d{1,8}):)?(\d{0,3}\.?\d{0,6})", re.ASCII)
_DECIMALS = 3


class ShareStep(NamedTuple):
    """From character `position` of a text on, the second model has this share."""

    position: int
    share: float


class Crossfade:
    """The share of the second model at each character of a text, from 0 to 1.

    `turn` changes it while the text is written, from another thread too; `str` tells all changes, so that the same text
    can be written again.
    """

    def __init__(self, share: float = 0.5) -> None:
        """Raise `ConfigError` for a share outside 0 to 1."""
        self._steps = [ShareStep(0, _check_share(share))]
        self._turned: float | None = None
        self._lock = threading.Lock()

    @classmethod
    def parse(cls, text: str) -> "Crossfade":
        """Read `0.5`, or `0.5,120:0.8` for a share that is 0.8 from character 120 on; raises `ConfigError`."""
        parts = text.split(",")
        found = [_STEP.fullmatch(part.strip()) for part in parts[: MOST_STEPS + 1]]
        steps = [ShareStep(int(each[1] or 0), float(each[2])) for each in found if each and each[2].strip(".")]
        places = [step.position for step in steps]
        is_ordered = places == sorted(set(places)) and places[:1] == [0]
        if len(steps) != len(parts) or len(parts) > MOST_STEPS or not is_ordered:
            raise ConfigError(
                f"{text[:60]!r} is not a share of the second model: write a number from 0 to 1 such as 0.5, or "
                f"0.5,120:0.8 to change it at character 120, at most {MOST_STEPS} in order."
            )
        fade = cls()
        fade._steps = [ShareStep(place, _check_share(share)) for place, share in steps]
        return fade

    def __str__(self) -> str:
        return ",".join(
            f"{f'{step.position}:' if step.position else ''}{round(step.share, _DECIMALS):g}" for step in self._steps
        )

    @property
    def num_steps(self) -> int:
        """Number of shares that the text was written with, one after the other."""
        return len(self._steps)

    def turn(self, share: float) -> None:
        """Change the share for what is written from now on; raise `ConfigError` outside 0 to 1."""
        share = _check_share(share)
        with self._lock:
            self._turned = share

    def settle(self, position: int) -> None:
        """Note that what was turned holds from character `position` on."""
        with self._lock:
            turned, self._turned = self._turned, None
        if turned is None:
            return
        before = [step for step in self._steps if step.position < position]
        is_new = not before or before[-1].share != turned
        self._steps = [*before, ShareStep(position if before else 0, turned)] if is_new else before

    def at(self, position: int) -> float:
        """Return the share at character `position`."""
        place = bisect.bisect_right(self._steps, position, key=lambda step: step.position)
        return self._steps[max(0, place - 1)].share


def _check_share(share: float) -> float:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of the second model can't be {share:g}: choose a number from 0 to 1.")
    return round(float(share), _DECIMALS)


_MOST_LEANING = 99.0  # nats; stands for infinitely many, where one model does not know a character


class Voice(Protocol):
    """A model and its vocabulary, such as a `LanguageModel`."""

    @property
    def model(self) -> CharLSTM:
        """The network."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """Its characters."""
        ...


@dataclass(frozen=True)
class MixedModel(TextWriter):
    """Two models that write together, `crossfade` between them.

    Each piece of a text tells by `leanings` how much more the second model wanted its characters.
    """

    first: Voice
    second: Voice
    crossfade: Crossfade
    vocabulary: Vocabulary = field(init=False, repr=False, compare=False)  # of both, in the order of code points

    _longest_piece: ClassVar[int] = 8  # characters: the share is heard between two pieces

    def __post_init__(self) -> None:
        if self.first.vocabulary.level != self.second.vocabulary.level:
            raise ConfigError(
                "a model that writes bytes can't be mixed with one that writes characters: choose two of the same kind."
            )
        known = {*self.first.vocabulary.characters, *self.second.vocabulary.characters}
        object.__setattr__(self, "vocabulary", Vocabulary(tuple(sorted(known)), self.first.vocabulary.level))

    def start_session(self, start: SessionStart) -> "MixedTexts":
        """Start a session of texts that begin with ids of the united vocabulary; the first model holds units."""
        beginnings, config, holds, held_from, rounded = start
        readers = [_Reader(voice, self.vocabulary, rounded) for voice in (self.first, self.second)]
        texts: list[tuple[_Side, _Side]] = []
        for index, ids in enumerate(beginnings):
            if index and ids is beginnings[index - 1]:
                texts.append((texts[-1][0].copy(), texts[-1][1].copy()))
                continue
            first = readers[0].start(ids, config, holds, len(ids) - 1 if held_from is None else held_from)
            texts.append((first, readers[1].start(ids, config)))
        return MixedTexts(beginnings, texts, self.crossfade)


class _Reader:
    """Starts one model's side of a text."""

    def __init__(self, voice: Voice, united: Vocabulary, rounded: bool) -> None:
        self._voice, vocabulary = voice, voice.vocabulary
        self._places = (
            united.encode("".join(vocabulary.characters)).astype(np.int64) if united.level == "chars" else None
        )
        self._readings: dict[int, NDArray[np.int32]] = {}
        self._united, self._rounded = united, rounded

    def start(
        self, ids: NDArray[np.int32], config: SampleConfig, holds: Sequence[Hold] = (), held_from: int | None = None
    ) -> "_Side":
        parts = [self.reading(index) for index in ids.tolist()]
        own = np.concatenate([*parts, ids[:0]]).astype(np.int32)
        if not len(own):
            own = self._voice.vocabulary.encode(default_prompt(self._voice.vocabulary)).astype(np.int32)
        place = None if held_from is None else min(len(own) - 1, sum(map(len, parts[:held_from])))
        return _Side(start_session(self._voice.model, [own], config, holds, place, self._rounded), self)

    def reading(self, index: int) -> NDArray[np.int32]:
        """Return the model's own ids (n,) of the united vocabulary's character number `index`; n may be 0."""
        if self._places is None:
            return np.array([index], np.int32)
        if index not in self._readings:
            vocabulary = self._voice.vocabulary
            try:
                read = vocabulary.normalize(self._united.characters[index])
            except VocabularyError:
                read = ""
            self._readings[index] = vocabulary.encode(read).astype(np.int32)
        return self._readings[index]

    def spread(self, shares: sampling.Numbers) -> sampling.Numbers:
        """Map probabilities of the model's own characters to those of all (V,)."""
        if self._places is None:
            return shares
        whole = np.zeros(len(self._united))
        whole[self._places] = shares
        return whole


class _Side:
    """One model's side of one text."""

    def __init__(self, session: DecodeSession, reader: _Reader) -> None:
        self._session, self._reader = session, reader
        self._shares: sampling.Numbers | None = None  # of what follows; `None` until the last character is read

    def shares(self) -> sampling.Numbers:
        """Return the probabilities (V,) of the next character."""
        if self._shares is None:
            logits = self._session.next_logits()[0].astype(np.float64)
            weights = np.exp(logits - logits.max())
            self._shares = self._reader.spread(weights / weights.sum())
        return self._shares

    def read(self, index: int) -> None:
        """Read the united vocabulary's character number `index`, or pass it over."""
        for own in self._reader.reading(index)[:, None]:
            self.shares()  # reads the one before
            self._session.accept(own)
            self._shares = None

    def copy(self) -> "_Side":
        other = copy.copy(self)
        other._session = self._session.copy()
        return other


class MixedTexts(SteppedTexts):
    """Texts that two models write side by side; a `DecodeSession`."""

    def __init__(
        self, beginnings: Sequence[NDArray[np.int32]], sides: Sequence[tuple["_Side", "_Side"]], crossfade: Crossfade
    ) -> None:
        """Go on with `beginnings`, each (N,) ids of the united vocabulary, which both models' `sides` have read."""
        super().__init__(beginnings)
        self._sides, self._crossfade = [*sides], crossfade

    def copy(self) -> "MixedTexts":
        """Return a session that goes on from here by itself, with the same crossfade."""
        other = super().copy()
        other._sides = [(first.copy(), second.copy()) for first, second in self._sides]
        return other

    def next_logits(self) -> NDArray[np.float32]:
        """Return the logarithms (B, V) of the mixed probabilities of what follows."""
        self._crossfade.settle(min(self._positions))
        rows = []
        for position, (first, second) in zip(self._positions, self._sides, strict=True):
            share = self._crossfade.at(position)
            rows.append((1 - share) * first.shares() + share * second.shares())
        with np.errstate(divide="ignore"):
            return np.log(np.stack(rows)).astype(np.float32)

    def accept(self, ids: NDArray[np.int32]) -> None:
        """Go on with the characters (B,)."""
        for sides, index in zip(self._sides, ids.tolist(), strict=True):
            for side in sides:
                side.read(index)
        super().accept(ids)

    def _leanings(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        wanted = [[side.shares()[index] for side in sides] for sides, index in zip(self._sides, ids, strict=True)]
        with np.errstate(divide="ignore"):
            return np.array([_lean(*each) for each in np.log(wanted).tolist()], np.float32)


def _lean(first: float, second: float) -> float:
    """Return by how many nats the second model wanted a character more, given both models' logarithms."""
    if first == second:  # both infinite, too
        return 0.0
    return min(_MOST_LEANING, max(-_MOST_LEANING, second - first))
