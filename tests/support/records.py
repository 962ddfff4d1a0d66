"""Records of runs as they lie in their files, made by hand."""

import json

from charlstm.events import Record, Resumed, RolledBack, Started, parse_record
from charlstm.runs.run_dir import RunDir

STARTED = {
    "kind": "started",
    "step": 0,
    "started_at": "2026-01-01T00:00:00+00:00",
    "num_chars": 100,
    "num_distinct": 10,
    "num_train_chars": 90,
    "num_val_chars": 10,
    "num_parameters": 1000,
    "hardware": "x86_64",
}
FINISHED = {"kind": "finished", "step": 10, "reason": "completed", "elapsed_seconds": 1.5}
STOPPED = {**FINISHED, "reason": "stopped"}
FAILED = {"kind": "failed", "step": 10, "message": "the disk is full."}


def sampled(step: int, text: str = "hello") -> dict[str, object]:
    return {"kind": "sampled", "step": step, "text": text, "temperature": 1.0, "seed": 1}


def resumed(step: int) -> dict[str, object]:
    return {"kind": "resumed", "step": step, "started_at": "2026-01-01T00:00:00+00:00"}


def lines(*records: dict[str, object]) -> bytes:
    return b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)


def append(folder: RunDir, data: bytes) -> None:
    with folder.events_file.open("ab") as file:
        file.write(data)


def counting(folder: RunDir) -> list[Record]:
    """The records that count: all of the file, without what a run did before it began anew or went back."""
    records: list[Record] = []
    for line in folder.events_file.read_bytes().splitlines():
        record = parse_record(line)
        if isinstance(record, Started):
            records.clear()
        elif isinstance(record, Resumed | RolledBack):
            records = [each for each in records if each.step <= record.step]
        records += [record] if record else []
    return records
