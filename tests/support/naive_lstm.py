"""A window of an LSTM layer, and the loop over gates in double precision that kernels are checked against.

Shapes: T = time, B = batch, H = hidden size, N = rows of the table.
"""

import math
from collections.abc import Callable

import torch
from kernel_marks import named
from torch import Tensor

STEPS = 7


class Window:
    """One window's inputs, and what a loss asks of its hidden states."""

    def __init__(self, batch: int, size: int, steps: int = STEPS, num_rows: int | None = 5, seed: int = 0) -> None:
        """`num_rows` rows in a table; `None` for a row of its own for every place."""
        torch.manual_seed(seed)
        places = steps * batch
        self.inputs = torch.randn(num_rows or places, 4 * size)
        self.rows = torch.arange(places).view(steps, batch)
        if num_rows:
            self.rows = torch.randint(num_rows, (steps, batch))
        self.weight = torch.randn(4 * size, size) / math.sqrt(size)
        self.h, self.c = torch.randn(batch, size).tanh(), torch.randn(batch, size)
        self.dhidden = torch.randn(steps, batch, size)

    def parts(self, streams: list[int]) -> "Window":
        """The same window with some of its streams only."""
        one = object.__new__(Window)
        one.inputs, one.weight = self.inputs, self.weight
        one.rows, one.dhidden = self.rows[:, streams], self.dhidden[:, streams]
        one.h, one.c = self.h[streams], self.c[streams]
        return one


def leaf(value: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """A copy that gathers a gradient."""
    return value.detach().to(dtype, copy=True).requires_grad_()


class Result:
    """Hidden states, the last state, and the gradients of inputs and recurrent weights."""

    def __init__(self, hidden: Tensor, h: Tensor, c: Tensor, dinputs: Tensor, dweight: Tensor) -> None:
        self.tensors = {"hidden": hidden.detach(), "h": h, "c": c, "dinputs": dinputs, "dweight": dweight}

    def assert_close(self, other: "Result", values: float, gradients: float) -> None:
        """Each number is within that of the largest of its tensor, and of itself."""
        for name, expected in other.tensors.items():
            tolerance = gradients if name.startswith("d") else values
            found, atol = self.tensors[name].double(), tolerance * expected.abs().max().item()
            torch.testing.assert_close(found, expected.double(), rtol=tolerance, atol=atol, msg=named(name))

    def assert_same_bits(self, other: "Result") -> None:
        for name, expected in other.tensors.items():
            assert torch.equal(self.tensors[name], expected), name


class _Rounded(torch.autograd.Function):
    """To bfloat16 and back; its gradient is as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.to(torch.bfloat16).to(value.dtype)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


def naive(window: Window, dtype: torch.dtype) -> Result:
    """A stream at a time, a gate at a time, in double precision; for bfloat16 weights, inputs and h are rounded."""
    round_to: Callable[[Tensor], Tensor] = _Rounded.apply if dtype == torch.bfloat16 else (lambda value: value)
    inputs, weight = leaf(window.inputs, torch.float64), leaf(window.weight, torch.float64)
    table, matrix = round_to(inputs), round_to(weight)
    size = matrix.shape[1]
    streams, last_h, last_c = [], [], []
    for stream in range(window.rows.shape[1]):
        h, c, hidden = round_to(window.h[stream].double()), window.c[stream].double(), []
        for row in window.rows[:, stream].tolist():
            i, f, g, o = ((matrix @ h + table[row])[gate * size : (gate + 1) * size] for gate in range(4))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = round_to(o.sigmoid() * c.tanh())
            hidden.append(h)
        streams.append(torch.stack(hidden))
        last_h.append(h.detach())
        last_c.append(c.detach())
    hidden = torch.stack(streams, dim=1)
    hidden.backward(round_to(window.dhidden.double()))
    assert inputs.grad is not None
    assert weight.grad is not None
    return Result(hidden, torch.stack(last_h), torch.stack(last_c), inputs.grad, weight.grad)
