"""Atomic file writes: a crash at any instant leaves either the old file or the new one, whole."""

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_UMASK = os.umask(0)  # the only way to read it is to set it
os.umask(_UMASK)
_PATIENCE_SECONDS = 0.5
_RETRY_SECONDS = 0.01
_PIECE_BYTES = 1 << 20
# What file systems answer that have no such thing as flushing (FUSE, some network mounts); a broken disk says EIO.
_NO_FLUSH = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


@contextlib.contextmanager
def atomic_write(path: Path, is_durable: bool = True, is_private: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; on leaving, flush it to disk and rename it to `path`.

    If the block raises, the temporary file is removed and `path` stays as it was. Without `is_durable` nothing waits
    for the disk, and a power cut may leave a broken file: for what is checked when read and can be made again.
    With `is_private` nobody else may read it, whatever the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if is_durable:
            _flush(temporary)
        # mkstemp makes 0600; others may read what this user's files let them read
        _set_mode(temporary, 0o600 if is_private else 0o666 & ~_UMASK)
        replace_patiently(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that fails here failed above, which is what counts
            temporary.unlink(missing_ok=True)
        raise
    if is_durable and os.name == "posix":  # the rename itself is durable only once the folder is
        with contextlib.suppress(PermissionError):  # a folder that may be written to but not read
            _flush(path.parent)


def atomic_write_text(path: Path, text: str | Iterable[str]) -> None:
    """Write `text`, whole or in pieces, as UTF-8, replacing the file at once."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines([text] if isinstance(text, str) else text)


def _set_mode(path: Path, mode: int) -> None:
    """Set permissions where there are any: mounted buckets and shares (gcsfuse, SMB, exFAT) refuse to change them."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        with contextlib.suppress(OSError):
            path.chmod(mode)


def replace_patiently(source: Path, target: Path) -> None:
    """Rename a file or folder; Windows refuses for as long as anybody reads it, which takes them some milliseconds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while os.name != "posix" and time.monotonic() < deadline:
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(_RETRY_SECONDS)
    source.replace(target)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(descriptor)


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in `folder`, which is made if there is none; empty if one can.

    Tried, because what the permissions say is not all (a read-only disk, a user who may do anything).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_PIECE_BYTES):
            digest.update(data)
    return digest.hexdigest()
