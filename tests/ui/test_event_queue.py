"""The event queue's bounds, without a server."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from gradio.queueing import Event, Queue
from gradio.queueing import EventQueue as FunctionQueue
from gradio.utils import cancel_tasks
from waiting import run_async, settle

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


def test_an_event_begins_as_it_comes_or_as_a_place_is_free_and_no_look_is_taken_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting ends here by news alone, never by the clock."""
    seen: list[str] = []

    async def push(queue: Queue, event: Any, *_: object) -> None:
        queue.event_queue_per_concurrency_id["write"].queue.append(event)

    async def process(queue: Queue, events: list[Event], *_: object) -> None:
        seen.append(f"{events[0]._id} begins")
        try:
            await end.wait()
        except asyncio.CancelledError:
            seen.append(f"{events[0]._id} is cancelled")
        queue.active_jobs[queue.active_jobs.index(events)] = None
        queue.event_queue_per_concurrency_id["write"].current_concurrency -= 1
        queue.stopped = events[0]._id == "second"

    async def wait_for(news: Any, _: float) -> None:
        seen.append("waits")
        await news

    async def work() -> None:
        more: dict[str, Any] = {"active_jobs": [None] * 2, "stopped": False, "live_updates": False}
        more |= {"_asyncio_tasks": set(), "delete_lock": asyncio.Lock(), "blocks": SimpleNamespace(fns={})}
        queue = new_queue(event_queue_per_concurrency_id={"write": FunctionQueue("write", 1)}, **more)
        bounded = EventQueue(queue)
        working = asyncio.ensure_future(queue.start_processing())
        await settle()
        for name in ("first", "second"):
            request = SimpleNamespace(scope={"client": ("192.0.2.1", 1)})
            function = Mock(concurrency_id="write", _id=7)
            event = SimpleNamespace(
                _id=name,
                request=request,
                fn=function,
                concurrency_id="write",
                session_hash=f"page of {name}",
                fn_index=None,
            )
            await bounded.push(event, request, None)  # type: ignore[arg-type]  # as far as it is read here
            await settle()
        await cancel_tasks({"page of first_7"})  # as the route does by which a program cancels its call
        await settle()
        end.set()
        await with_patience(working, 20)

    with_patience = asyncio.wait_for
    end = asyncio.Event()
    monkeypatch.setattr(Queue, "push", push)
    monkeypatch.setattr(Queue, "process_events", process)
    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    run_async(work())
    assert seen == ["waits", "waits", "first begins", "waits", "first is cancelled", "waits", "second begins"]


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
        if taken := bounded.take_event():
            queue.active_jobs[place] = [taken[0]]
            waiting.current_concurrency += 1
    assert 6 - len(waiting.queue) == num_taken
