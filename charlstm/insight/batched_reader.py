"""Many short texts read side by side, one row each, in each of which another unit may be held.

Shapes: B = rows, T = characters, L = layers, H = hidden size, V = vocabulary size.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charlstm.generation.holds import Hold
from charlstm.model import CharLSTM, evaluating


@lru_cache(maxsize=1)
def _multiplies_bfloat16() -> bool:
    """Tell whether products of bfloat16 matrices are computed by the processor's own instructions."""
    is_built = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(is_built and torch.ops.mkldnn._is_mkldnn_bf16_supported())


class BatchedReader:
    """States of B rows of one model.

    Matrix products are bfloat16 where the processor multiplies it, all else float32: on a processor with AMX *measured*
    at four times the speed, at 128 rows of 1 x 768.
    """

    def __init__(self, model: CharLSTM, num_rows: int, holds: Sequence[Sequence[Hold]] = ()) -> None:
        """Begin with all-zero states. Each of `holds` is what is held in equally many rows, neighbours."""
        self._model, config = model, model.config
        self.blank = model.vocab_size  # reads as the average of all characters
        is_fast = model.device.type == "cpu" and _multiplies_bfloat16() and config.hidden_size >= 64
        self._dtype = torch.bfloat16 if is_fast else torch.float32
        with evaluating(model):
            table = model.input_gate_table()
            self._table = torch.cat([table, table.mean(0, keepdim=True)])  # the last row is of `blank`
            self._weights = []
            for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
                weight = torch.cat([weight_ih, weight_hh], 1) if layer else weight_hh
                self._weights.append((weight.to(self._dtype).t(), (bias_ih + bias_hh) if layer else None))
            self._head = model.head.weight.to(self._dtype).t(), model.head.bias.clone()
        shape = (config.num_layers, num_rows, config.hidden_size)
        self.hidden = torch.zeros(shape, device=model.device)
        self.cells = torch.zeros(shape, device=model.device)
        # The same memory at each step: fresh pages cost as much as the arithmetic.
        self._gates = torch.empty(num_rows, 4 * config.hidden_size, device=model.device)
        self._products = torch.empty_like(self._gates, dtype=self._dtype)
        self._forgets, self._num_read = self.cells.new_zeros(config.num_layers, config.hidden_size), 0
        self._held = [self._held_in(layer, num_rows, holds) for layer in range(config.num_layers)]

    def _held_in(
        self, layer: int, num_rows: int, holds: Sequence[Sequence[Hold]]
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return rows, units and values of what is held in a layer."""
        each = num_rows // max(1, len(holds))
        rows = [(row, hold) for at, held in enumerate(holds) for hold in held if hold.layer == layer
                for row in range(at * each, (at + 1) * each)]  # fmt: skip
        if not rows:
            return None
        device = self._model.device
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
        size, gates = self._model.config.hidden_size, self._gates
        self._num_read += 1
        for layer, (weight, bias) in enumerate(self._weights):
            hidden = self.hidden[layer]
            if bias is None:
                torch.index_select(self._table, 0, tokens, out=gates)
            else:
                gates.copy_(bias.expand_as(gates))
                hidden = torch.cat([self.hidden[layer - 1], hidden], 1)
            gates += torch.mm(hidden.to(self._dtype), weight, out=self._products)
            remember, candidate, output = gates[:, : 2 * size], gates[:, 2 * size : 3 * size], gates[:, 3 * size :]
            remember.sigmoid_()
            output.sigmoid_()
            cells, held = self.cells[layer], self._held[layer]
            self._forgets[layer] += remember[:, size:].mean(0)
            cells *= remember[:, size:]
            cells.addcmul_(remember[:, :size], candidate.tanh_())
            if held is not None:
                cells[held[0], held[1]] = held[2]
            torch.tanh(cells, out=self.hidden[layer]).mul_(output)

    def mean_forget_gates(self) -> NDArray[np.float32]:
        """Return the mean forget gate of each unit over all that was read, (L, H)."""
        return (self._forgets / max(1, self._num_read)).cpu().numpy()

    @torch.inference_mode()
    def log_probabilities(self) -> Tensor:
        """Return those of the next character, (B, V)."""
        weight, bias = self._head
        return functional.log_softmax((self.hidden[-1].to(self._dtype) @ weight).float() + bias, dim=1)
