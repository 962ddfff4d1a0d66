"""Standard output and error where they are not a UTF-8 terminal that somebody watches.

A code page may lack a letter of the text, the descriptor may be closed from the start, the reader may leave (`| head`),
the disk behind `> log.txt` may fill up.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

_LAST_STANDARD_DESCRIPTOR = 2


def prepare_output() -> None:
    """Open the streams that are closed, and escape what their encoding lacks; to be called before anything is printed.

    Also fills closed descriptors: or the next file that is opened, such as a run's records, would get number 1, and
    whatever prints from C would write into it.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_DESCRIPTOR:
            pass
        os.close(descriptor)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, or a program without a console on Windows
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError):  # a pipe that took the place of a file since the stream was opened
                stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def ignore_output_errors() -> Iterator[None]:
    """Ignore errors of printing inside the block: what can't be written is lost, and the work goes on."""
    with (
        contextlib.redirect_stdout(cast("TextIO", _Dispensable(sys.stdout))),
        contextlib.redirect_stderr(cast("TextIO", _Dispensable(sys.stderr))),
    ):
        yield


def discard_unwritable() -> None:
    """Send on to nowhere what can't be written, or Python's own flush at exit would fail and say so."""
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)


def is_reader_gone(error: OSError) -> bool:
    """Return whether a pipe has no reader any more, which Windows calls an invalid argument."""
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None
    )


class _Dispensable:
    """A stream whose errors don't matter."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        _flush(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        _discard(stream)


def _discard(stream: TextIO) -> None:
    """Point the stream's descriptor at nothing: what its buffer still holds goes there too."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), stream.fileno())
        stream.flush()
