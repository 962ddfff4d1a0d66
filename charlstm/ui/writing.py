"""Writing for a visitor: what was asked is checked, the text comes in frames, and an address says how to have it again.

Everything here may be called with anything: the bounds are those of the settings, models are named and never paths.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from charlstm.config import SampleConfig, checked
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.language_model import LanguageModel
from charlstm.ui.models import ModelShelf, facts_of
from charlstm.ui.reader import WIDTH, Growing, Page, pages_texts
from charlstm.vocabulary import Vocabulary

SETTINGS = ("num_chars", "temperature", "top_k", "top_p", "no_repeat", "stop", "num_samples", "seed")
LONGEST_PROMPT = 100_000
MOST_CHARS = 1_000_000  # on one page
_LONGEST_LINK = 6000
_FRAME_SECONDS = 0.04  # characters are gathered this long before they are sent: smooth, and few messages
_AT_FULL_SPEED = 10_000  # characters; nobody can read on in what is longer, and a browser has to draw it
_SMOOTH_WRITERS = 6  # with more at once each gets frames more rarely, since frames cost more than characters
_ENDLESS_PER_SECOND = 2000  # nobody reads faster, and others want to write too


class Frame(NamedTuple):
    """What one message to the page says."""

    page: Page
    rate: str
    note: str = ""


@dataclass(frozen=True)
class Wish:
    """What a visitor wants written."""

    model: str | None
    prompt: str
    config: SampleConfig
    page: Any = None  # what is to be continued, as the browser sent it

    @classmethod
    def of(cls, model: Any, prompt: Any, values: Mapping[str, Any], page: Any = None) -> "Wish":
        """From a form or a request; raises `CharLSTMError` in one sentence."""
        config = checked(SampleConfig, values)
        if not isinstance(prompt, str) or not isinstance(model, str | None):
            raise ConfigError("model and prompt must be texts.")
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


def wish_of_address(query: Mapping[str, str]) -> tuple[str | None, str, dict[str, Any]] | None:
    """Model, prompt and all settings that an address asks for, or `None` if it asks for nothing.

    Raises `ConfigError` for a value that its setting does not take.
    """
    known = {name: query[name] for name in SETTINGS if name in query}
    if not known and "prompt" not in query:
        return None
    return query.get("model"), query.get("prompt", ""), checked(SampleConfig, known).model_dump()


class Writers:
    """Who is writing now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Inside the block there is."""
        with self._lock:
            self._number += 1
        try:
            yield
        finally:
            with self._lock:
                self._number -= 1

    @property
    def frame_seconds(self) -> float:
        """How long to gather characters before they are sent."""
        return _FRAME_SECONDS * max(1.0, self._number / _SMOOTH_WRITERS)


def write(shelf: ModelShelf, wish: Wish, writers: Writers, is_over: Callable[[], bool]) -> Iterator[Frame]:
    """Frames of a text, until it ends or `is_over()`; raises `CharLSTMError` before the first one."""
    began = time.monotonic()
    language_model = shelf.load(wish.model)
    texts = _texts_before(wish)
    prompt = wish.page["given"] if texts else wish.prompt
    config = wish.config.model_copy(update={"num_samples": len(texts)}) if texts else wish.config
    before = max(map(len, texts), default=0)
    growing = Growing(
        wish.page["id"] if texts else secrets.token_hex(8),
        prompt,
        config.num_samples,
        is_code=facts_of(language_model).is_code,
        is_bytes=language_model.vocabulary.level == "bytes",
        can_branch=True,
        link=Wish(wish.model, prompt, config).link(before),
    )
    if texts:
        growing.restore(wish.page)
    note = note_on(prompt, language_model.vocabulary)
    with writers.one_more():
        yield from _frames(language_model, prompt, config, texts, growing, _Pace(began, writers, is_over), note)


def _frames(
    language_model: LanguageModel,
    prompt: str,
    config: SampleConfig,
    texts: list[str],
    growing: Growing,
    pace: "_Pace",
    note: str,
) -> Iterator[Frame]:
    room = MOST_CHARS - sum(map(len, texts))
    pieces = language_model.stream(prompt, config, texts, WIDTH)
    for piece in pieces:
        growing.add(piece)
        if pace.is_over() or growing.num_chars >= room:
            break
        if pace.is_time(growing.num_chars):
            yield Frame(growing.page(is_writing=True), pace.rate(growing.num_chars, config.seed), note)
        pace.wait(growing.num_chars - (_AT_FULL_SPEED if config.num_chars else 0))
    if growing.num_chars >= room:
        note = f"A page holds {MOST_CHARS:,} characters: download the text, and go on from its end with a new prompt."
    yield Frame(growing.page(), pace.rate(growing.num_chars, config.seed), note)


def _texts_before(wish: Wish) -> list[str]:
    if wish.page is None:
        return []
    texts = pages_texts(wish.page, MOST_CHARS - 1)
    if texts is None or not any(texts):
        raise CharLSTMError("there is no text here that can be continued: write one first.")
    return texts


@dataclass
class _Pace:
    """When to send the next frame, and how fast it goes."""

    began: float
    writers: Writers
    is_over: Callable[[], bool]
    first: float = 0.0
    shown: float = 0.0

    def is_time(self, num_chars: int) -> bool:
        now = time.monotonic()
        if num_chars and not self.first:
            self.first = self.shown = now
            return True
        if now - self.shown < self.writers.frame_seconds:
            return False
        self.shown = now
        return True

    def wait(self, num_chars: int) -> None:
        """Let others go first while nobody could read on anyway."""
        early = num_chars / _ENDLESS_PER_SECOND - (time.monotonic() - self.began)
        if early > 0:
            time.sleep(min(early, _FRAME_SECONDS))

    def rate(self, num_chars: int, seed: int) -> str:
        elapsed = time.monotonic() - self.began
        first = f" · the first after {1000 * (self.first - self.began):.0f} ms" if self.first else ""
        return f"{num_chars:,} characters · {num_chars / max(elapsed, 1e-6):,.0f} per second{first} · seed {seed}"


def note_on(prompt: str, vocabulary: Vocabulary) -> str:
    """What was done to characters of the prompt that the model does not know; raises `VocabularyError`."""
    fitted = vocabulary.fit(prompt)
    if fitted == prompt:
        return ""
    if len(fitted) != len(prompt):
        return "The prompt was read with characters that the model knows."
    changed = dict.fromkeys((old, new) for old, new in zip(prompt, fitted, strict=True) if old != new)
    shown = ", ".join(f"{old!r} as {new!r}" for old, new in list(changed)[:8])
    return f"The model knows other characters: it read {shown}."
