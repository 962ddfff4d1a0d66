"""Build of the kernel: compiled for this processor at first use, and kept in the user's cache.

It lies in a private folder, with its SHA-256 beside it, and is compiled anew where either is in doubt: whoever could
put a library there would run code of theirs in this process.

A library made for all processors would have to leave out the very instructions that make the difference. Where there
is no C compiler `library` is None, and PyTorch's own LSTM does the work.
"""

import ctypes
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import platformdirs

from charlstm.environment import CC, is_kernel_off
from charlstm.files import atomic_write
from charlstm.private_folders import private_cache, private_folder, read_own

_CSRC = Path(__file__).parent / "csrc"
_SOURCES = ("simd.h", "lstm.inc.c", "decoder.inc.c", "kernel.c")
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
_NATIVE = ("-march=native", "-mcpu=native")  # some compilers for ARM know the second only
_TIMEOUT_SECONDS = 120
_APPLES_COMPILERS = Path("/usr/bin")


@lru_cache(maxsize=1)
def load_library() -> ctypes.CDLL | None:
    """Load the compiled kernel; return `None` where it can't be had, or CHARLSTM_KERNEL is off.

    The first call on a machine compiles, which takes a few seconds.
    """
    compiler = _compiler()
    if compiler is None or is_kernel_off():
        return None
    name = f"lstm-{_fingerprint(compiler)}.so"
    try:
        with private_folder(private_cache() / "kernels") as folder:
            return _load_kept(compiler, folder / name)
    except (OSError, subprocess.SubprocessError):  # no place of one's own, or one that nothing may be run from
        pass
    try:
        with tempfile.TemporaryDirectory(prefix="charlstm-", ignore_cleanup_errors=True) as own:
            _compile(compiler, Path(own) / name)
            return ctypes.CDLL(str(Path(own) / name))  # for this process alone; once loaded it needs no file
    except (OSError, subprocess.SubprocessError):
        return None


def is_built() -> bool:
    """Return whether `load_library` finds a compiled kernel, or has none to compile."""
    compiler = _compiler()
    if compiler is None or is_kernel_off():
        return True
    return (Path(platformdirs.user_cache_dir("charlstm")) / "kernels" / f"lstm-{_fingerprint(compiler)}.so").exists()


def compiler_note() -> str:
    """Return advice on a missing compiler, in a sentence; empty where there is one, or where none is wanted."""
    if is_kernel_off() or _compiler():
        return ""
    return (
        "There is no C compiler here, without which texts come about a tenth as fast: pip install ziglang brings one."
    )


def _compiler() -> tuple[str, ...] | None:
    """Find the C compiler: `$CC`, or one on the path; `pip install ziglang` brings one."""
    for name in (CC.text(), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)) and not _is_stub(found):
            return (found,)
    try:
        import ziglang  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return None
    return (sys.executable, "-m", "ziglang", "cc")


def _is_stub(found: str) -> bool:
    """Return whether this is macOS without Xcode's tools, where a compiler only opens a dialog that offers them."""
    if sys.platform != "darwin" or Path(found).parent != _APPLES_COMPILERS:
        return False
    asked = subprocess.run(["/usr/bin/xcode-select", "-p"], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
    return asked.returncode != 0


def _fingerprint(compiler: tuple[str, ...]) -> str:
    """Return a fingerprint of the sources, the flags, the compiler and the processor's features."""
    digest = hashlib.sha256(repr((compiler, _FLAGS, platform.machine(), _features())).encode())
    for name in _SOURCES:
        digest.update((_CSRC / name).read_bytes())
    return digest.hexdigest()[:16]


def _features() -> str:
    """Describe this processor: machines whose processors differ may share a cache folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _load_kept(compiler: tuple[str, ...], path: Path) -> ctypes.CDLL:
    """Load the library at `path`, in a private folder; it is compiled anew unless it is what its digest says."""
    if not _is_whole(path):
        # Two processes may be at it at once: what one compiler makes of the same sources is the same.
        with atomic_write(path, is_private=True) as temporary:
            _compile(compiler, temporary)
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        with atomic_write(_digest_file(path), is_private=True) as temporary:
            temporary.write_text(digest, encoding="ascii")
    return ctypes.CDLL(str(path))


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(read_own(path)).hexdigest() == read_own(_digest_file(path)).decode("ascii", "replace")
    except OSError:
        return False


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _compile(compiler: tuple[str, ...], path: Path) -> None:
    for native in _NATIVE:
        command = [*compiler, *_FLAGS, native, "-o", str(path), str(_CSRC / "kernel.c"), "-lm"]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
        if done.returncode == 0:
            return
    done.check_returncode()
