"""Bodies of requests, bounded while they arrive: what is parsed costs memory and time far beyond its bytes.

*Measured*: 90 MB of `[],[],...` held everyone up for 10 s and took 2.8 GB; a text costs about its own size. So the
number of values is bounded as well as the bytes, and both before anything is parsed.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

MOST_JSON_BYTES = 8_000_000  # a million pasted characters of any script
_MAX_TOTAL_BYTES = 8 * MOST_JSON_BYTES  # by all requests together
_MAX_VALUES = 100_000
_MAX_DEPTH = 100
_MAX_FILES = 20  # at once: each holds a file open
_UPLOAD_FRAME_BYTES = 100_000  # of an upload that are not its file
_STRING = re.compile(rb'"[^"]*"?')  # one left open matches too, or each quote in it would be tried again
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class RequestRefused(Exception):
    """A request is answered with `status` and one sentence, and goes no further."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class JsonReader:
    """Reads the JSON bodies of all requests; what they hold together is bounded too."""

    def __init__(self) -> None:
        self._held_bytes = 0

    async def read(self, receive: Receive) -> tuple[bytes, Any]:
        """The whole body and its value, until `release` is called with it; raises `RequestRefused`."""
        body = bytearray()
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestRefused(400, "The request ended before its body did.")
                body += self._count(message.get("body", b""), len(body))
                if not message.get("more_body", False):
                    break
            return bytes(body), check_json(bytes(body))
        except BaseException:
            self.release(body)
            raise

    def release(self, body: bytes | bytearray) -> None:
        """Make room for others."""
        self._held_bytes -= len(body)

    def _count(self, part: bytes, num_before: int) -> bytes:
        if num_before + len(part) > MOST_JSON_BYTES:
            most = MOST_JSON_BYTES // 1_000_000
            raise RequestRefused(413, f"This request is larger than {most} MB; upload a long text as a file.")
        if self._held_bytes + len(part) > _MAX_TOTAL_BYTES:
            raise RequestRefused(429, "Too many large requests arrive at the same time; try again in a moment.")
        self._held_bytes += len(part)
        return part


def check_json(body: bytes) -> Any:
    """The value of a body; raises `RequestRefused` unless it is JSON in UTF-8, cheap to parse, and can be encoded."""
    _check_structure(body)
    try:
        value = json.loads(body.decode("utf-8"))
        if _HALF_PAIR.search(body):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError):  # no UTF-8, no JSON, a number of 5,000 digits, half a pair of surrogates
        raise RequestRefused(400, "The request's body is not valid JSON in UTF-8; send one JSON value.") from None


def _check_structure(body: bytes) -> None:
    num_openers = body.count(b"[") + body.count(b"{")
    if num_openers <= _MAX_DEPTH and body.count(b",") <= _MAX_VALUES:
        return
    # The commas and brackets of a text are no structure.
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
    """The `receive` of an upload: at most `max_bytes` and 20 files; Gradio bounds each file, and not their number.

    What is too much, and a sender who leaves, reach Gradio's parser as its own error, for which it alone removes the
    files it has begun.
    """

    def __init__(self, receive: Receive, headers: Mapping[str, str], max_bytes: int) -> None:
        self._receive, self._max_bytes = receive, max_bytes
        found = re.search(r'boundary="?([^";,]+)', headers.get("content-type", ""), re.IGNORECASE)
        self._boundary = b"--" + found[1].strip().encode("latin-1") if found else b"\r\n--"
        self._num_bytes = self._num_parts = 0
        self._tail = b""

    async def __call__(self) -> Message:
        """The next message."""
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
        if self._num_parts > _MAX_FILES + 1:  # the end has one
            raise MultiPartException(f"At most {_MAX_FILES} files are taken at once; upload fewer.")
        return message


def has_body(headers: Headers) -> bool:
    """Whether a request brings one, or might."""
    return headers.get("content-length", "0").strip() != "0" or "transfer-encoding" in headers
