"""The compiled recurrence against a loop over gates in double precision written here, bit for bit where it is a claim.

Shapes: T = time, B = batch, H = hidden size, N = rows of the table.
"""

import ctypes
import math
from itertools import pairwise

import pytest
import torch
from kernel_marks import BOTH, needs_bfloat16, needs_compiler
from naive_lstm import Result, Window, leaf, naive

from charlstm.kernel import job_layout
from charlstm.kernel import lstm as kernel

BATCHES = [*range(1, 10), 13]
SIZES = [16, 32, 48, 80, 256]


def compiled(window: Window, dtype: torch.dtype) -> Result:
    inputs, weight = leaf(window.inputs, dtype), leaf(window.weight)
    hidden, (h, c) = kernel.lstm_layer(inputs, window.rows, weight, window.h, window.c)
    assert hidden.dtype == dtype
    assert (h.dtype, c.dtype) == (torch.float32, torch.float32)
    assert not h.requires_grad
    assert not c.requires_grad
    hidden.backward(window.dhidden.to(dtype))
    assert inputs.grad is not None
    assert weight.grad is not None
    return Result(hidden, h, c, inputs.grad, weight.grad)


def cases() -> list[tuple[int, int]]:
    """Every batch with a small and an odd size, every size with a batch of whole and of broken tiles."""
    return [(batch, size) for batch in BATCHES for size in (16, 48)] + [
        (batch, size) for size in (32, 80, 256) for batch in (1, 6, 7, 13)
    ]


@needs_compiler
@pytest.mark.parametrize(("batch", "size"), cases())
@pytest.mark.parametrize("num_rows", [5, None], ids=["table", "places"])
def test_float32_equals_a_naive_loop_over_gates(batch: int, size: int, num_rows: int | None) -> None:
    """float32 has 24 bits, 6e-8; a sum of 256 products, through 7 steps, stays within some tens of that."""
    window = Window(batch, size, num_rows=num_rows)
    compiled(window, torch.float32).assert_close(naive(window, torch.float32), 3e-6, 5e-6)


@needs_bfloat16
@pytest.mark.parametrize(("batch", "size"), cases())
@pytest.mark.parametrize("num_rows", [5, None], ids=["table", "places"])
def test_bfloat16_is_a_naive_loop_that_rounds_weights_and_hidden_states(
    batch: int, size: int, num_rows: int | None
) -> None:
    """Its 8 bits round by 1/512 of a number at most: what is kept is rounded once, and c, in float32, only feels it.

    On the way back gates, hidden states and the gradients of gates have been rounded, each once: some 1/512 add up.
    """
    window = Window(batch, size, num_rows=num_rows)
    compiled(window, torch.bfloat16).assert_close(naive(window, torch.bfloat16), 2 / 512, 5 / 512)


@needs_bfloat16
def test_bfloat16_errs_to_neither_side() -> None:
    """Over 40,000 hidden states the rounding averages out: a tenth of one rounding is left at most."""
    window = Window(13, 256, steps=12)
    found, exact = compiled(window, torch.bfloat16), naive(window, torch.float32)
    difference = found.tensors["hidden"].double() - exact.tensors["hidden"]
    assert 1e-4 < difference.abs().mean().item() < 1 / 256
    assert abs(difference.mean().item()) < 1 / 5120


@needs_compiler
@pytest.mark.skipif(kernel.fastest_weight_dtype() == torch.float32, reason="this processor has no AVX512")
@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize(("batch", "size"), [(1, 16), (6, 48), (7, 80), (13, 256), (8, 512)])
def test_with_weights_in_bfloat16_all_else_is_float32(batch: int, size: int, num_threads: int) -> None:
    window, before = Window(batch, size), torch.get_num_threads()
    given = window.inputs, window.rows, window.weight, window.h, window.c
    try:
        torch.set_num_threads(num_threads)
        trace = kernel.forward(*given, weight_dtype=torch.bfloat16)
        dgates = kernel.backward(trace, window.dhidden, weight_dtype=torch.bfloat16)
    finally:
        torch.set_num_threads(before)
    window.weight = window.weight.to(torch.bfloat16).float()
    dinputs = kernel.sum_rows(window.rows, dgates, len(window.inputs))
    dweight = dgates.flatten(0, 1).t() @ trace.h[:-1].flatten(0, 1)
    found = Result(trace.h[1:], trace.h[-1], trace.c[-1], dinputs, dweight)
    found.assert_close(naive(window, torch.float32), 3e-6, 5e-6)


@BOTH
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_a_single_character(dtype: torch.dtype, batch: int) -> None:
    window = Window(batch, 48, steps=1)
    compiled(window, dtype).assert_close(
        naive(window, dtype), *((3e-6, 5e-6) if dtype == torch.float32 else (2 / 512, 5 / 512))
    )


@BOTH
def test_a_long_window_stays_close(dtype: torch.dtype) -> None:
    window = Window(3, 32, steps=150, num_rows=9)
    compiled(window, dtype).assert_close(
        naive(window, dtype), *((5e-6, 1e-5) if dtype == torch.float32 else (3 / 512, 8 / 512))
    )


@BOTH
@pytest.mark.parametrize(("batch", "size"), [(1, 16), (2, 48), (7, 80), (13, 32), (16, 256), (8, 384)])
def test_whatever_the_number_of_threads_the_bits_are_the_same(dtype: torch.dtype, batch: int, size: int) -> None:
    window, before = Window(batch, size), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            results.append(compiled(window, dtype))
    finally:
        torch.set_num_threads(before)
    for one, other in pairwise(results):
        for name in ("hidden", "h", "c", "dinputs"):
            assert torch.equal(one.tensors[name], other.tensors[name]), name
    results[0].assert_same_bits(results[-1])


@BOTH
@pytest.mark.parametrize("present", [1, 2, 5])
@pytest.mark.parametrize(("batch", "size"), [(1, 128), (3, 208), (7, 256)])
def test_threads_that_share_units_get_to_the_end_however_many_come_and_the_bits_are_the_same(
    dtype: torch.dtype, batch: int, size: int, present: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, before, shared = Window(batch, size), torch.get_num_threads(), []
    team = job_layout.python_threads()

    def some_of(library: ctypes.CDLL, job: job_layout.Job, threads: int) -> None:
        shared.append(job.num_owners)
        team(library, job, present if job.num_owners else threads)

    try:
        torch.set_num_threads(1)
        expected = compiled(window, dtype)
        torch.set_num_threads(3)
        monkeypatch.setattr(job_layout, "team", lambda: some_of)
        found = compiled(window, dtype)
    finally:
        torch.set_num_threads(before)
    assert min(3, size // 64) in shared
    for name in ("hidden", "h", "c", "dinputs"):
        assert torch.equal(found.tensors[name], expected.tensors[name]), name


@BOTH
def test_python_threads_do_the_same_where_pytorchs_are_not_found(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, before = Window(13, 48), torch.get_num_threads()
    expected = compiled(window, dtype)
    team = job_layout.python_threads()
    monkeypatch.setattr(job_layout, "team", lambda: team)
    try:
        torch.set_num_threads(3)
        found = compiled(window, dtype)
    finally:
        torch.set_num_threads(before)
    for name in ("hidden", "h", "c", "dinputs"):
        assert torch.equal(found.tensors[name], expected.tensors[name]), name


@BOTH
@pytest.mark.parametrize("streams", [[0], [12], [5, 6], [12, 0, 3, 7, 1, 2, 4], list(range(9))])
def test_a_stream_knows_nothing_of_the_others_in_its_batch(dtype: torch.dtype, streams: list[int]) -> None:
    """Each place has a row of its own here, so its gradient is that stream's alone too."""
    window = Window(13, 48, num_rows=None)
    whole, part = compiled(window, dtype), compiled(window.parts(streams), dtype)
    for name, dim in (("hidden", 1), ("h", 0), ("c", 0)):
        assert torch.equal(part.tensors[name], whole.tensors[name].index_select(dim, torch.tensor(streams))), name
    chosen = window.rows[:, streams].flatten()
    assert torch.equal(part.tensors["dinputs"][chosen], whole.tensors["dinputs"][chosen])


@BOTH
def test_the_same_again_is_the_same_bits(dtype: torch.dtype) -> None:
    compiled(Window(8, 80), dtype).assert_same_bits(compiled(Window(8, 80), dtype))


@BOTH
def test_a_window_in_two_pieces_is_the_window_whole(dtype: torch.dtype) -> None:
    """The state between goes over in float32, and h was rounded already, so not a bit is lost."""
    window = Window(5, 32, steps=10)
    weight = window.weight
    inputs = window.inputs.to(dtype)
    whole, last = kernel.lstm_layer(inputs, window.rows, weight, window.h, window.c)
    begin, state = kernel.lstm_layer(inputs, window.rows[:4], weight, window.h, window.c)
    end, after = kernel.lstm_layer(inputs, window.rows[4:], weight, *state)
    assert torch.equal(torch.cat([begin, end]), whole)
    assert all(torch.equal(one, other) for one, other in zip(after, last, strict=True))


@BOTH
def test_gradients_are_given_only_to_what_asks_and_change_no_value(dtype: torch.dtype) -> None:
    window = Window(6, 32)
    full = compiled(window, dtype)
    inputs, weight = window.inputs.to(dtype), leaf(window.weight)
    hidden, _ = kernel.lstm_layer(inputs, window.rows, weight, window.h, window.c)
    hidden.backward(window.dhidden.to(dtype))
    assert torch.equal(weight.grad, full.tensors["dweight"])
    with torch.no_grad():
        quiet, _ = kernel.lstm_layer(inputs, window.rows, window.weight, window.h, window.c)
    assert torch.equal(quiet, full.tensors["hidden"])
    assert not quiet.requires_grad


@BOTH
def test_what_it_is_given_stays_as_it_was(dtype: torch.dtype) -> None:
    window, same = Window(4, 16), Window(4, 16)
    compiled(window, dtype)
    for name in ("inputs", "rows", "weight", "h", "c", "dhidden"):
        assert torch.equal(getattr(window, name), getattr(same, name)), name


@needs_compiler
def test_tensors_that_lie_otherwise_in_memory_give_the_same() -> None:
    window, turned = Window(6, 32, num_rows=None), Window(6, 32, num_rows=None)
    for name in ("inputs", "rows", "weight", "h", "c", "dhidden"):
        value = getattr(window, name)
        setattr(turned, name, value.transpose(0, 1).contiguous().transpose(0, 1))
        assert not getattr(turned, name).is_contiguous()
    inputs, weight = turned.inputs.requires_grad_(), turned.weight.requires_grad_()
    hidden, (h, c) = kernel.lstm_layer(inputs, turned.rows, weight, turned.h, turned.c)
    hidden.backward(turned.dhidden)
    Result(hidden, h, c, inputs.grad, weight.grad).assert_same_bits(compiled(window, torch.float32))


# Numbers at the edge -------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("size", [30.0, 100.0, 1e4, 1e30])
def test_gates_far_out_reach_their_limits(dtype: torch.dtype, size: float) -> None:
    """With every gate open c grows by 1 a step; with forget and input gates shut it is 0; nothing overflows."""
    units = 16
    rows, weight, zeros = torch.zeros(3, 2, dtype=torch.int64), torch.zeros(4 * units, units), torch.zeros(2, units)
    for signs, cells in (((1, 1, 1, 1), 3.0), ((1, 1, -1, 1), -3.0), ((-1, -1, 1, 1), 0.0), ((1, -1, 1, 1), 1.0)):
        inputs = (torch.tensor(signs).repeat_interleave(units)[None] * size).to(dtype).requires_grad_()
        hidden, (h, c) = kernel.lstm_layer(inputs, rows, weight, zeros, zeros)
        torch.testing.assert_close(c, torch.full_like(c, cells), rtol=0, atol=1e-6)
        torch.testing.assert_close(
            h, torch.full_like(h, math.tanh(cells)), rtol=0, atol=1e-6 if dtype == torch.float32 else 1 / 512
        )
        hidden.backward(torch.ones_like(hidden))
        assert inputs.grad is not None
        assert inputs.grad.isfinite().all()
        assert inputs.grad.abs().max() < 1e-3, "a gate at its limit has no slope"


@needs_compiler
def test_the_squashing_functions_are_close_to_the_exact_ones_everywhere() -> None:
    """The output gate alone, from -90 to 90: c is held at a value whose tanh is 1, so h is the sigmoid itself."""
    units = 16
    points = torch.linspace(-90, 90, 64 * units).view(64, units)
    inputs = torch.zeros(64, 4 * units)
    inputs[:, units : 2 * units] = 60.0  # remembers
    inputs[:, 3 * units :] = points
    rows, weight = torch.arange(64).view(1, 64), torch.zeros(4 * units, units)
    hidden, _ = kernel.lstm_layer(inputs, rows, weight, torch.zeros(64, units), torch.full((64, units), 40.0))
    expected = points.double().sigmoid()
    within = points.abs() <= 60
    torch.testing.assert_close(hidden[0].double()[within], expected[within], rtol=1e-6, atol=1e-26)
    torch.testing.assert_close(hidden[0].double(), expected, rtol=1e-6, atol=1e-25)
    inputs[:, 2 * units : 3 * units], inputs[:, :units] = points / 8, 60.0
    _, (_, c) = kernel.lstm_layer(inputs, rows, weight, torch.zeros(64, units), torch.zeros(64, units))
    torch.testing.assert_close(c.double(), (points / 8).double().tanh(), rtol=1e-6, atol=2e-7)


@BOTH
@pytest.mark.parametrize("name", ["inputs", "weight", "h", "c"])
def test_what_is_no_number_stays_none_in_its_stream_or_everywhere_if_it_is_a_weight(
    dtype: torch.dtype, name: str
) -> None:
    window = Window(3, 16, num_rows=None)
    getattr(window, name).view(-1)[0] = math.nan
    result = compiled(window, dtype)
    hidden = result.tensors["hidden"]
    assert hidden[0, 0].isnan().any()
    assert hidden[:, 1:].isnan().any() == (name == "weight")
    assert result.tensors["dweight"].isnan().any()


# Where it is used ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 8, 15, 17, 40, 250])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sizes_that_are_no_multiple_of_16_are_not_for_it(dtype: torch.dtype, size: int) -> None:
    assert not kernel.is_available(dtype, size)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_other_numbers_are_not_for_it(dtype: torch.dtype) -> None:
    assert not kernel.is_available(dtype, 16)


@BOTH
def test_a_loss_of_the_last_character_alone_reaches_all_before_it(dtype: torch.dtype) -> None:
    """The gradient that arrives is spread over no memory of its own, as that of a sum is."""
    window = Window(4, 32, steps=9, num_rows=None)
    inputs = leaf(window.inputs, dtype)
    hidden, _ = kernel.lstm_layer(inputs, window.rows, window.weight, window.h, window.c)
    hidden[-1].sum().backward()
    assert inputs.grad is not None
    assert (inputs.grad.view(9, 4, -1).abs().amax(dim=(1, 2)) > 0).all()
    window.dhidden = torch.zeros(9, 4, 32)
    window.dhidden[-1] = 1.0
    assert torch.equal(inputs.grad, compiled(window, dtype).tensors["dinputs"])


@BOTH
def test_other_rows_of_the_table_get_no_gradient(dtype: torch.dtype) -> None:
    window = Window(6, 16, num_rows=40)
    window.rows = window.rows % 7
    found = compiled(window, dtype).tensors["dinputs"]
    assert not found[7:].any()
    assert found[:7].abs().amax(dim=1).min() > 0
