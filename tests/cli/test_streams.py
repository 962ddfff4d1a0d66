"""What is printed where the encoding is narrow, nobody reads, or nothing can be written."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import TINY, assert_one_sentence

from charlstm.cli import main
from charlstm.cli.progress import ignore_output_errors, prepare_output
from charlstm.runs.run_dir import RunDir

RUSSIAN = "мама мыла раму, а кот сидел и смотрел.\n" * 20


@contextlib.contextmanager
def printing_to(descriptor: int, is_unbuffered: bool = False) -> Iterator[None]:
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.reconfigure(write_through=is_unbuffered)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield


def left_by_its_reader() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def on_a_full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


BROKEN = [
    left_by_its_reader,
    pytest.param(on_a_full_disk, marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")),
]


def printed(encoding: str, *command: object) -> bytes:
    """What a command that succeeds prints where that is the encoding."""
    data = io.BytesIO()
    stream = io.TextIOWrapper(data, encoding=encoding)
    with contextlib.redirect_stdout(stream):
        assert main([str(each) for each in command]) == 0
    return data.getvalue()


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A run that printed Russian in a code page without those letters."""
    (tmp_path / "russian.txt").write_text(RUSSIAN, encoding="utf-8")
    command = ["train", "--corpus", tmp_path / "russian.txt", *TINY, "--max-steps", 20, "--name", "a"]
    assert rb"\u04" in printed("cp1252", *command, "--checkpoints-dir", tmp_path)
    return tmp_path / "a"


def test_a_code_page_that_lacks_a_letter_of_the_text_stops_neither_training_nor_writing(trained: Path):
    assert RunDir(trained).status() == "completed"
    assert printed("ascii", "generate", trained, "--prompt", "кот").startswith(rb"\u043a\u043e\u0442")


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("is_unbuffered", [False, True], ids=["in blocks", "at once"])
def test_a_run_whose_output_can_not_be_written_trains_to_its_end(
    broken: Callable[[], int], is_unbuffered: bool, tmp_path: Path
):
    (tmp_path / "russian.txt").write_text(RUSSIAN, encoding="utf-8")
    command = ["train", "--corpus", str(tmp_path / "russian.txt"), *TINY, "--max-steps", "3", "--name", "a"]
    with printing_to(broken(), is_unbuffered):
        assert main([*command, "--checkpoints-dir", str(tmp_path)]) == 0
    assert RunDir(tmp_path / "a").status() == "completed"


@pytest.mark.parametrize("broken", BROKEN)
def test_writing_ends_quietly_when_its_reader_leaves_and_with_a_sentence_on_a_full_disk(
    broken: Callable[[], int], trained: Path, tmp_path: Path
):
    with (tmp_path / "said").open("w") as said, printing_to(broken()), contextlib.redirect_stderr(said):
        code = main(["generate", str(trained), "--num-chars", "0"])  # without an end of its own
    if broken is left_by_its_reader:
        assert (code, (tmp_path / "said").read_text()) == (0, "")
    else:
        assert code == 1
        assert_one_sentence((tmp_path / "said").read_text())


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are inherited otherwise")
@pytest.mark.parametrize(("redirected", "code"), [("<&- >&- 2>&-", 0), (">/dev/full 2>&-", 1), ("| true", 0)])
def test_no_command_ends_with_a_traceback_over_its_output(redirected: str, code: int, tmp_path: Path, repository: Path):
    command = f'"$0" -m charlstm runs --checkpoints-dir "$1" {redirected}'
    ending = "; exit ${PIPESTATUS[0]}" if "|" in redirected else ""
    said = subprocess.run(
        ["bash", "-c", command + ending, sys.executable, tmp_path], cwd=repository, capture_output=True, check=False
    )
    assert (said.returncode, said.stderr) == (code, b"")


def test_streams_that_are_not_there_become_streams_to_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    prepare_output()
    for stream in (sys.stdout, sys.stderr):
        assert stream.write("мама\n") == 5
        stream.close()


def test_what_is_printed_where_all_is_well_arrives():
    seen = io.StringIO()
    with contextlib.redirect_stdout(seen), ignore_output_errors():
        sys.stdout.write("one\n")
        sys.stdout.flush()
        assert not sys.stdout.isatty()
    assert seen.getvalue() == "one\n"
