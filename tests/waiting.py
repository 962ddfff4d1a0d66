"""Waiting for what another process does, without guessing how long it takes."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 60.0) -> T:
    """Look again and again until `condition()` is true; returns what it gave, fails after `timeout` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still waiting after {timeout:g} seconds"
        pause.wait(0.05)
    return value
