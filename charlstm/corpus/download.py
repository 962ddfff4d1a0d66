"""Downloads of texts, from the web or from a dataset on the Hub: within limits, cached, and used again offline."""

import hashlib
import http.client
import json
import os
import re
import ssl
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urljoin

import platformdirs

from charlstm.corpus.connections import open_connection, parse_address
from charlstm.corpus.datasets import OnBytes
from charlstm.environment import is_public, limits
from charlstm.errors import CorpusError
from charlstm.files import atomic_write, atomic_write_text

_MOST_BYTES = 2_000_000_000
_KEPT_BYTES = 4_000_000_000
_MOST_REDIRECTS = 5
_PUBLIC_SECONDS, _OWN_SECONDS = 30.0, 3600.0
_CHUNK_BYTES = 1 << 16
_NO_TEXT = re.compile(r"(image|audio|video|font)/|application/(pdf|zip|gzip|x-gzip|x-tar|x-7z|vnd|msword|epub)")
_DATASET = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
_DATASET_PAGE = re.compile(
    r"https://(?:huggingface\.co|hf\.co)/datasets/([^/]+/[^/]+)/(?:blob|resolve|raw)/([^/]+)/([^?#]+)"
)
_HEADERS = {"User-Agent": "charlstm", "Accept": "text/plain, */*;q=0.5", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Fetched:
    """A text that was fetched: the file, what to call it, and what there is to say of it."""

    path: Path
    name: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetFile:
    """A file in a dataset on the Hub."""

    repo_id: str
    file: str
    revision: str | None

    @property
    def address(self) -> str:
        """The address of the file, as it is written."""
        return f"hf://datasets/{self.repo_id}/{self.file}" + (f"@{self.revision}" if self.revision else "")


def fetch_text(address: str, report: OnBytes | None = None) -> Fetched:
    """Fetch the text at `address`; raise `CorpusError` or `HubError` in one sentence."""
    address = address.strip()
    address = re.sub(r"^[A-Za-z]+", lambda scheme: scheme[0].lower(), address, count=1)
    if dataset := parse_dataset(address):
        from charlstm.hub.datasets import fetch_dataset_file

        kept = _folder() / f"{_key(dataset.address)}.txt"
        try:
            path, notes = fetch_dataset_file(dataset, most_bytes(), report or _silent, kept)
        except OSError as error:
            raise _unkept(error) from None
        _sweep(path)
        return Fetched(path, dataset.address, notes)
    if address.startswith("hf:"):
        raise CorpusError("this names no file of a dataset; write it as hf://datasets/user/name/file.txt.")
    return _fetch_page(address, report or _silent)


def parse_dataset(address: str) -> DatasetFile | None:
    """Return the file of a dataset that `address` names, also as its page on the Hub is; `None` if it is none."""
    if page := _DATASET_PAGE.match(address):
        revision = unquote(page[2])
        return DatasetFile(page[1], unquote(page[3]), None if revision == "main" else revision)
    if not (named := _DATASET.fullmatch(address)):
        return None
    file, _, revision = named[3].partition("@")
    return DatasetFile(named[1], file, named[2] or revision or None)


def most_bytes() -> int:
    """Return the largest size of a fetched text, in bytes."""
    return min(int(limits().max_corpus_mb * 1e6) or _MOST_BYTES, _MOST_BYTES)


def too_long(name: str) -> CorpusError:
    """Make the error for a text above `most_bytes()`."""
    return CorpusError(f"{name} is longer than the {most_bytes() / 1e6:,g} MB that are fetched here; choose another.")


def _silent(_done: int, _total: int) -> None:
    """Ignore progress."""


def _folder() -> Path:
    return Path(platformdirs.user_cache_dir("charlstm")) / "texts"


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()


def _unkept(error: OSError) -> CorpusError:
    return CorpusError(f"the text can't be kept in the user's cache folder ({error.strerror}); free it up.")


def _fetch_page(address: str, report: OnBytes) -> Fetched:
    place = parse_address(address)
    kept = _Kept(_folder() / f"{_key(address)}.txt")
    name = address.partition("#")[0].partition("?")[0]  # a query may hold a key, which is nobody's business
    try:
        _Exchange(address, kept, report).run()
    except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:  # of the disk, not of the network
            raise _unkept(error) from None
        if kept.is_whole():
            day = time.strftime("%Y-%m-%d", time.localtime(kept.path.stat().st_mtime))
            return Fetched(kept.path, name, (f"{place.host} can't be reached: its text of {day} is used.",))
        reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
        raise CorpusError(f"{place.host} can't be reached ({reason}); check the address and the network.") from None
    _sweep(kept.path)
    return Fetched(kept.path, name)


class _Kept:
    """A fetched text in the cache, and the facts beside it by which a server says whether it is still the same."""

    def __init__(self, path: Path) -> None:
        self.path, self.facts_path = path, path.with_suffix(".json")

    def facts(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            facts = json.loads(self.facts_path.read_text(encoding="utf-8"))
            if isinstance(facts, dict):
                return {str(key): str(value) for key, value in facts.items()}
        return {}

    def is_whole(self) -> bool:
        try:
            with self.path.open("rb") as file:
                return _digest(file) == self.facts().get("sha256")
        except OSError:
            return False


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for data in iter(lambda: file.read(1 << 20), b""):
        digest.update(data)
    return digest.hexdigest()


class _Exchange:
    """One text fetched, through all its redirects, within size and time."""

    def __init__(self, address: str, kept: _Kept, report: OnBytes) -> None:
        self._address, self._kept, self._report = address, kept, report
        self._is_late = False

    def run(self) -> None:
        """Leave the text in its place in the cache."""
        address, may_be_private = self._address, not is_public()
        ends_at = time.monotonic() + (_PUBLIC_SECONDS if is_public() else _OWN_SECONDS)
        for _ in range(_MOST_REDIRECTS + 1):
            place = parse_address(address)
            connection = open_connection(place, may_be_private)
            watch = threading.Timer(max(0.0, ends_at - time.monotonic()), self._end, [connection])
            watch.daemon = True
            watch.start()
            try:
                with closing(connection):
                    connection.request("GET", place.target, headers={**_HEADERS, **self._conditions()})
                    with connection.getresponse() as response:  # which owns the socket where the server closes it
                        location = response.getheader("Location")
                        if response.status not in (301, 302, 303, 307, 308) or not location:
                            self._take(response, place.host)
                            return
            finally:
                watch.cancel()
                if self._is_late:
                    raise CorpusError(f"{place.host} takes too long to send the text; try again later.")
            # A page of the internet must not lead into this machine or its network.
            may_be_private = may_be_private and place.scheme == "http"
            address = urljoin(address, location)
        raise CorpusError(f"{place.host} leads from one address to the next without end; give the last one.")

    def _end(self, connection: http.client.HTTPConnection) -> None:
        self._is_late = True
        if connection.sock:
            with suppress(OSError):
                connection.sock.shutdown(2)

    def _conditions(self) -> dict[str, str]:
        if not self._kept.is_whole():
            return {}
        facts = self._kept.facts()
        named = {"If-None-Match": facts.get("etag"), "If-Modified-Since": facts.get("modified")}
        return {name: value for name, value in named.items() if value}

    def _take(self, response: http.client.HTTPResponse, host: str) -> None:
        if response.status == 304:
            os.utime(self._kept.path)
            return
        _check(response, host)
        total, digest, done = response.length or 0, hashlib.sha256(), 0
        if total > most_bytes():
            raise too_long("the text")
        with atomic_write(self._kept.path, is_durable=False) as temporary, temporary.open("wb") as file:
            while data := response.read1(_CHUNK_BYTES):
                done += len(data)
                if self._is_late:  # the server has closed its side, so that nothing could be shut down
                    raise ConnectionError("the connection broke")
                if done > most_bytes():
                    raise too_long("the text")
                digest.update(data)
                file.write(data)
                self._report(done, total)
            if self._is_late or (total and done != total):
                raise ConnectionError("the connection broke")
        facts = {"etag": response.getheader("ETag"), "modified": response.getheader("Last-Modified")}
        said = {name: value for name, value in facts.items() if value}
        atomic_write_text(self._kept.facts_path, json.dumps({**said, "sha256": digest.hexdigest()}))


def _check(response: http.client.HTTPResponse, host: str) -> None:
    """Raise `CorpusError` for an answer that is not a text."""
    kind = (response.getheader("Content-Type") or "").lower()
    if response.status != 200:
        missing = response.status in (404, 410)
        told = "has no such text" if missing else f"does not give the text (it answers {response.status})"
        raise CorpusError(f"{host} {told}; check the address.")
    if kind.startswith(("text/html", "application/xhtml")):
        raise CorpusError("this address answers with a web page, not a text; give the address of a plain text file.")
    if _NO_TEXT.match(kind):
        raise CorpusError(f"this address answers with {kind.partition(';')[0][:40]}, not a text; give another one.")
    if (response.getheader("Content-Encoding") or "identity").lower() != "identity":
        raise CorpusError(f"{host} sends the text only compressed; fetch it with a browser and give the file.")


def _sweep(newest: Path) -> None:
    """Remove the texts that were used least recently where they are more than may be kept."""
    most = 5 * most_bytes() if is_public() else _KEPT_BYTES
    total = 0
    with suppress(OSError):
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in _folder().glob("*.txt")]
        for _, size, path in sorted(files, reverse=True):
            total += size
            if total > most and path != newest:
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
