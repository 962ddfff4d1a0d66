"""The event queue's bounds, without a server."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gradio.queueing import Event, Queue
from gradio.queueing import EventQueue as FunctionQueue
from waiting import run_async

from charlstm.ui.event_queue import EventQueue


def new_queue(**more: Any) -> Queue:
    """A queue of Gradio's that never runs."""
    queue = Queue.__new__(Queue)
    vars(queue).update(event_ids_to_events={}, pending_event_ids_session={}, **more)
    return queue


def test_an_event_is_forgotten_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_interrupted(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Queue, "process_events", is_interrupted)
    queue = new_queue()
    event = cast("Event", SimpleNamespace(_id="a", request=SimpleNamespace(scope={})))
    queue.event_ids_to_events["a"] = event
    with pytest.raises(asyncio.CancelledError):
        run_async(EventQueue(queue).process_events([event]))
    assert not queue.event_ids_to_events


def test_what_a_cancelled_call_has_closed_is_no_error() -> None:
    async def values() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            iterators.clear()  # as the request to cancel does, while this is being closed

    async def reset() -> None:
        await anext(iterators["a"])
        app = SimpleNamespace(iterators=iterators, lock=asyncio.Lock())
        queue = new_queue(server_app=app)
        EventQueue(queue)
        await queue.reset_iterators("a")

    iterators = {"a": values()}
    run_async(reset())
    assert not iterators


@pytest.mark.parametrize(("is_public", "num_taken"), [("0", 4), ("1", 1)])
def test_one_address_has_all_places_at_home_and_a_quarter_where_strangers_come(
    is_public: str, num_taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At home that is one's own programs, or a class in one room."""
    monkeypatch.setenv("CHARLSTM_PUBLIC", is_public)
    waiting = FunctionQueue("write", 4)
    request = SimpleNamespace(scope={"client": ("192.0.2.1", 1)})
    waiting.queue = [cast("Event", SimpleNamespace(concurrency_id="write", request=request)) for _ in range(6)]
    queue = new_queue(event_queue_per_concurrency_id={"write": waiting}, active_jobs=[None] * 4)
    bounded = EventQueue(queue)
    for place in range(4):
        if taken := bounded.get_events():
            queue.active_jobs[place] = taken[0]
            waiting.current_concurrency += 1
    assert 6 - len(waiting.queue) == num_taken
