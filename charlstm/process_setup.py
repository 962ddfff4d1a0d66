"""Setup of the process before libraries are imported: home, caches, uploads, proxies, threads and variables.

What they read when they are imported is settled before that; each of them would end with a traceback otherwise.
"""

import contextlib
import errno
import importlib.util
import logging
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from charlstm.environment import (
    GOMP_SPINCOUNT,
    GRADIO_NUM_PORTS,
    GRADIO_NUM_WORKERS,
    GRADIO_SERVER_PORT,
    GRADIO_TEMP_DIR,
    HF_HOME,
    HF_HUB_DOWNLOAD_TIMEOUT,
    HF_HUB_ETAG_TIMEOUT,
    NO_PROXY,
    NUMBERS_OF_LIBRARIES,
    NUMBERS_OF_THE_SERVER,
    OMP_WAIT_POLICY,
    PROXIES,
    SSL_CERT_DIR,
    SSL_CERT_FILE,
    VARIABLES,
    XDG_CACHE_HOME,
    Variable,
    is_public,
)
from charlstm.errors import ConfigError
from charlstm.private_folders import make_temporary

_NUMBERS_OF_GRADIO = (GRADIO_SERVER_PORT, GRADIO_NUM_PORTS, GRADIO_NUM_WORKERS)
NUMBERS_OF_THE_HUB = (HF_HUB_DOWNLOAD_TIMEOUT, HF_HUB_ETAG_TIMEOUT)
_NO_IMPLICIT_TOKEN = "HF_HUB_DISABLE_IMPLICIT_TOKEN"  # noqa: S105  no token, but that the machine's is not used
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SPINS = "3000"  # some tens of microseconds
_log = logging.getLogger(__name__)


def ensure_home() -> None:
    """Set HOME and USER where `Path.home()` would fail, which many libraries call.

    In some containers there is no HOME, and no entry for the user among the system's.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(make_temporary())
        os.environ.setdefault("USER", "nobody")


def limit_spinning() -> None:
    """Make threads that wait for each other sleep soon, unless variables of OpenMP say otherwise.

    Called before torch is imported, whose OpenMP library reads them then. By default a waiting thread spins for
    milliseconds. Where another program has one of the cores, it thereby takes the time of the very thread that it waits
    for. *Measured* on 2026-11-29 on 2 cores of a shared x86-64 machine with AVX512-BF16, milliseconds of a training
    step at 1 x 384 and 1 x 768, medians of five processes: 9.2 and 47 before, 9.1 and 45 with this; and with a core
    taken by an endless loop, 34 and 145 before, 18 and 92 with this.
    """
    if not any(variable.text() for variable in (GOMP_SPINCOUNT, OMP_WAIT_POLICY)):
        os.environ[GOMP_SPINCOUNT.name] = _SPINS


def prepare_environment() -> None:
    """Give caches a place where the home can't be written, and pass no token where nobody asked for it.

    Called first of all: libraries read these variables when they are imported, and `spaces`, which hands out the GPU of
    a ZeroGPU Space, must be imported before torch.
    """
    if is_public():
        os.environ[_NO_IMPLICIT_TOKEN] = "1"
    if not _has_cache():
        place = make_temporary()
        os.environ[XDG_CACHE_HOME.name] = str(place / "cache")
        os.environ.setdefault(HF_HOME.name, str(place / "huggingface"))
    if importlib.util.find_spec("spaces"):
        importlib.import_module("spaces")


def _has_cache() -> bool:
    try:
        home = Path(XDG_CACHE_HOME.text() or Path.home() / ".cache")
    except RuntimeError:  # no HOME, and a user whom nobody has entered
        return False
    return not why_not_writable(home)


def prepare_for_gradio() -> None:
    """Check all variables, some of which end an import of Gradio with a traceback, and choose a place for uploads.

    Called before that import; raises `ConfigError` for a variable that can't be used.
    """
    for variable in VARIABLES.values():
        variable.read()
    for numbers in (_NUMBERS_OF_GRADIO, NUMBERS_OF_THE_SERVER, NUMBERS_OF_LIBRARIES, NUMBERS_OF_THE_HUB):
        check_numbers(numbers)
    check_certificates()
    _choose_upload_folder()
    prepare_proxies()
    skip_interface_files()


def check_certificates() -> None:
    """Raise `ConfigError` where no connection could be encrypted with the certificates that a variable names."""
    named = next(filter(Variable.text, (SSL_CERT_FILE, SSL_CERT_DIR)), None)
    if named is None:
        return
    place = named.text()
    try:
        if named is SSL_CERT_FILE:
            ssl.create_default_context(cafile=place)
        elif not any(map(os.path.isdir, place.split(os.pathsep))):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    except OSError as error:  # that of certificates which are none among them
        reason = "no certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"the certificates in {named.name}={place[:200]!r} can't be read ({reason}); name others or none."
        ) from None


def check_libraries() -> None:
    """Check what libraries read as numbers when they are imported; raises `ConfigError` for what is none."""
    check_numbers(NUMBERS_OF_LIBRARIES)


def check_numbers(variables: Iterable[Variable[int]] | Iterable[Variable[float]]) -> None:
    """Drop those that are empty, which libraries would read as numbers all the same.

    Called before these are imported; raises `ConfigError` for one that is not a number.
    """
    for variable in variables:
        if variable.text():
            variable.read()
        else:
            os.environ.pop(variable.name, None)


def _choose_upload_folder() -> None:
    """Use the folder that is named, or Gradio's own temporary one if it is this user's, or else a new one."""
    if named := GRADIO_TEMP_DIR.text():
        if reason := why_not_writable(Path(named)):
            raise ConfigError(
                f"the folder {GRADIO_TEMP_DIR.name}={named[:200]!r} can't be written to ({reason}); name another."
            )
        return
    try:
        place = Path(tempfile.gettempdir())
        if not _is_own(place / "gradio"):
            os.environ[GRADIO_TEMP_DIR.name] = tempfile.mkdtemp(prefix="charlstm-uploads-")
    except OSError as error:
        raise ConfigError(
            f"no folder for temporary files can be written to ({error.strerror}); "
            f"name one in {GRADIO_TEMP_DIR.name} and TMPDIR."
        ) from None


def _is_own(folder: Path) -> bool:
    """Return whether this user alone may write to the folder; make it if there is none."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    is_mine = not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)
    return folder.is_dir() and not folder.is_symlink() and is_mine and not why_not_writable(folder)


def why_not_writable(folder: Path) -> str:
    """Return why no file can be made in `folder`, which is made if there is none; empty if one can.

    Tried, because what the permissions say is not all (a read-only disk, a user who may do anything).
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def prepare_proxies() -> None:
    """Keep this machine's own addresses from proxies, and leave out what no library here can read.

    httpx, which Gradio and the Hub's library use, refuses to do anything at all while such a variable is set: a SOCKS
    proxy without its extra package, or an entry of `no_proxy` that it can't parse.
    """
    names = [variable.name for variable in PROXIES if variable.text()]
    for name in names:
        _drop_if_unusable(name)
    excluded = next(filter(None, (variable.text() for variable in NO_PROXY)), "")
    if not (names or excluded):
        return
    entries = [each.strip() for each in excluded.split(",") if each.strip()]
    usable = [each for each in entries if _is_usable({"http_proxy": "http://127.0.0.1:9", "no_proxy": each})]
    if "*" not in usable:
        usable += [each for each in _LOOPBACK if each not in usable]
    os.environ.update({variable.name: ",".join(usable) for variable in NO_PROXY})


def _drop_if_unusable(name: str) -> None:
    if _is_usable({name: os.environ[name]}):
        return
    given = os.environ.pop(name)
    scheme = given.partition("://")[0][:20] if "://" in given else "http"
    advice = "install httpx[socks] for it" if scheme.startswith("socks5") else "it must be http://host:port"
    _log.warning("%s names a %s proxy that can't be used (%s); going on without it.", name, scheme, advice)


def _is_usable(environment: Mapping[str, str]) -> bool:
    """Return whether httpx, whose rules they are, accepts these proxies."""
    import httpx

    with _proxies_only(environment):
        try:
            httpx.Client(verify=False).close()  # noqa: S501  nothing is sent
        except (ValueError, ImportError, httpx.InvalidURL):
            return False
        return True


@contextmanager
def _proxies_only(environment: Mapping[str, str]) -> Iterator[None]:
    names = [variable.name for variable in (*PROXIES, *NO_PROXY)]
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name in environment:
            os.environ.pop(name, None)
        os.environ.update(before)


_GROUPS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def available_cpus(groups: Path = _GROUPS, mounted: Path = _MOUNTED) -> int:
    """Return how many CPUs this process may run on, or has time for by its control groups, at least 1.

    A fraction is rounded down: one thread more than there is time for holds up all that wait for it.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([seen, *map(int, _shares(groups, mounted))]))


def _shares(groups: Path, mounted: Path) -> Iterator[float]:
    """Yield the limits, in CPUs, of this process's control group and of those above it."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mounted / controllers  # version 1 has a folder for its controllers, version 2 none
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            yield from _share(folder)
            if folder == top:  # in a container its own group is there, whatever it is called outside
                break


def _share(folder: Path) -> Iterator[float]:
    """Read a group's limit: `cpu.max` in version 2, a file for each number in version 1; `max` and -1 are no limit."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0:
                yield int(quota) / int(period)


INTERFACE_WRITER = "create_or_modify_pyi"  # the function of `gradio.component_meta` that writes them


def skip_interface_files() -> None:
    """Keep Gradio from checking, at each import, the interface file that it writes for editors beside each component.

    Called before that import; the other patches are in `charlstm.ui.gradio_patches`, and a test fails once Gradio no
    longer needs this one. It parses all its components twice for that. *Measured* with gradio 6.31 on 2026-11-29 on
    2 cores of a busy x86-64 machine (Python 3.11): of 7.9 s of a processor's time (7.5 to 8.1) importing it takes 5.1
    (4.3 to 5.2).
    """
    if not any(isinstance(each, _ComponentsFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, _ComponentsFinder())


class _ComponentsFinder:
    """An import hook for the one module of Gradio that makes classes of components."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find that module with another loader, and leave all others to the usual finders."""
        if name != "gradio.component_meta":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _ComponentsLoader(name, spec.loader.path)
        return spec


class _ComponentsLoader(SourceFileLoader):
    """Loads it with nothing in place of the function that writes the files."""

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module as it comes, and replace the function."""
        super().exec_module(module)
        if hasattr(module, INTERFACE_WRITER):
            setattr(module, INTERFACE_WRITER, lambda *_: None)


def declare_gpu_function() -> Callable[[], None] | None:
    """Declare what a ZeroGPU Space demands before it starts; return it, or `None` without the `spaces` package.

    It is never called: the Space trains and writes on its CPU, as a small model gains little from a GPU that is lent by
    the minute.
    """
    spaces: Any = sys.modules.get("spaces")  # imported before torch by `prepare_environment`, where it is installed
    return spaces.GPU(_do_nothing) if spaces else None


def _do_nothing() -> None:
    """Do nothing."""
