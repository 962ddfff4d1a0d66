"""The ids of a text too large to be held, in a file of the user's cache: written once, read where they are asked for.

A file is named after what its ids follow from (text, vocabulary, level), so a resumed run finds it again. It ends in a
checksum, and one that is damaged is written anew. Together the files take up `KEPT_BYTES` or less, unless the latest
alone needs more: the one that was not used for longest goes first.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import NDArray

from charlstm.corpus.datasets import Report
from charlstm.corpus.decoding import CHUNK_SIZE, TextFile
from charlstm.errors import CorpusError, VocabularyError
from charlstm.files import atomic_write
from charlstm.private_folders import make_private, private_folder, temporary_place
from charlstm.vocabulary import Vocabulary

KEPT_BYTES = 4 << 30
_FORMAT = 1
_CHECKSUM_BYTES = 4
_ABANDONED_SECONDS = 24 * 3600  # a half-written file this old has lost its writer
_FARTHEST = 4  # a row whose places span this many times their number is not read in one go


class StoredTokens:
    """Ids (N,) of the vocabulary's integer type in a file. They are indexed like an array, and come as arrays.

    Read, not mapped: a mapped page counts as the process's memory as soon as it was touched.
    """

    def __init__(self, file: "_IdFile", begin: int, end: int) -> None:
        self._file, self._begin, self._end = file, begin, end
        self.dtype = file.dtype

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, places: "slice | NDArray[np.int64]", /) -> NDArray[np.unsignedinteger]:
        """Ids at a slice, or at places (..., T) from 0 to N - 1, whose rows of T had better lie close together.

        Raises `IndexError` for a place outside, `CorpusError` if the file can't be read any more.
        """
        if isinstance(places, slice):
            begin, end, stride = places.indices(len(self))
            if stride == 1:
                return self._file.read(self._begin + begin, self._begin + max(begin, end))
            places = np.arange(begin, end, stride)
        if not places.size:
            return np.empty(places.shape, self.dtype)
        rows = places.reshape(-1, places.shape[-1])
        begins, ends = rows.min(axis=1), rows.max(axis=1) + 1
        if begins.min() < 0 or ends.max() > len(self):
            raise IndexError(f"a place outside of 0 to {len(self) - 1:,}")
        if (ends - begins).max() > _FARTHEST * rows.shape[1]:
            return self[places[..., None]][..., 0]  # each on its own, so that little is read for nothing
        ids = np.empty(rows.shape, self.dtype)
        for row, begin, end, found in zip(rows, begins.tolist(), ends.tolist(), ids, strict=True):
            found[:] = self._file.read(self._begin + begin, self._begin + end)[row - begin]
        return ids.reshape(places.shape)

    def part(self, begin: int, end: int) -> "StoredTokens":
        """Those from `begin` to before `end`, unread."""
        return StoredTokens(self._file, self._begin + begin, self._begin + end)


class _IdFile:
    """An open file of ids; closed when nobody has it any more."""

    def __init__(self, file: io.FileIO, dtype: "np.dtype[np.unsignedinteger]") -> None:
        self._file, self.dtype = file, dtype
        self._reading = threading.Lock()  # the position is the file's, so one reads at a time
        weakref.finalize(self, file.close)

    def read(self, begin: int, end: int) -> NDArray[np.unsignedinteger]:
        """Ids from `begin` to before `end`."""
        ids = np.empty(end - begin, self.dtype)
        left = ids.view(np.uint8).data
        try:
            with self._reading:
                self._file.seek(begin * self.dtype.itemsize)
                while left:
                    num_bytes = self._file.readinto(left)
                    if not num_bytes:
                        raise OSError(errno.EIO, "it is cut short")
                    left = left[num_bytes:]
        except OSError as error:
            raise CorpusError(
                f"the stored text in the user's cache folder can't be read ({error.strerror}); start or resume again."
            ) from None
        return ids


def stored_tokens(text: TextFile, vocabulary: Vocabulary, report: Report | None = None) -> StoredTokens:
    """The ids of `text`, found in the cache or written there; `report(bytes_so_far, bytes_in_all)` follows the writing.

    Raises `VocabularyError` if the vocabulary does not cover the text, `CorpusError` if the cache can't hold the ids.
    """
    vocabulary.encode("".join(char for char, _ in text.facts.frequencies))  # what it lacks is said before any writing
    num_tokens = text.facts.num_bytes if vocabulary.level == "bytes" else text.facts.num_chars
    num_bytes = num_tokens * vocabulary.dtype.itemsize
    try:
        with _folder() as folder:
            path = folder / f"{_key(text.facts.sha256, vocabulary)}.ids"
            file = _whole(path, num_bytes)
            if file is None:
                _sweep(path, num_bytes)
                # its checksum tells whether it is whole
                with atomic_write(path, is_durable=False, is_private=True) as temporary:
                    _write(temporary, text, vocabulary, report)
                file = path.open("rb", buffering=0)
    except OSError as error:
        raise CorpusError(
            f"{text.shown} needs {num_bytes / 1e6:,.0f} MB in the user's cache folder, which can't hold them "
            f"({error.strerror}); free it up and start again."
        ) from None
    return StoredTokens(_IdFile(file, vocabulary.dtype), 0, num_tokens)


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
            cache = Path(platformdirs.user_cache_dir("charlstm"))
            make_private(cache)
            folder = opened.enter_context(private_folder(cache / "ids"))
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (OSError, RuntimeError):  # a user without a home has no cache either
            folder = opened.enter_context(private_folder(temporary_place()))
        yield folder


def _whole(path: Path, num_bytes: int) -> io.FileIO | None:
    """The file at `path`, open, if it is there with its `num_bytes` of ids undamaged; marked as used."""
    try:
        file = path.open("rb", buffering=0)
    except OSError:
        return None
    with contextlib.ExitStack() as closing:
        closing.callback(file.close)
        if os.fstat(file.fileno()).st_size != num_bytes + _CHECKSUM_BYTES:
            return None
        if _checksum(file, num_bytes) != file.read(_CHECKSUM_BYTES):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        closing.pop_all()
    return file


def _checksum(file: io.FileIO, num_bytes: int) -> bytes:
    """Of the next `num_bytes` of `file`; not of all of them if there are fewer."""
    checksum = 0
    while num_bytes and (data := file.read(min(num_bytes, CHUNK_SIZE))):
        checksum = zlib.crc32(data, checksum)
        num_bytes -= len(data)
    return checksum.to_bytes(_CHECKSUM_BYTES, "little")


def _write(path: Path, text: TextFile, vocabulary: Vocabulary, report: Report | None) -> None:
    checksum = 0
    with path.open("wb") as file:
        for piece in text.pieces(report):
            try:
                ids = vocabulary.encode(piece).data
            except VocabularyError:  # it covered all there was at the first reading
                raise text.changed() from None
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
    """Path, time of the last use in seconds since 1970, and bytes of each."""
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):  # another run may be sweeping too
            status = path.stat()
            yield path, status.st_mtime, status.st_size


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
