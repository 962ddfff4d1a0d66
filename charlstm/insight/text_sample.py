"""A sample of a text: places spread over it, which properties hold there, and what every unit of a network is there.

Shapes: N = places, T = characters of each piece, B = pieces, L = layers, H = hidden size, F = properties,
C = 2 x L x H channels, all cell states before all outputs.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.errors import ConfigError
from charlstm.insight.batched_holds import BatchedReader
from charlstm.insight.properties import Properties, find_properties
from charlstm.insight.scores import Codes, Coding, count_stretches
from charlstm.insight.states import compute_gates
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import code_points

MOST_CHARACTERS = 262_144  # of the text that pieces are taken from
PLACES, THOROUGH = 32_768, 65_536  # looked at: while somebody waits, and where nobody does
_PIECES = 256  # that they come in, side by side
_MOST_NUMBERS = 1 << 27  # places x channels, a byte each
_LEAD_IN = 160  # characters read before a piece
_FEWEST_STRETCHES = 30  # of a property, in each half
_FEWEST_PLACES = 4096
_SAME = 0.95  # share of places of two properties that are both's: the second one then says nothing new
_PRIOR = 50.0  # places: how much the usual share of a token counts beside those of a property
_AT_ONCE = 16  # characters of each piece
_GATES_EVERY = 4  # characters of each piece: what the forget gates are is looked at in one of so many


@dataclass(frozen=True)
class Sample:
    """Places of a text: pieces spread over it evenly, in its order, and the properties that are common enough there."""

    ids: NDArray[np.int64]  # of the whole text
    characters: NDArray[np.int64]  # code points of the whole text
    last_read: NDArray[np.int64]  # for each of ids, the place in characters of the last one read whole by then
    starts: NDArray[np.int64]  # of the pieces, places in ids
    length: int
    properties: Properties  # of the N places
    stretches: NDArray[np.int64]  # (F,): separate ones of each property; at least 30 in each half

    @classmethod
    def take(cls, lm: LanguageModel, text: str, places: int = PLACES) -> "Sample":
        """Take a sample of `text`; raise `ConfigError` if it is too short, `VocabularyError` if it can't be read."""
        text = lm.vocabulary.normalize(text[:MOST_CHARACTERS])
        ids, last_read = _encode(lm, text)
        if len(ids) < _FEWEST_PLACES + _LEAD_IN:
            raise ConfigError(
                f"{len(text):,} characters are too few to tell what a unit follows: give {_FEWEST_PLACES + _LEAD_IN:,}."
            )
        places = min(places, _MOST_NUMBERS // (2 * lm.model.config.num_layers * lm.model.config.hidden_size))
        length = min(max(16, places // _PIECES), (len(ids) - _LEAD_IN) // 16)
        count = min(_PIECES, (len(ids) - _LEAD_IN) // length) // 2 * 2
        starts = np.linspace(_LEAD_IN, len(ids) - length, count).astype(np.int64)
        found = find_properties(text)
        at = last_read[(starts[:, None] + np.arange(length)).ravel()]
        values, known = found.values[at], found.known[at]
        halves = slice(len(at) // 2), slice(len(at) // 2, None)
        stretches = np.stack([count_stretches(values[half], known[half], length) for half in halves])
        without = np.stack([count_stretches(~values[half], known[half], length) for half in halves])
        is_common = np.minimum(stretches, without).min(0) >= _FEWEST_STRETCHES
        is_common &= ~_repeats(values & known & is_common)
        names = tuple(name for name, flag in zip(found.names, is_common, strict=True) if flag)
        kept = Properties(names, values[:, is_common], known[:, is_common])
        return cls(
            ids, code_points(text).astype(np.int64), last_read, starts, length, kept, stretches[:, is_common].sum(0)
        )

    @property
    def size(self) -> int:
        """The number of places N."""
        return len(self.starts) * self.length

    def evidence(self, key: str, vocabulary: int) -> NDArray[np.float64]:
        """Return how much a token that comes next speaks for a property, (V,): ln of how much likelier it is there."""
        f = [each.key for each in self.properties.names].index(key)
        values, known = self.properties.values[:, f], self.properties.known[:, f]
        places = (self.starts[:, None] + np.arange(self.length)).ravel()
        known = known & (places + 1 < len(self.ids))
        following = self.ids[np.minimum(places + 1, len(self.ids) - 1)]
        counts = [np.bincount(following[known & (values == is_so)], minlength=vocabulary) for is_so in (True, False)]
        usual = _PRIOR * (counts[0] + counts[1] + 1 / vocabulary) / (counts[0].sum() + counts[1].sum() + 1)
        there, elsewhere = ((each + usual) / (each.sum() + _PRIOR) for each in counts)
        found: NDArray[np.float64] = np.log(there / elsewhere)
        return found

    def context(self) -> NDArray[np.int64]:
        """Return the last four characters read whole at each place, (N, 4), the last one first."""
        places = (self.starts[:, None] + np.arange(self.length)).ravel()
        context: NDArray[np.int64] = self.characters[self.last_read[places][:, None] - np.arange(4)]
        return context


def _repeats(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the properties that hold where an earlier one does, all but a few places; `there` is (N, F)."""
    numbers = there.astype(np.float32)
    both = numbers.T @ numbers
    either = np.diag(both)[:, None] + np.diag(both) - both
    marked: NDArray[np.bool_] = np.triu(both > _SAME * np.maximum(either, 1), 1).any(0)
    return marked


def _encode(lm: LanguageModel, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids of a text, (M,), and for each the last character that has been read whole by then."""
    ids = lm.vocabulary.encode(text).astype(np.int64)
    if lm.vocabulary.level == "chars":
        return ids, np.arange(len(ids))
    widths = np.array([len(char.encode("utf-8", "surrogatepass")) for char in text], np.int64)
    last_read = np.cumsum(np.bincount(np.cumsum(widths) - 1, minlength=len(ids))) - 1
    return ids, np.maximum(last_read, 0)  # within the first character none is


class Reading(NamedTuple):
    """What all channels were at the places of a sample."""

    codes: Codes  # (C, N)
    coding: Coding
    forgets: NDArray[np.float32] | None  # (L, H): mean forget gates, if they were asked for


def read_sample(
    lm: LanguageModel,
    sample: Sample,
    lead_in: int = _LEAD_IN,
    on_tick: Callable[[float], None] = lambda _: None,
    has_gates: bool = False,
) -> Reading:
    """Read every piece after the `lead_in` characters before it; `on_tick` gets the share done, and may raise."""
    count, length = len(sample.starts), sample.length
    rows = BatchedReader(lm.model, count)
    tokens = torch.from_numpy(sample.ids[sample.starts[:, None] + np.arange(-lead_in, length)]).t().contiguous()
    tokens = tokens.to(lm.model.device)
    units = rows.cells[:, 0].numel()
    codes = np.empty((2 * units, count, length), np.uint8)
    coding, forgets = None, list[Tensor]()
    edges = [*range(0, lead_in, _AT_ONCE), *range(lead_in, len(tokens), _AT_ONCE), len(tokens)]
    for begin, end in itertools.pairwise(edges):
        on_tick(begin / len(tokens))
        states = [each.transpose(1, 2).flatten(2) for each in rows.read_all(tokens[begin:end])]  # (T, B, L x H) each
        if end == lead_in:
            coding = Coding.fit(torch.cat(states, 2).flatten(0, 1))
        if begin < lead_in or coding is None:
            continue
        for part, values in enumerate(states):
            channels = slice(part * units, (part + 1) * units)
            steps = coding.of(channels).encode(values)
            codes[channels, :, begin - lead_in : end - lead_in] = steps.permute(2, 1, 0).cpu().numpy()
        if has_gates:
            forgets.append(_forget_gates(lm, tokens[begin:end], states[1]))
    assert coding is not None
    mean = torch.cat(forgets).mean(0).cpu().numpy() if forgets else None
    return Reading(codes.reshape(2 * units, -1), coding, mean)


def _forget_gates(lm: LanguageModel, tokens: Tensor, outputs: Tensor) -> Tensor:
    """Return the forget gates at some of tokens (T, B), given the outputs (T, B, L x H) after all, (places, L, H)."""
    shape = -1, lm.model.config.num_layers, lm.model.config.hidden_size
    at = slice(1, None, _GATES_EVERY)
    before, after = (each.reshape(shape).float() for each in (outputs[: len(outputs) - 1 : _GATES_EVERY], outputs[at]))
    return compute_gates(lm.model, tokens[at].flatten(), before, after, ("forget",))["forget"]
