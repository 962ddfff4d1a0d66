"""Limits on request bodies, enforced while they arrive: parsed JSON costs far more memory and time than its bytes.

*Measured*: 90 MB of `[],[],...` blocked all visitors for 10 s and took 2.8 GB; a text costs about its own size. So the
number of values is limited as well as the bytes, both before anything is parsed.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

from charlstm.environment import is_public

MOST_JSON_BYTES = 8_000_000  # a million pasted characters of any script
_MAX_TOTAL_BYTES = 8 * MOST_JSON_BYTES  # by all requests together
_MAX_VISITOR_BYTES = 3 * MOST_JSON_BYTES  # by those of one visitor, where strangers come
_LEAST_BYTES = 64_000  # that a visitor may hold there, whatever others do
_MAX_VALUES = 100_000
_MAX_DEPTH = 100
_MAX_FILES = 20  # per upload: each holds a file open
_LONGEST_BOUNDARY = 200  # characters; the standard allows 70, and the parser of uploads fails over 257
_UPLOAD_FRAME_BYTES = 100_000  # of an upload besides its files
_STRING = re.compile(rb'"[^"]*"?')  # matches an unterminated string too, or each quote in it would be tried again
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class RequestRefused(Exception):
    """A request is refused: it is answered with `status` and one sentence, and as JSON with `more`."""

    def __init__(self, status: int, sentence: str, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.more = status, sentence, dict(more or {})


class JsonReader:
    """Reader of the JSON bodies of all requests, which limits what they hold together."""

    def __init__(self) -> None:
        self._held_bytes: Counter[str] = Counter()  # by visitor

    async def read(self, receive: Receive, visitor: str) -> tuple[bytes, Any]:
        """Read a whole body; return it and its value, to be given back with `release`. Raises `RequestRefused`."""
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRefused(400, "The request ended before its body did.")
                body += self._count(message.get("body", b""), len(body), visitor)
                if not message.get("more_body", False):
                    break
            return bytes(body), check_json(bytes(body))
        except BaseException:
            self.release(body, visitor)
            raise

    def release(self, body: bytes | bytearray, visitor: str) -> None:
        """Subtract a body from what is held."""
        self._held_bytes[visitor] -= len(body)
        if not self._held_bytes[visitor]:
            del self._held_bytes[visitor]

    def _count(self, part: bytes, num_before: int, visitor: str) -> bytes:
        if num_before + len(part) > MOST_JSON_BYTES:
            most = MOST_JSON_BYTES // 1_000_000
            raise RequestRefused(413, f"This request is larger than {most} MB; upload a long text as a file.")
        if is_public() and self._held_bytes[visitor] + len(part) > _MAX_VISITOR_BYTES:
            raise RequestRefused(429, "Too many large requests of your address are at work; try again in a moment.")
        is_small = is_public() and self._held_bytes[visitor] + len(part) <= _LEAST_BYTES
        if self._held_bytes.total() + len(part) > _MAX_TOTAL_BYTES and not is_small:
            raise RequestRefused(429, "Too many large requests arrive at the same time; try again in a moment.")
        self._held_bytes[visitor] += len(part)
        return part


def check_json(body: bytes) -> Any:
    """Return the value of a body; raises `RequestRefused` unless it is cheap-to-parse JSON that encodes to UTF-8."""
    _check_structure(body)
    try:
        value = json.loads(body.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of 5,000 digits or 1e400, a lone surrogate
        raise RequestRefused(400, "The request's body is not valid JSON in UTF-8; send one JSON value.") from None


def _finite(text: str) -> float:
    """Return the number; raise `ValueError` for one that no JSON has, which Gradio could not answer with."""
    if not math.isfinite(number := float(text)):
        raise ValueError("not a number of JSON")
    return number


def _check_structure(body: bytes) -> None:
    num_openers = body.count(b"[") + body.count(b"{")
    if num_openers <= _MAX_DEPTH and body.count(b",") <= _MAX_VALUES:
        return
    # Commas and brackets inside strings do not count.
    bare = _STRING.sub(b"", body.replace(rb"\\", b"").replace(rb"\"", b""))
    num_openers = bare.count(b"[") + bare.count(b"{")
    if num_openers + bare.count(b",") > _MAX_VALUES:
        raise RequestRefused(413, f"This request has more than {_MAX_VALUES:,} values; send fewer.")
    if num_openers > _MAX_DEPTH and _depth(bare.translate(None, _NOT_BRACKETS)) > _MAX_DEPTH:
        raise RequestRefused(400, f"The values of this request are nested deeper than {_MAX_DEPTH}; send flatter ones.")


def _depth(brackets: bytes) -> int:
    depth = deepest = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


class BoundedUpload:
    """The `receive` of an upload: at most `max_bytes` and 20 files; Gradio limits each file, but not their number.

    An upload beyond the limits, or one that is broken off, reaches Gradio's parser as that parser's own error, the only
    one for which it removes its unfinished files.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], max_bytes: int) -> None:
        self._receive, self._max_bytes = receive, max_bytes
        found = re.search(r'boundary="?([^";,]+)', headers.get("content-type", ""), re.IGNORECASE)
        if found and len(found[1]) > _LONGEST_BOUNDARY:
            raise RequestRefused(400, f"The boundary of an upload has at most {_LONGEST_BOUNDARY} characters.")
        self._boundary = b"--" + found[1].strip().encode("latin-1") if found else b"\r\n--"
        self._num_bytes = self._num_parts = 0
        self._tail = b""

    async def __call__(self) -> Message:
        """Receive and count the next message; raises `MultiPartException`."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise MultiPartException("The upload ended before its file did.")
        part = message.get("body", b"")
        self._num_bytes += len(part)
        seen = self._tail + part
        self._num_parts += seen.count(self._boundary)
        self._tail = seen[-(len(self._boundary) - 1) :]
        if self._num_bytes > self._max_bytes + _UPLOAD_FRAME_BYTES:
            most = self._max_bytes / 1e6
            raise MultiPartException(f"The file is larger than the maximum allowed size of {most:,.12g} MB.")
        if self._num_parts > _MAX_FILES + 1:  # the closing boundary counts as well
            raise MultiPartException(f"At most {_MAX_FILES} files are taken at once; upload fewer.")
        return message


def has_body(headers: Headers) -> bool:
    """Return whether a request has a body, or might have one."""
    return headers.get("content-length", "0").strip() != "0" or "transfer-encoding" in headers
