"""Several files as one text: those of a folder, of a pattern (`chapters/*.txt`), or of a list of paths."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import platformdirs

from charlstm.config_fields import Encoding
from charlstm.corpus.decoding import TextChunks, open_text
from charlstm.data_folders import expand
from charlstm.errors import CorpusError
from charlstm.files import atomic_write

_MOST_FILES = 10_000


class Joined(NamedTuple):
    """The files that make up a text, and how many of the folder's were left out."""

    paths: tuple[Path, ...]
    num_skipped: int


def find_files(named: str, path: Path) -> Joined | None:
    """Return the files that `named`, or `path`, stands for in natural order (2 before 10); `None` if it is none."""
    try:
        if path.is_dir():
            return _check_files(named, path.iterdir())
        if path.exists():
            return None
    except (OSError, ValueError):  # a whole text in place of a path
        return None
    if re.search(r"[*?\[]", named):
        return _check_files(named, (Path(each) for each in glob.iglob(str(path), recursive=True)))  # noqa: PTH207  an absolute pattern
    if os.pathsep in named:
        return Joined(tuple(expand(Path(each)) for each in named.split(os.pathsep) if each), 0)
    return None


def absolute(named: str, path: Path) -> str:
    """Return `named`, or `path`, which stands for several files, as it can be found from any working directory."""
    if path.is_dir() or re.search(r"[*?\[]", named):
        return str(path.resolve())
    return os.pathsep.join(str(expand(Path(each)).resolve()) for each in named.split(os.pathsep) if each)


def _check_files(named: str, found: Iterator[Path]) -> Joined:
    every = sorted((path for path in found if path.is_file()), key=_natural)
    kept = tuple(path for path in every if not path.name.startswith(".") and not _is_binary(path))
    if not kept:
        raise CorpusError(f"there are no text files in {named}; name a folder or a pattern that has some.")
    if len(kept) > _MOST_FILES:
        raise CorpusError(f"{named} stands for more than {_MOST_FILES:,} files; name fewer.")
    return Joined(kept, len(every) - len(kept))


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"([0-9]+)", str(path))
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _is_binary(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False  # it is said when it is read
    return not head or (b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")))


def join(joined: Joined, encoding: Encoding) -> Path:
    """Write the text of all into one file of the user's cache, as UTF-8 with a newline between, once."""
    facts = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in joined.paths]
    key = hashlib.sha256(repr((facts, encoding)).encode()).hexdigest()
    place = Path(platformdirs.user_cache_dir("charlstm")) / "texts" / f"{key}.txt"
    if place.is_file():
        os.utime(place)  # or it would go first where too much is kept
        return place
    with atomic_write(place, is_durable=False) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(_pieces(joined.paths, encoding))
    return place


def _pieces(paths: tuple[Path, ...], encoding: Encoding) -> Iterator[str]:
    last = ""
    for number, path in enumerate(paths):
        if number and not last.endswith("\n"):
            yield "\n"
        with open_text(path, path.name) as file:
            for last in TextChunks(file, path.name, encoding):
                yield last
