"""Who gets a place among the calls past the event queue, and when it is free again."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from charlstm.ui.call_check import CallCheck
from charlstm.ui.request_body import RequestRefused
from charlstm.ui.request_guard import RequestGuard
from charlstm.ui.trusted_hosts import TrustedHosts
from charlstm.ui.unqueued_call_limits import DirectCalls
from charlstm.ui.uploaded_files import UploadedFiles

from waiting import run_async  # isort: skip  tests/support/waiting.py

Free = Callable[[], None]


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")


async def stays() -> None:
    """A client that waits for its answer."""
    await asyncio.Event().wait()


async def turns() -> None:
    """Let whatever is ready go on."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        turn = loop.create_future()
        loop.call_soon(turn.set_result, None)
        await turn


REQUEST = {"type": "http.request", "body": b"", "more_body": False}


def guarded(app: Any) -> RequestGuard:
    answers: Any = SimpleNamespace(session_of=str, has_session=bool, reading=lambda _: nullcontext())
    page: Any = SimpleNamespace(blocks={}, fns={})
    return RequestGuard(app, TrustedHosts(), CallCheck(page, answers), UploadedFiles(set()), 0)


async def nothing() -> None:
    """A client that takes its answer at once."""


async def ask(guard: RequestGuard, takes: Any = nothing, leaves: Any = stays) -> None:
    """One request for what is worked out, of a client that takes its answer so, and leaves then."""
    messages = [REQUEST]

    async def receive() -> Any:
        if not messages:
            await leaves()
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await takes()

    host = [(b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "GET", "path": "/config", "query_string": b"", "headers": host}
    await guard({**scope, "client": ("203.0.113.1", 1)}, receive, send)


class Callers:
    """Calls that have been made and hold what they got."""

    def __init__(self) -> None:
        self.calls = DirectCalls(4)
        self.tasks: list[asyncio.Task[None]] = []
        self.free: list[Free] = []  # of those that have a place

    async def call(self, address: str, number: int = 1, has_left: Any = stays) -> None:
        self.tasks += [asyncio.ensure_future(self._hold(address, has_left)) for _ in range(number)]
        await turns()

    async def _hold(self, address: str, has_left: Any) -> None:
        async with self.calls.place(address, has_left) as free:
            self.free.append(free)
            await stays()

    def refused(self) -> list[str]:
        errors = [each.exception() for each in self.tasks if each.done()]
        assert all(isinstance(each, RequestRefused) for each in errors)
        return [each.sentence for each in errors if isinstance(each, RequestRefused)]


def among_callers(scene: Callable[[Callers], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        await scene(Callers())  # what goes on is cancelled with the loop

    run_async(play())


def test_a_few_addresses_shut_nobody_out() -> None:
    async def scene(callers: Callers) -> None:
        for number in range(4):
            await callers.call(f"203.0.113.{number}", 68)
        assert len(callers.free) == 16
        num_refused = len(callers.refused())
        await callers.call("198.51.100.7", 5)  # four at once, and one that waits
        assert len(callers.free) == 20
        assert len(callers.refused()) == num_refused
        await callers.call("203.0.113.3")  # has its share
        assert len(callers.refused()) == num_refused + 1

    among_callers(scene)


def test_a_place_is_free_once_the_answer_is_there_but_the_call_counts_until_it_is_sent() -> None:
    async def scene(callers: Callers) -> None:
        await callers.call("203.0.113.1", 68)
        for number in range(64):
            assert len(callers.free) == 4 + number
            callers.free[number]()
            callers.free[number]()  # once is enough
            await turns()
        assert len(callers.free) == 68
        await callers.call("203.0.113.1")
        assert "68 requests from your address" in callers.refused()[0]

    among_callers(scene)


def test_answers_that_are_taken_slowly_keep_no_other_from_being_worked_on() -> None:
    num_worked_on: list[int] = []

    async def app(_: Any, __: Any, send: Any) -> None:
        num_worked_on.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer"})

    async def talk() -> None:
        guard = guarded(app)
        slow = [asyncio.ensure_future(ask(guard, takes=stays)) for _ in range(6)]
        await turns()
        await asyncio.wait_for(ask(guard), 30)
        assert not any(each.done() for each in slow)

    run_async(talk())
    assert len(num_worked_on) == 7


def test_a_request_whose_client_leaves_while_it_waits_is_not_worked_on() -> None:
    received: list[Any] = []

    async def app(_: Any, receive: Any, __: Any) -> None:
        received.append(await receive())
        await stays()

    async def talk() -> None:
        guard, leaves = guarded(app), asyncio.Event()
        at_work = [asyncio.ensure_future(ask(guard)) for _ in range(4)]
        await turns()
        left, waits = asyncio.ensure_future(ask(guard, leaves=leaves.wait)), asyncio.ensure_future(ask(guard))
        await turns()
        leaves.set()
        await asyncio.wait_for(left, 30)
        assert len(received) == 4
        at_work[0].cancel()
        await turns()
        assert not waits.done()

    run_async(talk())
    assert received == [REQUEST] * 5


def test_a_call_whose_client_has_left_waits_no_more() -> None:
    async def scene(callers: Callers) -> None:
        left = asyncio.Event()
        await callers.call("203.0.113.1", 4)
        await callers.call("203.0.113.1", 64, left.wait)
        left.set()
        await turns()
        assert len(callers.refused()) == 64
        assert not callers.calls._visitors["203.0.113.1"].waiting
        await callers.call("203.0.113.1")
        callers.tasks[0].cancel()
        await turns()
        assert len(callers.free) == 5  # who came last has the place

    among_callers(scene)
