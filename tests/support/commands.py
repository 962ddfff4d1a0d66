"""The command line called in this process, for the tests of it."""

import contextlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from charlstm.cli import main
from charlstm.errors import HubError

TINY = ["--hidden-size", "8", "--batch-size", "2", "--seq-len", "16", "--dropout", "0", "--max-minutes", "0"]
TINY += ["--log-every", "10", "--eval-every", "20", "--sample-every", "30", "--sample-chars", "25"]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Trained(NamedTuple):
    checkpoints: Path
    text: Path
    outcome: Outcome

    @property
    def model(self) -> Path:
        return self.checkpoints / "tiny"


def run(*arguments: object) -> Outcome:
    """One command in this process, its output not a terminal, on lines long enough for every sentence."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("COLUMNS", "500")
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as ending:
            code = int(str(ending.code))
    return Outcome(code, out.getvalue(), err.getvalue())


def assert_one_sentence(text: str) -> None:
    assert text.endswith("\n")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    assert text.strip()


def lines_of(run_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_path / "events.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


def provenance_of(run_path: Path) -> dict[str, Any]:
    """From the model file itself, read byte by byte: 8 bytes of length, then JSON."""
    data = (run_path / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["provenance"])


def sentence_of(act: Callable[[], object]) -> str:
    """What a person is told of the Hub when `act` fails."""
    with pytest.raises(HubError) as raised:
        act()
    told = str(raised.value)
    assert told.endswith(".")
    assert told.isprintable()
    assert len(told) < 500
    return told
