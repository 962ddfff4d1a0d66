"""States of a network after each character of a text: exact for one text, and batched for many characters.

Shapes: T = characters of a text, N = characters of several stretches, B = streams, L = layers, H = hidden size,
V = vocabulary size.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charlstm.generation import engine
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.generation.stream import turns
from charlstm.insight.batched_holds import BatchedReader
from charlstm.kernel import decoder
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM, HeldUnits, evaluating

GATES = ("input", "forget", "candidate", "output")  # in the order in which `nn.LSTM` keeps their weights
_WINDOW = 64  # characters of each stream at once: bounds memory
_PIECE = 1024  # tokens
_AT_ONCE = 256  # places whose probabilities of all characters are in memory

Floats = NDArray[np.float32]


class State(NamedTuple):
    """What a network remembers and shows, after one token (L, H) or after each of some (T, L, H)."""

    cells: Floats
    hidden: Floats


@dataclass(frozen=True)
class Trace:
    """States after each character of a text, from the all-zero state."""

    ids: NDArray[np.int32]  # (T,)
    cells: Floats  # (T, L, H): what the network remembers after having read ids[t]
    hidden: Floats  # (T, L, H), -1 to 1: what it shows of that to the next step and to the output
    surprises: Floats  # (T,) nats of ids[t] after all before it; the first, before which nothing is, NaN

    def part(self, name: str) -> Floats:
        """Return the states named "cell" or "output", (T, L, H)."""
        return self.cells if name == "cell" else self.hidden

    def state(self, at: int) -> State:
        """Return the state after token number `at`."""
        return State(self.cells[at], self.hidden[at])

    def gates(self, lm: LanguageModel) -> dict[str, Floats]:
        """Compute what each gate was, by name (T, L, H); "candidate" is -1 to 1, the others 0 to 1.

        cells[t] = forget[t] x cells[t - 1] + input[t] x candidate[t], hidden[t] = output[t] x tanh(cells[t]), but
        where a unit is held.
        """
        hidden = torch.from_numpy(self.hidden).to(lm.model.device)
        before = torch.cat([torch.zeros_like(hidden[:1]), hidden[:-1]])
        ids = torch.from_numpy(self.ids).long().to(lm.model.device)
        return {name: gate.cpu().numpy() for name, gate in compute_gates(lm.model, ids, before, hidden).items()}


def compute_gates(
    model: CharLSTM, ids: Tensor, before: Tensor, hidden: Tensor, names: Sequence[str] = GATES
) -> dict[str, Tensor]:
    """Compute the gates by name (N, L, H) at steps that read ids (N,), from the outputs (N, L, H) before and after."""
    with evaluating(model):
        sums = []
        for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
            if layer:
                below = functional.linear(hidden[:, layer - 1], weight_ih, bias_ih + bias_hh)
            else:
                below = model.input_gate_table()[ids]
            gates = zip(GATES, below.chunk(4, dim=1), weight_hh.chunk(4), strict=True)
            sums.append({name: part + before[:, layer] @ weight.t() for name, part, weight in gates if name in names})
        return {
            name: torch.stack([each[name].tanh() if name == "candidate" else each[name].sigmoid() for each in sums], 1)
            for name in names
        }


def trace(
    lm: LanguageModel,
    ids: NDArray[np.integer],
    holds: Sequence[Hold] = (),
    is_exact: bool = True,
    known: Trace | None = None,
) -> Trace:
    """Read `ids` (T,) one after another from the all-zero state, and keep every state.

    Units in `holds` are held after each of them. The arithmetic is float32 or, unless `is_exact`, what a text is
    written with at a temperature above 0, which may be weights of 8 bits: a quarter of the time at 1 x 768. By the
    compiled steps where this machine has them, else by PyTorch. `known` is a trace of the same kind of a text with the
    same beginning, which is not read again. Raises `ConfigError` for units that the model lacks.
    """
    tokens = np.ascontiguousarray(ids, np.int32)
    held, shape = resolve_holds(holds, lm.model.config), (lm.model.config.num_layers, lm.model.config.hidden_size)
    if not len(tokens):
        empty = np.empty((0, *shape), np.float32)
        return Trace(tokens, empty, empty, np.empty(0, np.float32))
    begin = count_shared(tokens, known.ids) if known else 0
    read = _start_reading(lm.model, tokens[:1], held, is_exact, known.state(begin - 1) if known and begin else None)
    cells, hidden = read(tokens[begin:])
    if known and begin:
        cells, hidden = np.concatenate([known.cells[:begin], cells]), np.concatenate([known.hidden[:begin], hidden])
    return Trace(tokens, cells, hidden, _surprises(lm.model, tokens, hidden[:, -1]))


def iterate_trace(lm: LanguageModel, ids: NDArray[np.integer]) -> Iterator[Trace]:
    """Read `ids` (T,), T at least 1, as `trace` does; yield the states a piece at a time, which bounds memory.

    Each piece is read in a turn of its own, so that who writes does so between them.
    """
    tokens, last = np.ascontiguousarray(ids, np.int32), None
    read = _start_reading(lm.model, tokens[:1], {}, True, None)
    for begin in range(0, len(tokens), _PIECE):
        piece = tokens[begin : begin + _PIECE]
        with turns:
            cells, hidden = read(piece)
            tops = hidden[:, -1] if last is None else np.concatenate([last, hidden[:, -1]])
            surprises = _surprises(lm.model, tokens[max(0, begin - 1) : begin + _PIECE], tops)[-len(piece) :]
        last = tops[-1:]
        yield Trace(piece, cells, hidden, surprises)


def _start_reading(
    model: CharLSTM,
    first: NDArray[np.int32],
    held: Mapping[tuple[int, int], float],
    is_exact: bool,
    state: State | None,
) -> Callable[[NDArray[np.int32]], State]:
    """Return a function that reads on from `state` and returns cells and outputs after each token, (T, L, H) each."""
    config = model.config
    if model.device.type == "cpu" and decoder.is_available(model.vocab_size, config.hidden_size, config.num_layers):
        text = decoder.DecoderState.after(engine.pack_weights(model, False if is_exact else None), first, 1, held)
        if state:
            text.put(*state)
        return lambda ids: State(*(each[0] for each in text.record(ids[None])))
    h, c = model.initial_state(1)
    if state:
        c[:, 0], h[:, 0] = (torch.from_numpy(each).to(c) for each in state)
    tensors = engine.place_held_units(model, held)
    return lambda ids: _read_by_torch(model, ids, tensors, h, c)


def count_shared(first: NDArray[np.int32], second: NDArray[np.int32]) -> int:
    """Return how many characters at the beginning are the same."""
    length = min(len(first), len(second))
    differs = np.flatnonzero(first[:length] != second[:length])
    return int(differs[0]) if len(differs) else length


@torch.inference_mode()
def _read_by_torch(model: CharLSTM, ids: NDArray[np.int32], held: HeldUnits, h: Tensor, c: Tensor) -> State:
    """Read on from the states h and c, (L, 1, H), which become those after the last token."""
    cells = c.new_empty(len(ids), *c[:, 0].shape)
    hidden = torch.empty_like(cells)
    for at, token in enumerate(torch.from_numpy(ids.astype(np.int64)).to(model.device)):
        _, (new_h, new_c) = model.step(token[None], (h, c), held)
        h.copy_(new_h)
        c.copy_(new_c)
        cells[at], hidden[at] = c[:, 0], h[:, 0]
    return State(cells.cpu().numpy(), hidden.cpu().numpy())


@torch.inference_mode()
def _surprises(model: CharLSTM, ids: NDArray[np.int32], hidden: Floats) -> Floats:
    """Return the nats of each of `ids` (T,) after the states (T, H) of the last layer, the first one NaN."""
    found = np.full(len(ids), np.nan, np.float32)
    read, targets = torch.from_numpy(np.ascontiguousarray(hidden)), torch.from_numpy(ids.astype(np.int64))
    for begin in range(0, len(ids) - 1, _AT_ONCE):
        end = min(begin + _AT_ONCE, len(ids) - 1)
        logits = model.head(read[begin:end].to(model.device))
        nats = functional.cross_entropy(logits, targets[begin + 1 : end + 1].to(model.device), reduction="none")
        found[begin + 1 : end + 1] = nats.cpu().numpy()
    return found


class Streams(NamedTuple):
    """States after characters of a text, in no other order than `places` says."""

    cells: NDArray[np.floating]  # (N, L, H)
    hidden: NDArray[np.floating]  # (N, L, H)
    places: NDArray[np.int64]  # (N,): of the characters that were read last

    def part(self, name: str) -> NDArray[np.floating]:
        """Return the states named "cell" or "output", (N, L, H)."""
        return self.cells if name == "cell" else self.hidden


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
    than that. The arithmetic is that of `BatchedReader`: products in bfloat16 where this machine multiplies it.
    """
    model, ids = lm.model, np.asarray(ids, np.int64)
    num_streams = max(1, min(num_streams, len(ids) // max(1, burn_in)))
    length = -(-len(ids) // num_streams)
    starts = np.arange(num_streams) * length
    rows = BatchedReader(model, num_streams)
    begin = -burn_in if num_streams > 1 else 0
    while begin < length:
        end = min(begin + window, length if begin >= 0 else 0)
        if begin == 0:  # what the first stream has read so far stands nowhere
            rows.cells[:, 0], rows.hidden[:, 0] = 0.0, 0.0
        places = starts + np.arange(begin, end)[:, None]
        cells, hidden = _read(rows, torch.from_numpy(ids[places.clip(0, len(ids) - 1)]).to(model.device))
        if begin >= 0:
            is_text = places < len(ids)
            yield Streams(cells[is_text], hidden[is_text], places[is_text])
        begin = end


def _read(rows: BatchedReader, tokens: Tensor) -> tuple[Floats, Floats]:
    """Read tokens (T, B) int64; return cells and hidden states (T, B, L, H) after each."""
    cells, hidden = (each.transpose(1, 2).float().contiguous().cpu().numpy() for each in rows.read_all(tokens))
    return cells, hidden
