"""Endpoints of the page's scripts: what they ask about runs, and ask to be done to them.

They answer the page's own scripts, but anyone can call them with any value, so every argument is checked here.
"""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gradio as gr

from charlstm.data_folders import BUNDLED
from charlstm.errors import CharLSTMError, RunError
from charlstm.formatting import error_text
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.access import can_control, is_space_owner, require_control
from charlstm.runs.manager import RunSummary
from charlstm.runs.run_dir import ACTIVE, Extension
from charlstm.runs.training_inputs import check_before_resuming
from charlstm.ui import run_view_data
from charlstm.ui.run_cache import RunCache, VersionedPart, comes_with_the_app, tag_part
from charlstm.ui.run_differences import find_differences

_BUDGET_BYTES = 16_000  # per answer; a page that is far behind asks again at once
_FRAME_BYTES = 16  # quotes, brackets and the like around a section
_MOST_COMPARED = 6
_PIECE_BYTES = 1 << 19  # per piece of a model download: arrives on a slow line before the page gives up
_CHANGES = ("rename", "note", "star", "delete")  # which nobody makes to what comes with the app
_DELETED_SENT = 30  # deleted runs per answer


@contextmanager
def _tell_of_disk() -> Iterator[None]:
    """Make of an error of the disk one sentence; raises `RunError`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the disk of the runs doesn't take this ({error.strerror or 'it is busy'}); make room, try again."
        ) from None


class RunEndpoints:
    """Server functions, each from one JSON object to another."""

    def __init__(self, cache: RunCache) -> None:
        self.cache = cache

    def functions(self) -> list[Callable[..., Any]]:
        """Return the functions for `gr.HTML(server_functions=...)`, which takes no methods."""

        def tick(request: Any, profile: gr.OAuthProfile | None) -> Any:
            return self._tick(_as_mapping(request), is_space_owner(profile.username if profile else None))

        def act(request: Any, profile: gr.OAuthProfile | None) -> Any:
            return self._act(_as_mapping(request), is_space_owner(profile.username if profile else None))

        def samples(request: Any, profile: gr.OAuthProfile | None) -> Any:
            return self._samples(_as_mapping(request), is_space_owner(profile.username if profile else None))

        def zoom(request: Any) -> Any:
            return self._zoom(_as_mapping(request))

        def download(request: Any) -> Any:
            return self._download(_as_mapping(request))

        def settings(request: Any) -> Any:
            return self._settings(_as_mapping(request))

        return [tick, act, samples, zoom, download, settings]

    def _tick(self, request: Mapping[str, Any], is_owner: bool) -> Any:
        """Return the sections that the page lacks, as many as fit into one answer; `None` if nothing is new.

        `run` names the one that is shown: another than the page asked for, if there is no such run.
        """
        tags = _as_mapping(request.get("tags"))
        with self.cache.lock:
            shown = self._find_shown_run(request.get("run"), request.get("preset"))
            sections = self._sections(shown, request, tags, is_owner)
        # The page hides the controls; `_act` refuses them as well.
        may = shown is not None and can_control(shown, str(request.get("visitor")), is_owner)
        sections["may"] = tag_part(may)
        sent: dict[str, list[Any]] = {}
        num_bytes = 0
        is_more = False
        for name, each in sections.items():
            if tags.get(name) == each.tag:
                continue
            size = each.num_bytes + len(name.encode()) + len(each.tag.encode()) + _FRAME_BYTES
            if sent and num_bytes + size > _BUDGET_BYTES:
                is_more = True
                continue
            sent[name] = [each.tag, each.value]
            num_bytes += size
        run = shown.name if shown else None
        if not sent and request.get("shown") == run:
            return None
        return {"run": run, "sections": sent, "more": is_more or _is_cut(sent)}

    def _find_shown_run(self, name: Any, preset: Any) -> RunSummary | None:
        try:
            return self.cache.summary(name)
        except RunError:
            shown = self.cache.to_show(preset)
            return self.cache.summary(shown) if shown else None

    def _sections(
        self, shown: RunSummary | None, request: Mapping[str, Any], tags: Mapping[str, Any], is_owner: bool
    ) -> dict[str, VersionedPart]:
        active = self.cache.active()
        status_line = run_view_data.header_status(active, self.cache.cached_run(active).history if active else None)
        sections = {"house": tag_part(status_line)}
        if shown is None:
            sections["state"] = tag_part(None)
        else:
            cached_run = self.cache.cached_run(shown)
            sections |= cached_run.sections
            sections[f"curves/{shown.name}"] = cached_run.curves(False, str(tags.get(f"curves/{shown.name}")))
            has = request.get("samples")
            epoch, count = has if isinstance(has, list) and len(has) == 2 else ("", 0)
            hides_prompt = cached_run.hides_prompt(str(request.get("visitor")), is_owner)
            sections["samples"] = cached_run.samples(epoch, count, hides_prompt)
        sections["runs"] = tag_part([run.name for run in self.cache.runs()])
        for run in {run.name: run for run in (*([shown] if shown else []), *self.cache.runs())}.values():
            is_own = can_control(run, str(request.get("visitor")), is_space_owner=False)
            sections[f"row/{run.name}"] = self.cache.row(run, is_own or is_owner, is_own)
        sections["trash"] = tag_part(self._trash(request.get("deleted")))
        compared = self._find_compared_runs(request, shown)
        for run in compared:
            cached_run = self.cache.cached_run(run)
            sections[f"curves/{run.name}"] = cached_run.curves(True, str(tags.get(f"curves/{run.name}")))
        runs = [shown, *compared] if shown and compared else []
        sections["differences"] = tag_part({"runs": [run.name for run in runs], "rows": find_differences(runs)})
        return sections

    def _find_compared_runs(self, request: Mapping[str, Any], shown: RunSummary | None) -> list[RunSummary]:
        names = request.get("compared")
        requested = set(map(str, names[:_MOST_COMPARED])) if isinstance(names, list) else set()
        return [run for run in self.cache.runs() if run.name in requested and run != shown]

    def _trash(self, begin: Any) -> dict[str, Any]:
        """Return one answer's part of the deleted runs, from index `begin` on, and their number."""
        deleted = self.cache.deleted()
        first = max(0, min(begin, len(deleted) - 1)) if isinstance(begin, int) else 0
        shown = [
            {"id": each.id, "label": each.label, "when": run_view_data.format_deleted_at(each.deleted_at)}
            for each in deleted[first : first + _DELETED_SENT]
        ]
        return {"first": first, "list": shown, "count": len(deleted)}

    def _act(self, request: Mapping[str, Any], is_owner: bool) -> dict[str, Any]:
        """Perform an action on a run; a refusal is returned as one sentence."""
        try:
            done = self.perform(request, str(request.get("action")), is_owner)
        except CharLSTMError as error:
            return {"problem": error_text(error)}
        except (LookupError, TypeError, ValueError):
            return {"problem": "This can't be done with these values; check them and try again."}
        self.cache.runs(is_fresh=True)
        answer: dict[str, Any] = {"problem": "", **done}
        if request.get("action") not in ("delete", "restore"):
            with self.cache.lock:
                state = self.cache.cached_run(self.cache.summary(request.get("run")), is_fresh=True).sections["state"]
            answer["sections"] = {"state": [state.tag, state.value]}
        return answer

    @_tell_of_disk()
    def perform(self, request: Mapping[str, Any], action: str, is_owner: bool) -> dict[str, str]:
        """Perform an action; return the run to `show` next or the id of the `deleted` one. Raises `CharLSTMError`."""
        manager, visitor = self.cache.manager, str(request.get("visitor"))
        if action == "restore":
            return {"show": self._restore(str(request.get("run")), visitor, is_owner)}
        run = self.cache.summary(request.get("run"))
        require_control(run, visitor, is_owner and action != "star")  # which each sets for themselves
        name = run.name
        if comes_with_the_app(run) and (name not in BUNDLED or action in _CHANGES):
            raise RunError(f"{name} comes with the app and stays as it is.")
        acts: dict[str, Callable[[], object]] = {
            "pause": lambda: manager.steer(name, pause=True),
            "continue": lambda: manager.steer(name, pause=False),
            "stop": lambda: manager.stop(name),
            "unqueue": lambda: manager.stop(name),
            "save": lambda: manager.steer(name, save=True),
            "rate": lambda: manager.steer(name, rate_factor=float(request["factor"])),
            "resume": lambda: self._continue_training(run, lambda: manager.resume(name)),
            "extend": lambda: self._continue_training(
                run, lambda: manager.extend(name, Extension(minutes=float(request["minutes"])))
            ),
            "rename": lambda: manager.rename(name, str(request["label"])),
            "note": lambda: manager.annotate(name, str(request["note"])),
            "star": lambda: manager.star(name, request["is_starred"] is True),
            "delete": lambda: manager.delete(name),
        }
        if action not in acts:
            raise RunError(f"a run can't be asked to {action[:20]!r}.")
        done = acts[action]()
        return {"deleted": str(done)} if action == "delete" else {}

    def _continue_training(self, run: RunSummary, begin: Callable[[], object]) -> None:
        if run.status not in (*ACTIVE, "queued"):  # for which the manager has a message of its own
            check_before_resuming(run.folder)
        begin()

    def _restore(self, trash_id: str, visitor: str, is_owner: bool) -> str:
        deleted = next((each for each in self.cache.manager.trash() if each.id == trash_id), None)
        if deleted is None:
            raise RunError("this run is no longer among the deleted ones.")
        require_control(deleted, visitor, is_owner)
        return self.cache.manager.restore(trash_id).name

    def _samples(self, request: Mapping[str, Any], is_owner: bool) -> dict[str, Any]:
        number = request.get("number")
        with self.cache.lock:
            try:
                cached_run = self.cache.cached_run(self.cache.summary(request.get("run")))
            except RunError as error:
                return {"problem": error_text(error)}
            hides_prompt = cached_run.hides_prompt(str(request.get("visitor")), is_owner)
            return {"texts": cached_run.texts(number, hides_prompt) if isinstance(number, int) and number >= 0 else []}

    def _zoom(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the curves between two steps, in as many points as the whole curves have."""
        steps = request.get("range")
        if not isinstance(steps, list) or len(steps) != 2 or not all(isinstance(step, int) for step in steps):
            return {"problem": "There is no such part of the curve."}
        with self.cache.lock:
            try:
                history = self.cache.cached_run(self.cache.summary(request.get("run"))).history
            except RunError as error:
                return {"problem": error_text(error)}
            return {"lines": run_view_data.delta(None, run_view_data.chart_lines(history, *steps))}

    def _settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a run as one flat object, as a new run takes them."""
        try:
            run = self.cache.summary(request.get("run"))
            return {"settings": run.folder.settings().flat() | {"corpus": run.corpus}}
        except CharLSTMError as error:
            return {"problem": error_text(error)}

    def _download(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a piece of the run's model in base64; the page joins the pieces."""
        try:
            file = self.cache.summary(request.get("run")).folder.path / MODEL_FILE
            offset = max(0, int(request.get("offset", 0)))
            with file.open("rb") as opened:
                stamp = os.fstat(opened.fileno()).st_mtime_ns
                total = opened.seek(0, 2)
                opened.seek(min(offset, total))
                data = opened.read(_PIECE_BYTES)
        except CharLSTMError as error:
            return {"problem": error_text(error)}
        except (OSError, TypeError, ValueError):
            return {"problem": "There is no model of this run that can be downloaded yet."}
        return {"data": base64.b64encode(data).decode(), "total": total, "stamp": str(stamp)}


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_cut(sent: Mapping[str, list[Any]]) -> bool:
    """Return whether the timeline has more rows than were sent."""
    if "samples" not in sent:
        return False
    value = sent["samples"][1]
    return bool(value["keep"] + len(value["add"]) < value["count"])
