"""The clock of training, against a clock and a processor that are turned by hand."""

import threading

import pytest
from training_runs import config, trainer_of

from charlstm.events import StepDone
from charlstm.training.clock import AwakeClock, watch_clock


class Machine:
    """A process's time and its processor time."""

    def __init__(self) -> None:
        self.now, self.used = 1000.0, 7.0
        self.clock = AwakeClock(lambda: self.now, lambda: self.used)
        self.begun = self.clock()

    def passes(self, seconds: float, share: float = 1.0) -> float:
        """So much time passes, of which the process gets a share; returns all that was counted so far."""
        self.now += seconds
        self.used += seconds * share
        return self.clock() - self.begun


@pytest.mark.parametrize("share", [2.0, 1.0, 0.1, 0.02])
def test_steps_count_as_long_as_they_take_on_an_idle_and_on_a_busy_machine(share: float):
    machine = Machine()
    for _ in range(200):
        machine.passes(0.25, share)
    for seconds in (4.0, 6.0, 60.0, 600.0):  # slow steps, a long validation
        machine.passes(seconds, share)
    assert machine.passes(0.25, share) == pytest.approx(200 * 0.25 + 670.25)


@pytest.mark.parametrize("seconds", [10.0, 600.0, 86_400.0])
@pytest.mark.parametrize("share", [2.0, 1.0, 0.1])
def test_the_time_for_which_a_process_was_suspended_does_not_count(seconds: float, share: float):
    machine = Machine()
    for _ in range(100):
        machine.passes(0.1, share)
    machine.now += seconds
    assert machine.passes(0.1, share) == pytest.approx(10.1, abs=0.01)
    assert machine.passes(1.0, share) == pytest.approx(11.1, abs=0.01)


def test_a_process_suspended_before_its_first_step_has_lost_nothing():
    machine = Machine()
    machine.now += 3600.0
    assert machine.passes(0.1) < 1.0


def test_a_machine_that_becomes_busy_is_no_machine_that_sleeps():
    machine = Machine()
    for _ in range(100):
        machine.passes(0.5)
    expected = machine.passes(0.0)
    for _ in range(100):
        expected += 2.0
        assert machine.passes(2.0, 0.05) == pytest.approx(expected)
    assert machine.passes(30.0, 0.05) == pytest.approx(expected + 30.0)


def test_a_run_limited_by_time_goes_on_for_the_rest_of_it_when_its_process_is_woken():
    machine = Machine()
    trainer = trainer_of(config(max_minutes=1.0))
    trainer.clock = machine.clock
    num_steps = 0
    for event in trainer.run():
        if isinstance(event, StepDone) and event.step:
            num_steps += 1
            machine.passes(1.0)
            machine.now += 7200.0 if num_steps == 20 else 0.0
    assert num_steps == pytest.approx(60, abs=1)
    assert trainer.elapsed_seconds == pytest.approx(60, abs=1)


def test_a_clock_is_looked_at_while_a_long_step_goes_on_and_not_after():
    looks: list[int] = []
    seen = threading.Event()

    def clock() -> float:
        looks.append(1)
        if len(looks) == 3:
            seen.set()
        return 0.0

    with watch_clock(clock):
        assert seen.wait(30)
    assert "clock" not in {thread.name for thread in threading.enumerate()}
