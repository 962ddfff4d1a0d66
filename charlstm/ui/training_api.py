"""Public API of training: `train`, `watch`, `steer`, `export`. Docstrings are its documentation.

Whoever trains gets a token; limits and rights are those of the page, where a browser keeps such a token.
"""

import math
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api

from charlstm.config import PRESETS, Settings
from charlstm.corpus import DATASETS, default_corpus
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.runs.run_dir import ACTIVE
from charlstm.ui.corpus_picker import ADDRESS, PASTE, serve_copy
from charlstm.ui.export_page import export_model, file_stem
from charlstm.ui.models import ModelRegistry
from charlstm.ui.new_run_settings import ADVANCED, NEW_MODEL
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints
from charlstm.ui.run_start import start_run
from charlstm.ui.surprisal_text import replace_surrogates
from charlstm.ui.train_form import FormValues

_ACTIONS = ("pause", "continue", "stop", "save", "resume", "delete")
_TOKEN = re.compile(r"[\w-]{16,200}")
_LONGEST_WATCH, _CROWDED_WATCH = 600.0, 20.0  # seconds; the second while more than half of the places are taken
_LOOK_SECONDS = 0.5  # between two looks at a run that is watched
_WATCHERS = 16  # at once; each sits in a thread
_LONGEST_SAMPLE = 2000  # characters
_KINDS = ("page", "weights")  # of exported files
_MOST_SERVED_BYTES = 500_000_000  # of exported files, on disk


def build_training_api(cache: RunCache, registry: ModelRegistry) -> None:
    """Register the four API functions."""
    functions = _Functions(cache, registry)
    api(functions.train, api_name="train", concurrency_limit=2)  # a text may have to be fetched first
    api(functions.watch, api_name="watch", concurrency_limit=_WATCHERS, concurrency_id="watch")
    api(functions.steer, api_name="steer")
    api(functions.export, api_name="export", concurrency_limit=1)


class _Functions:
    """Functions that programs may call."""

    def __init__(self, cache: RunCache, registry: ModelRegistry) -> None:
        self._cache, self._registry, self._served = cache, registry, ServedFiles()
        self._watching = Counted()

    def train(
        self,
        text: str = "",
        corpus: str = "",
        preset: str = "minute",
        minutes: float = 0,
        begin_with: str = "",
        settings: dict[str, Any] | None = None,
        token: str = "",
    ) -> dict[str, Any]:
        """Begin to train a model on a text, in the background; follow it with `watch`, then write with `generate`.

        Parameters:
            text: The text to learn, up to 8 MB; empty to learn `corpus`.
            corpus: tiny-shakespeare, python-reference, python-stdlib, or an address (https:// or hf://datasets/).
            preset: minute (readable in a minute), auto (the best in the minutes given), best (an hour) or blog (small).
            minutes: Training time in minutes; 0 for the preset's.
            begin_with: Name of a model to go on from, as `models` lists it; empty for a new network.
            settings: More settings by name, as in {"hidden_size": 256, "max_steps": 500}; docs/settings.md has all.
            token: Yours from an earlier run, to own both; empty for a new one.

        Returns:
            {"run": its id, which names its model too, "label": its name for people, "status": queued or starting
            "place": in the queue, 0 for none, "token": keep it, a public app lets only its holder steer this run}
        """
        try:
            token = _check_token(token) or secrets.token_urlsafe(16)
            chosen = _form_values(text, corpus, preset, minutes, begin_with, settings)
            folder = start_run(self._cache, self._registry, chosen, token)
            run = self._cache.summary(folder.name)
        except CharLSTMError as error:
            raise _gradio_error(error) from None
        facts = {"run": run.name, "label": run.label, "status": run.status, "place": run.queue_position}
        return {**facts, "token": token}

    def watch(self, run: str, seconds: float = 20, token: str = "") -> Iterator[dict[str, Any]]:
        """Follow a run as a stream: a message for each change, the last one when it is over or the time is up.

        Parameters:
            run: The run's id, as `train` returns it.
            seconds: How long to wait for its end, at most 600 (20 while many watch); 0 to tell how it stands now.
            token: The one that `train` returned; a public app shows others no text that was given to it.

        Returns:
            {"run", "label", "status": queued, starting, running, paused, stopping, measuring, completed, stopped
            failed or interrupted, "is_over", "place": in the queue, "story": what it does, in words
            "fraction": of the plan, "seconds": of training so far, "seconds_left", "step", "passes": over the text
            "train_loss", "val_loss": nats per character, "bits": of val_loss, "chars_per_second"
            "sample": the text it wrote last, "sample_step", "model": its name in `generate`, or empty}
        """
        try:
            if not isinstance(seconds, int | float):
                raise ConfigError("seconds must be a number.")
            if not 0 <= seconds <= _LONGEST_WATCH:
                raise ConfigError(f"seconds must be from 0 to {_LONGEST_WATCH:g}; watch again to go on.")
            with self._watching:
                yield from self._changes(run, seconds, token)
        except CharLSTMError as error:
            raise _gradio_error(error) from None

    def _changes(self, run: str, seconds: float, token: str) -> Iterator[dict[str, Any]]:
        began_at, last = time.monotonic(), None
        while True:
            state = self._state(run, token)
            if state != last:
                yield state
            last = state
            most = _CROWDED_WATCH if self._watching.number > _WATCHERS // 2 else _LONGEST_WATCH
            left = began_at + min(seconds, most) - time.monotonic()
            if state["is_over"] or left <= 0:
                return
            time.sleep(min(_LOOK_SECONDS, left))

    def _state(self, name: str, token: str) -> dict[str, Any]:
        with self._cache.lock:
            run = self._cache.summary(name)
            cached = self._cache.cached_run(run)
            state, history = cached.sections["state"].value, cached.history
            sample = history.sample(-1)
            latest, loss = history.latest, history.val_loss
            is_over = run.status not in (*ACTIVE, "queued")
            text = sample.text if sample else ""
            if sample and cached.hides_prompt(str(token), is_owner=False):
                text = text[sample.prompt_chars :]
            speed, left = latest.chars_per_second if latest else None, None if is_over else history.time_left()
            model = self._cache.model_of(name)
        return {
            "run": run.name,
            "label": run.label,
            "status": run.status,
            "is_over": is_over,
            "place": run.queue_position,
            "story": state["story"],
            "fraction": state["fraction"],
            "seconds": _round(history.progress()[1], 1),
            "seconds_left": _round(left, 0),
            "step": history.progress()[0],
            "passes": state["passes"],
            "train_loss": _round(latest.smooth_loss if latest and latest.step else None),
            "val_loss": _round(loss),
            "bits": _round(None if loss is None else loss / math.log(2)),
            "chars_per_second": _round(speed, 0),
            "sample": replace_surrogates(text[:_LONGEST_SAMPLE]),
            "sample_step": sample.step if sample else None,
            "model": model if model in self._registry.names() else "",
        }

    def steer(self, run: str, action: str, token: str = "") -> dict[str, Any]:
        """Pause, continue, stop, save, resume or delete a run; it takes effect within about a second.

        Parameters:
            run: The run's id, as `train` returns it.
            action: pause, continue, stop (saves first, or leaves the queue), save, resume (a stopped one) or delete.
            token: The one that `train` returned.

        Returns:
            {"run", "done": the action}
        """
        try:
            if action not in _ACTIONS:
                raise ConfigError(f"action must be one of {', '.join(_ACTIONS)}.")
            RunEndpoints(self._cache).perform({"run": run, "visitor": token}, action, is_owner=False)
            self._cache.runs(is_fresh=True)
        except CharLSTMError as error:
            raise _gradio_error(error) from None
        return {"run": run, "done": action}

    def export(self, model: str, kind: str = "page", title: str = "") -> dict[str, Any]:
        """Fetch a model as a file: a web page that writes by itself, or its weights.

        Parameters:
            model: Name of a model, as `models` lists it; a run's id names its model.
            kind: page (one HTML file that writes in any browser, offline) or weights (model.safetensors).
            title: Heading of the page; empty for what the model learned.

        Returns:
            {"file": the file, whose address is its "url", "name": what to call it, "num_bytes": its size}
        """
        if not isinstance(kind, str) or kind not in _KINDS:
            raise _gradio_error(ConfigError(f"kind must be one of {', '.join(_KINDS)}."))
        try:
            with tempfile.TemporaryDirectory() as folder:
                if kind == "page":
                    page, name = export_model(self._registry, model, title)
                    file = Path(folder) / name
                    file.write_bytes(page)
                else:
                    name = self._registry.require(model)
                    file = Path(folder) / f"{file_stem(self._registry.label(name))}.safetensors"
                    shutil.copyfile(self._registry.file(name), file)
                size, served = file.stat().st_size, self._served.add(file)
        except CharLSTMError as error:
            raise _gradio_error(error) from None
        except OSError as error:
            raise gr.Error(f"The file can't be written here ({error.strerror}).", print_exception=False) from None
        data = {"path": served, "orig_name": file.name, "size": size, "meta": {"_type": "gradio.FileData"}}
        return {"file": data, "name": file.name, "num_bytes": size}


class Counted:
    """Count of those that are inside a `with` block now."""

    def __init__(self) -> None:
        self.number, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.number += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.number -= 1


class ServedFiles:
    """Copies of files that programs may fetch; the oldest make room for new ones."""

    def __init__(self, most_bytes: int = _MOST_SERVED_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}

    def add(self, file: Path) -> str:
        """Copy a file to where it can be fetched; return the path of the copy. Raises `OSError`."""
        with self._lock:
            size = file.stat().st_size
            while self._sizes and size + sum(self._sizes.values()) > self._most_bytes:
                oldest = next(iter(self._sizes))
                Path(oldest).unlink(missing_ok=True)
                del self._sizes[oldest]
            served = serve_copy(file)
            self._sizes.pop(served, None)
            self._sizes[served] = size
        return served


def _form_values(
    text: str, corpus: str, preset: str, minutes: float, begin_with: str, settings: dict[str, Any] | None
) -> FormValues:
    """Return what the form would hold; raise `ConfigError` for what it could not."""
    if not all(isinstance(each, str) for each in (text, corpus, preset, begin_with)):
        raise ConfigError("text, corpus, preset and begin_with must be texts.")
    if text and corpus:
        raise ConfigError("give a text or a corpus, not both.")
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset[:40]!r}; choose one of {', '.join(PRESETS)}.")
    more = settings or {}
    if not isinstance(more, dict):
        raise ConfigError('settings must be one JSON object, such as {"hidden_size": 256}.')
    if minutes:
        more = {**more, "max_minutes": minutes}
    offered = ("max_minutes", *ADVANCED)
    if unknown := next((name for name in more if name not in offered), None):
        raise ConfigError(f"there is no setting named {str(unknown)[:40]!r} here; known are {', '.join(offered)}.")
    flat = Settings.from_flat({**Settings.preset(preset).flat(), **more}).flat()
    corpus = corpus or ("" if text else default_corpus())
    source = PASTE if text else corpus if corpus in DATASETS else ADDRESS
    chosen = {name: flat[name] for name in offered}
    return FormValues(source, None, text or corpus, "auto", preset, begin_with or NEW_MODEL, chosen)


def _check_token(token: Any) -> str:
    if token and not (isinstance(token, str) and _TOKEN.fullmatch(token)):
        raise ConfigError("this is not a token that `train` returned; leave it empty for a new one.")
    return str(token or "")


def _round(value: float | None, digits: int = 4) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _gradio_error(error: CharLSTMError) -> gr.Error:
    return gr.Error(error_text(error), print_exception=False)
