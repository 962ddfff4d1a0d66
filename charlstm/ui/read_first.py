"""*Read this first* on the Write tab: a text that the model reads before it writes, and the curve of its surprise.

The browser keeps the text and sends it along with each wish to write; see `charlstm.ui.reading_cache`.
"""

import json
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, TypedDict

import gradio as gr
import numpy as np

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.generation.ngram_memory import LONGEST, SHORTEST
from charlstm.generation.read_first import Reader, ReadPiece
from charlstm.ui.components import PRIVATE
from charlstm.ui.models import ModelRegistry
from charlstm.ui.reading_cache import LONGEST_LEARNED, LONGEST_REMEMBERED, ReadFirst, Readings
from charlstm.ui.surprisal_text import replace_surrogates

_FORM = "window.charlstm.later('read_first.js').then(({ build }) => build(element, props, watch, trigger, server));"
_CURVE = "window.charlstm.later('read_first.js').then(({ drawProgress }) => drawProgress(element, props, watch));"
_MOST_POINTS = 200  # of a curve
_FEWEST_CHARS = 20  # that a point is the mean of
_FRAME_SECONDS = 0.1
_READERS = 12  # at once, most of which wait for their turn
_MOST_STOPPED = 100  # wishes to stop that are remembered
_LONGEST_SENT = 8 * LONGEST_REMEMBERED  # characters of a value, in which each may be escaped


class Progress(TypedDict):
    """What the browser is told of a reading."""

    id: str
    state: str  # reading, done, stopped or failed
    num_chars: int
    num_read: int
    alone: list[float]  # nats per character of each stretch, of the model as it is
    adapted: list[float]  # with what it had taken in by then
    means: list[float]  # of both, over all
    note: str  # about characters that were left out
    problem: str


def read_wish(value: Any) -> ReadFirst | None:
    """Return the wish that the page's component holds, `None` for none; raises `ConfigError`."""
    if not isinstance(value, str) or not value:
        return None
    try:
        wish = json.loads(value) if len(value) <= _LONGEST_SENT else None
    except ValueError:
        wish = None
    if not isinstance(wish, dict):
        raise ConfigError(f"the text to read can't be used: send at most {LONGEST_REMEMBERED:,} characters.")
    return ReadFirst.of(wish.get("text", ""), wish.get("learn", False), wish.get("weight", 1.0))


class ReadingEvents:
    """Reads the texts of all visitors, and tells how far it is."""

    def __init__(self, registry: ModelRegistry, readings: Readings) -> None:
        self._registry, self._readings = registry, readings
        self._stopped: OrderedDict[str, None] = OrderedDict()

    def read(self, event: gr.EventData, model: Any) -> Iterator[Progress]:
        """Read what the browser sends along with the event."""
        sent = event._data if isinstance(event._data, dict) else {}
        wish = {name: sent.get(name) for name in ("id", "text", "learn")}
        yield from self.progress(model, wish)

    def progress(self, model: Any, wish: dict[str, Any]) -> Iterator[Progress]:
        """Yield how far the model is in reading `wish["text"]`."""
        name = str(wish.get("id"))[:64]
        now = Progress(
            id=name,
            state="reading",
            num_chars=0,
            num_read=0,
            alone=[],
            adapted=[],
            means=[],
            note="",
            problem="",
        )
        try:
            request = ReadFirst.of(wish.get("text"), wish.get("learn"))
            if request is None or not isinstance(model, str | None):
                raise ConfigError("there is no text to read: paste one, or choose a file.")
            language_model = self._registry.load(model)
            curve, told_at = _Curve(), 0.0

            def is_stopped() -> bool:
                return name in self._stopped

            for reader, piece in self._readings.read(language_model, request, is_stopped):
                curve.add(piece)
                is_last = reader.num_read == len(reader)
                if is_last or time.monotonic() - told_at >= _FRAME_SECONDS:
                    told_at = time.monotonic()
                    now = curve.progress(now, reader)
                    yield now
            yield {**now, "state": "stopped" if is_stopped() else "done"}
        except CharLSTMError as error:
            yield {**now, "state": "failed", "problem": error_text(error)}

    def stop(self, request: Any) -> dict[str, Any]:
        """End the reading whose random id only its visitor knows; anyone can call it with any value."""
        self._stopped[str(request.get("id") if isinstance(request, dict) else "")[:64]] = None
        while len(self._stopped) > _MOST_STOPPED:
            self._stopped.popitem(last=False)
        return {}


class _Curve:
    """Mean surprise of each stretch of a text, of at most `_MOST_POINTS`."""

    def __init__(self) -> None:
        self._lines: tuple[list[float], list[float]] = ([], [])

    def add(self, piece: ReadPiece) -> None:
        for line, each in zip(self._lines, piece, strict=True):
            line.extend(each)

    def progress(self, before: Progress, reader: Reader) -> Progress:
        size = max(_FEWEST_CHARS, -(-len(reader) // _MOST_POINTS))
        alone, adapted = ([round(each, 3) for each in _stretches(line, size)] for line in self._lines)
        means = [round(sum(line) / len(line), 4) for line in self._lines]
        return {
            **before,
            "num_chars": len(reader),
            "num_read": reader.num_read,
            "alone": alone,
            "adapted": adapted,
            "means": means,
            "note": replace_surrogates(reader.note),
        }


def _stretches(line: list[float], size: int) -> list[float]:
    """Return the means of stretches of `size` numbers; what is left at the end and shorter is left out."""
    num_whole = len(line) // size * size
    means: list[float] = np.array(line[:num_whole]).reshape(-1, size).mean(axis=1).tolist() if num_whole else []
    return means


def build_read_first(registry: ModelRegistry, readings: Readings, model: gr.Dropdown) -> gr.HTML:
    """Build the fold; return the component whose value is what `read_wish` reads."""
    events = ReadingEvents(registry, readings)

    def stop_reading(request: Any) -> dict[str, Any]:
        return events.stop(request)

    def reading_limits(_request: Any) -> dict[str, int]:
        return {
            "remembered": LONGEST_REMEMBERED,
            "learned": LONGEST_LEARNED,
            "shortestContext": SHORTEST,
            "longestContext": LONGEST,
        }

    shared: dict[str, Any] = {"html_template": "<div></div>", "padding": False}
    with gr.Accordion("Read this first", open=False, elem_id="read-fold"), gr.Row(elem_id="read-row"):
        functions = [stop_reading, reading_limits]
        form = gr.HTML("", js_on_load=_FORM, server_functions=functions, elem_id="read-first", **shared)
        curve = gr.HTML({}, js_on_load=_CURVE, elem_id="read-curve", **shared)
    form.select(events.read, model, curve, concurrency_limit=_READERS, concurrency_id="read", **PRIVATE)
    return form
