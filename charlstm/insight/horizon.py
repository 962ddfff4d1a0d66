"""How far back a network looks: its loss when it knows only the last few characters."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlstm.config import SampleConfig
from charlstm.errors import ConfigError
from charlstm.generation.engine import start_session
from charlstm.insight.batched_holds import BatchedReader
from charlstm.language_model import LanguageModel

OnProgress = Callable[[float, str, "Horizon | None"], None]

CONTEXTS = (1, 2, 3, 4, 5, 8, 12, 20, 30, 50, 100, 200, 500)  # characters
_STARTS = 640
_READ_AT_ONCE = 1024
_MOST_READ = 65_536  # characters
_SPREAD = 0.1  # the loss at a context is the mean over contexts that differ by so much
_SURE = 1.96  # standard errors: 95 %


class Horizon(NamedTuple):
    """Nats per character by the length of the context, and the half width of their 95 % intervals."""

    contexts: tuple[int, ...]
    nats: tuple[float, ...]
    margins: tuple[float, ...]
    full: float  # with everything that stands before


def measure_horizon(lm: LanguageModel, ids: NDArray[np.integer], report: OnProgress | None = None) -> Horizon:
    """Measure the loss by context on `ids` (N,): cold starts at 640 places, each compared with the full context.

    The difference at the same places is added to the loss with the full context, which makes the figures steady.
    `report(share, stage, None)` may raise to end it. Raises `ConfigError` for fewer than 1,024 characters.
    """
    tell: OnProgress = report or (lambda *_: None)
    ids = np.asarray(ids[:_MOST_READ], np.int64)
    if len(ids) < _READ_AT_ONCE:
        raise ConfigError(
            f"{len(ids):,} characters are too few to tell how far back a network looks; 1,024 are needed."
        )
    full = _read_in_one(lm, ids, lambda share: tell(0.4 * share, f"reading {len(ids):,} characters", None))
    contexts = [each for each in CONTEXTS if each * 4 <= len(ids)]
    longest = int(contexts[-1] * (1 + _SPREAD)) + 1
    places = np.linspace(0, len(ids) - longest - 2, min(_STARTS, len(ids) // 4)).astype(np.int64)
    tokens = torch.from_numpy(ids).to(lm.model.device)
    rows, columns = BatchedReader(lm.model, len(places)), torch.arange(len(places))
    excess = np.empty((longest, len(places)), np.float32)  # [context - 1, start]
    for at in range(longest):
        rows.read(tokens[places + at])
        logs = rows.log_probabilities().cpu()
        excess[at] = -logs[columns, ids[places + at + 1]].numpy() - full[places + at + 1]
        if at % 8 == 0:
            tell(0.4 + 0.6 * at / longest, f"beginning anew at {len(places)} places", None)
    mean = float(full[1:].mean())
    nats, margins = [], []
    for context in contexts:
        first, last = int(np.ceil(context * (1 - _SPREAD))), int(context * (1 + _SPREAD))
        each = excess[first - 1 : last].mean(0)
        nats.append(round(mean + float(each.mean()), 4))
        margins.append(round(_SURE * float(each.std()) / len(each) ** 0.5, 4))
    return Horizon(tuple(contexts), tuple(nats), tuple(margins), round(mean, 4))


def _read_in_one(lm: LanguageModel, ids: NDArray[np.integer], on_tick: Callable[[float], None]) -> NDArray[np.float32]:
    """Return the surprise of each character after all before it, (N,) nats; that of the first is 0."""
    tokens = ids.astype(np.int32)
    session = start_session(lm.model, [tokens[:1]], SampleConfig())
    found = np.zeros(len(tokens), np.float32)
    for begin in range(1, len(tokens), _READ_AT_ONCE):
        piece = tokens[begin : begin + _READ_AT_ONCE]
        found[begin : begin + len(piece)] = session.follow(piece[None]).surprises[0]
        on_tick(begin / len(tokens))
    return found
