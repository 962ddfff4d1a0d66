"""Gradio's event queue, woken by its events and bounded: one visitor could take all places, and megabytes in each.

*Measured*: after 256 calls of one visitor another one's text was refused for ten minutes; 20 bodies of 7.9 MB that
waited took 337 MB.
"""

import asyncio
import contextlib
import gc
import random
import re
import time
from collections import Counter
from contextlib import AbstractContextManager
from typing import Any

from fastapi import HTTPException
from gradio.data_classes import PredictBodyInternal
from gradio.queueing import Event, Queue
from gradio.queueing import EventQueue as FunctionQueue
from gradio.utils import run_coro_in_background, set_task_name
from starlette.types import Scope

from charlstm.environment import is_public
from charlstm.ui.unread_answer_limits import UnreadAnswers
from charlstm.ui.visitor_address import visitor_of

MOST_WAITING = 256  # events in all; a Space on shared hardware would otherwise allow one
_MOST_OF_FUNCTION = 64
# Of one visitor, where strangers come: at home one address is one's own programs, or a class in one room.
_MOST_OF_VISITOR = 32
_MOST_OF_VISITOR_FOR_FUNCTION = 16
_SHARE_OF_PLACES = 0.25  # of one function, that one visitor may take
_MOST_BYTES = 128_000_000  # that the bodies of all events take in memory, those that are worked on among them
_LARGE_BYTES = 1_000_000
_COLLECT_SECONDS = 1.0  # between two searches of the garbage collector, each of which takes a fraction of that
_LONGEST_WAIT_SECONDS = 1.0  # between two looks for work, whatever happens
_PROGRESS_SECONDS = 0.2  # between two looks for progress to tell
_COST = "charlstm.body_cost"  # in a request's scope
_WIDE, _WIDER = re.compile(rb"[\xc4-\xef]|\\u(?!00)"), re.compile(rb"[\xf0-\xf7]|\\u[dD][89abAB]")


def note_body(scope: Scope, body: bytes) -> None:
    """Keep with a request how many bytes its body takes: as it came, and as Python's texts."""
    width = 4 if _WIDER.search(body) else 2 if _WIDE.search(body) else 1
    scope[_COST] = len(body) * (1 + width)


class EventQueue:
    """The event queue of a page, with bounds for each visitor, each function, and all together."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._push, self._process = queue, queue.push, queue.process_events
        self._collected_at = 0.0
        self._news = asyncio.Event()  # an event has come, or has made place
        queue.progress_update_sleep_when_free = _PROGRESS_SECONDS
        queue.start_processing = self.start_processing  # type: ignore[method-assign]
        queue.process_events = self.process_events  # type: ignore[method-assign, assignment]
        queue.push = self.push  # type: ignore[method-assign]
        self._reset_iterators = queue.reset_iterators
        queue.reset_iterators = self.reset_iterators  # type: ignore[method-assign]
        queue.pending_messages_per_session = self.unread = UnreadAnswers(queue)  # type: ignore[assignment]

    async def push(self, body: PredictBodyInternal, request: Any, username: str | None) -> Any:
        """Put an event into the queue, or say why not, in one sentence."""
        if sentence := self._refusal(body, request.scope):
            raise HTTPException(429, sentence)  # of a 503 the page would show Gradio's words in place of these
        answer = await self._push(body, request, username)
        if body.session_hash is not None and body.session_hash in self.unread:
            messages = self.unread[body.session_hash]
            messages.visitor = messages.visitor or visitor_of(request.scope)
        self._news.set()
        return answer

    async def start_processing(self) -> None:
        """Begin events as they come and find a place, until the queue is stopped.

        Gradio looks for work a thousand times a second, and for progress a hundred times. What an app takes that nobody
        uses, with both at a hundred and with this, is in docs/performance.md, "Being watched".
        """
        queue = self._queue
        try:
            while not queue.stopped:
                self._news.clear()
                async with queue.delete_lock:
                    found = self.take_event() if None in queue.active_jobs else None
                if found:
                    self._begin(*found)
                    continue
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _LONGEST_WAIT_SECONDS)
        finally:
            queue.stopped = True
            queue._cancel_asyncio_tasks()  # type: ignore[no-untyped-call]

    def _begin(self, event: Event, concurrency_id: str) -> None:
        queue, function, events, began_at = self._queue, event.fn, [event], time.time()
        queue.active_jobs[queue.active_jobs.index(None)] = events
        waiting = queue.event_queue_per_concurrency_id[concurrency_id]
        waiting.current_concurrency += 1
        waiting.start_times_per_fn[function].add(began_at)
        task = run_coro_in_background(self.process_events, events, False, began_at, function)  # no batch
        set_task_name(task, event.session_hash, function._id, event._id, batch=False)  # by which it is cancelled
        queue._asyncio_tasks.add(task)
        task.add_done_callback(queue._asyncio_tasks.discard)
        if queue.live_updates:
            queue.broadcast_estimations(concurrency_id)

    def take_event(self) -> tuple[Event, str] | None:
        """Take the next event for which there is a place out of its queue; no function here takes several at once."""
        queues = list(self._queue.event_queue_per_concurrency_id.items())
        random.shuffle(queues)
        for concurrency_id, each in queues:
            ready, _ = self._split(each)
            if ready:
                each.queue.remove(ready[0])
                return ready[0], concurrency_id
        return None

    async def process_events(self, events: list[Event], *more: Any) -> None:
        """Work on events; then give back what large bodies took.

        Gradio's error of an event and the frames it came through hold each other, and with them the event's values:
        *measured*, 120 calls with texts of 31 MB left 650 MB to the garbage collector, which came late.
        """
        try:
            await self._process(events, *more)
        finally:
            self._news.set()
            for event in events:  # Gradio forgets them last, and so never where it is interrupted
                self._queue.event_ids_to_events.pop(event._id, None)
            is_large = any(event.request.scope.get(_COST, 0) > _LARGE_BYTES for event in events)
            if is_large and time.monotonic() - self._collected_at > _COLLECT_SECONDS:
                gc.collect()
                self._collected_at = time.monotonic()

    async def reset_iterators(self, event_id: str) -> None:
        """Close what a function yields from, whether or not a cancelled call has closed it meanwhile.

        Gradio does so once it has freed the event's place, and then counts for a while.
        """
        self._news.set()
        with contextlib.suppress(KeyError):
            await self._reset_iterators(event_id)

    def session_of(self, event_id: str) -> str | None:
        """Return the session of an event that is worked on, or whose answer waits to be fetched."""
        if event := self._queue.event_ids_to_events.get(event_id):
            return event.session_hash
        pending = self._queue.pending_event_ids_session
        return next((session for session, ids in pending.items() if event_id in ids), None)

    def has_session(self, session: str) -> bool:
        """Return whether events of a session have been answered, or will be."""
        return session in self.unread

    def reading(self, sessions: list[str]) -> AbstractContextManager[None]:
        """Note that the messages of sessions are being fetched meanwhile."""
        return self.unread.reading(sessions)

    def _refusal(self, body: PredictBodyInternal, scope: Scope) -> str:
        if body.session_hash and not self.unread.has_room(body.session_hash):
            return "Fetch the answers to your earlier requests before you send the next one."
        function = self._queue.blocks.fns.get(-1 if body.fn_index is None else body.fn_index)
        queues = self._queue.event_queue_per_concurrency_id.values()
        waiting = [event for each in queues for event in self._split(each)[1]]
        alike = [event for event in waiting if function and event.concurrency_id == function.concurrency_id]
        visitor = visitor_of(scope)
        num_mine, num_alike = (
            sum(visitor_of(event.request.scope) == visitor for event in events) for events in (waiting, alike)
        )
        if is_public() and num_mine >= _MOST_OF_VISITOR:
            return f"{num_mine} requests from your address wait already; send the next one when one of them has begun."
        if is_public() and num_alike >= _MOST_OF_VISITOR_FOR_FUNCTION:
            return (
                f"{num_alike} requests of this kind from your address wait already; send the next one when one of them "
                "has begun."
            )
        if len(waiting) >= MOST_WAITING or len(alike) >= _MOST_OF_FUNCTION:
            return "Too many requests wait here at the moment; try again in a minute."
        cost = sum(event.request.scope.get(_COST, 0) for event in self._queue.event_ids_to_events.values())
        if cost + scope.get(_COST, 0) > _MOST_BYTES:
            return "Too many large requests wait here at the moment; try again in a minute."
        return ""

    def _split(self, queue: FunctionQueue) -> tuple[list[Event], list[Event]]:
        """Return the waiting events that only wait for the next look at them, and those without a free place."""
        limit = queue.concurrency_limit
        if limit is None or not queue.queue:
            return list(queue.queue), []
        running = [event for events in self._queue.active_jobs for event in events or ()]
        taken = Counter(
            visitor_of(event.request.scope) for event in running if event.concurrency_id == queue.concurrency_id
        )
        num_free, share = (
            limit - queue.current_concurrency,
            max(1, int(_SHARE_OF_PLACES * limit)) if is_public() else limit,
        )
        ready: list[Event] = []
        waiting: list[Event] = []
        for event in queue.queue:
            visitor = visitor_of(event.request.scope)
            has_place = len(ready) < num_free and taken[visitor] < share
            taken[visitor] += has_place
            (ready if has_place else waiting).append(event)
        return ready, waiting
