"""Publishing: the old file or the new one, whole, whatever happens in between."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.files import atomic_write, atomic_write_text

# Writes half of the new content and dies inside the block, without running any clean-up.
DIES_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from charlstm.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    with temporary.open("w") as file:
        file.write("half of the new")
        file.flush()
        os.fsync(file.fileno())
        {death}
"""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def breaks_off(path, error):
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


def dies_while_publishing(path, death, repository):
    command = [sys.executable, "-c", DIES_WHILE_WRITING.format(death=death), str(path)]
    return subprocess.run(command, cwd=repository, check=False, timeout=60).returncode


def test_what_the_block_wrote_is_the_files_content(tmp_path):
    with atomic_write(tmp_path / "model.bin") as temporary:
        temporary.write_bytes(b"\x00new\xff")
    assert (tmp_path / "model.bin").read_bytes() == b"\x00new\xff"
    assert names_in(tmp_path) == ["model.bin"]


def test_what_need_not_last_is_published_without_waiting_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("charlstm.files._flush", lambda path: pytest.fail(f"{path.name} is flushed"))
    with atomic_write(tmp_path / "cache.bin", is_durable=False) as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "cache.bin").read_bytes() == b"new"
    assert names_in(tmp_path) == ["cache.bin"]


def test_text_in_pieces_is_written_in_order(tmp_path):
    atomic_write_text(tmp_path / "text", (piece for piece in ("é\n", "", "日本\r\n", "🙂")))
    assert (tmp_path / "text").read_bytes() == "é\n日本\r\n🙂".encode()


def test_missing_folders_are_made(tmp_path):
    atomic_write_text(tmp_path / "runs" / "first" / "config.json", "{}")
    assert (tmp_path / "runs" / "first" / "config.json").read_bytes() == b"{}"


def test_text_is_written_as_utf8_with_its_own_line_ends(tmp_path):
    atomic_write_text(tmp_path / "text", "é\n日本\r\n🙂")
    assert (tmp_path / "text").read_bytes() == b"\xc3\xa9\n\xe6\x97\xa5\xe6\x9c\xac\r\n\xf0\x9f\x99\x82"


def test_a_reader_sees_the_old_file_until_the_block_ends(tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new and longer")
        assert path.read_text() == "old"
    assert path.read_text() == "new and longer"


def test_someone_who_has_the_old_file_open_reads_it_to_its_end(tmp_path):
    path = tmp_path / "model.bin"
    path.write_text("old, whole")
    with path.open() as reader:
        assert reader.read(3) == "old"
        atomic_write_text(path, "new")
        assert reader.read() == ", whole"


def test_the_temporary_is_a_hidden_file_in_the_same_folder(tmp_path):
    with atomic_write(tmp_path / "model.bin") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".tmp"
        temporary.write_text("new")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_exception_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "model.bin"
    path.write_text("old")
    with pytest.raises(error):
        breaks_off(path, error)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["model.bin"]


def test_an_exception_at_the_first_publication_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError):
        breaks_off(tmp_path / "model.bin", RuntimeError)
    assert names_in(tmp_path) == []


def test_a_failing_rename_leaves_no_temporary(tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OSError, match="taken"):
        atomic_write_text(tmp_path / "taken", "new")
    assert names_in(tmp_path) == ["taken"]
    assert names_in(tmp_path / "taken") == ["inside"]


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_file_can_be_read_by_all_and_written_by_its_owner(tmp_path, umask):
    path = tmp_path / "model.bin"
    path.touch(mode=0o600)
    before = os.umask(umask)
    try:
        atomic_write_text(path, "new")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(
    ("death", "exit_code"), [("os._exit(9)", 9), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)]
)
def test_a_process_killed_while_writing_leaves_the_old_file_whole(tmp_path, repository, death, exit_code):
    path = tmp_path / "model.bin"
    path.write_text("old")
    assert dies_while_publishing(path, death, repository) == exit_code
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_what_a_killed_process_left_behind_does_not_disturb_the_next(tmp_path, repository):
    path = tmp_path / "model.bin"
    dies_while_publishing(path, "os._exit(9)", repository)
    assert not path.exists()
    assert len(names_in(tmp_path)) == 1, "the dead writer's temporary, which nobody could remove"
    atomic_write_text(path, "new")
    assert path.read_text() == "new"


def test_two_writers_of_one_file_do_not_mix_and_the_later_wins(tmp_path):
    path = tmp_path / "control.json"
    with atomic_write(path) as first:
        first.write_text("first, and the longer of the two")
        with atomic_write(path) as second:
            assert isinstance(second, Path)
            assert second != first
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first, and the longer of the two"
    assert names_in(tmp_path) == ["control.json"]
