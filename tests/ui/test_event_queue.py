"""The event queue's bounds, without a server."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gradio.queueing import Event, Queue
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
