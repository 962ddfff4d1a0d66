"""Bounds on what is worked on outside Gradio's event queue, which knows nothing of it.

Those are the server functions that the page's scripts call, its events without a queue, the tools of MCP, and the
descriptions of the page. *Measured* (2026-11-29, 2 shared cores): while one visitor sent 150 calls of `inside_hold` at
once, another's 300 characters, which alone take 0.1 s, took 8.0 s, and with this 0.5 to 1.9 s.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from charlstm.environment import is_public
from charlstm.ui.request_body import RequestRefused

AT_ONCE = 4  # of one visitor
TOOLS_AT_ONCE = 16  # calls of MCP, which wait in the event queue for their answers, or watch a run for minutes
_MOST_WAITING = 64  # of one visitor: a class in one room opens its pages at the same time
_MOST = 256  # of all; beyond it a visitor with an equal share of them gets no more


@dataclass
class _Visitor:
    num_free: int
    num_calls: int = 0  # with those that wait, and those whose answers are being sent
    waiting: deque[asyncio.Future[bool]] = field(default_factory=deque)

    async def take(self, wait_until_left: Callable[[], Awaitable[None]]) -> None:
        """Wait for a place; raises `RequestRefused` where the client leaves before there is one."""
        if self.num_free:
            self.num_free -= 1
            return
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        leaving = asyncio.ensure_future(wait_until_left())
        leaving.add_done_callback(lambda _: _end(turn, False))
        has_place = False
        try:
            has_place = await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.give_back()
            raise
        finally:
            leaving.cancel()
            if turn in self.waiting:
                self.waiting.remove(turn)
        if not has_place:
            raise RequestRefused(400, "The client left before its request was worked on.")

    def give_back(self) -> None:
        """Give a place to the call that has waited longest."""
        while self.waiting:
            if _end(self.waiting.popleft(), True):
                return
        self.num_free += 1


def _end(turn: asyncio.Future[bool], has_place: bool) -> bool:
    """End the waiting of a call; return whether it still waited."""
    if turn.done():
        return False
    turn.set_result(has_place)
    return True


class DirectCalls:
    """Places for calls, `at_once` of each visitor; at home one address is one's own programs, and has no bound."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._visitors: dict[str, _Visitor] = {}

    @asynccontextmanager
    async def place(
        self, address: str, wait_until_left: Callable[[], Awaitable[None]]
    ) -> AsyncIterator[Callable[[], None]]:
        """Wait for a place of the visitor at `address`; yield what gives it back early, once the answer is there.

        Until its answer has been sent, which is in memory meanwhile, a call counts among those of its visitor.
        Raises `RequestRefused` where too many wait, or the client leaves.
        """
        if not is_public():
            yield lambda: None
            return
        self._check_room(address)
        visitor = self._visitors.setdefault(address, _Visitor(self._at_once))
        visitor.num_calls += 1
        try:
            await visitor.take(wait_until_left)
            held = [visitor]

            def give_back() -> None:
                while held:
                    held.pop().give_back()

            try:
                yield give_back
            finally:
                give_back()
        finally:
            visitor.num_calls -= 1
            if not visitor.num_calls:
                del self._visitors[address]

    def _check_room(self, address: str) -> None:
        """Raise `RequestRefused` where a visitor has too many calls; few are let in whatever others have."""
        num_calls = self._visitors[address].num_calls if address in self._visitors else 0
        if num_calls < self._at_once:
            return
        if num_calls >= self._at_once + _MOST_WAITING:
            raise RequestRefused(
                429,
                f"{num_calls} requests from your address wait already; send the next one when one of them is answered.",
            )
        num_all = sum(each.num_calls for each in self._visitors.values())
        if num_all >= _MOST and num_calls >= _MOST // len(self._visitors):
            raise RequestRefused(429, "Too many requests wait here at the moment; try again in a minute.")
