"""Waiting for what another process does, without guessing how long it takes."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on a thread of its own: in that of the tests a browser's event loop may run."""
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, coroutine).result()


def wait_until(condition: Callable[[], T], timeout: float = 60.0) -> T:
    """Look again and again until `condition()` is true; returns what it gave, fails after `timeout` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still waiting after {timeout:g} seconds"
        pause.wait(0.05)
    return value


async def settle() -> None:
    """Let everything happen that can without waiting, in the event loop that runs."""
    for _ in range(20):
        await asyncio.sleep(0)
