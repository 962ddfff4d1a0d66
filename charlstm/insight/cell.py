"""One step of an LSTM cell in numbers, and what goes wrong when it may not decide what to forget."""

import itertools
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from charlstm.insight.batched_holds import BatchedReader
from charlstm.insight.states import Trace
from charlstm.language_model import LanguageModel

CONTEXTS = (1, 2, 3, 5, 10, 20, 50, 100)  # characters after a state was exchanged


class CellStep(NamedTuple):
    """What a unit computes as it reads one character; cell = forget x old + input x candidate."""

    old: float
    forget: float
    input: float
    candidate: float
    cell: float
    output: float
    hidden: float  # output x tanh(cell)


def explain_step(
    trace: Trace, gates: dict[str, NDArray[np.float32]], at: int, layer: int, unit: int, forget: float | None = None
) -> CellStep:
    """Return the step of a unit at the token `at`; with `forget`, as if that were the value of its forget gate."""
    old = float(trace.cells[at - 1, layer, unit]) if at else 0.0
    values = {name: float(each[at, layer, unit]) for name, each in gates.items()}
    forget_gate = values["forget"] if forget is None else forget
    cell = forget_gate * old + values["input"] * values["candidate"]
    hidden = values["output"] * float(np.tanh(cell))
    return CellStep(old, forget_gate, values["input"], values["candidate"], cell, values["output"], hidden)


@torch.inference_mode()
def score_with_forget_gate(lm: LanguageModel, ids: NDArray[np.integer], forget: float | None) -> NDArray[np.float32]:
    """Return the surprise of each of `ids` (T,) after those before it, with every forget gate at `forget`, in nats.

    `None` leaves the gates to the network; the first character has none before it, and 0.
    """
    model, surprises = lm.model, np.zeros(len(ids), np.float32)
    h, c = (each[:, 0] for each in model.initial_state(1))
    table, tokens = model.input_gate_table(), np.asarray(ids).tolist()
    for at, token in enumerate(tokens[:-1]):
        below = table[token]
        for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
            inputs = functional.linear(below, weight_ih, bias_ih + bias_hh) if layer else below
            i, f, g, o = (inputs + functional.linear(h[layer], weight_hh)).chunk(4)
            forget_gate = f.sigmoid() if forget is None else torch.full_like(f, forget)
            input_gate = i.sigmoid()
            candidate = g.tanh()
            c[layer] = forget_gate * c[layer] + input_gate * candidate
            h[layer] = o.sigmoid() * c[layer].tanh()
            below = h[layer]
        surprises[at + 1] = -functional.log_softmax(model.head(below), 0)[tokens[at + 1]]
    return surprises


class Carried(NamedTuple):
    """Nats per character above normal, so many characters after a state was exchanged for that of another place."""

    contexts: tuple[int, ...]
    whole: tuple[float, ...]
    only_hidden: tuple[float, ...]
    only_cells: tuple[float, ...]


@torch.inference_mode()
def measure_carried_state(lm: LanguageModel, ids: NDArray[np.integer]) -> Carried:
    """Measure how long a foreign state disturbs: that of a place with the same last character, whole, only h, only c.

    `ids` (N,) must be 1,024 characters at least.
    """
    tokens = torch.from_numpy(np.asarray(ids, np.int64))
    places, donors = _choose_pairs(np.asarray(ids))
    own, other = (_states_at(lm, tokens, each) for each in (places, donors))
    rows = BatchedReader(lm.model, 4 * len(places))
    hidden, cells = (torch.stack([own[part], other[part]]) for part in (0, 1))
    rows.hidden = torch.cat([hidden[0], hidden[1], hidden[1], hidden[0]], 1)
    rows.cells = torch.cat([cells[0], cells[1], cells[0], cells[1]], 1)
    losses = []
    for step in range(CONTEXTS[-1]):
        targets = tokens[places + step + 1].repeat(4)
        losses.append(-rows.log_probabilities().cpu().gather(1, targets[:, None]).view(4, -1).mean(1))
        rows.read(targets)
    excess = torch.stack(losses).numpy()
    excess = excess[:, 1:] - excess[:, :1]
    edges = (0, *CONTEXTS)
    found = np.stack([excess[first:last].mean(0) for first, last in itertools.pairwise(edges)])
    columns = [tuple(round(float(each), 3) for each in column) for column in found.T]
    return Carried(CONTEXTS, *columns)


_PAIRS, _SEED = 96, 1
_LEAD_IN = 256  # characters read before a place: a state hardly depends on more


def _choose_pairs(ids: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return places, and for each another one with the same character."""
    generator = np.random.default_rng(_SEED)
    allowed = np.arange(_LEAD_IN, len(ids) - CONTEXTS[-1] - 1)
    places = generator.choice(allowed, _PAIRS)
    donors = []
    for place in places.tolist():
        same = allowed[ids[allowed] == ids[place]]
        same = same[np.abs(same - place) > CONTEXTS[-1]]
        donors.append(int(generator.choice(same if len(same) else allowed)))
    return places, np.array(donors)


def _states_at(lm: LanguageModel, tokens: torch.Tensor, places: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states after the characters at `places`, (L, B, H) each, h first."""
    rows = BatchedReader(lm.model, len(places))
    for back in range(_LEAD_IN - 1, -1, -1):
        rows.read(tokens[places - back])
    return rows.hidden, rows.cells
