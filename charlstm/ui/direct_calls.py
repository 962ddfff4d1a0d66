"""Bounds on what is worked on outside Gradio's event queue, which knows nothing of it.

Those are the server functions that the page's scripts call, its events without a queue, the tools of MCP, and the
descriptions of the page. *Measured* (2026-11-29, 2 shared cores): while one visitor sent 150 calls of `inside_hold` at
once, another's 300 characters, which alone take 0.1 s, took 8.0 s, and with this 0.5 to 1.9 s.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from charlstm.environment import is_public
from charlstm.ui.request_body import RequestRefused

AT_ONCE = 4  # of one visitor
TOOLS_AT_ONCE = 16  # calls of MCP, which wait in the event queue for their answers, or watch a run for minutes
_MOST_WAITING = 64  # of one visitor: a class in one room opens its pages at the same time
_MOST = 256  # of all


@dataclass
class _Visitor:
    places: asyncio.Semaphore
    num_calls: int = 0  # with those that wait


class DirectCalls:
    """Places for calls, `at_once` of each visitor; at home one address is one's own programs, and has no bound."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._visitors: dict[str, _Visitor] = {}

    @asynccontextmanager
    async def place(self, address: str) -> AsyncIterator[None]:
        """Wait for a place of the visitor at `address`, and hold it. Raises `RequestRefused` where too many wait."""
        if not is_public():
            yield
            return
        if sum(each.num_calls for each in self._visitors.values()) >= _MOST:
            raise RequestRefused(429, "Too many requests wait here at the moment; try again in a minute.")
        visitor = self._visitors.setdefault(address, _Visitor(asyncio.Semaphore(self._at_once)))
        if visitor.num_calls >= self._at_once + _MOST_WAITING:
            raise RequestRefused(
                429,
                f"{visitor.num_calls} requests from your address wait already; send the next one when one of them is "
                "answered.",
            )
        visitor.num_calls += 1
        try:
            async with visitor.places:
                yield
        finally:
            visitor.num_calls -= 1
            if not visitor.num_calls:
                del self._visitors[address]
