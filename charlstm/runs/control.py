"""Requests to a run's worker and its answers: two small files in the run's directory, each replaced atomically.

control.json    written by the requester, under a lock, so that concurrent requests are merged
answer.json     written by the worker: the requests it has seen and those in effect
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, TypeVar

from filelock import Timeout
from pydantic import BaseModel, ConfigDict, Field

from charlstm.errors import RunError
from charlstm.files import atomic_write
from charlstm.json_text import parse_as, read_small
from charlstm.runs.file_lock import open_lock

SLOWEST_RATE, FASTEST_RATE = 0.01, 10.0
_LOCK_SECONDS = 5
_Number = Annotated[int, Field(ge=0, lt=2**63)]  # microseconds since 1970, or less


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Control(_Message):
    """The merged state of all requests to a run, not only of the latest one."""

    number: _Number = 0  # of the latest request; grows
    stop: bool = False
    pause: bool = False
    save: _Number = 0  # the number of the latest request to save
    # multiplies the learning rate; `None` if never requested
    rate_factor: float | None = Field(None, ge=SLOWEST_RATE, le=FASTEST_RATE)


class WorkerStatus(_Message):
    """The worker's answer to the requests."""

    number: _Number = 0  # of the latest request seen
    done: _Number = 0  # of the latest request in effect
    is_paused: bool = False
    is_halted: bool = False  # training is over and saved; only the final measurement is left
    rate_factor: float = Field(1.0, ge=0, le=2 * FASTEST_RATE)  # several processes pass it on less exactly
    saved_step: int | None = Field(None, ge=0, le=10**12)
    stages: tuple[Annotated[str, Field(max_length=20)], ...] = Field((), max_length=10)  # of its preparation
    stage: str = Field("", max_length=20)  # the present one; "training" afterwards


_Message_T = TypeVar("_Message_T", bound=_Message)


class Mailbox:
    """The two files in a run's directory."""

    def __init__(self, folder: Path) -> None:
        self.control_file = folder / "control.json"
        self.answer_file = folder / "answer.json"

    def control(self) -> Control:
        """Return the requests to the run; the default, without any, if the file is missing or damaged."""
        return _read(self.control_file, Control)

    def worker_status(self) -> WorkerStatus:
        """Return the worker's answer."""
        return _read(self.answer_file, WorkerStatus)

    def write_request(self, control: Control) -> None:
        """Replace the requests; raises `OSError`."""
        _write(self.control_file, control)

    def write_status(self, answer: WorkerStatus) -> None:
        """Replace the answer; raises `OSError`."""
        _write(self.answer_file, answer)

    def request(
        self,
        *,
        pause: bool | None = None,
        stop: bool | None = None,
        save: bool = False,
        rate_factor: float | None = None,
    ) -> int:
        """Merge a request into the file and return its number; raise `RunError` for a factor out of bounds."""
        if rate_factor is not None and not SLOWEST_RATE <= rate_factor <= FASTEST_RATE:
            raise RunError(
                f"the factor of the learning rate is {rate_factor:g}; it must be from {SLOWEST_RATE:g} to "
                f"{FASTEST_RATE:g}."
            )
        try:
            with open_lock(self.control_file.with_suffix(".lock"), _LOCK_SECONDS):
                before = self.control()
                number = max(before.number + 1, time.time_ns() // 1000)  # never a number that an old answer names
                requested = {"pause": pause, "stop": stop, "rate_factor": rate_factor, "save": number if save else None}
                given = {name: value for name, value in requested.items() if value is not None}
                self.write_request(before.model_copy(update={"number": number, **given}))
        except (OSError, Timeout) as error:
            raise RunError(f"the run can't be asked anything ({error}); check its folder.") from None
        return number

    def clear(self) -> None:
        """Delete requests and answer, which are done or obsolete."""
        for file in (self.control_file, self.answer_file):
            _unlink(file)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _read(path: Path, kind: type[_Message_T]) -> _Message_T:
    try:
        return parse_as(kind, read_small(path))
    except (OSError, ValueError):
        return kind()


def _write(path: Path, message: _Message) -> None:
    with atomic_write(path, is_durable=False) as temporary:  # need not outlive a power cut, which ends the run too
        temporary.write_text(message.model_dump_json(), encoding="utf-8")


_POLL_SECONDS = 0.1


class RequestListener:
    """A context manager that acknowledges requests in a background thread."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._answer = WorkerStatus()
        self._answering = threading.Lock()
        self._is_over = threading.Event()
        self._looked = -1e9
        self.control = Control()  # as of the last poll

    def __enter__(self) -> "RequestListener":
        _unlink(self._mailbox.answer_file)  # of an earlier worker
        self.answer(number=self._mailbox.control().number)
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        # The answer stays: until the run's lock is free, a reader without it would take a halted run for a running one.
        _unlink(self._mailbox.control_file)

    def _listen(self) -> None:
        while not self._is_over.wait(_POLL_SECONDS):
            self.answer(number=self._mailbox.control().number)

    def poll(self, at_most_every: float) -> Control:
        """Return the requests, re-read from the file if the last read was `at_most_every` seconds ago or earlier."""
        now = time.monotonic()
        if now - self._looked >= at_most_every:
            self._looked = now
            self.control = self._mailbox.control()
        return self.control

    def wait(self) -> Control:
        """Wait for the polling interval, then return the requests."""
        self._is_over.wait(_POLL_SECONDS)
        return self.poll(0.0)

    def answer(self, **changes: Any) -> None:
        """Write `changes` of the answer, if any; an unwritable directory is reported elsewhere."""
        with self._answering:
            answer = self._answer.model_copy(update=changes)
            if answer != self._answer or not self._mailbox.answer_file.exists():
                self._answer = answer
                if self._mailbox.answer_file.parent.is_dir():
                    with contextlib.suppress(OSError):
                        self._mailbox.write_status(answer)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn terminating signals inside the block into a stop request; a second Ctrl-C interrupts at once.

    Only a process's main thread can handle signals; in another thread, requests arrive through the directory alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, kill, a closed terminal; Windows lacks the last
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
