"""Where a user without a home keeps what libraries want to keep."""

import getpass
import os
import stat
import sys
from pathlib import Path

import pytest

from charlstm.process_setup import ensure_home

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there every user has a profile")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for a user of whom the system knows nothing."""
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")  # or what is set below would outlive the test
        monkeypatch.delenv(name)

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_it_is_a_folder_of_ones_own_and_the_same_for_every_process(temporary: Path, monkeypatch: pytest.MonkeyPatch):
    homes = []
    for _ in range(2):
        monkeypatch.delenv("HOME", raising=False)
        ensure_home()
        homes.append(Path.home())
    assert homes == [temporary / f"charlstm-{os.getuid()}"] * 2
    assert stat.S_IMODE(homes[0].stat().st_mode) == 0o700
    assert getpass.getuser()


def test_nothing_stays_that_others_could_have_put_into_ones_own_place(temporary: Path):
    place = temporary / f"charlstm-{os.getuid()}"
    (place / ".config").mkdir(parents=True)
    (place / ".netrc").write_text("planted")
    place.chmod(0o777)
    ensure_home()
    assert list(Path.home().iterdir()) == []
    assert stat.S_IMODE(Path.home().stat().st_mode) == 0o700


@pytest.mark.parametrize("taken", ["link", "file"])
def test_a_place_that_is_not_ones_own_is_not_used(temporary: Path, taken: str):
    place = temporary / f"charlstm-{os.getuid()}"
    if taken == "link":
        (temporary / "theirs").mkdir(mode=0o700)
        place.symlink_to(temporary / "theirs")
    else:
        place.write_text("")
    ensure_home()
    assert Path.home() != place
    assert stat.S_IMODE(Path.home().stat().st_mode) == 0o700


def test_who_has_a_home_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ensure_home()
    assert Path.home() == tmp_path
