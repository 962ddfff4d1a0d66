"""Files that visitors have uploaded, on disk: bounded in bytes, for each visitor and for all together.

They lie in Gradio's temporary folder until somebody trains on them, or for a day. *Measured* with a limit of 30 MB:
twelve uploads of 9 MB were all taken.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlstm.environment import is_public, limits
from charlstm.ui.request_body import RequestRefused

_LEAST_BYTES = 100_000  # as which a small file counts, or their number would have no bound
_FRESH_SECONDS = 15 * 60  # for which a page may still mean to use its upload
_SHARE = 0.5  # of one visitor, where strangers come
_BYTES_OF_MB = 1e6


@dataclass(frozen=True)
class _Upload:
    visitor: str
    num_bytes: int
    came_at: float


class UploadedFiles:
    """The uploads of one app; `known` is Gradio's own set of their paths."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._uploads: dict[str, _Upload] = {}  # by path, the oldest first
        self._arriving: list[_Upload] = []

    @contextmanager
    def expecting(self, visitor: str, most_bytes: int, is_exact: bool) -> Iterator[int]:
        """Hold room for an upload while it arrives, and yield how large it may be. Raises `RequestRefused` for none.

        One of unknown size (not `is_exact`) gets what room there is, up to `most_bytes`.
        """
        room = self._make_room(visitor, max(most_bytes, _LEAST_BYTES), is_exact)
        upload = _Upload(visitor, room, time.monotonic())
        self._arriving.append(upload)
        try:
            yield min(room, most_bytes)
        finally:
            self._arriving.remove(upload)

    def add(self, visitor: str, answer: bytes) -> None:
        """Keep account of the files that `answer`, Gradio's to an upload, names."""
        if not limits().max_disk_mb:
            return
        for path in _paths(answer):
            with contextlib.suppress(OSError):
                size = max(_LEAST_BYTES, Path(path).stat().st_size)
                self._uploads.pop(path, None)
                self._uploads[path] = _Upload(visitor, size, time.monotonic())

    def _make_room(self, visitor: str, wanted: int, is_exact: bool) -> int:
        """Remove old files as far as needed, and return the room for a new one."""
        most = int(limits().max_disk_mb * _BYTES_OF_MB)
        if not most:
            return wanted
        share = _SHARE * most if is_public() else most
        share = int(max(share, wanted) if is_exact else share)
        wanted = min(wanted, share)
        self._uploads = {path: each for path, each in self._uploads.items() if Path(path).exists()}
        held = [*self._uploads.values(), *self._arriving]
        free = most - sum(each.num_bytes for each in held)
        left = share - sum(each.num_bytes for each in held if each.visitor == visitor)
        now = time.monotonic()
        for path, each in list(self._uploads.items()):
            if now - each.came_at <= _FRESH_SECONDS or min(free, left) >= wanted:
                break
            if free < wanted or each.visitor == visitor:
                self._remove(path)
                free += each.num_bytes
                left += each.num_bytes * (each.visitor == visitor)
        room = min(free, left, wanted)
        if room < (wanted if is_exact else _LEAST_BYTES):
            raise RequestRefused(
                503, "The room for uploaded files is full here: paste the text, or try again in 15 minutes."
            )
        return room

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)
            Path(path).parent.rmdir()  # named after what it held
        self._known.discard(path)
        del self._uploads[path]


def _paths(answer: bytes) -> list[str]:
    try:
        told: Any = json.loads(answer)
    except ValueError:  # a refusal, in words
        return []
    return [each for each in told if isinstance(each, str)] if isinstance(told, list) else []
