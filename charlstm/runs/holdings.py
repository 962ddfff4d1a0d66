"""What a visitor may hold of this place, asked before anything is taken: places in the queue, training time.

The token that tells visitors apart is free for the asking, so each bound of a visitor stands beside one of all. Memory
and sizes of a run are in `limits`, the disk is in `cleaning`, what a paused run holds its worker gives back itself.
Starts without torch.
"""

from collections.abc import Iterable

from charlstm.errors import RunError
from charlstm.hosting import limits
from charlstm.runs.history import RunHistory
from charlstm.runs.kept import More
from charlstm.runs.store import RunFolder

_SHORTEST_MINUTES = 0.01  # worth a place in the queue


def require_place(waiting: Iterable[RunFolder], owner: str) -> None:
    """Refuse, with a `RunError`, a further run where enough `waiting` ones have a place in the queue."""
    owners, bounds = [folder.owner for folder in waiting], limits()
    if bounds.max_queue and len(owners) >= bounds.max_queue:
        raise RunError(f"{len(owners)} runs wait already, as many as may here; try again when one of them has begun.")
    if bounds.max_queue_each and owner and owners.count(owner) >= bounds.max_queue_each:
        raise RunError(
            f"{bounds.max_queue_each} of your runs wait already, as many as may here; take one out of the queue first."
        )


def minutes_left(folder: RunFolder) -> float | None:
    """How long the run may still train here, by what it has trained in all; `None` for as long as it is asked to."""
    most = limits().max_minutes
    if not most:
        return None
    history = RunHistory(folder)
    history.poll()
    return max(0.0, most - history.reached()[1] / 60)


def bounded_part(folder: RunFolder, more: More) -> More:
    """`more` with a time limit that keeps the run within the minutes of this place; raises `RunError` for more."""
    left = minutes_left(folder)
    if left is None:
        return more
    most = limits().max_minutes
    if left < _SHORTEST_MINUTES:
        raise RunError(
            f"{folder.label} has trained the {most:g} minutes that a run may here; begin a new run from its model."
        )
    if more.minutes > left:
        raise RunError(
            f"a run may train for at most {most:g} minutes in all here, which leaves {folder.label} {left:.3g} more, "
            f"not {more.minutes:g}; choose fewer."
        )
    return more.model_copy(update={"minutes": more.minutes or left})
