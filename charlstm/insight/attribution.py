"""Why a letter is likely: what each of the characters before it is worth, found by erasing them one at a time.

An erased character reads as the average of all, so that nothing is told by its place. The worth of a character is the
logarithm of the letter's chance with it, minus that without it: nats that speak for the letter, or against it.
Everything after the erased character is read anew, so this is exact, and not an estimate by a gradient, which agrees
with it in two of three cases only.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlstm.errors import ConfigError
from charlstm.generation.stream import turns
from charlstm.insight.batched_holds import BatchedReader, RowWeights
from charlstm.insight.states import State, iterate_trace
from charlstm.language_model import LanguageModel

CHARACTERS = 100
_MOST_READ = 20_000  # characters before a letter: what is further back makes no difference
_STAGES = 4  # rows that have not been erased in yet are read once for all
_LEAST_WORTH = 0.25  # nats: a character that multiplies the chance by less than 1.3 is not named
_MOST_NAMED = 3
_LIKELY = 0.4
_SHOWN = {" ": "space", "\n": "line break", "\t": "tab"}
_MARKS = str.maketrans(" \n\t", "␣⏎⇥")

Span = tuple[int, int]  # of the tokens of a character: the first one, and the one after the last


@torch.inference_mode()
def erase_spans(
    lm: LanguageModel, ids: NDArray[np.integer], spans: Sequence[Span], target: Span, before: State | None
) -> NDArray[np.float32]:
    """Return what each of `spans` is worth to the tokens of `target`, (n,) nats; spans are in order, and before it.

    `before` is the state before the first of them, `None` at the beginning. Matrix products are in bfloat16 where those
    of `BatchedReader` are.
    """
    tokens = torch.from_numpy(np.asarray(ids, np.int64)).to(lm.model.device)
    weights = RowWeights(lm.model)
    hidden, cells = lm.model.initial_state(1)
    if before is not None:
        cells, hidden = (torch.from_numpy(each.copy())[:, None].to(lm.model.device) for each in before)
    count, begin = len(spans), 0
    for stage in range(_STAGES):
        end = count * (stage + 1) // _STAGES
        if end == begin:
            continue
        # Row 0 is untouched, row k has span k - 1 erased; the stages before have their rows already.
        rows = BatchedReader(weights, end + 1)
        new = end + 1 - hidden.shape[1]
        rows.hidden, rows.cells = (torch.cat([each, each[:, :1].expand(-1, new, -1)], 1) for each in (hidden, cells))
        first, last = spans[begin][0], spans[end][0] if end < count else target[0]
        steps = tokens[first:last, None].repeat(1, end + 1)
        for row in range(begin, end):
            steps[spans[row][0] - first : spans[row][1] - first, row + 1] = rows.blank
        rows.advance(steps)
        hidden, cells, begin = rows.hidden, rows.cells, end
    logs = torch.zeros(count + 1)
    for at in range(*target):
        logs += rows.log_probabilities()[:, tokens[at]].cpu()
        if at + 1 < target[1]:
            rows.read(tokens[at].repeat(count + 1))
    worths: NDArray[np.float32] = (logs[0] - logs[1:]).numpy()
    return worths


class Reason(NamedTuple):
    """Neighbouring characters that speak for a letter."""

    first: int  # places in the text
    last: int
    worth: float  # nats


def find_reasons(worths: NDArray[np.float32], place: int) -> list[Reason]:
    """Return up to three stretches that speak for the letter at `place`, the strongest first."""
    begin = place - len(worths)
    reasons: list[Reason] = []
    for at in np.flatnonzero(worths >= _LEAST_WORTH).tolist():
        worth = float(worths[at])
        if reasons and reasons[-1].last == begin + at - 1:
            reasons[-1] = Reason(reasons[-1].first, begin + at, reasons[-1].worth + worth)
        else:
            reasons.append(Reason(begin + at, begin + at, worth))
    return sorted(reasons, key=lambda each: -each.worth)[:_MOST_NAMED]


def describe(text: str, place: int, chance: float, worths: NDArray[np.float32]) -> str:
    """Say in a sentence why `text[place]` had its chance, given what the characters before it are worth."""
    letter, share = _name(text[place]), _percent(chance)
    reasons = [_describe_reason(text, place, each) for each in find_reasons(worths, place)]
    if not reasons:
        return f"{letter} had a chance of {share}, and no single letter before it made it much likelier."
    listed = reasons[0] if len(reasons) == 1 else f"{', '.join(reasons[:-1])} and {reasons[-1]}"
    if chance >= _LIKELY:
        return f"{letter} is likely here ({share}) because of {listed}."
    return f"{letter} had a chance of {share}; what speaks for it most is {listed}."


def _describe_reason(text: str, place: int, reason: Reason) -> str:
    passage, distance = text[reason.first : reason.last + 1], place - reason.last
    where = "just before it" if distance == 1 else f"{distance} characters back"
    if passage[0] == "\n":
        start = place - reason.first - 1
        return f"the line that began {_count(start)} earlier" if start else "the line break just before it"
    shown = _SHOWN.get(passage[0])
    if shown and passage == len(passage) * passage[0]:
        return f"the {shown if len(passage) == 1 else f'{len(passage)} {shown}s'} {where}"
    return f"the {_quote(passage)} {where}"


def _count(number: int) -> str:
    return "1 character" if number == 1 else f"{number} characters"


def _name(char: str) -> str:
    return f"A {_SHOWN[char]}" if char in _SHOWN else _quote(char)


def _quote(passage: str) -> str:
    return f"“{passage.translate(_MARKS) if passage.isspace() else passage.replace(chr(10), '⏎')}”"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


class Explanation(NamedTuple):
    """Why a letter had its chance."""

    place: int  # of the letter in `text`
    text: str  # as the network reads it, up to the letter
    chance: float
    worths: NDArray[np.float32]  # (n,) nats, of the n characters before the letter, the oldest first
    sentence: str


def explain_letter(lm: LanguageModel, text: str, place: int, characters: int = CHARACTERS) -> Explanation:
    """Explain why `text[place]` had its chance, by up to `characters` before it.

    What stands more than 20,000 characters before it is not read. Raises `ConfigError` for a place that is not in the
    text or at its beginning, `VocabularyError` for a text that the network can't read.
    """
    if not 1 <= place < len(text):
        raise ConfigError(f"the text has {len(text):,} characters: choose a place from 1 to {len(text) - 1:,}.")
    begin = max(0, place - _MOST_READ)
    read, letter = (lm.vocabulary.normalize(part) for part in (text[begin:place], text[place]))
    ids, shown = lm.vocabulary.encode(read + letter), (read + letter)[-characters - len(letter) :]
    widths = [len(lm.vocabulary.encode(char)) for char in shown]
    ends = np.cumsum([len(ids) - sum(widths), *widths]).tolist()
    spans = list(itertools.pairwise(ends[: len(ends) - len(letter)]))
    target = ends[-1 - len(letter)], ends[-1]
    before, surprise, at = None, 0.0, 0
    for piece in iterate_trace(lm, ids):
        if at < spans[0][0] <= at + len(piece.ids):
            before = piece.state(spans[0][0] - 1 - at)
        surprise += float(piece.surprises[max(0, target[0] - at) : max(0, target[1] - at)].sum(dtype=np.float64))
        at += len(piece.ids)
    with turns:
        worths = erase_spans(lm, ids, spans, target, before)
    chance, last = math.exp(-surprise), len(read)
    return Explanation(last, read + letter, chance, worths, describe(read + letter, last, chance, worths))
