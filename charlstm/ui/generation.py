"""Writing for a visitor: what was asked is checked, the text comes in frames, and an address says how to have it again.

Everything here may be called with anything: the bounds are those of the settings, models are named and never paths.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from charlstm.config import SampleConfig, plain_lines
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.generation.stream import default_prompt
from charlstm.language_model import LanguageModel
from charlstm.ui.models import ModelRegistry, describe_model
from charlstm.ui.surprisal_text import WIDTH, Page, TextBuilder, parse_page
from charlstm.vocabulary import Vocabulary

SETTINGS = ("num_chars", "temperature", "top_k", "top_p", "no_repeat", "stop", "num_samples", "seed")
LONGEST_PROMPT = 100_000
MOST_CHARS = 1_000_000  # on one page
_LONGEST_LINK = 6000
_FRAME_SECONDS = 0.04  # characters are gathered this long before they are sent: smooth, and few messages
_SECONDS_PER_CHAR = 2e-6  # longer for each that is there, since whoever gets a frame looks at the whole text again
_LONGEST_FRAME_SECONDS = 0.5  # a page that was closed is noticed when the next frame is sent
_SMOOTH_WRITERS = 6  # with more at once each gets frames more rarely, since frames cost more than characters
_STANDS_BACK_SECONDS = 1.5  # at most, while others of so many wait: first characters matter more than the next ones
_LOOK_SECONDS = 0.04  # between two looks whether one who waits may go on, or has been stopped
_AS_FAST_AS_WRITTEN = 10_000  # characters of a text; `Audience.per_second` counts from there


class OutputProfile(NamedTuple):
    """Whom the frames are for."""

    num_likeliest: int  # of each character, to look into
    per_second: float  # characters of a long text


VISITOR = OutputProfile(WIDTH, 10_000)  # a browser that drew more at once would hear Stop late
PROGRAM = OutputProfile(0, math.inf)


class Update(NamedTuple):
    """What one message to the page says."""

    page: Page
    rate: str
    note: str = ""

    @property
    def told(self) -> str:
        """What stands under the page."""
        return f"{self.rate}\n{self.note}".strip()


@dataclass(frozen=True)
class GenerationRequest:
    """What a visitor wants written."""

    model: str | None
    prompt: str
    config: SampleConfig
    page: Any = None  # what is to be continued, as the browser sent it

    @classmethod
    def of(cls, model: Any, prompt: Any, values: Mapping[str, Any], page: Any = None) -> "GenerationRequest":
        """From a form or a request; raises `CharLSTMError` in one sentence."""
        config = SampleConfig(**values)
        if not isinstance(prompt, str) or not isinstance(model, str | None):
            raise ConfigError("model and prompt must be texts.")
        prompt = plain_lines(prompt)
        if len(prompt) > LONGEST_PROMPT:
            raise ConfigError(
                f"the prompt has {len(prompt):,} characters; at most {LONGEST_PROMPT:,} are read: shorten it."
            )
        if (config.num_chars or 1) * config.num_samples > MOST_CHARS:
            raise ConfigError(
                f"{config.num_samples} x {config.num_chars:,} characters are more than the {MOST_CHARS:,} that are "
                "written at once: ask for fewer."
            )
        return cls(model, prompt, config, page)

    def link(self, written: int = 0) -> str:
        """The query of an address that writes this, of which `written` characters each were there before."""
        defaults = SampleConfig()
        values: dict[str, Any] = {"model": self.model, "prompt": self.prompt}
        for name in SETTINGS:
            value = getattr(self.config, name)
            value = value + written if name == "num_chars" and value else value
            if value != getattr(defaults, name) or name == "seed":
                values[name] = value
        query = urlencode(values)
        return query if len(query) <= _LONGEST_LINK else ""


def parse_link(query: Mapping[str, str]) -> tuple[str | None, str, dict[str, Any]] | None:
    """Model, prompt and all settings that an address asks for, or `None` if it asks for nothing.

    Raises `ConfigError` for a value that its setting does not take.
    """
    known = {name: query[name] for name in SETTINGS if name in query}
    if not known and "prompt" not in query:
        return None
    return query.get("model"), query.get("prompt", ""), SampleConfig(**known).model_dump()


class ActiveRequests:
    """Who is writing now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: set[object] = set()

    @contextmanager
    def one_more(self) -> Iterator[Callable[[], None]]:
        """Inside the block there is; what it gives is called when the first characters have been sent."""
        mine = object()
        with self._lock:
            self._number += 1
        self._waiting.add(mine)
        try:
            yield lambda: self._waiting.discard(mine)
        finally:
            self._waiting.discard(mine)
            with self._lock:
                self._number -= 1

    @property
    def number(self) -> int:
        """How many they are."""
        return self._number

    @property
    def is_arriving(self) -> bool:
        """Whether some of a crowd still wait for their first characters."""
        return self._number > _SMOOTH_WRITERS and bool(self._waiting)

    def frame_seconds(self, num_chars: int) -> float:
        """How long to gather characters of a text that has `num_chars` before they are sent."""
        crowded = _FRAME_SECONDS * max(1.0, self.number / _SMOOTH_WRITERS)
        return min(crowded + num_chars * _SECONDS_PER_CHAR, _LONGEST_FRAME_SECONDS)


def generate(
    shelf: ModelRegistry,
    wish: GenerationRequest,
    writers: ActiveRequests,
    is_over: Callable[[], bool],
    audience: OutputProfile = VISITOR,
) -> Iterator[Update]:
    """Frames of a text, until it ends or `is_over()`; raises `CharLSTMError` before the first one.

    An empty prompt stands for the most frequent beginning of the lines that the model learned from, where that is
    known, else for the beginning of a line; the page and a note tell.
    """
    began = time.monotonic()
    language_model = shelf.load(wish.model)
    texts = _texts_before(wish)
    prompt = wish.page["given"] if texts else wish.prompt or shelf.default_prompt(wish.model)
    config = wish.config.model_copy(update={"num_samples": len(texts)}) if texts else wish.config
    before = max(map(len, texts), default=0)
    growing = TextBuilder(
        wish.page["id"] if texts else secrets.token_hex(8),
        prompt,
        config.num_samples,
        is_code=describe_model(language_model).is_code,
        is_bytes=language_model.vocabulary.level == "bytes",
        can_branch=True,
        link=GenerationRequest(wish.model, prompt or default_prompt(language_model.vocabulary), config).link(before),
    )
    if texts:
        growing.restore(wish.page)
    note = prompt_note(prompt, language_model.vocabulary)
    if not texts and not wish.prompt:
        how = f"begins with {prompt!r}, the most frequent beginning of a line" if prompt else "begins a new line"
        note = f"The prompt was empty: the text {how}."
    with writers.one_more() as has_begun:
        pace = _FrameThrottle(began, writers, is_over, audience, has_begun)
        yield from _frames(language_model, prompt, config, texts, growing, pace, note)


def _frames(
    language_model: LanguageModel,
    prompt: str,
    config: SampleConfig,
    texts: list[str],
    growing: TextBuilder,
    pace: "_FrameThrottle",
    note: str,
) -> Iterator[Update]:
    room = MOST_CHARS - sum(map(len, texts))
    pieces = language_model.stream(prompt, config, texts, pace.audience.num_likeliest)
    for piece in pieces:
        growing.add(piece)
        if pace.is_over() or growing.num_chars >= room:
            break
        if pace.is_time(growing.num_chars):
            yield Update(growing.page(is_writing=True), pace.rate(growing.num_chars, config.seed), note)
        pace.wait(growing.num_chars)
    if growing.num_chars >= room:
        note = f"A page holds {MOST_CHARS:,} characters: download the text, and go on from its end with a new prompt."
    yield Update(growing.page(), pace.rate(growing.num_chars, config.seed), note)


def _texts_before(wish: GenerationRequest) -> list[str]:
    if wish.page is None:
        return []
    texts = parse_page(wish.page, MOST_CHARS - 1)
    if texts is None or not any(texts):
        raise CharLSTMError("there is no text here that can be continued: write one first.")
    return texts


@dataclass
class _FrameThrottle:
    """When to send the next frame, and how fast it goes."""

    began: float
    writers: ActiveRequests
    is_over: Callable[[], bool]
    audience: OutputProfile
    has_begun: Callable[[], None]
    first: float | None = None
    shown: float = 0.0
    stood_back: float = 0.0  # seconds

    def is_time(self, num_chars: int) -> bool:
        now = time.monotonic()
        if num_chars and self.first is None:
            self.first = self.shown = now
            return True
        if now - self.shown < self.writers.frame_seconds(num_chars):
            return False
        self.shown = now
        return True

    def wait(self, num_chars: int) -> None:
        """Leave the server to those who wait for their first characters; go no faster than the audience can follow."""
        if self.first is None:
            return
        self.has_begun()
        while self.writers.is_arriving and self.stood_back < _STANDS_BACK_SECONDS and not self.is_over():
            time.sleep(_LOOK_SECONDS)
            self.stood_back += _LOOK_SECONDS
        due = self.began + (num_chars - _AS_FAST_AS_WRITTEN) / self.audience.per_second
        while (early := due - time.monotonic()) > 0 and not self.is_over():
            time.sleep(min(early, _LOOK_SECONDS))

    def rate(self, num_chars: int, seed: int) -> str:
        elapsed = time.monotonic() - self.began
        first = f" · the first after {1000 * (self.first - self.began):.0f} ms" if self.first is not None else ""
        return f"{num_chars:,} characters · {num_chars / max(elapsed, 1e-6):,.0f} per second{first} · seed {seed}"


def prompt_note(prompt: str, vocabulary: Vocabulary) -> str:
    """What was done to characters of the prompt that the model does not know; raises `VocabularyError`."""
    fitted = vocabulary.normalize(prompt)
    if fitted == prompt:
        return ""
    if len(fitted) != len(prompt):
        return "The prompt was read with characters that the model knows."
    changed = dict.fromkeys((old, new) for old, new in zip(prompt, fitted, strict=True) if old != new)
    shown = ", ".join(f"{old!r} as {new!r}" for old, new in list(changed)[:8])
    return f"The model knows other characters: it read {shown}."
