"""Analyses that take seconds, in the background: one after another, each for as long as a page asks for it.

A page asks again and again; what nobody has asked for in `_PATIENCE` seconds is given up. A finished analysis is kept.
Visitors take turns: a few analyses of each may wait, and next comes one of whoever has waited longest for a turn: first
of the address, which the server knows, then of its pages, which say who they are.
"""

import itertools
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from charlstm.cpus import available_cpus
from charlstm.errors import CharLSTMError
from charlstm.formatting import error_text

_PATIENCE = 10.0  # seconds; a page asks every 0.7, but a browser lets a hidden one ask once a minute only
_FORGOTTEN = 30.0  # seconds after which a failure is tried again
_MOST_WAITING, _MOST_WAITING_EACH = 16, 3  # of all visitors, and of one: a page asks for three things at a time
_MOST_WAITING_ADDRESS = 8  # of all pages at one address
_MOST_KEPT, _MOST_LARGE_KEPT = 64, 4
# An analysis rests so many times as long as it works: while a run trains here, which is to lose a twentieth of two
# processors at most, and while the machine has more to do than processors, for whoever writes. A lower priority would
# not do: *seen*, such a thread waits for a processor with Python's lock in its hand, and nobody's text was written for
# a minute.
_REST_IN_TRAINING, _REST_ON_BUSY_MACHINE = 9.0, 3.0
_LONGEST_REST, _NAP = 60.0, 0.5  # seconds; between two looks whether a run trains, which lists all runs

OnProgress = Callable[[float, str, Any], None]  # share done, stage, what is known so far; raises to give up


class Visitor(NamedTuple):
    """Who asks: an address, and what a page there says that it is."""

    address: str = ""
    page: str = ""


class _GivenUpError(Exception):
    """Nobody asks any more."""


@dataclass
class Job:
    """One analysis: `working`, `done` or `failed`; `value` is what is known so far."""

    work: Callable[[OnProgress], Any]
    number: int = 0  # in the order of the first requests
    is_training: Callable[[], bool] = lambda: False
    is_large: bool = False  # its value takes megabytes
    version: Hashable = None  # of what it is about
    visitors: set[Visitor] = field(default_factory=set)  # who asked
    has_begun: bool = False
    state: str = "working"
    progress: float = 0.0
    stage: str = "waiting for another analysis"
    value: Any = None
    problem: str = ""
    asked_at: float = field(default_factory=time.monotonic)
    worked_from: float = field(default_factory=time.monotonic)  # since the last rest

    @property
    def is_waiting(self) -> bool:
        """Whether its turn has not come."""
        return self.state == "working" and not self.has_begun

    def is_current(self, version: Hashable) -> bool:
        """Tell whether this still answers for `version`: one at work does, as its successor would come no sooner."""
        if self.state == "failed" and time.monotonic() - self.asked_at > _FORGOTTEN:
            return False
        return self.state == "working" or self.version == version

    def run(self) -> None:
        """Compute the value; raise `_GivenUpError` once nobody asks for it."""
        self.worked_from = time.monotonic()
        self.report(0.0, "beginning")
        try:
            self.value = self.work(self.report)
        except CharLSTMError as error:
            self.state, self.problem = "failed", error_text(error)
        else:
            self.state, self.progress, self.stage = "done", 1.0, ""

    def report(self, progress: float, stage: str, value: Any = None) -> None:
        """Note how far the work is, and rest; raise `_GivenUpError` once nobody asks for it, or the program ends."""
        self._check_wanted()
        self.progress, self.stage = progress, stage
        if value is not None:
            self.value = value
        self._rest(time.monotonic() - self.worked_from)
        self.worked_from = time.monotonic()

    def _rest(self, worked: float) -> None:
        begun = time.monotonic()
        while True:
            times = _REST_IN_TRAINING if self.is_training() else _REST_ON_BUSY_MACHINE if _is_busy() else 0.0
            left = begun + min(_LONGEST_REST, times * worked) - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_NAP, left))
            self._check_wanted()

    def _check_wanted(self) -> None:
        if time.monotonic() - self.asked_at > _PATIENCE or not threading.main_thread().is_alive():
            raise _GivenUpError


def _is_busy() -> bool:
    """Tell whether more is to be done on this machine than it has processors for."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > available_cpus()


class Jobs:
    """Analyses of all visitors by their keys; whoever asks for the same one shares it."""

    def __init__(self, is_training: Callable[[], bool] = lambda: False) -> None:
        """`is_training()` tells whether a run trains on this machine, to which analyses give way."""
        self._is_training = is_training
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, Job] = OrderedDict()  # done, at work or waiting, the oldest request first
        self._turns: dict[Hashable, int] = {}  # of addresses and of visitors, the number of the last
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None

    def ask(
        self,
        key: Hashable,
        work: Callable[[OnProgress], Any],
        visitor: Visitor = Visitor(),  # noqa: B008  # immutable
        is_large: bool = False,
        version: Hashable = None,
    ) -> Job:
        """Return the analysis named `key` as it stands, beginning it with `work` if it is new.

        A finished one of another `version` begins anew; one that waits is done for the version asked for last. A
        visitor's new one takes the place of their oldest where too many of theirs wait. Few of those whose value
        `is_large` are kept. Raises `CharLSTMError` if too many of all visitors wait already.
        """
        with self._lock:
            job = self._kept.get(key)
            if job is None or not job.is_current(version):
                self._make_room(visitor, key)
                job = self._kept[key] = Job(work, next(self._numbers), self._is_training, is_large, version)
                self._drop_oldest()
            elif job.is_waiting:
                job.work, job.version = work, version
                if visitor not in job.visitors:
                    self._limit_waiting(visitor, key)
            job.visitors.add(visitor)
            job.asked_at = time.monotonic()
            self._kept.move_to_end(key)
            if self._thread is None:
                # No daemon: a thread that Python ends inside PyTorch takes the process down with an abort.
                self._thread = threading.Thread(target=self._work, name="charlstm-inside")
                self._thread.start()
            return job

    def _make_room(self, visitor: Visitor, asked: Hashable) -> None:
        """Make a place in the queue for a new analysis; raise `CharLSTMError` where those of others fill it."""
        now = time.monotonic()
        for key, job in self._waiting(asked).items():
            if now - job.asked_at > _PATIENCE:
                del self._kept[key]
        waiting = [job.visitors for job in self._waiting(asked).values()]
        near = sum(visitor.address in {each.address for each in visitors} for visitors in waiting)
        is_full = len(waiting) >= _MOST_WAITING or near >= _MOST_WAITING_ADDRESS
        if is_full and sum(visitor in visitors for visitors in waiting) < _MOST_WAITING_EACH:
            raise CharLSTMError("this server looks into many networks at the moment; try again in a minute.")
        self._limit_waiting(visitor, asked)

    def _limit_waiting(self, visitor: Visitor, asked: Hashable) -> None:
        """Take the visitor's oldest waiting analyses out of the queue until the one `asked` for may be theirs too."""
        own = [(key, job) for key, job in self._waiting(asked).items() if visitor in job.visitors]
        for key, job in own[: max(0, len(own) - _MOST_WAITING_EACH + 1)]:
            job.visitors.discard(visitor)
            if not job.visitors:
                del self._kept[key]

    def _waiting(self, asked: Hashable) -> dict[Hashable, Job]:
        """Return the analyses whose turn has not come, but for the one `asked` for."""
        return {key: job for key, job in self._kept.items() if job.is_waiting and key != asked}

    def _drop_oldest(self) -> None:
        done = {key: each for key, each in self._kept.items() if each.state != "working"}
        large = [key for key, each in done.items() if each.is_large]
        for key in [*large[: -_MOST_LARGE_KEPT or None], *itertools.islice(done, max(0, len(done) - _MOST_KEPT))]:
            self._kept.pop(key, None)

    def _work(self) -> None:
        while (found := self._next()) is not None:
            key, job = found
            try:
                job.run()
            except _GivenUpError:
                with self._lock:
                    self._kept.pop(key, None)
            except Exception:
                job.state, job.problem = "failed", "this could not be worked out; the log of the server says why."
                with self._lock:
                    self._thread = None  # the next one who asks begins another
                raise

    def _next(self) -> tuple[Hashable, Job] | None:
        with self._lock:
            waiting = [(key, job) for key, job in self._kept.items() if job.is_waiting]
            if not waiting:
                self._thread = None
                return None
            asking = {visitor for _, job in waiting for visitor in job.visitors}
            turns: dict[Hashable, int] = {each.address: self._turns.get(each.address, 0) for each in asking}
            # A page that has had no turn stands where its address does: else pages that one invents would come first.
            self._turns = {**turns, **{each: self._turns.get(each, turns[each.address]) for each in asking}}
            key, job = min(waiting, key=lambda each: (min(map(self._turns_of, each[1].visitors)), each[1].number))
            job.has_begun = True
            served = {each for visitor in job.visitors for each in (visitor, visitor.address)}
            self._turns |= dict.fromkeys(served, next(self._numbers))
            return key, job

    def _turns_of(self, visitor: Visitor) -> tuple[int, int]:
        """Return the number of the last turn of a visitor's address, and of the visitor."""
        return self._turns[visitor.address], self._turns[visitor]
