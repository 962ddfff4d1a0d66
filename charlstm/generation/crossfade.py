"""The share of the second of two models at each character of a text, which may be turned while the text is written."""

import bisect
import re
import threading
from typing import NamedTuple

from charlstm.errors import ConfigError

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
        self._steps = [ShareStep(0, _checked(share))]
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
        fade._steps = [ShareStep(place, _checked(share)) for place, share in steps]
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
        share = _checked(share)
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


def _checked(share: float) -> float:
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of the second model can't be {share:g}: choose a number from 0 to 1.")
    return round(float(share), _DECIMALS)
