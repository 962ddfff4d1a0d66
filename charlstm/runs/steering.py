"""The worker's ear: what it is asked is acknowledged at once, and heeded between two steps.

A thread reads `control.json` and answers, however long a step takes; the thread that trains looks for itself.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from charlstm.runs.control import Answer, Control, Mailbox

_HEAR_SECONDS = 0.1


class Ear:
    """Hears requests as long as its block lasts."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._answer = Answer()
        self._answering = threading.Lock()
        self._is_over = threading.Event()
        self._looked = -1e9
        self.control = Control()  # as of the last look

    def __enter__(self) -> "Ear":
        self.answer(number=self._mailbox.control().number)  # also in place of what a killed worker said
        self._thread = threading.Thread(target=self._hear, name="ear", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._mailbox.clear()

    def _hear(self) -> None:
        while not self._is_over.wait(_HEAR_SECONDS):
            self.answer(number=self._mailbox.control().number)

    def look(self, at_most_every: float) -> Control:
        """What is asked for, looked up unless that was done just before (seconds)."""
        now = time.monotonic()
        if now - self._looked >= at_most_every:
            self._looked = now
            self.control = self._mailbox.control()
        return self.control

    def wait(self) -> Control:
        """What is asked for a moment later."""
        self._is_over.wait(_HEAR_SECONDS)
        return self.look(0.0)

    def answer(self, **changes: Any) -> None:
        """Publish `changes` of the answer, if they are any. A folder that can't be written is met elsewhere."""
        with self._answering:
            answer = self._answer.model_copy(update=changes)
            if answer != self._answer or not self._mailbox.answer_file.exists():
                self._answer = answer
                if self._mailbox.answer_file.parent.is_dir():
                    with contextlib.suppress(OSError):
                        self._mailbox.reply(answer)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Inside the block signals that end a process only ask; a second Ctrl-C interrupts at once.

    Signals belong to a process's main thread; another one is asked through the folder alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a polite kill, a closed terminal; Windows lacks the last
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
