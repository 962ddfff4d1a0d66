"""Progress of downloads, training and exchanges, and the streams it is printed to: a terminal, a file, or nobody.

A code page may lack a letter of the text, the descriptor may be closed from the start, the reader may leave (`| head`),
the disk behind `> log.txt` may fill up.
"""

import contextlib
import errno
import io
import os
import sys
import time
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO, cast

from charlstm.events import Record, Sampled
from charlstm.runs.history import describe_event

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


_BETWEEN_LINES_SECONDS = 5.0  # where there is no terminal


class TrainingBar:
    """Shows a run's records: a bar on a terminal, plain lines elsewhere, samples in both."""

    def __init__(self, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet  # no samples

    def __enter__(self) -> "TrainingBar":
        from tqdm import tqdm

        layout = "{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left{postfix}"
        self._bar = tqdm(total=1.0, bar_format=layout, disable=not sys.stderr.isatty(), dynamic_ncols=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, record: Record) -> None:
        """Draw or print one record."""
        if record.kind == "progress":
            self._bar.update(record.fraction - self._bar.n)
            self._bar.set_postfix_str(
                f"step {record.step:,}, loss {record.smooth_loss:.3f}, {record.chars_per_second:,.0f} chars/s",
                refresh=False,
            )
        elif self._is_quiet and record.kind == "sampled":
            return
        elif line := _format_record(record):
            self._bar.write(line)
            sys.stdout.flush()


def _format_record(record: Record) -> str | None:
    if record.kind == "started":
        notes = "".join(f"\n{note}" for note in record.notes)
        return (
            f"data has {record.num_chars:,} characters, {record.num_distinct:,} unique; {record.num_train_chars:,} to "
            f"learn from, {record.num_val_chars:,} for validation; {record.num_parameters:,} parameters{notes}"
        )
    if record.kind == "resumed":
        return f"resumed at step {record.step:,}"
    if record.kind == "rewound":
        return (
            f"the loss became NaN or infinite at step {record.diverged_step:,}: back to step {record.step:,}, "
            f"on at {record.rate_factor:g} times the learning rate"
        )
    if record.kind == "evaluated":
        return f"step {record.step:,}: validation {record.val_loss:.4f} nats per character ({record.method})"
    if record.kind in ("paused", "continued", "extended", "ratechanged"):
        return f"step {record.step:,}: {describe_event(record)[1]}"
    if record.kind == "sampled":
        return _format_sample(record)
    return None


def _format_sample(sample: Sampled) -> str:
    """Return the text with a head; of what it continues the last line alone, marked as quoted."""
    prompt, text = sample.text[: sample.prompt_chars], sample.text[sample.prompt_chars :]
    lines = [line for line in prompt.split("\n") if line.strip()]
    quoted = f"> {escape_control_chars(lines[-1])}\n" if lines else ""
    quick = "" if sample.quick_loss is None else f", quick estimate of validation {sample.quick_loss:.2f}"
    return f"---- step {sample.step:,}{quick} ----\n{quoted}{escape_control_chars(text)}\n----"


def escape_control_chars(text: str) -> str:
    """Return `text` as a terminal may show it: control characters, which could drive it, as their escapes."""
    if not sys.stdout.isatty():
        return text
    return "".join(char if char in "\n\t" or unicodedata.category(char) != "Cc" else repr(char)[1:-1] for char in text)


class BytesBar:
    """A bar in bytes that appears, on a terminal, only while a text is downloaded, or read because it is large."""

    def __enter__(self) -> "BytesBar":
        self._bar: Any = None
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def report(self, num_bytes: int, total_bytes: int) -> None:
        """Show that `num_bytes` of `total_bytes` are done; when all are, the next report begins anew."""
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total_bytes,
                unit="B",
                unit_scale=True,
                desc="preparing the text",
                leave=False,
                disable=not sys.stderr.isatty(),
            )
        self._bar.update(num_bytes - self._bar.n)
        if num_bytes >= total_bytes:
            self._bar.close()
            self._bar = None


class StepBar:
    """Steps of an exchange: on a terminal one line that changes, with a bar while bytes travel; elsewhere a line where
    it goes on for long.
    """

    def __enter__(self) -> "StepBar":
        from tqdm import tqdm

        self._is_terminal, self._said = sys.stderr.isatty(), time.monotonic()
        self._bar = tqdm(unit="B", unit_scale=True, leave=False, disable=not self._is_terminal, bar_format="{desc}")
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def show(self, words: str, num_bytes: int, total_bytes: int) -> None:
        """Draw one step, or now and then say it."""
        if not self._is_terminal:
            self._say(words, num_bytes, total_bytes)
            return
        self._bar.bar_format = None if total_bytes else "{desc}"
        self._bar.total, self._bar.n = total_bytes or None, num_bytes
        self._bar.set_description_str(words, refresh=True)

    def _say(self, words: str, num_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if now - self._said < _BETWEEN_LINES_SECONDS:
            return
        self._said = now
        size = f", {num_bytes / 1e6:,.1f} of {total_bytes / 1e6:,.1f} MB" if total_bytes else ""
        self._bar.write(f"{words}{size}", file=sys.stderr)


@contextlib.contextmanager
def silence_output() -> Iterator[None]:
    """Discard what is printed inside the block."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,  # noqa: PTH123
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
