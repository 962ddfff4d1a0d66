"""Folders for code that is loaded: one's own, private, no link, or none at all."""

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest
from forked import Fork

from charlstm.kernel import build
from charlstm.private_folders import make_private, private_cache, private_folder, read_own

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
SOMEBODY = 12345
as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root can hand a file to another user"
)


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("_umask")
def test_a_folder_and_those_above_it_are_made_private_whatever_the_umask(tmp_path: Path) -> None:
    make_private(tmp_path / "cache" / "charlstm")
    assert mode_of(tmp_path / "cache") == mode_of(tmp_path / "cache" / "charlstm") == 0o700


def test_a_folder_that_others_may_read_is_closed_and_keeps_its_files(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir(mode=0o755)
    (tmp_path / "own" / "file").write_bytes(b"mine")
    make_private(tmp_path / "own")
    assert mode_of(tmp_path / "own") == 0o700
    assert (tmp_path / "own" / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
def test_a_folder_that_others_could_write_to_is_emptied(tmp_path: Path, mode: int) -> None:
    own = tmp_path / "own"
    (own / "deep" / "er").mkdir(parents=True)
    (own / "planted.so").write_bytes(b"theirs")
    (own / "link").symlink_to(tmp_path)
    own.chmod(mode)
    make_private(own)
    assert mode_of(own) == 0o700
    assert list(own.iterdir()) == []
    assert tmp_path.is_dir()


@pytest.mark.skipif(os.name != "posix", reason="there is no umask")
def test_a_cache_that_a_group_could_write_to_keeps_its_texts_and_loses_what_is_used_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under the umask 002 of many systems, where a text is often the first thing that is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = Path(platformdirs.user_cache_dir("charlstm"))
    for name in ("texts/folder.txt", "tiny-shakespeare.txt", "kernels/planted.so", "ids/planted"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(b"bytes")
    cache.chmod(0o775)
    assert private_cache() == cache
    assert mode_of(cache) == 0o700
    kept = sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())
    assert kept == ["texts/folder.txt", "tiny-shakespeare.txt"]


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "own").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="own"):
        make_private(tmp_path / "own")


@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o1777, False), (0o755, False)])
def test_a_parent_in_which_others_may_rename_things_is_refused(tmp_path: Path, mode: int, is_refused: bool) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    if is_refused:
        with pytest.raises(PermissionError, match="above it"):
            make_private(tmp_path / "shared" / "a" / "b")
    else:
        make_private(tmp_path / "shared" / "a" / "b")


@as_root
@pytest.mark.parametrize(("group", "is_refused"), [(0, False), (SOMEBODY, True)])
def test_a_parent_that_a_group_may_write_to_must_be_of_the_users_own_group(
    tmp_path: Path, group: int, is_refused: bool
) -> None:
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, group)
    (tmp_path / "shared").chmod(0o775)
    if is_refused:
        with pytest.raises(PermissionError, match="above it"):
            make_private(tmp_path / "shared" / "own")
    else:
        make_private(tmp_path / "shared" / "own")


@as_root
def test_a_folder_or_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", SOMEBODY, SOMEBODY)
    with pytest.raises(PermissionError, match="taken by another user"):
        make_private(tmp_path / "theirs")
    (tmp_path / "file").write_bytes(b"theirs")
    os.chown(tmp_path / "file", SOMEBODY, SOMEBODY)
    with pytest.raises(PermissionError, match="others could have written it"):
        read_own(tmp_path / "file")


def test_a_file_that_others_may_write_to_or_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert read_own(tmp_path / "file") == b"mine"
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="link"):
        read_own(tmp_path / "link")
    (tmp_path / "file").chmod(0o666)
    with pytest.raises(PermissionError):
        read_own(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="without /proc the parents are all there is to look at")
def test_the_folder_stays_the_same_one_when_another_takes_its_name(tmp_path: Path) -> None:
    with private_folder(tmp_path / "own") as folder:
        (tmp_path / "own").rename(tmp_path / "moved")
        (tmp_path / "own").mkdir()
        (folder / "file").write_bytes(b"mine")
    assert (tmp_path / "moved" / "file").read_bytes() == b"mine"
    assert list((tmp_path / "own").iterdir()) == []


# The compiled kernel ------------------------------------------------------------------------------------------------

LIBRARY = """
#include <stdio.h>
__attribute__((constructor)) static void run(void) { puts(WORD); fflush(stdout); }
"""
# Looks for the kernel; what it would compile is a library that was made before.
ASK = """
import shutil, sys
from charlstm.kernel import build
build._compile = lambda _, path: shutil.copyfile(sys.argv[1], path)
assert build.load_library() is not None
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Libraries that say, when they are loaded, that they are `ours` and `theirs`."""
    compiler = build._compiler()
    if compiler is None:
        pytest.skip("there is no C compiler here")
    place = tmp_path_factory.mktemp("libraries")
    (place / "library.c").write_text(LIBRARY)
    for word in ("ours", "theirs"):
        command = [*compiler, "-shared", "-fPIC", f'-DWORD="{word}"', "-o", str(place / word), str(place / "library.c")]
        subprocess.run(command, check=True)
    return place / "ours", place / "theirs"


class Cache:
    """A user's cache with a library in it, called what the kernel is called here; and who gets loaded from it."""

    def __init__(self, place: Path, fork: Fork, libraries: tuple[Path, Path]) -> None:
        self._fork, (self._ours, theirs) = fork, libraries
        self.place, self.kernels = place, place / "charlstm" / "kernels"
        self.library = self.kernels / f"lstm-{build._fingerprint(build._compiler() or ())}.so"
        self.digest = self.library.with_name(f"{self.library.name}.sha256")
        self.kernels.mkdir(parents=True, mode=0o700)
        self.library.write_bytes(theirs.read_bytes())
        self.digest.write_text(hashlib.sha256(theirs.read_bytes()).hexdigest())

    def loads(self) -> str:
        """What a process that looks for the kernel loads, twice, so that the second finds what the first left."""
        said = []
        for _ in range(2):
            out, err = self._fork(ASK, self._ours, XDG_CACHE_HOME=str(self.place)).communicate(timeout=100)
            assert err == ""
            said.append(out.strip())
        return " ".join(said)


@pytest.fixture
def cache(tmp_path: Path, fork: Fork, libraries: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.delenv("CHARLSTM_KERNEL", raising=False)
    return Cache(tmp_path / "cache", fork, libraries)


def test_a_library_in_a_folder_of_ones_own_with_its_digest_is_loaded(cache: Cache) -> None:
    """Or the tests below would show nothing."""
    assert cache.loads() == "theirs theirs"


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
@pytest.mark.parametrize("level", ["kernels", "charlstm"])
def test_no_library_is_loaded_from_where_others_could_write(cache: Cache, mode: int, level: str) -> None:
    (cache.kernels if level == "kernels" else cache.kernels.parent).chmod(mode)
    assert cache.loads() == "ours ours"


def test_no_library_is_loaded_from_a_cache_that_all_may_write_to(cache: Cache) -> None:
    cache.place.chmod(0o777)
    assert cache.loads() == "ours ours"


def test_no_library_is_loaded_that_others_may_write_to(cache: Cache) -> None:
    cache.library.chmod(0o666)
    assert cache.loads() == "ours ours"


def test_no_library_is_loaded_through_a_link(cache: Cache) -> None:
    cache.kernels.rename(cache.kernels.with_name("elsewhere"))
    cache.kernels.symlink_to("elsewhere")
    assert cache.loads() == "ours ours"


@as_root
@pytest.mark.parametrize("what", ["library", "digest", "kernels"])
def test_no_library_is_loaded_that_somebody_else_owns(cache: Cache, what: str) -> None:
    os.chown(getattr(cache, what), SOMEBODY, SOMEBODY)
    assert cache.loads() == "ours ours"


@pytest.mark.parametrize("digest", ["", "0" * 64, None, "\x00\xff"])
def test_no_library_is_loaded_without_its_own_digest(cache: Cache, digest: str | None) -> None:
    cache.digest.unlink()
    if digest is not None:
        cache.digest.write_text(digest)
    assert cache.loads() == "ours ours"
    assert cache.digest.read_text() == hashlib.sha256(cache.library.read_bytes()).hexdigest()


def test_a_library_with_a_turned_bit_is_built_anew_in_place(cache: Cache) -> None:
    whole = cache.library.read_bytes()
    cache.library.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert cache.loads() == "ours ours"
    assert [path.name for path in sorted(cache.kernels.iterdir())] == sorted([cache.library.name, cache.digest.name])


@as_root
@pytest.mark.parametrize("is_link", [False, True])
def test_a_temporary_folder_that_somebody_else_made_is_no_place_for_caches(
    tmp_path: Path, repository: Path, is_link: bool
) -> None:
    taken = tmp_path / f"charlstm-{os.getuid()}"
    (tmp_path / "theirs").mkdir(mode=0o777)
    taken.symlink_to("theirs") if is_link else taken.mkdir(mode=0o777)
    os.chown(taken, SOMEBODY, SOMEBODY)
    (tmp_path / "file").touch()
    program = (
        "import os; from charlstm.process_setup import prepare_environment; prepare_environment(); "
        "print(os.environ['XDG_CACHE_HOME'], os.environ['HF_HOME'], sep='\\n')"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file" / "x"), "TMPDIR": str(tmp_path)}
    environment.pop("HF_HOME", None)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True, text=True)
    for place in map(Path, done.stdout.split("\n")[:2]):
        assert place.is_relative_to(tmp_path)
        assert not place.is_relative_to(taken)
        assert mode_of(place.parent) == 0o700
