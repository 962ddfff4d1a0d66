"""`events.jsonl`, as its one writer holds it."""

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from charlstm.events import Record


class EventWriter:
    """Records, appended a whole line at a time, by any thread; `on_record` sees each after it is written."""

    def __init__(self, path: Path, on_record: Callable[[Record], None] | None = None) -> None:
        self._file = path.open("ab")
        self._writing = threading.Lock()
        self._on_record = on_record
        self.step = 0  # of the last record
        self.num_appended = 0
        _drop_broken_line(path)

    def append(self, record: Record) -> None:
        """Write `record`; raises `OSError`."""
        with self._writing:
            self._file.write(record.model_dump_json().encode() + b"\n")
            self._file.flush()
            self.num_appended += 1
            self.step = max(self.step, record.step) if record.kind == "references" else record.step
            if self._on_record:
                self._on_record(record)

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # closing writes what a full disk refused; `append` has said so
            self._file.close()


def _drop_broken_line(path: Path) -> None:
    """Cut off what a killed worker left of its last line, so that the next record starts on a line of its own."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
