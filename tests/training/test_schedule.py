"""How far along a run is and its learning rate there, against numbers worked out by hand."""

import math

import pytest

from charlstm.config import TrainConfig
from charlstm.training.schedule import Schedule


def config(**values: object) -> TrainConfig:
    return TrainConfig(**{"max_minutes": 0.0, **values})


def fraction_done(values: TrainConfig, num_steps: int | None, step: int, elapsed_seconds: float) -> float:
    schedule = Schedule(values, windows_per_pass=1)
    schedule.num_steps = num_steps
    return schedule.fraction(step, elapsed_seconds)


def learning_rate(values: TrainConfig, step: int, fraction: float) -> float:
    return Schedule(values, windows_per_pass=1).learning_rate(step, fraction)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_steps": 7}, 7),
        ({"max_passes": 1.0}, 30),
        ({"max_passes": 2.5}, 75),
        ({"max_passes": 0.51}, 16),  # 15.3 windows: the sixteenth is begun
        ({"max_passes": 0.001}, 1),  # never none
        ({"max_steps": 29, "max_passes": 1.0}, 29),
        ({"max_steps": 31, "max_passes": 1.0}, 30),
        ({"max_minutes": 3.0}, None),
        ({"max_minutes": 3.0, "max_steps": 5}, 5),
    ],
)
def test_the_nearest_limit_in_steps_is_planned(limits: dict[str, object], expected: int | None) -> None:
    assert Schedule(config(**limits), windows_per_pass=30).num_steps == expected


@pytest.mark.parametrize(
    ("max_passes", "windows_per_pass", "expected"),
    [(0.07, 100, 7), (0.14, 100, 14), (0.55, 100, 55), (1.1, 30, 33), (2.3, 1000, 2300), (1.13, 100, 113)],
)
def test_shares_of_a_pass_are_not_rounded_up_by_floating_point(
    max_passes: float, windows_per_pass: int, expected: int
) -> None:
    """0.07 * 100 is 7.000000000000001."""
    assert Schedule(config(max_passes=max_passes), windows_per_pass).num_steps == expected


@pytest.mark.parametrize(
    ("limits", "num_steps", "step", "elapsed_seconds", "expected"),
    [
        ({}, 10, 0, 0.0, 0.0),
        ({}, 10, 5, 1e9, 0.5),  # no limit in time
        ({}, 10, 10, 0.0, 1.0),
        ({}, 10, 11, 0.0, 1.0),
        ({"max_minutes": 2.0}, None, 10**6, 30.0, 0.25),
        ({"max_minutes": 2.0}, None, 0, 120.0, 1.0),
        ({"max_minutes": 2.0}, None, 0, 500.0, 1.0),
        ({"max_minutes": 2.0}, 10, 5, 30.0, 0.5),  # the steps are nearer
        ({"max_minutes": 2.0}, 10, 1, 30.0, 0.25),  # the clock is nearer
    ],
)
def test_the_fraction_follows_the_nearest_limit(
    limits: dict[str, object], num_steps: int | None, step: int, elapsed_seconds: float, expected: float
) -> None:
    assert fraction_done(config(**limits), num_steps, step, elapsed_seconds) == pytest.approx(expected, rel=1e-12)


def test_the_last_step_is_exactly_the_end() -> None:
    """Or a run would take one step too many."""
    assert all(fraction_done(config(), num_steps, num_steps, 0.0) == 1.0 for num_steps in range(1, 1000))
    assert all(fraction_done(config(), num_steps, num_steps - 1, 0.0) < 1.0 for num_steps in range(1, 1000))


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_a_constant_rate_stays(fraction: float) -> None:
    assert learning_rate(config(lr_schedule="constant", learning_rate=0.02), 123, fraction) == 0.02


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0.02), (1 / 4, 0.015), (0.9, 0.002), (1.0, 0.0)])
def test_a_line_falls_from_the_peak_to_0(fraction: float, expected: float) -> None:
    values = config(lr_schedule="linear", learning_rate=0.02)
    assert learning_rate(values, 0, fraction) == pytest.approx(expected, rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.0, 0.02),
        (1 / 4, 0.02 * (2 + math.sqrt(2)) / 4),
        (1 / 3, 0.015),
        (1 / 2, 0.01),
        (2 / 3, 0.005),
        (1.0, 0.0),
    ],
)
def test_a_cosine_falls_from_the_peak_to_0(fraction: float, expected: float) -> None:
    values = config(lr_schedule="cosine", learning_rate=0.02)
    assert learning_rate(values, 0, fraction) == pytest.approx(expected, rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(("step", "share"), [(0, 0.25), (1, 0.5), (2, 0.75), (3, 1.0), (4, 1.0), (1000, 1.0)])
def test_the_warm_up_rises_in_equal_steps_and_no_update_is_wasted_at_0(step: int, share: float) -> None:
    values = config(lr_schedule="constant", learning_rate=0.02, warmup_steps=4)
    assert learning_rate(values, step, 0.0) == pytest.approx(0.02 * share, rel=1e-12)


def test_warm_up_and_cosine_multiply() -> None:
    values = config(lr_schedule="cosine", learning_rate=0.02, warmup_steps=4)
    assert learning_rate(values, 1, 1 / 3) == pytest.approx(0.02 * 0.5 * 0.75, rel=1e-12)
