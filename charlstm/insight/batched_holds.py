"""Many short texts read side by side, one row each, in each of which another unit may be held.

Shapes: B = rows, T = characters, L = layers, H = hidden size, V = vocabulary size.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from charlstm.generation.holds import Hold
from charlstm.kernel import lstm as compiled
from charlstm.model import CharLSTM, evaluating

_WINDOW = 32  # steps that are read at once: states of all of them are in memory
_FEWEST_UNITS = 64  # of a layer, for which products of bfloat16 are worth their rounding


@lru_cache(maxsize=1)
def _multiplies_bfloat16() -> bool:
    """Tell whether products of bfloat16 matrices are computed by the processor's own instructions."""
    is_built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(is_built and torch.ops.mkldnn._is_mkldnn_bf16_supported())


@lru_cache(maxsize=1)
def _has_tiles() -> bool:
    """Tell whether the processor multiplies whole tiles of matrices (AMX), which PyTorch's library does."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


class _Layer(NamedTuple):
    """Weights of a layer; those of the inputs of the first one are in the table.

    The compiled step takes the recurrent ones as they are, and packed, and `weight` (H, 4H) is of the inputs alone.
    """

    weight: Tensor  # turned, (H, 4H) or, above the first layer, (2H, 4H): that of the layer below first
    bias: Tensor | None  # (4H,), above the first layer
    recurrent: Tensor  # (4H, H)
    packed: Tensor | None


class RowWeights:
    """Weights of a network as rows are read with; readers may share them.

    Matrix products are bfloat16 where the processor multiplies it, their sums float32; in the compiled step what enters
    the gates and the outputs are rounded to bfloat16, too. On a processor with AMX *measured*
    at four times the speed, at 128 rows of 1 x 768. Without AMX, but with AVX512-BF16, the compiled step takes half to
    three quarters of PyTorch's time at 25 to 768 rows.
    """

    def __init__(self, model: CharLSTM) -> None:
        self.model, size = model, model.config.hidden_size
        is_fast = model.device.type == "cpu" and _multiplies_bfloat16() and size >= _FEWEST_UNITS
        self.dtype = torch.bfloat16 if is_fast else torch.float32
        self.is_compiled = is_fast and not _has_tiles() and compiled.is_available(self.dtype, size)
        with evaluating(model):
            table = model.input_gate_table()
            table = torch.cat([table, table.mean(0, keepdim=True)])  # the last row is of `blank`
            self.table = table.to(self.dtype) if self.is_compiled else table
            self.layers = [self._layer(*each) for each in model.lstm.all_weights]
            self.head = model.head.weight.to(self.dtype).t(), model.head.bias.clone()

    def _layer(self, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> _Layer:
        is_first = weight_ih is self.model.lstm.all_weights[0][0]
        bias = None if is_first else bias_ih + bias_hh
        if self.is_compiled:
            recurrent = weight_hh.detach().contiguous()
            packed = compiled.pack_recurrent(recurrent, torch.empty(recurrent.numel(), dtype=self.dtype))
            return _Layer(weight_ih.to(self.dtype).t(), bias, recurrent, packed)
        weight = weight_hh if is_first else torch.cat([weight_ih, weight_hh], 1)
        return _Layer(weight.to(self.dtype).t(), bias, weight_hh, None)


class BatchedReader:
    """States of B rows of one network."""

    def __init__(self, network: CharLSTM | RowWeights, num_rows: int, holds: Sequence[Sequence[Hold]] = ()) -> None:
        """Begin with all-zero states. Each of `holds` is what is held in equally many rows, neighbours."""
        weights = self._weights = network if isinstance(network, RowWeights) else RowWeights(network)
        model = weights.model
        self.blank = model.vocab_size  # reads as the average of all characters
        config = model.config
        shape = (config.num_layers, num_rows, config.hidden_size)
        self.hidden = torch.zeros(shape, device=model.device)
        self.cells = torch.zeros(shape, device=model.device)
        # The same memory at each step: fresh pages cost as much as the arithmetic.
        self._memory = compiled.Workspace()
        self._gates = self._products = self.hidden.new_empty(0)
        if not weights.is_compiled:
            self._gates = self.hidden.new_empty(num_rows, 4 * config.hidden_size)
            self._products = torch.empty_like(self._gates, dtype=weights.dtype)
        self._held = [self._find_held(layer, num_rows, holds) for layer in range(config.num_layers)]

    def _find_held(
        self, layer: int, num_rows: int, holds: Sequence[Sequence[Hold]]
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return rows, units and values of what is held in a layer."""
        each = num_rows // max(1, len(holds))
        rows = [(row, hold) for at, held in enumerate(holds) for hold in held if hold.layer == layer
                for row in range(at * each, (at + 1) * each)]  # fmt: skip
        if not rows:
            return None
        device = self.hidden.device
        return (
            torch.tensor([row for row, _ in rows], device=device),
            torch.tensor([hold.unit for _, hold in rows], device=device),
            torch.tensor([hold.value for _, hold in rows], device=device),
        )

    def begin_with(self, hidden: Tensor, cells: Tensor) -> None:
        """Give each of equally many neighbouring rows the states (L, P, H), P dividing B, over and over."""
        times = self.hidden.shape[1] // hidden.shape[1]
        self.hidden, self.cells = hidden.repeat(1, times, 1), cells.repeat(1, times, 1)
        with torch.inference_mode():
            self._hold_at_start()

    def _hold_at_start(self) -> None:
        """Hold before anything is read: outputs follow as if the output gates had stayed as they are."""
        for layer, held in enumerate(self._held):
            if held is not None:
                rows, units, values = held
                before = self.cells[layer, rows, units].tanh()
                small = before.abs() < 1e-3
                gate = torch.where(small, 0.5, self.hidden[layer, rows, units] / torch.where(small, 1.0, before))
                self.cells[layer, rows, units] = values
                self.hidden[layer, rows, units] = gate.clamp(0, 1) * values.tanh()

    @torch.inference_mode()
    def read(self, tokens: Tensor) -> None:
        """Read one character in each row, tokens (B,) int64, each a character's or `blank`."""
        if self._weights.is_compiled:
            self._run(tokens[None])
        else:
            self._step(tokens)

    @torch.inference_mode()
    def read_all(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Read tokens (T, B) int64; return cells and outputs after each, (T, L, B, H)."""
        weights, shape = self._weights, (len(tokens), *self.cells.shape)
        is_free = weights.is_compiled and all(held is None for held in self._held)
        cells = self.cells.new_empty(shape)
        hidden = self.hidden.new_empty(shape, dtype=weights.dtype if is_free else torch.float32)
        if is_free:
            self._run(tokens, (cells, hidden))
        else:
            for at, step in enumerate(tokens):
                self.read(step)
                cells[at], hidden[at] = self.cells, self.hidden
        return cells, hidden

    @torch.inference_mode()
    def advance(self, tokens: Tensor) -> None:
        """Read tokens (T, B) int64, and keep the states after the last ones alone."""
        is_free = self._weights.is_compiled and all(held is None for held in self._held)
        for piece in torch.split(tokens, _WINDOW):
            if is_free:
                self._run(piece)
            else:
                for step in piece:
                    self.read(step)

    def _run(self, tokens: Tensor, states: tuple[Tensor, Tensor] | None = None) -> None:
        """Read tokens (T, B), T = 1 where something is held; put the states after each, (T, L, B, H), in `states`."""
        weights, size, below = self._weights, self.cells.shape[2], None
        for layer, (weight_ih, bias, recurrent, packed) in enumerate(weights.layers):
            inputs, rows = weights.table, tokens
            if below is not None:
                inputs, rows = below.flatten(0, 1) @ weight_ih, torch.arange(tokens.numel()).view_as(tokens)
            held = self._held[layer]
            found = compiled.forward(
                inputs, rows, recurrent, self.hidden[layer], self.cells[layer], self._memory,
                is_kept=held is not None, bias=bias, packed=packed,
            )  # fmt: skip
            if held is not None and found.gates is not None:
                at, units, values = held
                output = found.gates[0, at, 3 * size + units].float()
                found.c[1, at, units], found.h[1, at, units] = values, (output * values.tanh()).to(found.h.dtype)
            self.cells[layer], self.hidden[layer], below = found.c[-1], found.h[-1], found.h[1:]
            if states:
                states[0][:, layer], states[1][:, layer] = found.c[1:], found.h[1:]

    def _step(self, tokens: Tensor) -> None:
        weights, gates, size = self._weights, self._gates, self.cells.shape[2]
        for layer, (weight, bias, *_) in enumerate(weights.layers):
            hidden = self.hidden[layer]
            if bias is None:
                torch.index_select(weights.table, 0, tokens, out=gates)
            else:
                gates.copy_(bias.expand_as(gates))
                hidden = torch.cat([self.hidden[layer - 1], hidden], 1)
            gates += torch.mm(hidden.to(weights.dtype), weight, out=self._products)
            remember, candidate, output = gates[:, : 2 * size], gates[:, 2 * size : 3 * size], gates[:, 3 * size :]
            remember.sigmoid_()
            output.sigmoid_()
            cells, held = self.cells[layer], self._held[layer]
            cells *= remember[:, size:]
            cells.addcmul_(remember[:, :size], candidate.tanh_())
            if held is not None:
                cells[held[0], held[1]] = held[2]
            torch.tanh(cells, out=self.hidden[layer]).mul_(output)

    @torch.inference_mode()
    def log_probabilities(self) -> Tensor:
        """Return those of the next character, (B, V)."""
        weight, bias = self._weights.head
        return functional.log_softmax((self.hidden[-1].to(self._weights.dtype) @ weight).float() + bias, dim=1)
