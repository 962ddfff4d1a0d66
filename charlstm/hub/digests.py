"""Digests of downloads: whether a file is the one that the Hub names."""

import hashlib
import re
from pathlib import Path

_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")  # SHA-256 of what lies in storage; git's, of all else
_PIECE_BYTES = 1 << 20
_SHA256_DIGITS = 64


def is_whole(file: Path, digest: str | None = None) -> bool:
    """Compare `file` with `digest`, an ETag of the Hub; by default with the one that its cache keeps it under.

    What is no digest (an ETag of another kind; a cache on a disk without links) proves nothing.
    """
    digest = digest or file.resolve().name
    if not _DIGEST.fullmatch(digest):
        return True
    is_git = len(digest) != _SHA256_DIGITS
    found = hashlib.sha1(b"blob %d\0" % file.stat().st_size) if is_git else hashlib.sha256()  # noqa: S324  git's way
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE_BYTES):
            found.update(piece)
    return found.hexdigest() == digest


def discard(file: Path) -> None:
    """Remove `file` and what the cache's name of it points to, or the cache would serve it again."""
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)
