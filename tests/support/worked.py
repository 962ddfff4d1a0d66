"""Small runs in folders, and what a worker left in them."""

import json
import struct
from pathlib import Path
from typing import Any

from records import counting
from safetensors.torch import load_file
from torch import Tensor

from charlstm.config import Settings
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

TINY: dict[str, Any] = {
    "corpus": "pangrams",
    "hidden_size": 8,
    "dropout": 0.2,
    "batch_size": 2,
    "seq_len": 48,  # 41 windows, so 60 steps are a pass and a half
    "learning_rate": 0.02,
    "max_steps": 60,
    "max_minutes": 0,
    "log_every": 10,
    "eval_every": 25,
    "sample_every": 30,
    "sample_chars": 20,
    "sample_prompt": "the ",
}
CLOCKED = ("started_at", "elapsed_seconds", "chars_per_second")


def new_run(place: Path, text: str, name: str = "run", **changes: Any) -> RunDir:
    return RunStore(place).create(Settings.from_flat({**TINY, **changes}), name, text)


def lines_of(folder: RunDir) -> list[dict[str, Any]]:
    data = folder.events_file.read_bytes()
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def of_kind(folder: RunDir, kind: str) -> list[dict[str, Any]]:
    return [line for line in lines_of(folder) if line["kind"] == kind]


def last_weights(folder: RunDir) -> dict[str, Tensor]:
    return load_file(folder.path / "last" / "model.safetensors")


def counted(folder: RunDir) -> list[dict[str, Any]]:
    """The measurements that count, without what a clock says."""
    records = counting(folder)
    records = [record.model_dump() for record in records if record.kind in ("progress", "evaluated", "sampled")]
    return [{key: value for key, value in record.items() if key not in CLOCKED} for record in records]


def header_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, read byte by byte: 8 bytes of length, then JSON."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length])["__metadata__"]


def provenance_of(path: Path) -> dict[str, Any]:
    return json.loads(header_of(path)["provenance"])
