"""Named datasets: one that is fetched once and verified, and two that every Python brings along."""

import http.client
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import platformdirs

from charlstm.environment import CORPUS_DIR
from charlstm.errors import CorpusError
from charlstm.files import atomic_write, file_sha256

OnBytes = Callable[[int, int], None]  # bytes so far, bytes in all (0: not said)
_CHUNK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web of known size and hash."""

    file_name: str
    url: str
    sha256: str
    num_bytes: int


TINY_SHAKESPEARE = RemoteFile(
    file_name="tiny-shakespeare.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    num_bytes=1_115_394,
)
DATASETS = {
    "tiny-shakespeare": "40,000 lines of Shakespeare's plays (1.1 M characters; fetched once)",
    "python-reference": "Python's language reference, as its help() shows it (0.5 M characters)",
    "python-stdlib": "source code of Python's standard library (4.7 M characters)",
}


def corpus_bytes(name: str, report: OnBytes | None = None) -> bytes:
    """Return the bytes of named corpus `name`; only `tiny-shakespeare` may use the network."""
    if name == "python-reference":
        return _python_reference()
    if name == "python-stdlib":
        return _python_stdlib()
    assert name == "tiny-shakespeare", name
    return fetch(TINY_SHAKESPEARE, report).read_bytes()


def is_available_offline(name: str) -> bool:
    """Return whether named corpus `name` can be had without the network."""
    return name != "tiny-shakespeare" or _local_copy(TINY_SHAKESPEARE) is not None


def default_corpus() -> str:
    """Return Shakespeare where it is available offline, else the reference that every Python brings along."""
    return "tiny-shakespeare" if is_available_offline("tiny-shakespeare") else "python-reference"


def fetch(remote: RemoteFile, report: OnBytes | None = None) -> Path:
    """Return the path of a verified local copy; download it if there is none."""
    copy = _local_copy(remote)
    if copy is None:
        copy = _cache_path(remote)
        download(remote, copy, report)
    return copy


def download(remote: RemoteFile, destination: Path, report: OnBytes | None = None) -> None:
    """Fetch `remote` to `destination`; raises `CorpusError` and leaves nothing behind unless size and hash agree."""
    offline = f"put {remote.file_name} into a folder and name it in CHARLSTM_CORPUS_DIR, or choose python-reference"
    try:
        with (
            atomic_write(destination) as temporary,
            urllib.request.urlopen(remote.url, timeout=_TIMEOUT_SECONDS) as response,
        ):
            with temporary.open("wb") as file:
                _copy(response, file, remote.num_bytes, report)
            if file_sha256(temporary) != remote.sha256:
                raise CorpusError(
                    f"{remote.file_name} did not arrive whole or is not the known text; try again, or {offline}."
                )
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer too, and holds the connection open
        reason = " ".join(str(getattr(error, "reason", None) or error).split())  # a foreign answer may hold line ends
        raise CorpusError(f"{remote.file_name} can't be downloaded ({reason}); try again, or {offline}.") from None
    except OSError as error:
        raise CorpusError(
            f"{remote.file_name} can't be kept in the user's cache folder ({error.strerror}); free it up, or {offline}."
        ) from None


def _copy(response: http.client.HTTPResponse, file: BinaryIO, num_bytes: int, report: OnBytes | None) -> None:
    """Copy `num_bytes`, or little more: a longer answer is wrong anyway, and must not fill the disk."""
    copied = 0
    while copied <= num_bytes and (chunk := response.read(_CHUNK_BYTES)):
        file.write(chunk)
        copied += len(chunk)
        if report:
            report(copied, num_bytes)


def _local_copy(remote: RemoteFile) -> Path | None:
    """Return a copy of the right size and hash, in `$CHARLSTM_CORPUS_DIR` or the cache."""
    folder = CORPUS_DIR.text()
    candidates = [Path(folder) / remote.file_name] if folder else []
    return next((path for path in (*candidates, _cache_path(remote)) if _is_whole(path, remote)), None)


def _is_whole(path: Path, remote: RemoteFile) -> bool:
    try:
        return path.stat().st_size == remote.num_bytes and file_sha256(path) == remote.sha256
    except OSError:  # one that can't be read is none
        return False


def _cache_path(remote: RemoteFile) -> Path:
    return Path(platformdirs.user_cache_dir("charlstm")) / remote.file_name


def _python_reference() -> bytes:
    from pydoc_data.topics import topics  # 0.5 MB of text: loaded only when it is asked for

    return "\n".join(topics[name] for name in sorted(topics)).encode()


def _python_stdlib() -> bytes:
    """Top-level modules in order of their names, but for what was written when this Python was built: it tells of the
    machine that built it, differs from one to the next, and a model would recite it.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = [path for path in folder.glob("*.py") if not path.name.startswith("_sysconfigdata")]
    paths.sort(key=lambda path: path.name)  # paths of Windows would compare without regard to case
    # Python for Windows comes with lines that end in CRLF: the text, and its hash, are the same everywhere
    return b"\n".join(path.read_bytes().replace(b"\r\n", b"\n") for path in paths)
