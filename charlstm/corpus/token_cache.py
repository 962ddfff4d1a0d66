"""Cache of the token ids of a text too large for memory: a file written once, then mapped.

A file is named after what its ids follow from (text, vocabulary, level), so a resumed run finds it again. It ends in a
checksum, and one that is damaged is written anew. Together the files take up `KEPT_BYTES` or less, unless the latest
alone needs more: the one that was not used for longest goes first.

Pages of a mapped file count as resident memory once they were touched, but the system takes them back when it needs the
room. *Measured* with a text of 1.0 GB on 2026-11-28: a batch of 64 windows of 128 takes 45 us, where reading it took
367 us, and private memory is the same 209 MB. A mapped file that is cut short ends a process with SIGBUS; nothing here
cuts one short, since a new file only takes the name of the old one.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from charlstm.corpus.datasets import OnBytes
from charlstm.errors import CorpusError, VocabularyError
from charlstm.files import atomic_write
from charlstm.private_folders import private_cache, private_folder, temporary_place
from charlstm.vocabulary import Tokens, Vocabulary

if TYPE_CHECKING:
    from charlstm.corpus.corpus import TextFile

KEPT_BYTES = 4 << 30
_FORMAT = 1
_CHECKSUM_BYTES = 4
_ABANDONED_SECONDS = 24 * 3600  # a half-written file this old has lost its writer


def open_cached_tokens(text: "TextFile", vocabulary: Vocabulary, report: OnBytes | None = None) -> Tokens:
    """Return the ids of `text`, found in the cache or written there; `report(bytes_so_far, bytes_in_all)` follows.

    Raises `VocabularyError` if the vocabulary does not cover the text, `CorpusError` if the cache can't hold the ids.
    """
    vocabulary.encode("".join(char for char, _ in text.facts.frequencies))  # what it lacks is said before any writing
    num_tokens = text.facts.num_bytes if vocabulary.level == "bytes" else text.facts.num_chars
    num_bytes = num_tokens * vocabulary.dtype.itemsize
    try:
        with _folder() as folder:
            path = folder / f"{_key(text.facts.sha256, vocabulary)}.ids"
            if not _is_whole(path, num_bytes):
                _sweep(path, num_bytes)
                # its checksum tells whether it is whole
                with atomic_write(path, is_durable=False, is_private=True) as temporary:
                    _write(temporary, text, vocabulary, report)
            return np.memmap(path, vocabulary.dtype, "r", shape=(num_tokens,))
    except OSError as error:
        raise CorpusError(
            f"{text.shown} needs {num_bytes / 1e6:,.0f} MB in the user's cache folder, which can't hold them "
            f"({error.strerror}); free it up and start again."
        ) from None


def _key(sha256: str, vocabulary: Vocabulary) -> str:
    determined_by = [_FORMAT, sha256, vocabulary.level, vocabulary.characters]
    return hashlib.sha256(json.dumps(determined_by).encode()).hexdigest()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """In the user's cache, or among the system's temporary files if that can't be written: a checksum tells of damage,
    not of somebody else's text, so what is read from there must lie in a folder of one's own.
    """
    with contextlib.ExitStack() as opened:
        try:
            folder = opened.enter_context(private_folder(private_cache() / "ids"))
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (OSError, RuntimeError):  # a user without a home has no cache either
            folder = opened.enter_context(private_folder(temporary_place()))
        yield folder


def _is_whole(path: Path, num_bytes: int) -> bool:
    """Return whether the file at `path` holds its `num_bytes` of ids undamaged; mark it as used."""
    try:
        if path.stat().st_size != num_bytes + _CHECKSUM_BYTES:
            return False
        file = np.memmap(path, np.uint8, "r")
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.utime(path)
    return zlib.crc32(file[:-_CHECKSUM_BYTES].data).to_bytes(_CHECKSUM_BYTES, "little") == bytes(
        file[-_CHECKSUM_BYTES:]
    )


def _write(path: Path, text: "TextFile", vocabulary: Vocabulary, report: OnBytes | None) -> None:
    checksum = 0
    with path.open("wb") as file:
        for piece in text.pieces(report):
            try:
                ids = vocabulary.encode(piece).data
            except VocabularyError:  # it covered all there was at the first reading
                raise text.change_error() from None
            checksum = zlib.crc32(ids, checksum)
            file.write(ids)
        file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))


def _sweep(path: Path, num_bytes: int) -> None:
    """Make room for `num_bytes` at `path`, and clear away what killed writers left.

    A file that another run has open stays readable for it, or can't be removed on Windows; both are fine.
    """
    now = time.time()
    for abandoned, used_at, _ in _files(path.parent, ".*.tmp"):
        if now - used_at > _ABANDONED_SECONDS:
            _remove(abandoned)
    files = [row for row in _files(path.parent, "*.ids") if row[0] != path]
    total = num_bytes + sum(size for _, _, size in files)
    for least_recent, _, size in sorted(files, key=lambda row: row[1]):
        if total <= KEPT_BYTES:
            break
        _remove(least_recent)
        total -= size


def _files(folder: Path, pattern: str) -> Iterator[tuple[Path, float, int]]:
    """List files with path, time of the last use in seconds since 1970, and bytes."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another run may be sweeping too
            status = path.stat()
            yield path, status.st_mtime, status.st_size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
