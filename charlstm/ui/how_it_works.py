"""What *How it works* shows beside its pictures: the lines of code that do each thing, and numbers of a real model."""

import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from charlstm import evaluation
from charlstm.generation import sampling
from charlstm.insight.cell import score_with_forget_gate
from charlstm.model import CharLSTM
from charlstm.training.trainer import Trainer
from charlstm.ui import project_links
from charlstm.vocabulary import Vocabulary

_ROOT = Path(__file__).resolve().parents[2]
_PARTS: dict[str, Callable[..., Any]] = {  # in the order of the pictures
    "letters": Vocabulary.encode,
    "cell": CharLSTM.step,
    "guess": sampling.filter_probabilities,
    "loss": evaluation.sum_loss,
    "update": Trainer._update,
}
_STAGES = {  # of the cell
    "forget": "forget_gate =",
    "input": "input_gate =",
    "candidate": "candidate =",
    "cell": "c[layer] =",
    "output": "h[layer] =",
}


class Passage(NamedTuple):
    """Lines of this program's code; `address` is '' where nobody publishes it."""

    part: str
    file: str
    first_line: int
    last_line: int
    code: str
    address: str


@cache
def passages() -> tuple[Passage, ...]:
    """Return the passage of each picture, read from the code that runs."""
    return tuple(_read(part, function) for part, function in _PARTS.items())


@cache
def cell_passages() -> dict[str, dict[str, Any]]:
    """Return the line of code of each stage of the cell, with its file and address."""
    found = {stage: _read(stage, score_with_forget_gate, words)._asdict() for stage, words in _STAGES.items()}
    return {stage: {name: value for name, value in each.items() if name != "part"} for stage, each in found.items()}


def _read(part: str, function: Callable[..., Any], words: str = "") -> Passage:
    """Read the code of `function`, or the first line of it that contains `words`."""
    lines, first = inspect.getsourcelines(inspect.unwrap(function))
    if words:
        at = next(place for place, line in enumerate(lines) if words in line)
        lines, first = lines[at : at + 1], first + at
    file = Path(inspect.getfile(inspect.unwrap(function))).resolve().relative_to(_ROOT).as_posix()
    last = first + len(lines) - 1
    code = textwrap.dedent("".join(lines)).rstrip("\n")
    return Passage(part, file, first, last, code, project_links.file_address(file, first, last))
