"""Publishing a file so that a crash at any instant leaves either the old one or the new one, whole."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_UMASK = os.umask(0)  # the only way to read it is to set it
os.umask(_UMASK)


@contextmanager
def publish(path: Path, is_durable: bool = True) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; on leaving, flush it to disk and rename it to `path`.

    If the block raises, the temporary file is removed and `path` stays as it was. Without `is_durable` nothing waits
    for the disk, and a power cut may leave a broken file: for what is checked when read and can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        if is_durable:
            _flush(temporary)
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes 0600; others may read what this user's files let them read
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if is_durable and os.name == "posix":  # the rename itself is durable only once the folder is
        _flush(path.parent)


def publish_text(path: Path, text: str | Iterable[str]) -> None:
    """Publish `text`, whole or in pieces, as UTF-8."""
    with publish(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines([text] if isinstance(text, str) else text)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
