"""A run's log of records, `events.jsonl`: appended by one writer, read while it grows by any number of readers."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from charlstm.events import Record, parse_record


class EventWriter:
    """Thread-safe appender of records, one line each; calls `on_record` with each record after it is written."""

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
        with contextlib.suppress(OSError):  # closing retries what a full disk refused; `append` has raised that already
            self._file.close()


def _drop_broken_line(path: Path) -> None:
    """Truncate a partial last line left by a killed worker, so that the next record starts on a new line."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


class EventTail:
    """Incremental reader of a run's records: each call reads what was added since the previous one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._last_at: tuple[int, Record | None] = (-1, None)  # the record that was asked for last, and its offset

    def was_rewritten(self) -> bool:
        """Return whether the file has shrunk, because a new run replaced it; `read_new` then starts at the top."""
        try:
            is_shorter = self._path.stat().st_size < self._offset
        except OSError:
            return False
        if is_shorter:
            self._offset, self._last_at = 0, (-1, None)
        return is_shorter

    def read_new(self) -> Iterator[tuple[int, Record]]:
        """Yield each new record with its byte offset; a line without its newline is still being written."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    begin, self._offset = self._offset, self._offset + len(line)
                    if record := parse_record(line):
                        yield begin, record
        except OSError:
            return

    def at(self, offset: int) -> Record | None:
        """Return the record at the byte `offset`, or `None`; the same one again costs nothing."""
        if offset != self._last_at[0] or self._last_at[1] is None:
            self._last_at = offset, self._read_at(offset)
        return self._last_at[1]

    def _read_at(self, offset: int) -> Record | None:
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                return parse_record(file.readline())
        except OSError:
            return None
