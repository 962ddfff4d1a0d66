"""Snapshots of a network while its run learned: the ages that were kept of it, and the film made of them."""

import contextlib
from collections.abc import Callable
from typing import Any

from charlstm.errors import CharLSTMError
from charlstm.formatting import format_largest_unit
from charlstm.insight.learning_film import Film, record_film
from charlstm.insight.report import Insight
from charlstm.runs.run_dir import RunDir
from charlstm.training.snapshots import Snapshot, list_snapshots
from charlstm.ui.inside_jobs import Jobs, OnProgress
from charlstm.ui.inside_models import InsideModels
from charlstm.ui.inside_requests import Answer, Request, describe_progress, visitor_of


class Snapshots:
    """Functions about a network while it learned."""

    def __init__(self, models: InsideModels, jobs: Jobs) -> None:
        self._models, self._jobs = models, jobs

    def functions(self) -> dict[str, Callable[[Request], Answer]]:
        """Return the functions by name."""
        return {"ages": self._ages}

    def _ages(self, request: Request) -> Answer:
        """Return the ages that are kept of a model, and its film if there is one.

        With `film` true one is made in the background where the units of the model have names already; it is kept
        beside the model.
        """
        name = request.get("model")
        self._models.load(name)
        folder = self._models.folder(name)
        kept = list_snapshots(folder.path)
        answer: Answer = {
            "ages": [{"step": each.step, "seconds": each.seconds, "label": _label(each)} for each in kept],
            "film": None,
        }
        if not request.get("film"):
            return answer
        is_live = self._models.is_live(name)
        film = None if is_live else Film.load(folder.path)
        if film is None and kept and not is_live:
            insight = Insight.load(folder.path)
            if insight is not None:
                job = self._jobs.ask(
                    ("film", self._models.key(name)), self._work(name, folder, insight), visitor_of(request)
                )
                answer |= describe_progress(job)
                film = job.value
        return {**answer, "film": film.model_dump(exclude={"model_sha256"}) if film else None}

    def _work(self, name: Any, folder: RunDir, insight: Insight) -> Callable[[OnProgress], Film | None]:
        def work(report: OnProgress) -> Film | None:
            text, _ = self._models.text_to_measure(name)
            model = self._models.load(name)
            film = record_film(
                folder.path, model, text, insight, lambda share: report(share, "developing the film", None)
            )
            if film is not None:
                with contextlib.suppress(OSError, CharLSTMError):  # a folder that is only read: made again
                    if self._models.load(name) is model:  # and not another one that was saved meanwhile
                        film.save(folder.path)
            return film

        return work


def _label(snapshot: Snapshot) -> str:
    """Return when a state was kept, such as 0.6 s or 12 min."""
    if snapshot.seconds < 9.95:
        return f"{snapshot.seconds:.1f} s" if snapshot.step else "0 s"
    return format_largest_unit(snapshot.seconds)
