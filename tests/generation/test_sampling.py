"""Choosing a character, against distributions worked out by hand; the compiled way and the plain one alike."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler

from charlstm.config import REPEAT_WINDOW, SampleConfig
from charlstm.generation import sampling
from charlstm.generation.sampling import ban_repeats, counter_uniform, filter_probabilities, sample_token
from charlstm.kernel.decoder import DecoderState, PackedWeights

TENTHS = [0.1, 0.4, 0.3, 0.2]
PLAIN = {"temperature": 1.0}
Drawn = Callable[..., np.ndarray]


def logits_of(probabilities: list[float]) -> np.ndarray:
    return np.log(np.array(probabilities)) + 3.0  # logits may be off by any constant


def plain_draws(probabilities: list[float], num_draws: int, **settings: object) -> np.ndarray:
    logits, config = logits_of(probabilities), SampleConfig(**settings)
    numbers = (counter_uniform(config.seed, 0, position) for position in range(num_draws))
    return np.array([sample_token(logits, config, number) for number in numbers])


def compiled_draws(probabilities: list[float], num_draws: int, **settings: object) -> np.ndarray:
    """By a network whose weights are zero, so that its head's biases are its logits after any text."""
    vocab_size = len(probabilities)
    head = torch.zeros(vocab_size, 16), torch.from_numpy(logits_of(probabilities)).float()
    layer = torch.zeros(64, 16), torch.zeros(64)
    network = PackedWeights(torch.zeros(vocab_size, 64), [layer], head)
    return DecoderState.after(network, np.zeros(1, np.int32)).write(SampleConfig(**settings), num_draws, 0).ids[0]


BOTH_WAYS = pytest.mark.parametrize("draws", [plain_draws, pytest.param(compiled_draws, marks=needs_compiler)])
FILTERS = [
    ({"top_k": 1}, [0, 1, 0, 0]),
    ({"top_k": 2}, [0, 4 / 7, 3 / 7, 0]),
    ({"top_k": 3}, [0, 4 / 9, 3 / 9, 2 / 9]),
    ({"top_k": 4}, TENTHS),
    ({"top_k": 1_000_000}, TENTHS),
    ({"top_k": 0}, TENTHS),
    ({"top_p": 1e-300}, [0, 1, 0, 0]),
    ({"top_p": 0.39}, [0, 1, 0, 0]),
    ({"top_p": 0.41}, [0, 4 / 7, 3 / 7, 0]),  # 0.4 falls short, so the next is in as well
    ({"top_p": 0.69}, [0, 4 / 7, 3 / 7, 0]),
    ({"top_p": 0.71}, [0, 4 / 9, 3 / 9, 2 / 9]),
    ({"top_p": 0.95}, TENTHS),
    ({"top_p": 1.0}, TENTHS),
    ({"top_k": 2, "top_p": 0.55}, [0, 1, 0, 0]),  # of the two that are left the first holds 4/7
    ({"top_k": 2, "top_p": 0.6}, [0, 4 / 7, 3 / 7, 0]),
    ({"temperature": 0.5}, [1 / 30, 16 / 30, 9 / 30, 4 / 30]),  # the squares, of a sum of 0.3
    ({"temperature": 0.5, "top_k": 3}, [0, 16 / 29, 9 / 29, 4 / 29]),
    ({"temperature": 0.5, "top_p": 0.5}, [0, 1, 0, 0]),  # colder first: 16/30 is enough
    ({"temperature": 1e-320}, [0, 1, 0, 0]),
]


@pytest.mark.parametrize(("settings", "expected"), FILTERS)
def test_shares_are_those_worked_out_by_hand(settings: dict[str, float], expected: list[float]) -> None:
    before = logits_of(TENTHS)
    assert filter_probabilities(before, SampleConfig(**{**PLAIN, **settings})) == pytest.approx(
        np.array(expected), abs=1e-12
    )
    assert np.array_equal(before, logits_of(TENTHS)), "the input is left alone"


@pytest.mark.parametrize(("settings", "num_kept"), [({"top_k": 2}, 2), ({"top_p": 0.6}, 3), ({"top_p": 1e-9}, 1)])
def test_of_equals_the_first_ones_are_kept(settings: dict[str, float], num_kept: int) -> None:
    kept = filter_probabilities(logits_of([0.25] * 4), SampleConfig(**PLAIN, **settings))
    assert kept == pytest.approx(np.array([1 / num_kept] * num_kept + [0] * (4 - num_kept)))


CHI_SQUARE_0_001 = {1: 10.828, 2: 13.816, 3: 16.266}  # tabulated: exceeded by chance once in a thousand


def chi_square(drawn: np.ndarray, expected: list[float]) -> float:
    wanted = len(drawn) * np.array([share for share in expected if share])
    counts = np.bincount(drawn, minlength=len(expected))[np.array(expected) > 0]
    return float(((counts - wanted) ** 2 / wanted).sum())


@BOTH_WAYS
@pytest.mark.parametrize(("settings", "expected"), FILTERS)
def test_draws_follow_the_distribution_worked_out_by_hand(
    draws: Drawn, settings: dict[str, float], expected: list[float]
) -> None:
    """Nothing that is filtered out is ever drawn, and chi-square finds nothing wrong with what is.

    A correct sampler fails a case for one seed in a thousand; the seed is fixed, so this does not flicker. The last
    test here shows what it would see.
    """
    drawn = draws(TENTHS, 3000, **{**PLAIN, "seed": 2024, **settings})
    assert set(drawn.tolist()) == {place for place, share in enumerate(expected) if share}
    if freedom := sum(share > 0 for share in expected) - 1:
        assert chi_square(drawn, expected) < CHI_SQUARE_0_001[freedom]


@BOTH_WAYS
def test_a_slightly_wrong_temperature_would_be_seen(draws: Drawn) -> None:
    """30,000 draws at temperature 0.75 are not those of 0.7."""
    at_0_7 = [share ** (1 / 0.7) / sum(each ** (1 / 0.7) for each in TENTHS) for share in TENTHS]
    right, wrong = (draws(TENTHS, 30_000, temperature=each, seed=5) for each in (0.7, 0.75))
    assert chi_square(right, at_0_7) < CHI_SQUARE_0_001[3] < chi_square(wrong, at_0_7)


@needs_compiler
@pytest.mark.parametrize("settings", [{}, {"top_k": 7}, {"top_p": 0.8}, {"top_k": 20, "top_p": 0.5, "no_repeat": 3}])
def test_both_ways_draw_the_same_characters(settings: dict[str, float]) -> None:
    probabilities = np.random.default_rng(3).dirichlet(np.ones(37)).tolist()
    how = {"temperature": 1.3, "seed": 8, **settings}
    compiled = compiled_draws(probabilities, 400, **how)
    config, history, plain = SampleConfig(**how), np.zeros(1, np.int32), []
    for position in range(400):
        allowed = ban_repeats(logits_of(probabilities), history, config.no_repeat)
        plain.append(sample_token(allowed, config, counter_uniform(config.seed, 0, position)))
        history = np.append(history, np.int32(plain[-1]))
    assert compiled.tolist() == plain


@BOTH_WAYS
def test_temperature_0_takes_the_likeliest_whatever_else_is_set(draws: Drawn) -> None:
    near = [0.2, 0.3, 0.3 + 1e-6, 0.2]
    for settings in ({}, {"top_k": 2}, {"top_p": 0.1, "seed": 9}):
        assert set(draws(near, 50, temperature=0, **settings).tolist()) == {2}


# The guard -----------------------------------------------------------------------------------------------------------


def banned(history: list[int], no_repeat: int) -> set[int]:
    allowed = ban_repeats(np.zeros(5), np.array(history, np.int32), no_repeat)
    return set(np.flatnonzero(np.isneginf(allowed)).tolist())


def test_the_guard_bans_what_would_repeat_a_stretch() -> None:
    history = [0, 1, 2, 3, 0, 1, 4, 0, 1]
    assert banned(history, 0) == set()
    assert banned(history, 3) == {2, 4}  # 0 1 2 and 0 1 4 are there
    assert banned(history, 4) == set()  # 4 0 1 ? has not been there
    assert banned(history, 2) == {2, 4}
    assert banned([0, 1, 0, 1, 0], 4) == {1}
    assert banned([3], 3) == set()


def test_a_guard_that_leaves_nothing_is_ignored() -> None:
    assert banned([0, 1, 2, 3, 4], 1) == set()
    assert banned([0, 1, 2, 3], 1) == {0, 1, 2, 3}


def test_the_guard_looks_no_further_back_than_its_window() -> None:
    far = [0, 1, 2] + [3, 4] * (REPEAT_WINDOW // 2)
    assert banned([*far, 0, 1], 3) == set()
    assert banned([*far[: REPEAT_WINDOW - 4], 0, 1], 3) == {2}


@needs_compiler
@pytest.mark.parametrize("no_repeat", [6, 9])
def test_a_guarded_text_holds_no_stretch_twice(no_repeat: int) -> None:
    probabilities = [0.5, *[0.5 / 39] * 39]
    text = compiled_draws(probabilities, 900, temperature=0.6, no_repeat=no_repeat).tolist()
    stretches = [tuple(text[at : at + no_repeat]) for at in range(len(text) - no_repeat + 1)]
    assert len(set(stretches)) == len(stretches)
    free = compiled_draws(probabilities, 900, temperature=0.6).tolist()
    assert len({tuple(free[at : at + no_repeat]) for at in range(len(stretches))}) < len(stretches) - 50


# Random numbers ------------------------------------------------------------------------------------------------------


def test_the_mixer_is_that_of_splitmix64() -> None:
    """The published first outputs of SplitMix64 from the state 1234567."""
    state, outputs = 1234567, []
    for _ in range(3):
        state += 0x9E3779B97F4A7C15
        outputs.append(sampling._hash64(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@needs_compiler
def test_c_draws_the_same_numbers() -> None:
    import ctypes

    from charlstm.kernel.build import load_library

    kernel = load_library()
    assert kernel is not None
    kernel.step_uniform.restype, kernel.step_uniform.argtypes = ctypes.c_double, [ctypes.c_uint64] * 3
    for place in ((0, 0, 0), (1, 0, 0), (1, 7, 0), (1, 0, 1), (2**31 - 1, 7, 10**7)):
        assert kernel.step_uniform(*place) == counter_uniform(*place)


def test_numbers_are_spread_evenly_over_samples_seeds_and_positions() -> None:
    """The mean of n uniform numbers lies within 4.9 / sqrt(12 n) of 1/2 but once in a million."""
    for numbers in (
        [counter_uniform(1, 0, position) for position in range(5000)],
        [counter_uniform(seed, 0, 0) for seed in range(5000)],
        [counter_uniform(1, sample, 3) for sample in range(5000)],
    ):
        assert all(0 <= number < 1 for number in numbers)
        assert abs(np.mean(numbers) - 0.5) < 4.9 / math.sqrt(12 * len(numbers))
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4.9 / math.sqrt(len(numbers))
