"""Answers of Gradio's functions that nobody has fetched yet: bounded in bytes and in number.

Gradio keeps the answers of 2,000 sessions whether or not anybody fetches them, and ends an event with a traceback when
its session is dropped. *Measured*: 30 calls of `trace`, of 2 kB each, left answers of 209 MB.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
from gradio.queueing import Queue
from gradio.server_messages import EventMessage, ProcessCompletedMessage
from gradio.utils import LRUCache

_MOST_BYTES = 64_000_000  # of all, as JSON: Python takes some four times as much
_MOST_SESSIONS = 1000
_MESSAGE_BYTES = 500  # of a message besides its answer
_MOST_PENDING = 256  # answers of one session that are awaited or not fetched
_GONE = "This answer was not fetched in time, and is gone: ask again."


class UnreadMessages(asyncio.Queue[EventMessage]):
    """Messages to one session, with their bytes."""

    def __init__(self, total: "UnreadAnswers") -> None:
        super().__init__()
        self._total, self._sizes = total, deque[int]()
        self.number = 0  # of the oldest message, or of the last that was fetched, counted over all sessions
        self.visitor = ""  # whose session it is
        self.num_streams = 0  # over which it is being fetched, however slowly

    @property
    def num_bytes(self) -> int:
        """The bytes of all messages."""
        return sum(self._sizes)

    @property
    def event_ids(self) -> set[str]:
        """The events that messages here are of."""
        waiting: deque[EventMessage] = self._queue  # type: ignore[attr-defined]
        return {message.event_id for message in waiting if message.event_id}

    @property
    def has_reader(self) -> bool:
        """Whether somebody waits for the next message."""
        return any(not getter.done() for getter in self._getters)  # type: ignore[attr-defined]

    def clear(self) -> None:
        """Drop all messages."""
        while not self.empty():
            self.get_nowait()

    def put_nowait(self, item: EventMessage) -> None:
        """Add a message; then make room, whoever put it here."""
        self.put_beyond_limit(item)
        self._total.make_room()

    def put_beyond_limit(self, item: EventMessage) -> None:
        """Add a message without making room for it."""
        super().put_nowait(item)

    def _put(self, item: EventMessage) -> None:
        super()._put(item)
        if not self._sizes:
            self.number = self._total.next_number()
        self._sizes.append(_size(item))
        self._total.num_bytes += self._sizes[-1]

    def _get(self) -> EventMessage:
        self._total.num_bytes -= self._sizes.popleft()
        self.number = self._total.next_number()
        item: EventMessage = super()._get()
        return item


class UnreadAnswers(LRUCache[str, UnreadMessages]):
    """Messages to all sessions of `queue`; those that have waited longest make room."""

    def __init__(self, queue: Queue, most_bytes: int = _MOST_BYTES, most_sessions: int = _MOST_SESSIONS) -> None:
        super().__init__(2**31)
        self._queue, self._most_bytes, self._most_sessions = queue, most_bytes, most_sessions
        self.num_bytes = self._number = 0

    def __setitem__(self, session: str, _: Any) -> None:
        super().__setitem__(session, UnreadMessages(self))
        self._drop_idle(session)

    def __delitem__(self, session: str) -> None:
        self[session].clear()
        super().__delitem__(session)

    def next_number(self) -> int:
        """Return the number of the next message."""
        self._number += 1
        return self._number

    def make_room(self) -> None:
        """Put one sentence in place of the messages that have waited longest, while all are too large together.

        Where nothing but sentences is left, the session that has waited longest is dropped.
        """
        size_gone = _size(_gone("")) if self.num_bytes > self._most_bytes else 0
        while self.num_bytes > self._most_bytes:
            waiting = [session for session, messages in self.items() if not messages.empty()]
            waiting.sort(key=lambda session: self[session].number)
            larger = (each for each in waiting if self[each].num_bytes > self._num_pending(each) * size_gone)
            if session := next(larger, None):
                self._give_up(session)
            else:
                self._drop(waiting[0])

    def has_room(self, session: str) -> bool:
        """Return whether a session may ask for one more answer; forget those that will never come."""
        ids = self._queue.pending_event_ids_session.get(session)
        if ids is None or len(ids) < _MOST_PENDING:
            return True
        waiting = self[session].event_ids if session in self else set()
        ids &= waiting | self._queue.event_ids_to_events.keys()
        return len(ids) < _MOST_PENDING

    def _num_pending(self, session: str) -> int:
        return len(self._queue.pending_event_ids_session.get(session, ()))

    def _give_up(self, session: str) -> None:
        for event in list(self._queue.event_ids_to_events.values()):
            if event.session_hash == session:
                event.alive = False  # a text that nobody fetches is written no further
        self[session].clear()
        for event_id in self._queue.pending_event_ids_session.get(session, ()):
            self[session].put_beyond_limit(_gone(event_id))

    def _drop(self, session: str) -> None:
        del self[session]
        self._queue.pending_event_ids_session.pop(session, None)

    @contextmanager
    def reading(self, sessions: Iterable[str]) -> Iterator[None]:
        """Note that messages to `sessions` are being fetched meanwhile."""
        streams = [self[each] for each in sessions if each in self]
        for each in streams:
            each.num_streams += 1
        try:
            yield
        finally:
            for each in streams:
                each.num_streams -= 1

    def _drop_idle(self, new: str) -> None:
        """Drop sessions beyond the limit, but none whose event goes on or that waits for a message.

        First those that nobody fetches from, of the visitor who has the most, the longest idle of them.
        """
        num_more = len(self) - self._most_sessions
        if num_more <= 0:
            return
        busy = {new, *(event.session_hash for event in self._queue.event_ids_to_events.values())}
        idle = [session for session, messages in self.items() if session not in busy and not messages.has_reader]
        num_held = Counter(each.visitor for each in self.values())
        for session in sorted(idle, key=lambda each: self._worth(each, num_held))[:num_more]:
            self._drop(session)

    def _worth(self, session: str, num_held: Mapping[str, int]) -> tuple[bool, int, int]:
        messages = self[session]
        return messages.num_streams > 0, -num_held[messages.visitor], messages.number


def _gone(event_id: str) -> ProcessCompletedMessage:
    return ProcessCompletedMessage(output={"error": _GONE}, success=False, event_id=event_id)


def _size(message: EventMessage) -> int:
    output = getattr(message, "output", None)
    return _MESSAGE_BYTES + (len(orjson.dumps(output, default=str)) if output else 0)
