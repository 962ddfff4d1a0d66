"""Private folders: nobody but this user can have written what is in them, so it may be loaded as code.

Everything here raises `OSError` where there can be none: a place taken by somebody else, a link, a parent that others
may write to, a file system that knows no permissions. On Windows a user's folders are private as they come.
"""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import platformdirs

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_PRIVATE = 0o700
_ALL = 0o777


def private_cache() -> Path:
    """Make this package's folder in the user's cache private, and return it.

    Where others could write to it, as by the umask 002 of many systems, what is loaded as code or taken as it is goes.
    Texts stay: those of named data sets have checksums in this package. That of a fetched text lies beside it, so
    whoever could write there may have changed both.
    """
    cache = Path(platformdirs.user_cache_dir("charlstm"))
    make_private(cache, emptied=("kernels", "ids"))
    return cache


def make_private(path: Path, emptied: Sequence[str] | None = None) -> None:
    """Make `path` a folder of one's own (mode 0700), and folders above it that are missing.

    A folder of this user's that others could write to is emptied, of the names in `emptied` or else of everything: what
    lies in it may be theirs.
    """
    for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
        with contextlib.suppress(FileExistsError):  # `mkdir(parents=True)` would make those above with the umask's mode
            missing.mkdir(_PRIVATE)
    if sys.platform == "win32":
        return
    _check_parents(path)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _claim(folder, path, emptied)
    finally:
        os.close(folder)


def temporary_place() -> Path:
    """Return the path that all processes of this user share among the temporary files; nothing is made."""
    number = f"-{os.getuid()}" if sys.platform != "win32" else ""  # Windows gives each user a folder of their own
    return Path(tempfile.gettempdir()) / f"charlstm{number}"


def make_temporary() -> Path:
    """Make `temporary_place` private, or where somebody has taken its name a folder for this process; return it."""
    try:
        make_private(temporary_place())
    except OSError:
        return Path(tempfile.mkdtemp(prefix="charlstm-"))
    return temporary_place()


@contextlib.contextmanager
def private_folder(path: Path) -> Iterator[Path]:
    """Make `path` private, and yield a path to it that stays the same folder, whoever renames what.

    That is so where /proc is there; elsewhere it is `path` itself, whose parents were looked at.
    """
    make_private(path)
    descriptors = Path(f"/proc/{os.getpid()}/fd")  # not /proc/self: a compiler that is started follows it too
    if sys.platform == "win32" or not descriptors.is_dir():
        yield path
        return
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _claim(folder, path)  # once more: this is the one that is used
        yield descriptors / str(folder)
    finally:
        os.close(folder)


def read_own(path: Path) -> bytes:
    """Return the bytes of a file in a private folder; raise `OSError` for a link, and for a file of somebody else's."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_theirs = sys.platform != "win32" and (
            status.st_uid != os.getuid() or status.st_mode & _WRITABLE_BY_OTHERS or not stat.S_ISREG(status.st_mode)
        )
        if is_theirs:
            raise PermissionError(errno.EACCES, "others could have written it", str(path))
        return file.read()


if sys.platform != "win32":

    def _check_parents(path: Path) -> None:
        """Raise if others can rename things in a parent; a group with its user's number is that user's alone."""
        user = os.getuid()
        for folder in path.resolve().parents:
            status = folder.stat()
            is_shared = status.st_mode & stat.S_IWOTH or (status.st_mode & stat.S_IWGRP and status.st_gid != user)
            if is_shared and not status.st_mode & stat.S_ISVTX:
                raise PermissionError(errno.EACCES, "others may write to a folder above it", str(path))

    def _claim(folder: int, path: Path, emptied: Sequence[str] | None = None) -> None:
        """Make the open `folder` private, whatever it was."""
        status = os.fstat(folder)
        if status.st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "its place is taken by another user", str(path))
        if status.st_mode & _ALL != _PRIVATE:
            os.fchmod(folder, _PRIVATE)
            if os.fstat(folder).st_mode & _ALL != _PRIVATE:
                raise PermissionError(errno.EACCES, "permissions can't be set there", str(path))
        if status.st_mode & _WRITABLE_BY_OTHERS:
            _empty(path, emptied)

    def _empty(path: Path, names: Sequence[str] | None) -> None:
        for each in path.iterdir():
            if names is not None and each.name not in names:
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each)
            else:
                each.unlink()
