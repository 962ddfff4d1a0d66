"""What the page asks the server about runs, and asks it to do to them.

These functions answer the page's own code; anyone can call them with anything, so everything is checked here.
"""

import base64
import os
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from charlstm.checkpoint import MODEL_FILE
from charlstm.errors import CharLSTMError, RunError
from charlstm.formatting import error_text
from charlstm.places import BUNDLED
from charlstm.runs.access import can_control, is_space_owner, require_control
from charlstm.runs.manager import RunSummary
from charlstm.runs.run_dir import ACTIVE, Extension
from charlstm.runs.setup import check_before_resuming
from charlstm.ui import run_view
from charlstm.ui.run_cache import RunCache, VersionedPart, versioned_part

_BUDGET_BYTES = 16_000  # of one answer; a page that is far behind asks again at once
_FRAME_BYTES = 16  # quotes, brackets and the like around a section
_MOST_COMPARED = 6
_PIECE_BYTES = 1 << 19  # of a model that is downloaded: a slow line has it before the page gives up
_DELETED_SENT = 30  # deleted runs at once


class RunEndpoints:
    """The functions, each from one JSON object to another."""

    def __init__(self, watch: RunCache) -> None:
        self.watch = watch

    def functions(self) -> list[Callable[..., Any]]:
        """For `gr.HTML(server_functions=...)`, which wants plain functions."""

        def tick(asked: Any, profile: gr.OAuthProfile | None) -> Any:
            return self._tick(_object(asked), is_space_owner(profile.username if profile else None))

        def act(asked: Any, profile: gr.OAuthProfile | None) -> Any:
            return self._act(_object(asked), is_space_owner(profile.username if profile else None))

        def samples(asked: Any) -> Any:
            return self._samples(_object(asked))

        def zoom(asked: Any) -> Any:
            return self._zoom(_object(asked))

        def download(asked: Any) -> Any:
            return self._download(_object(asked))

        return [tick, act, samples, zoom, download]

    def _tick(self, asked: Mapping[str, Any], is_owner: bool) -> Any:
        """The sections that the page has not, as far as one answer holds them; `None` if there is nothing new."""
        tags = _object(asked.get("tags"))
        with self.watch.lock:
            shown = self._shown(asked.get("run"))
            sections = self._sections(shown, asked, tags)
        # What the page hides is refused by `_act` as well.
        may = shown is not None and can_control(shown, str(asked.get("visitor")), is_owner)
        sections["may"] = versioned_part(may)
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
        if not sent and asked.get("shown") == run:
            return None
        return {"run": run, "sections": sent, "more": is_more or _is_cut(sent)}

    def _shown(self, name: Any) -> RunSummary | None:
        runs = {run.name: run for run in self.watch.runs()}
        wished = name if isinstance(name, str) and name in runs else self.watch.to_show()
        return runs[wished] if wished else None

    def _sections(
        self, shown: RunSummary | None, asked: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> dict[str, VersionedPart]:
        active = self.watch.active()
        house = run_view.header_status(active, self.watch.watched(active).history if active else None)
        sections = {"house": versioned_part(house)}
        if shown is None:
            sections["state"] = versioned_part(None)
        else:
            watched = self.watch.watched(shown)
            sections |= watched.sections
            sections[f"curves/{shown.name}"] = watched.curves(False, str(tags.get(f"curves/{shown.name}")))
            has = asked.get("samples")
            sections["samples"] = (
                watched.samples(*has) if isinstance(has, list) and len(has) == 2 else watched.samples("", 0)
            )
        sections["runs"] = versioned_part([run.name for run in self.watch.runs()])
        for run in self.watch.runs():
            sections[f"row/{run.name}"] = versioned_part(run_view.table_row(run, run.name in BUNDLED))
        sections["trash"] = versioned_part(self._trash(asked.get("deleted")))
        for run in self._compared(asked, shown):
            watched = self.watch.watched(run)
            sections[f"curves/{run.name}"] = watched.curves(True, str(tags.get(f"curves/{run.name}")))
        return sections

    def _compared(self, asked: Mapping[str, Any], shown: RunSummary | None) -> list[RunSummary]:
        names = asked.get("compared")
        wished = set(map(str, names[:_MOST_COMPARED])) if isinstance(names, list) else set()
        return [run for run in self.watch.runs() if run.name in wished and run != shown]

    def _trash(self, begin: Any) -> dict[str, Any]:
        """Some of the deleted runs, from the one at `begin` on, and how many there are."""
        deleted = self.watch.manager.trash()
        first = max(0, min(begin, len(deleted) - 1)) if isinstance(begin, int) else 0
        shown = [
            {"id": each.id, "label": each.label, "when": run_view.format_deleted_at(each.deleted_at)}
            for each in deleted[first : first + _DELETED_SENT]
        ]
        return {"first": first, "list": shown, "count": len(deleted)}

    def _act(self, asked: Mapping[str, Any], is_owner: bool) -> dict[str, Any]:
        """Do something to a run; a refusal is a sentence."""
        try:
            show = self._do(asked, str(asked.get("action")), is_owner)
        except CharLSTMError as error:
            return {"problem": error_text(error)}
        except (TypeError, ValueError):
            return {"problem": "This can't be done with these values; check them and try again."}
        self.watch.runs(is_fresh=True)
        answer: dict[str, Any] = {"problem": "", "show": show}
        if asked.get("action") not in ("delete", "restore"):
            with self.watch.lock:
                state = self.watch.watched(self.watch.summary(asked.get("run")), is_fresh=True).sections["state"]
            answer["sections"] = {"state": [state.tag, state.value]}
        return answer

    def _do(self, asked: Mapping[str, Any], action: str, is_owner: bool) -> str | None:
        """Returns the run to show then, if it is another one."""
        manager, visitor = self.watch.manager, str(asked.get("visitor"))
        if action == "restore":
            return self._restore(str(asked.get("run")), visitor, is_owner)
        run = self.watch.summary(asked.get("run"))
        require_control(run, visitor, is_owner)
        name = run.name
        if name in BUNDLED and action in ("rename", "delete"):
            raise RunError(f"{name} comes with the app and stays as it is.")
        acts: dict[str, Callable[[], object]] = {
            "pause": lambda: manager.steer(name, pause=True),
            "continue": lambda: manager.steer(name, pause=False),
            "stop": lambda: manager.stop(name),
            "unqueue": lambda: manager.stop(name),
            "save": lambda: manager.steer(name, save=True),
            "rate": lambda: manager.steer(name, rate_factor=float(asked["factor"])),
            "resume": lambda: self._go_on(run, lambda: manager.resume(name)),
            "extend": lambda: self._go_on(
                run, lambda: manager.extend(name, Extension(minutes=float(asked["minutes"])))
            ),
            "rename": lambda: manager.rename(name, str(asked["label"])),
            "delete": lambda: manager.delete(name),
        }
        if action not in acts:
            raise RunError(f"a run can't be asked to {action[:20]!r}.")
        acts[action]()
        return None

    def _go_on(self, run: RunSummary, begin: Callable[[], object]) -> None:
        if run.status not in (*ACTIVE, "queued"):  # of which the manager has something else to say
            check_before_resuming(run.folder)
        begin()

    def _restore(self, trash_id: str, visitor: str, is_owner: bool) -> str:
        deleted = next((each for each in self.watch.manager.trash() if each.id == trash_id), None)
        if deleted is None:
            raise RunError("this run is no longer among the deleted ones.")
        require_control(deleted, visitor, is_owner)
        return self.watch.manager.restore(trash_id).name

    def _samples(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        number = asked.get("number")
        with self.watch.lock:
            try:
                watched = self.watch.watched(self.watch.summary(asked.get("run")))
            except RunError as error:
                return {"problem": error_text(error)}
            return {"texts": watched.texts(number) if isinstance(number, int) and number >= 0 else []}

    def _zoom(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The curves between two steps, in as many points as they have as a whole."""
        steps = asked.get("range")
        if not isinstance(steps, list) or len(steps) != 2 or not all(isinstance(step, int) for step in steps):
            return {"problem": "There is no such part of the curve."}
        with self.watch.lock:
            try:
                history = self.watch.watched(self.watch.summary(asked.get("run"))).history
            except RunError as error:
                return {"problem": error_text(error)}
            return {"lines": run_view.delta(None, run_view.chart_lines(history, *steps))}

    def _download(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A piece of the run's model, in base64; the page puts the pieces together."""
        try:
            file = self.watch.summary(asked.get("run")).folder.path / MODEL_FILE
            offset = max(0, int(asked.get("offset", 0)))
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


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_cut(sent: Mapping[str, list[Any]]) -> bool:
    """Whether the timeline goes on beyond what was sent of it."""
    if "samples" not in sent:
        return False
    value = sent["samples"][1]
    return bool(value["keep"] + len(value["add"]) < value["count"])
