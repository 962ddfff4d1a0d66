"""States of a network after each character of a text: exact for one text, and batched for many characters.

Shapes: T = characters of a text, N = characters of several stretches, B = streams, L = layers, H = hidden size,
V = vocabulary size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charlstm.generation import engine
from charlstm.generation.holds import Hold, held_cells
from charlstm.kernel import decoder
from charlstm.kernel import lstm as kernel
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM, HeldUnits, evaluating

GATES = ("input", "forget", "candidate", "output")  # in the order in which `nn.LSTM` keeps their weights
_WINDOW = 64  # characters of each stream at once: bounds memory

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """States after each character of a text, from the all-zero state."""

    ids: NDArray[np.int32]  # (T,)
    cells: Floats  # (T, L, H): what the network remembers after having read ids[t]
    hidden: Floats  # (T, L, H), -1 to 1: what it shows of that to the next step and to the output
    surprises: Floats  # (T,) nats of ids[t] after all before it; the first, before which nothing is, NaN

    def gates(self, lm: LanguageModel) -> dict[str, Floats]:
        """Compute what each gate was, by name (T, L, H); "candidate" is -1 to 1, the others 0 to 1.

        cells[t] = forget[t] x cells[t - 1] + input[t] x candidate[t], hidden[t] = output[t] x tanh(cells[t]), but
        where a unit is held.
        """
        with evaluating(lm.model):
            hidden = torch.from_numpy(self.hidden)
            before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
            sums = []
            for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(lm.model.lstm.all_weights):
                if layer:
                    inputs = functional.linear(hidden[:, layer - 1], weight_ih.cpu(), (bias_ih + bias_hh).cpu())
                else:
                    inputs = lm.model.input_gate_table().cpu()[torch.from_numpy(self.ids).long()]
                sums.append((inputs + before[:, layer] @ weight_hh.cpu().t()).chunk(4, dim=1))
            return {
                name: torch.stack(
                    [each[at].tanh() if name == "candidate" else each[at].sigmoid() for each in sums], 1
                ).numpy()
                for at, name in enumerate(GATES)
            }


@torch.inference_mode()
def trace(lm: LanguageModel, ids: NDArray[np.integer], holds: Sequence[Hold] = (), is_exact: bool = True) -> Trace:
    """Read `ids` (T,) one after another from the all-zero state, and keep every state.

    Units in `holds` are held after each of them. The arithmetic is float32 or, unless `is_exact`, what a text is
    written with at a temperature above 0, which may be weights of 8 bits: a quarter of the time at 1 x 768. By the
    compiled steps where this machine has them, else by PyTorch. Raises `ConfigError` for units that the model lacks.
    """
    model, tokens = lm.model, np.ascontiguousarray(ids, np.int32)
    config = model.config
    held = held_cells(holds, config)
    if not len(tokens):
        empty = np.empty((0, config.num_layers, config.hidden_size), np.float32)
        return Trace(tokens, empty, empty, np.empty(0, np.float32))
    can = decoder.is_available(model.vocab_size, config.hidden_size, config.num_layers)
    if model.device.type == "cpu" and can:
        network = engine.packed_weights(model, False if is_exact else None)
        text = decoder.DecoderState.after(network, tokens[:1], 1, held)
        read_all = np.append(tokens[1:], tokens[:1])[None]  # a character more, so that the last is read
        followed, states = text.trace(read_all)
        cells, hidden, surprises = states.cells[0], states.hidden[0], followed.surprises[0, :-1]
    else:
        cells, hidden, surprises = _trace_by_torch(model, tokens, engine.held_tensors(model, held))
    return Trace(tokens, cells, hidden, np.concatenate([np.full(1, np.nan, np.float32), surprises]))


def _trace_by_torch(model: CharLSTM, ids: NDArray[np.int32], held: HeldUnits) -> tuple[Floats, Floats, Floats]:
    cells, hidden, logits = [], [], []
    state = model.initial_state(1)
    for token in torch.from_numpy(ids.astype(np.int64)).to(model.device):
        scores, state = model.step(token[None], state, held)
        hidden.append(state[0][:, 0])
        cells.append(state[1][:, 0])
        logits.append(scores[0])
    targets = torch.from_numpy(ids[1:].astype(np.int64)).to(model.device)
    surprises = functional.cross_entropy(torch.stack(logits)[:-1], targets, reduction="none")
    return torch.stack(cells).cpu().numpy(), torch.stack(hidden).cpu().numpy(), surprises.cpu().numpy()


class Streams(NamedTuple):
    """States after characters of a text, in no other order than `places` says."""

    cells: NDArray[np.floating]  # (N, L, H)
    hidden: NDArray[np.floating]  # (N, L, H)
    places: NDArray[np.int64]  # (N,): of the characters that were read last


def read_streams(
    lm: LanguageModel,
    ids: NDArray[np.integer],
    num_streams: int = 128,
    burn_in: int = 256,
    dtype: type[np.floating] = np.float16,
) -> Streams:
    """Read `ids` (N,) as streams side by side and keep the states after each, in the order of the text.

    See `iterate_streams`. Both arrays together take 4 x N x L x H bytes as float16: for a lot of text take the windows
    one by one.
    """
    config = lm.model.config
    shape = (len(ids), config.num_layers, config.hidden_size)
    cells, hidden = np.empty(shape, dtype), np.empty(shape, dtype)
    for window in iterate_streams(lm, ids, num_streams, burn_in):
        cells[window.places], hidden[window.places] = window.cells, window.hidden
    return Streams(cells, hidden, np.arange(len(ids)))


def iterate_streams(
    lm: LanguageModel, ids: NDArray[np.integer], num_streams: int = 128, burn_in: int = 256, window: int = _WINDOW
) -> Iterator[Streams]:
    """Read `ids` (N,) as streams side by side; yield the states after `window` characters of each at a time, float32.

    A stream is a stretch of the text, and begins to read `burn_in` characters before it (the first has none before it),
    so that its states hardly differ from those of one stream. There are fewer streams where a stretch would be shorter
    than that. The arithmetic is bfloat16 where this machine multiplies it, sums and cell states float32.
    """
    model, ids = lm.model, np.asarray(ids, np.int64)
    num_streams = max(1, min(num_streams, len(ids) // max(1, burn_in)))
    length = -(-len(ids) // num_streams)
    starts = np.arange(num_streams) * length
    reader = _Reader(model, num_streams)
    begin = -burn_in if num_streams > 1 else 0
    while begin < length:
        end = min(begin + window, length if begin >= 0 else 0)
        if begin == 0:
            reader.forget(0)  # what it has read so far stands nowhere
        places = starts + np.arange(begin, end)[:, None]
        cells, hidden = reader.read(torch.from_numpy(ids[places.clip(0, len(ids) - 1)]))
        if begin >= 0:
            is_text = places < len(ids)
            yield Streams(cells[is_text], hidden[is_text], places[is_text])
        begin = end


class _Reader:
    """Streams of a model that are read side by side, window by window."""

    def __init__(self, model: CharLSTM, num_streams: int) -> None:
        self._model, self._state = model, model.initial_state(num_streams)
        types = (torch.bfloat16, torch.float32)
        self._dtype = next((each for each in types if model.is_fused(num_streams, each)), None)
        self._memory = kernel.Workspace()
        if self._dtype is not None:
            with evaluating(model):
                self._table = model.input_gate_table().to(self._dtype)

    def forget(self, stream: int) -> None:
        """Put a stream into the all-zero state."""
        self._state = (self._state[0].clone(), self._state[1].clone())
        for each in self._state:
            each[:, stream] = 0.0

    def read(self, tokens: Tensor) -> tuple[Floats, Floats]:
        """Read tokens (T, B) int64; return cells and hidden states (T, B, L, H) after each."""
        shape = (*tokens.shape, self._model.config.num_layers, self._model.config.hidden_size)
        cells, hidden = np.empty(shape, np.float32), np.empty(shape, np.float32)
        with evaluating(self._model):
            if self._dtype is None:
                self._read_by_steps(tokens, torch.from_numpy(cells), torch.from_numpy(hidden))
            else:
                self._read_fused(tokens, torch.from_numpy(cells), torch.from_numpy(hidden), self._dtype)
        return cells, hidden

    def _read_fused(self, tokens: Tensor, cells: Tensor, hidden: Tensor, dtype: torch.dtype) -> None:
        inputs, rows, last = self._table, tokens, []
        for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(self._model.lstm.all_weights):
            if layer:
                below = hidden[:, :, layer - 1].to(dtype)
                inputs = functional.linear(below, weight_ih.to(dtype), (bias_ih + bias_hh).to(dtype)).flatten(0, 1)
                rows = torch.arange(rows.numel()).view(rows.shape)
            h, c = (each[layer] for each in self._state)
            read = kernel.forward(inputs, rows, weight_hh, h, c, self._memory, is_kept=False)
            cells[:, :, layer], hidden[:, :, layer] = read.c[1:], read.h[1:]
            last.append((hidden[-1, :, layer].clone(), cells[-1, :, layer].clone()))
        self._state = (torch.stack([h for h, _ in last]), torch.stack([c for _, c in last]))

    def _read_by_steps(self, tokens: Tensor, cells: Tensor, hidden: Tensor) -> None:
        for at, step in enumerate(tokens.to(self._model.device)):
            _, self._state = self._model.step(step, self._state)
            hidden[at], cells[at] = (each.transpose(0, 1).cpu() for each in self._state)
