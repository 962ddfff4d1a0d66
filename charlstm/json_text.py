"""JSON text that somebody else may have written: by hand, in another program's encoding, or to do harm."""

import codecs
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

LARGEST_FILE = 1 << 20  # bytes of a file of settings or requests; the longest that is written here has a few thousand
_MOST_DIGITS = 100
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",  # Notepad's, and that of PowerShell's `Out-File -Encoding utf8`
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16's, which is how it begins
    codecs.BOM_UTF16_LE: "utf-16",  # of PowerShell's `>`
    codecs.BOM_UTF16_BE: "utf-16",
}
_Model_T = TypeVar("_Model_T", bound=BaseModel)


def parse_json(data: str | bytes) -> Any:
    """Return the value of a JSON text; raise `ValueError`, in a few words, for everything that is none.

    One in which a name stands twice in an object, with a number of hundreds of digits, or nested too deeply is none.
    NaN and Infinity come as what they say: the model that the value is for refuses them, by the field's name.
    """
    text = data if isinstance(data, str) else _decode(data)
    try:
        return json.loads(text, object_pairs_hook=_build_object, parse_int=_parse_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_as(kind: type[_Model_T], data: bytes) -> _Model_T:
    """Return the value of a JSON text as a model; raise `ValueError`."""
    return kind.model_validate(parse_json(data))


def read_small(path: Path, max_bytes: int = LARGEST_FILE) -> bytes:
    """Return the bytes of a file that should be small; raise `OSError`, and `ValueError` for one that is not."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return data


def _decode(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not {encoding.removesuffix('-sig').upper()} at byte {error.start:,}") from None


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!r} stands there twice")
    return found


def _parse_integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number there has {len(digits):,} digits")
    return int(digits)
