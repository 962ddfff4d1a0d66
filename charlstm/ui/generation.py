"""Generation requests of visitors: checked, written in throttled updates, and shared by link.

Arguments are untrusted: the settings' own bounds apply, and models are given by name, never by path.
"""

import math
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode

from charlstm.config import SampleConfig
from charlstm.config_fields import plain_lines
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import format_duration
from charlstm.generation.holds import Hold, format_holds, parse_holds
from charlstm.generation.mixing import MixedModel
from charlstm.generation.read_first import Reading
from charlstm.generation.stream import TextChunk, default_prompt
from charlstm.language_model import LanguageModel
from charlstm.model_description import describe_model
from charlstm.ui.crossfader import LiveMixes, Mix, parse_mix
from charlstm.ui.models import ModelRegistry
from charlstm.ui.reading_cache import ReadFirst, Readings
from charlstm.ui.surprisal_text import WIDTH, Page, TextBuilder, parse_page
from charlstm.vocabulary import Vocabulary

SETTINGS = ("num_chars", "temperature", "top_k", "top_p", "no_repeat", "stop", "num_samples", "seed")
LONGEST_PROMPT = 100_000
MOST_CHARS = 1_000_000  # on one page
_LONGEST_LINK = 6000
_READING_FRAME_SECONDS = 0.25
_FRAME_SECONDS = 0.04  # characters are collected this long before they are sent: smooth, and few messages
_SECONDS_PER_CHAR = 2e-6  # added per character of the text, since the page compares the whole text for each frame
_LONGEST_FRAME_SECONDS = 0.5  # a closed page is noticed only when the next frame is sent
_SMOOTH_REQUESTS = 6  # with more at once each gets fewer frames, since frames cost more than characters
_MAX_WAIT_SECONDS = 1.5  # while others wait: first characters matter more than the next ones
_POLL_SECONDS = 0.04  # between two checks whether a waiting request may continue, or has been stopped
_UNTHROTTLED_CHARS = 10_000  # characters of a text; `OutputProfile.per_second` applies beyond


class OutputProfile(NamedTuple):
    """Contents and pace of the frames for one kind of receiver."""

    num_likeliest: int  # alternatives sent for each character
    per_second: float  # most characters of a long text


VISITOR = OutputProfile(WIDTH, 10_000)  # a browser that has to draw more reacts late to Stop
PROGRAM = OutputProfile(0, math.inf)


class Update(NamedTuple):
    """One message to the page."""

    page: Page
    rate: str
    note: str = ""

    @property
    def caption(self) -> str:
        """Text below the page: the rate and the note."""
        return self.page["caption"]


@dataclass(frozen=True)
class GenerationRequest:
    """A visitor's request for a text."""

    model: str | None
    prompt: str
    config: SampleConfig
    holds: tuple[Hold, ...] = ()
    mix: Mix | None = None
    read: ReadFirst | None = None
    page: Any = None  # the page to continue, as the browser sent it
    has_chosen_opening: bool = False  # the prompt is not the visitor's

    @classmethod
    def of(
        cls,
        model: Any,
        prompt: Any,
        values: Mapping[str, Any],
        page: Any = None,
        hold: Any = "",
        mix: Mix | None = None,
        read: ReadFirst | None = None,
    ) -> "GenerationRequest":
        """Check the values of a form or an API call; raises `CharLSTMError` in one sentence."""
        config = SampleConfig(**values)
        if not isinstance(prompt, str) or not isinstance(model, str | None) or not isinstance(hold, str):
            raise ConfigError("model, prompt and hold must be texts.")
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
        if read and mix:
            raise ConfigError("a text is read by one model: leave the second model out, or the text to read.")
        return cls(model, prompt, config, parse_holds(hold), mix, read, page)

    def link(self, written: int = 0) -> str:
        """Return the query of an address that reproduces the text; `written` characters of each text were there before.

        Empty where it would be too long for an address, as with a text that was read first.
        """
        if self.read or (self.mix and not self.mix.fits_address):
            return ""
        defaults = SampleConfig()
        values: dict[str, Any] = {"model": self.model, "prompt": self.prompt}
        for name in SETTINGS:
            value = getattr(self.config, name)
            value = value + written if name == "num_chars" and value else value
            if value != getattr(defaults, name) or name == "seed":
                values[name] = value
        if self.holds:
            values["hold"] = format_holds(self.holds)
        if self.mix:
            values |= self.mix.query()
        query = urlencode(values)
        return query if len(query) <= _LONGEST_LINK else ""


class Linked(NamedTuple):
    """What an address asks for."""

    model: str | None
    prompt: str
    values: dict[str, Any]  # of all settings
    hold: str
    mix: Mix | None


def parse_link(query: Mapping[str, str]) -> Linked | None:
    """Return what an address asks for, or `None` if it asks for nothing.

    Raises `ConfigError` for a value that its setting does not accept.
    """
    known = {name: query[name] for name in SETTINGS if name in query}
    if not known and not {"prompt", "hold", "mix"} & set(query):
        return None
    hold = format_holds(parse_holds(query.get("hold", "")))
    mix = parse_mix(query.get("mix", ""), query.get("share", "0.5"))
    return Linked(query.get("model"), query.get("prompt", ""), SampleConfig(**known).model_dump(), hold, mix)


class ActiveRequests:
    """Requests that are being answered now, and those of them that still wait for their first characters."""

    def __init__(self) -> None:
        self.mixes, self.readings = LiveMixes(), Readings()
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: set[object] = set()

    @contextmanager
    def register(self) -> Iterator[Callable[[], None]]:
        """Count a request inside the block; the yielded function is to be called when its first characters are sent."""
        token = object()
        with self._lock:
            self._number += 1
        self._waiting.add(token)
        try:
            yield lambda: self._waiting.discard(token)
        finally:
            self._waiting.discard(token)
            with self._lock:
                self._number -= 1

    @property
    def number(self) -> int:
        """Number of active requests."""
        return self._number

    @property
    def is_arriving(self) -> bool:
        """True while there are many requests and some still wait for their first characters."""
        return self._number > _SMOOTH_REQUESTS and bool(self._waiting)

    def frame_seconds(self, num_chars: int) -> float:
        """Return how long to collect characters of a text that has `num_chars` before they are sent."""
        crowded = _FRAME_SECONDS * max(1.0, self.number / _SMOOTH_REQUESTS)
        return min(crowded + num_chars * _SECONDS_PER_CHAR, _LONGEST_FRAME_SECONDS)


def generate(
    registry: ModelRegistry,
    request: GenerationRequest,
    active_requests: ActiveRequests,
    is_over: Callable[[], bool],
    audience: OutputProfile = VISITOR,
) -> Iterator[Update]:
    """Yield frames of a text until it ends or `is_over()`; raises `CharLSTMError` before the first one.

    An empty prompt is replaced by the most frequent beginning of the lines in the model's corpus, where that is known,
    else by the beginning of a line; the page shows it and a note says so.
    """
    began_at = time.monotonic()
    language_model = registry.load(request.model)
    mixed = language_model.mix(registry.load(request.mix.other), request.mix.fade) if request.mix else None
    vocabulary = (mixed or language_model).vocabulary
    texts = _continued_texts(request)
    prompt = request.page["given"] if texts else request.prompt or registry.default_prompt(request.model)
    config = request.config.model_copy(update={"num_samples": len(texts)}) if texts else request.config
    linked = GenerationRequest(
        request.model, prompt or default_prompt(vocabulary), config, request.holds, request.mix, request.read
    )
    builder = TextBuilder(
        page_id := request.page["id"] if texts else secrets.token_hex(8),
        prompt,
        config.num_samples,
        is_code=describe_model(language_model).is_code,
        is_bytes=vocabulary.level == "bytes",
        can_branch=True,
        link=linked.link(before := max(map(len, texts), default=0)),
        mixed=[registry.label(name) for name in (request.model, request.mix.other)] if request.mix else [],
        has_read=request.read is not None,
    )
    if texts:
        builder.restore(request.page)
    note = _opening_note(request, prompt, vocabulary)
    with active_requests.register() as has_begun, active_requests.mixes.register(page_id, request.mix):
        pace = _FrameThrottle(began_at, active_requests, is_over, audience, has_begun, request.mix, config.num_samples)
        writer: LanguageModel | MixedModel | Reading = mixed or language_model
        if request.read:
            has_begun()  # others need not wait for its first characters
            reading = yield from _read_first(active_requests.readings, language_model, request.read, builder, is_over)
            if reading is None:
                yield _update(builder, "", "Stopped while it was reading; nothing was written.", is_writing=False)
                return
            writer, note = reading, f"{note} Written after reading {len(request.read.text):,} characters.".strip()
        pieces = writer.stream(prompt, config, texts, audience.num_likeliest, request.holds)
        room = MOST_CHARS - sum(map(len, texts))
        for update in _frames(pieces, room, config.seed, builder, pace, note):
            page = update.page
            if request.mix and not page["is_writing"]:  # only now is it known when the share was turned
                page["link"] = linked.link(before)
            yield update


def _opening_note(request: GenerationRequest, prompt: str, vocabulary: Vocabulary) -> str:
    if request.page is None and not request.prompt:
        how = f"begins with {prompt!r}, the most frequent beginning of a line" if prompt else "begins a new line"
        return f"The prompt was empty: the text {how}."
    if request.has_chosen_opening:
        return f"Opening chosen for you: “{prompt.strip().replace(chr(10), ' ↵ ')}”"
    return prompt_note(prompt, vocabulary)


def _read_first(
    readings: Readings,
    language_model: LanguageModel,
    request: ReadFirst,
    builder: TextBuilder,
    is_over: Callable[[], bool],
) -> Generator[Update, None, Reading | None]:
    """Return what the model takes in from a text, `None` if `is_over()` before; yield how far it is."""
    told_at = -math.inf
    while (found := readings.find(language_model, request)) is None and not is_over():
        for reader, _ in readings.read(language_model, request, is_over):
            if time.monotonic() - told_at >= _READING_FRAME_SECONDS:
                told_at = time.monotonic()
                rate = f"Reading: {reader.num_read:,} of {len(reader):,} characters"
                yield _update(builder, rate, "", is_writing=True)
    return found


def _frames(
    pieces: Iterator[TextChunk], room: int, seed: int, builder: TextBuilder, pace: "_FrameThrottle", note: str
) -> Iterator[Update]:
    for piece in pieces:
        builder.add(piece)
        if pace.is_over() or builder.num_chars >= room:
            break
        if pace.is_time(builder.num_chars):
            yield _update(builder, pace.rate(builder.num_chars, seed), note, is_writing=True)
        pace.wait(builder.num_chars)
    if builder.num_chars >= room:
        note = f"A page holds {MOST_CHARS:,} characters: download the text, and go on from its end with a new prompt."
    yield _update(builder, pace.rate(builder.num_chars, seed), note, is_writing=False)


def _update(builder: TextBuilder, rate: str, note: str, is_writing: bool) -> Update:
    caption = f"{rate} · {note}" if note else rate
    return Update(builder.page(is_writing, caption=caption, is_live=True), rate, note)


def _continued_texts(request: GenerationRequest) -> list[str]:
    if request.page is None:
        return []
    texts = parse_page(request.page, MOST_CHARS - 1)
    if texts is None or not any(texts):
        raise CharLSTMError("there is no text here that can be continued: write one first.")
    return texts


@dataclass
class _FrameThrottle:
    """Pace of one text: decides when to send the next frame, and measures the rate."""

    began_at: float
    active_requests: ActiveRequests
    is_over: Callable[[], bool]
    audience: OutputProfile
    has_begun: Callable[[], None]
    mix: Mix | None = None
    num_texts: int = 1
    first_at: float | None = None
    sent_at: float = 0.0
    waited_seconds: float = 0.0

    def is_time(self, num_chars: int) -> bool:
        now = time.monotonic()
        if num_chars and self.first_at is None:
            self.first_at = self.sent_at = now
            return True
        if now - self.sent_at < self.active_requests.frame_seconds(num_chars):
            return False
        self.sent_at = now
        return True

    def wait(self, num_chars: int) -> None:
        """Wait while others wait for their first characters, and so that the text is no faster than its receiver."""
        if self.first_at is None:
            return
        self.has_begun()
        while self.active_requests.is_arriving and self.waited_seconds < _MAX_WAIT_SECONDS and not self.is_over():
            time.sleep(_POLL_SECONDS)
            self.waited_seconds += _POLL_SECONDS
        while (early := self._due(num_chars) - time.monotonic()) > 0 and not self.is_over():
            time.sleep(min(early, _POLL_SECONDS))

    def _due(self, num_chars: int) -> float:
        """Return the time at which so many characters may be there."""
        due = self.began_at + (num_chars - _UNTHROTTLED_CHARS) / self.audience.per_second
        if self.mix is None or self.first_at is None:
            return due
        return max(due, self.first_at + self.mix.due_seconds(num_chars / self.num_texts))

    def rate(self, num_chars: int, seed: int) -> str:
        elapsed = time.monotonic() - self.began_at
        return f"{num_chars:,} characters in {_format_seconds(elapsed)} · seed {seed}"


def _format_seconds(seconds: float) -> str:
    """Format the time that a text took: `0.03 s`, or `2 min 13 s`."""
    return f"{seconds:.2f} s" if seconds < 10 else format_duration(seconds)


def prompt_note(prompt: str, vocabulary: Vocabulary) -> str:
    """Describe the replacement of characters of the prompt that the model does not know; raises `VocabularyError`."""
    normalized = vocabulary.normalize(prompt)
    if normalized == prompt:
        return ""
    if len(normalized) != len(prompt):
        return "The prompt was read with characters that the model knows."
    changed = dict.fromkeys((old, new) for old, new in zip(prompt, normalized, strict=True) if old != new)
    replaced = ", ".join(f"{old!r} as {new!r}" for old, new in list(changed)[:8])
    return f"The model knows other characters: it read {replaced}."
