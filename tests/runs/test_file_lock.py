"""File systems that refuse what others grant: permissions, locks, flushing, and replacing a file that is read."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import Timeout
from waiting import wait_until
from windows import refuse_replacing

from charlstm import files
from charlstm.errors import RunError
from charlstm.files import atomic_write_text
from charlstm.runs import file_lock
from charlstm.runs.file_lock import is_locked, open_lock
from charlstm.runs.manager import RunManager

pytestmark = pytest.mark.skipif(os.name != "posix", reason="what is refused here are POSIX's calls")


def refuse(number: int) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


# Publishing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EACCES])
def test_a_disk_without_permissions_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(Path, "chmod", refuse(number))
    atomic_write_text(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "new")]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_disk_that_knows_no_flushing_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    atomic_write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_to_flush_is_told_of_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        atomic_write_text(tmp_path / "file", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_on_windows_a_file_that_is_being_read_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = refuse_replacing(3, monkeypatch)
    atomic_write_text(tmp_path / "file", "new")
    assert left() < 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "new")]


def test_on_windows_a_file_that_is_read_for_ever_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_replacing(10**9, monkeypatch)
    monkeypatch.setattr(files, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(PermissionError):
        atomic_write_text(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


# Locks ----------------------------------------------------------------------------------------------------------------

HOLD = """
import errno, fcntl, sys
from pathlib import Path
def flock(*_): raise OSError(int(sys.argv[2]), "flock")
fcntl.flock = flock
from charlstm.runs.file_lock import open_lock
with open_lock(Path(sys.argv[1]), 5):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """What `flock` answers."""
    monkeypatch.setattr(file_lock.fcntl, "flock", refuse(request.param))
    return int(request.param)


@pytest.fixture
def holder(tmp_path: Path, number: int, repository: Path):
    """Another process, which holds the lock of the run `a`."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text("{}")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "a" / "run.lock"), str(number)]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_without_flock_a_lock_is_seen_and_keeps_others_out(tmp_path: Path, holder) -> None:
    lock_file = tmp_path / "a" / "run.lock"
    assert is_locked(lock_file)
    with pytest.raises(Timeout):
        open_lock(lock_file, 0.1).acquire()
    holder.communicate(timeout=60)
    assert not is_locked(lock_file)
    with open_lock(lock_file, 0.1):
        assert is_locked(lock_file)
    assert not is_locked(lock_file)


def test_without_flock_a_run_that_trains_is_seen_and_is_not_deleted_until_it_is_killed(tmp_path: Path, holder) -> None:
    manager = RunManager(tmp_path)
    folder = manager.store.get("a")
    assert folder.status() == "running"
    with pytest.raises(RunError, match="is training"):
        manager.delete("a")
    assert manager.steer("a", pause=True) == folder.control().number
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    folder.events_file.touch()
    wait_until(lambda: folder.status() == "interrupted", timeout=5)
    with folder.lock():
        assert folder.status() == "running"
    manager.delete("a")
    assert manager.runs() == []


def test_a_holder_on_another_machine_is_alive_as_long_as_it_touches_its_marker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = tmp_path / "run.lock"
    marker = tmp_path / "run.lock.held"
    monkeypatch.setattr(file_lock.fcntl, "flock", refuse(errno.ENOSYS))
    marker.write_text('{"place": "elsewhere", "process": 1, "started": ""}')
    assert is_locked(lock_file)
    os.utime(marker, (time.time() - 61, time.time() - 61))
    assert not is_locked(lock_file)
    with open_lock(lock_file, 0.1):
        assert "elsewhere" not in marker.read_text()


def test_the_number_of_a_process_that_is_gone_does_not_hold_a_lock_when_it_is_given_anew(tmp_path: Path) -> None:
    here = file_lock._Holder.here()
    marker = tmp_path / "run.lock.held"
    for holder, is_alive in ((here, True), (here._replace(started="1"), False)):
        marker.write_text(file_lock.json.dumps(holder._asdict()))
        assert is_locked(tmp_path / "run.lock") is is_alive


def test_the_holder_touches_its_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lock.fcntl, "flock", refuse(errno.ENOSYS))
    monkeypatch.setattr(file_lock, "_TOUCH_SECONDS", 0.01)
    marker = tmp_path / "run.lock.held"
    with open_lock(tmp_path / "run.lock", 1):
        os.utime(marker, (1, 1))
        wait_until(lambda: marker.stat().st_mtime > 1, timeout=10)


def test_of_many_that_find_a_stale_marker_one_gets_the_lock(tmp_path: Path, fork) -> None:
    take_and_die = """
import errno, fcntl, json, sys
from pathlib import Path
def flock(*_): raise OSError(errno.ENOSYS, "flock")
fcntl.flock = flock
from charlstm.runs.file_lock import _Holder, open_lock
lock_file = Path(sys.argv[1])
for number in range(30):
    with open_lock(lock_file, 60):
        inside = lock_file.with_name("inside")
        inside.touch(exist_ok=False)
        inside.unlink()
    try:
        with lock_file.with_name("run.lock.held").open("x") as stale:
            stale.write(json.dumps(_Holder.here()._replace(started=f"long ago {number}")._asdict()))
    except FileExistsError:
        pass
"""
    for process in [fork(take_and_die, tmp_path / "run.lock") for _ in range(3)]:
        assert process.communicate(timeout=100) == ("", "")
        assert process.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} <= {"run.lock", "run.lock.held"}
