"""Headers of safetensors files, read without torch: 8 bytes of length, then JSON, then numbers.

The library would map the file: if somebody copies another one over it meanwhile, the whole process ends (SIGBUS). What
is read here is bytes, and how many is known, and checked against the file's size, before any number is read.
"""

import io
import math
import re
import struct
from typing import Any, BinaryIO, NamedTuple

from charlstm.json_text import parse_json

# Of safetensors' own 100 MB, so that a forged one can't take gigabytes: a vocabulary of all of Unicode takes 22 MB.
LONGEST_HEADER = 32_000_000
LFS_ADVICE = "is only the pointer that Git LFS leaves in a file's place; run `git lfs pull` there to get the file"
POINTER_BYTES = 1024  # at most, as Git LFS specifies
LFS_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/.{,972}\noid sha256:", re.DOTALL)
_MOST_DIMENSIONS = 8
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Entry(NamedTuple):
    """A tensor: its type as safetensors names it, its shape, and where its bytes begin and end in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Header(NamedTuple):
    """The texts and the tensors of a file."""

    texts: dict[str, str]
    tensors: dict[str, Entry]


class LfsPointer(ValueError):
    """The file is what Git LFS leaves in its place; the message says so, and what to do."""


def read_header(file: BinaryIO) -> Header:
    """Read the header of an open file; raise `ValueError`, in a few words, unless it accounts for each of its bytes."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    start = file.read(POINTER_BYTES)
    if LFS_POINTER.match(start):
        raise LfsPointer(LFS_ADVICE)
    if len(start) < 8:
        raise ValueError("it is too short")
    (length,) = struct.unpack("<Q", start[:8])
    if length > min(LONGEST_HEADER, size - 8):
        raise ValueError("its header is longer than it may be")
    file.seek(8)
    header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise ValueError("a value in its header is not a string")
    tensors = {name: _read_entry(name, entry, 8 + length) for name, entry in header.items()}
    _check_layout(tensors, 8 + length, size)
    return Header(texts, tensors)


def _read_entry(name: str, entry: Any, data_begin: int) -> Entry:
    try:
        dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        is_right = (
            len(shape) <= _MOST_DIMENSIONS
            and all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            and math.prod(shape) * ITEM_BYTES[dtype] == end - begin
        )
    except (KeyError, TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ValueError(f"its tensor {name[:40]!r} is not described as it should be")
    return Entry(dtype, shape, data_begin + begin, data_begin + end)


def _check_layout(tensors: dict[str, Entry], begin: int, size: int) -> None:
    """Check that the tensors follow each other without a gap from the header's end to the file's."""
    for entry in sorted(tensors.values(), key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != begin:
            raise ValueError("its tensors overlap or leave a gap")
        begin = entry.end
    if begin != size:
        raise ValueError(f"it has {size:,} bytes and should have {begin:,}")
