"""Answers that take seconds: units with names, experiments, similar moments, how far back a network looks.

Each is worked on in the background while a page asks for it, and tells how far it is.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlstm.errors import CharLSTMError, ConfigError
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.generation.stream import turns
from charlstm.insight.cell import measure_carried_state
from charlstm.insight.hold_effects import Probe
from charlstm.insight.hold_experiment import run_experiment
from charlstm.insight.horizon import Horizon, measure_horizon
from charlstm.insight.neighbors import StateIndex
from charlstm.insight.report import Insight, inspect_model
from charlstm.insight.states import Streams, read_streams
from charlstm.insight.units import UnitTable
from charlstm.language_model import LanguageModel
from charlstm.ui.inside_jobs import Job, Jobs, OnProgress
from charlstm.ui.inside_models import KEPT_TEXT, LONGEST_TRACED, InsideModels
from charlstm.ui.inside_requests import (
    Answer,
    Request,
    describe_progress,
    read_holds,
    read_number,
    read_unit,
    read_whole,
    visitor_of,
)
from charlstm.ui.surprisal_text import replace_surrogates

_AROUND = 45  # characters before a place that are shown
_AFTER = 30
_MOMENTS = 10
_CORNERS = 4
_METER_TOKENS, _CORNER_TOKENS, _CORNER_BYTES = 8192, 1 << 14, 1 << 26


class Analyses:
    """Functions whose answers are worked out in the background."""

    def __init__(self, models: InsideModels) -> None:
        self._models, self.jobs = models, Jobs(models.registry.is_training)
        self._probing = threading.Lock()

    def functions(self) -> dict[str, Callable[[Request], Answer]]:
        """Return the functions by name."""
        return {
            "units": self.units,
            "meter": self._meter,
            "experiment": self._experiment,
            "corners": self._corners,
            "moments": self.moments,
            "horizon": self._horizon,
            "carry": self._carry,
        }

    def units(self, request: Request) -> Answer:
        """Return the units that have names, as they are found; at once where they are kept beside the model."""
        name, age = request.get("model"), request.get("age")
        model, is_live = self._models.load(name, age), self._models.is_live(name)
        if age is None and not is_live:
            kept = self._models.load_insight(name)
            if kept is not None:
                return {"state": "done", "progress": 1.0, "stage": "", **_of_insight(kept)}

        def work(report: OnProgress) -> Answer:
            text, source = self._models.text_to_measure(name)

            def tell(share: float, stage: str, table: UnitTable) -> None:
                report(share, stage, _of_insight(Insight.of(table, source)))

            found = inspect_model(model, text, tell, source)
            if age is None and not is_live:
                with contextlib.suppress(OSError, CharLSTMError):  # a folder that is only read: worked out again
                    if self._models.load(name) is model:  # and not another one that was saved meanwhile
                        found.save(self._models.folder(name).path)
            return _of_insight(found)

        version = self._models.key(name, age)  # one search at a time for a network that changes meanwhile
        key = "units", self._models.registry.find(name) if age is None and is_live else version
        job = self.jobs.ask(key, work, visitor_of(request), version=version)
        config = model.model.config
        nothing: Answer = {"units": [], "nearly": [], "absent": [], "keepers": []}
        sizes = {"num_layers": config.num_layers, "hidden_size": config.hidden_size}
        return {**describe_progress(job), **sizes, **(job.value or nothing)}

    def _ask(
        self, request: Request, what: str, work: Callable[[OnProgress], Any], *of: Any, is_large: bool = False
    ) -> Job:
        """Return the analysis `what` of the network that a request names, at the age it names."""
        key = what, self._models.key(request.get("model"), request.get("age")), *of
        return self.jobs.ask(key, work, visitor_of(request), is_large)

    def _meter(self, request: Request) -> Answer:
        """Return how likely some things are with a unit held, beside random units held the same way."""
        name = request.get("model")
        model = self._models.load(name, request.get("age"))
        layer, unit = read_unit(request, model)
        hold = Hold(unit, read_number(request, "value"), layer)

        def work(report: OnProgress) -> Probe:
            report(0.1, "holding random units", None)
            probe = Probe(model, self._models.tokens_to_measure(name)[0][:_METER_TOKENS])
            probe.meter(hold)  # which measures the random units, too
            return probe

        job = self._ask(request, "meter", work, is_large=True)
        if job.state != "done":
            return describe_progress(job)
        with self._probing:
            return {**describe_progress(job), **job.value.meter(hold)}

    def _experiment(self, request: Request) -> Answer:
        """Return what changes in 20 texts with units held, beside random units held the same way."""
        name = request.get("model")
        model, held = self._models.load(name, request.get("age")), read_holds(request.get("holds"))
        if not held:
            raise ConfigError("hold a unit first.")
        resolve_holds(held, model.model.config)

        def work(report: OnProgress) -> Answer:
            return run_experiment(
                model, self._models.tokens_to_measure(name)[0], held, lambda share, stage: report(share, stage, None)
            )

        job = self._ask(request, "experiment", work, held)
        return {**describe_progress(job), **(job.value or {"rows": []})}

    def _corners(self, request: Request) -> Answer:
        """Return the places of the model's text at which a unit is highest, and lowest."""
        name = request.get("model")
        model = self._models.load(name, request.get("age"))
        layer, unit = read_unit(request, model)
        quantity = request.get("quantity", "cell")
        if quantity not in ("cell", "output"):
            raise ConfigError("places are searched by the cell or the output of a unit; choose one of these.")

        def work(report: OnProgress) -> tuple[Streams, NDArray[np.int32]]:
            report(0.0, "reading its text", None)
            ids = self._models.tokens_to_measure(name)[0]
            most = min(
                _CORNER_TOKENS, _CORNER_BYTES // (4 * model.model.config.num_layers * model.model.config.hidden_size)
            )
            ids = ids[: max(1, most)]
            return read_streams(model, ids), ids

        job = self._ask(request, "corners", work, is_large=True)
        if job.state != "done":
            return describe_progress(job)
        streams, ids = job.value
        values = streams.part(quantity)[:, layer, unit].astype(np.float32)
        found = [*_peaks(values, _CORNERS), *reversed(_peaks(-values, _CORNERS))]
        rows = [{**self._quote(model, ids, place), "value": round(float(values[place]), 3)} for place in found]
        return {**describe_progress(job), "places": rows}

    def _quote(self, model: LanguageModel, ids: NDArray[np.int32], place: int) -> Answer:
        """Return the text around the token at `place`, in whole characters."""
        first, last = place, place + 1
        if model.vocabulary.level == "bytes":
            while first > 0 and _is_inside(ids[first]):
                first -= 1
            while last < len(ids) and _is_inside(ids[last]):
                last += 1
        parts = {"before": (max(0, first - _AROUND), first), "at": (first, last), "after": (last, last + _AFTER)}
        decode = model.vocabulary.decode
        return {
            name: replace_surrogates(decode(ids[begin:end])).strip("\ufffd") for name, (begin, end) in parts.items()
        }

    def moments(self, request: Request, longest: int = LONGEST_TRACED) -> Answer:
        """Return the places of the model's text at which it was in the most similar state."""
        name = request.get("model")
        model, passage, _ = self._models.read_request(request, longest)
        place = read_whole(request, "place", 0, len(passage.text) - 1)

        def work(report: OnProgress) -> tuple[StateIndex, NDArray[np.int32], str]:
            ids, source = self._models.tokens_to_search(name)
            return StateIndex.build(model, ids, lambda share, stage, _: report(share, stage, None)), ids, source

        job = self._ask(request, "moments", work, is_large=True)
        if job.state != "done":
            return describe_progress(job)
        index, ids, source = job.value
        state = self._models.cells_after(model, passage, place)
        with turns:
            found = index.near(state, _MOMENTS)
        rows = [{**self._quote(model, ids, each.place), "cosine": each.cosine} for each in found]
        return {**describe_progress(job), "moments": rows, "source": source}

    def _horizon(self, request: Request) -> Answer:
        """Return the loss by the length of the context."""
        name = request.get("model")
        model = self._models.load(name, request.get("age"))

        def work(report: OnProgress) -> tuple[Horizon, str]:
            ids, source = self._models.tokens_to_measure(name)
            return measure_horizon(model, ids, lambda share, stage, _: report(share, stage, None)), source

        job = self._ask(request, "horizon", work)
        if job.state != "done":
            return describe_progress(job)
        found, source = job.value
        return {
            **describe_progress(job),
            "contexts": found.contexts,
            "nats": found.nats,
            "margins": found.margins,
            "full": found.full,
            "five_gram": self._five_gram(name) if source == KEPT_TEXT else None,  # else of another text
            "source": source,
            "uniform": round(float(np.log(len(model.vocabulary))), 4),
        }

    def _five_gram(self, name: Any) -> float | None:
        """Return the loss of a 5-gram on the validation text, as the run has recorded it."""
        with self._models.registry.history(name) as history:
            return round(history.references.fivegram, 4) if history.references else None

    def _carry(self, request: Request) -> Answer:
        """Return how long the state of another place disturbs."""
        name = request.get("model")
        model = self._models.load(name, request.get("age"))

        def work(report: OnProgress) -> Answer:
            report(0.1, "exchanging states", None)
            ids = self._models.tokens_to_measure(name)[0]
            if len(ids) < 1024:
                raise ConfigError(
                    "the text of this model is too short to exchange states in; 1,024 characters are needed."
                )
            found = measure_carried_state(model, ids)
            return {
                "characters": found.contexts,
                "whole": found.whole,
                "only_h": found.only_hidden,
                "only_c": found.only_cells,
            }

        job = self._ask(request, "carry", work)
        return {**describe_progress(job), **(job.value or {})}


def _is_inside(byte: int) -> bool:
    """Tell whether a byte of UTF-8 goes on with a character."""
    return 0x80 <= byte < 0xC0


def _peaks(values: NDArray[np.float32], count: int) -> list[int]:
    """Return the places of the largest values, the largest first, each some way from the others."""
    places: list[int] = []
    for place in np.argsort(-values, kind="stable").tolist():
        if all(abs(place - each) > _AROUND for each in places):
            places.append(place)
        if len(places) == count:
            break
    return places


def _of_insight(insight: Insight) -> Answer:
    """Return what the page is told of a network's units."""
    return insight.model_dump(exclude={"format", "model_sha256", "seed", "horizon"})
