"""Analyses of *Look inside*: one after another, shared by those who ask, visitor after visitor."""

import threading
from collections.abc import Callable

import pytest
from waiting import wait_until

from charlstm.errors import CharLSTMError
from charlstm.ui import inside_jobs
from charlstm.ui.inside_jobs import Job, Jobs, OnProgress, Visitor


def test_analyses_run_one_after_another_and_tell_how_far_they_are() -> None:
    jobs, is_allowed = Jobs(), threading.Event()
    running: list[str] = []

    def work(name: str, report: OnProgress) -> str:
        running.append(name)
        report(0.5, "half", f"part of {name}")
        is_allowed.wait(30)
        return f"all of {name}"

    first = jobs.ask("a", lambda report: work("a", report))
    second = jobs.ask("b", lambda report: work("b", report))
    wait_until(lambda: first.progress == 0.5)
    assert (first.state, first.stage, first.value) == ("working", "half", "part of a")
    assert running == ["a"]
    assert second.stage == "waiting for another analysis"
    assert jobs.ask("a", lambda _: "never") is first
    is_allowed.set()
    wait_until(lambda: second.state == "done")
    assert (first.value, second.value) == ("all of a", "all of b")


class Queue:
    """Analyses that note the order in which they begin, and go on once each `is_allowed`."""

    def __init__(self, is_allowed: threading.Event | threading.Semaphore) -> None:
        self.jobs, self.order, self._is_allowed = Jobs(), list[str](), is_allowed

    def ask(self, name: str, visitor: Visitor) -> Job:
        def work(_: OnProgress) -> str:
            self.order.append(name)
            wait = self._is_allowed.wait if isinstance(self._is_allowed, threading.Event) else self._is_allowed.acquire
            wait(timeout=30)
            return name

        return self.jobs.ask(name, work, visitor)


def test_visitors_take_turns_and_of_each_the_newest_few_analyses_wait() -> None:
    is_allowed = threading.Event()
    queue = Queue(is_allowed)
    ask, order = queue.ask, queue.order
    ask("first", Visitor("greedy"))
    wait_until(lambda: order == ["first"])
    greedy = [ask(f"greedy {number}", Visitor("greedy")) for number in range(20)]
    other = [ask(f"other {number}", Visitor("other")) for number in range(2)]
    assert ask("greedy 19", Visitor("third")) is greedy[19]
    is_allowed.set()
    wait_until(lambda: all(each.state == "done" for each in (*greedy[-3:], *other)))
    assert {each.state for each in greedy[:-3]} == {"working"}  # gave way, and never began
    assert len(order) == 6
    assert order[1:3] == ["greedy 19", "other 0"]  # those of visitors who had no turn, in the order they were asked for
    assert order[3:5] == ["greedy 17", "other 1"]


def test_pages_that_one_address_invents_get_one_turn_and_half_of_the_queue() -> None:
    is_allowed = threading.Event()
    queue = Queue(is_allowed)
    ask, order = queue.ask, queue.order
    ask("first", Visitor("many", "0"))
    wait_until(lambda: order == ["first"])
    invented = [ask(f"invented {number}", Visitor("many", f"page {number}")) for number in range(8)]
    with pytest.raises(CharLSTMError, match="try again in a minute"):
        ask("one too many", Visitor("many", "yet another"))
    others = [ask(f"other {number}", Visitor("other", "page")) for number in range(2)]
    is_allowed.set()
    wait_until(lambda: all(each.state == "done" for each in (*invented, *others)))
    assert order.index("other 0") == 1
    assert order.index("other 1") <= 3


def test_a_full_queue_is_said_and_empties_of_what_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, is_allowed, began = Jobs(), threading.Event(), threading.Event()

    def work(_: OnProgress) -> None:
        began.set()
        is_allowed.wait(30)

    jobs.ask("at work", work)
    assert began.wait(30)
    for number in range(16):
        jobs.ask(number, work, Visitor(str(number)))
    with pytest.raises(CharLSTMError, match="try again in a minute"):
        jobs.ask("more", work, Visitor("somebody"))
    monkeypatch.setattr(inside_jobs, "_PATIENCE", -1.0)
    assert jobs.ask(3, work, Visitor("somebody")).visitors == {
        Visitor("3"),
        Visitor("somebody"),
    }  # one that its own visitor has left
    assert jobs.ask("more", work, Visitor("somebody")).state == "working"
    is_allowed.set()
    wait_until(lambda: jobs._thread is None)


def test_an_analysis_of_what_has_changed_goes_on_if_it_is_at_work_and_else_begins_with_what_is_new() -> None:
    jobs, is_allowed = Jobs(), threading.Event()

    def working(value: int) -> Callable[[OnProgress], int]:
        def work(_: OnProgress) -> int:
            is_allowed.wait(30)
            return value

        return work

    first = jobs.ask("a", working(1), version=1)
    wait_until(lambda: first.has_begun)
    waiting = jobs.ask("b", working(1), version=1)
    assert jobs.ask("a", working(2), version=2) is first
    assert jobs.ask("b", working(2), version=2) is waiting
    is_allowed.set()
    wait_until(lambda: waiting.state == "done")
    assert (first.value, waiting.value) == (1, 2)
    again = jobs.ask("a", working(2), version=2)
    assert again is not first
    assert jobs.ask("b", working(2), version=2) is waiting


def test_an_analysis_nobody_asks_for_is_given_up_and_a_mistake_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, began, patience = Jobs(), threading.Event(), threading.Event()

    def endless(report: OnProgress) -> None:
        began.set()
        patience.wait(30)
        report(0.1, "on and on")
        raise AssertionError

    left = jobs.ask("left", endless)
    assert began.wait(30)
    monkeypatch.setattr(inside_jobs, "_PATIENCE", -1.0)
    patience.set()
    wait_until(lambda: jobs._thread is None)
    monkeypatch.setattr(inside_jobs, "_PATIENCE", 60.0)

    def fail(_: OnProgress) -> None:
        raise CharLSTMError("the text is too short.")

    assert jobs.ask("left", fail) is not left
    failed = jobs.ask("left", fail)
    wait_until(lambda: failed.state == "failed")
    assert failed.problem == "The text is too short."


def test_a_page_that_had_a_turn_is_not_passed_by_ones_that_its_address_invents_nor_for_asking_again() -> None:
    is_allowed, honest = threading.Semaphore(0), Visitor("room", "honest")
    queue = Queue(is_allowed)
    ask, order = queue.ask, queue.order
    ask("first", honest)
    wait_until(lambda: order == ["first"])
    ask("second", honest)
    waiting = [ask(f"invented {number}", Visitor("room", f"page {number}")) for number in range(3)]
    ask("second", honest)  # as a page does all the time
    for number in range(5):
        is_allowed.release()
        wait_until(lambda: len(order) == min(5, number + 2))  # noqa: B023
    assert order.index("second") <= 2
    wait_until(lambda: all(each.state == "done" for each in waiting))


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("trains_until", "rested"), [(0.0, 0.0), (1000.0, 4.5), (102.5, 2.0)])
def test_an_analysis_rests_nine_times_as_long_as_it_worked_while_a_run_trains(
    trains_until: float, rested: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(inside_jobs, "time", clock)
    job = Job(lambda _: None, is_training=lambda: clock.now < trains_until, asked_at=100.0, worked_from=100.0)
    clock.now += 0.5
    job.report(0.5, "half")
    assert clock.now - 100.5 == pytest.approx(rested)
