"""Downloads of texts, from the web or from a dataset on the Hub: within limits, cached, and used again offline.

Connections go to hosts of the public internet only, at the address that was judged: a name is resolved once, what it
resolves to is judged, and that very address is connected to. A name that answers otherwise the second time (DNS
rebinding) gains nothing.
"""

import base64
import contextlib
import hashlib
import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import threading
import time
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import platformdirs

from charlstm.corpus.datasets import OnBytes
from charlstm.environment import is_public, limits
from charlstm.errors import CorpusError
from charlstm.files import atomic_write, atomic_write_text

TIMEOUT_SECONDS = 20.0
_LONGEST = 2000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Place(NamedTuple):
    """A web address, parsed."""

    scheme: str
    host: str
    port: int
    target: str  # path and query


def parse_address(address: str) -> Place:
    """Parse `address` into host, port and path; raise `CorpusError` for one that no text is fetched from."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        ascii_host = host.encode("idna").decode() if not host.isascii() else host
    except ValueError:  # an odd port, bracket or name
        raise CorpusError("this is not a web address; write it as https://host/file.txt.") from None
    if len(address) > _LONGEST or not host or any(char <= " " or char == "\x7f" for char in address):
        raise CorpusError("this is not a web address; write it as https://host/file.txt.")
    if parts.username is not None or parts.password is not None:
        raise CorpusError("the address holds a login, which would be kept with the run; give one without it.")
    is_own = parts.scheme == "http" and host in _LOOPBACK_NAMES and not is_public()
    if parts.scheme != "https" and not is_own:
        raise CorpusError(f"texts are fetched by https only, not by {parts.scheme[:20]}; give an https:// address.")
    if is_public() and port != 443:
        raise CorpusError("texts are fetched from the usual port (443) only here; give an address without a port.")
    return Place(parts.scheme, ascii_host, port, _target(parts))


def _target(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return f"{path}?{query}" if query else path


def is_global(address: _Address) -> bool:
    """Return whether an address belongs to the public internet, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_global(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(place: Place, may_be_private: bool) -> list[str]:
    """Return the numeric addresses of `place`; raise `CorpusError` if one of them is none of the public internet."""
    found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    numeric = [str(row[4][0]).partition("%")[0] for row in found]
    if not may_be_private and not all(is_global(ipaddress.ip_address(each)) for each in numeric):
        raise CorpusError(f"{place.host} is not an address on the public internet; texts are fetched from there only.")
    return numeric


class Connection(http.client.HTTPConnection):
    """To one of the checked numeric addresses of `place`."""

    def __init__(self, place: Place, addresses: list[str]) -> None:
        super().__init__(place.host, place.port, timeout=TIMEOUT_SECONDS)
        self._place, self._addresses = place, addresses

    def connect(self) -> None:
        """Try each address; TLS is checked against the name."""
        error: OSError = OSError("it has no address")
        for address in self._addresses:
            try:
                sock = socket.create_connection((address, self._place.port), TIMEOUT_SECONDS)
                break
            except OSError as refused:
                error = refused
        else:
            raise error
        if self._place.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=self._place.host)
        self.sock = sock


def open_connection(place: Place, may_be_private: bool) -> http.client.HTTPConnection:
    """Return a connection to `place`, not yet open; in public never through a proxy, which would resolve the name."""
    proxy = urllib.request.getproxies().get("https")
    is_direct = is_public() or place.scheme == "http" or not proxy or bool(urllib.request.proxy_bypass(place.host))
    if is_direct or not proxy:
        return Connection(place, resolve(place, may_be_private))
    if not may_be_private:
        _require_no_private_literal(place.host)  # a name is the proxy's to resolve: behind one, nobody else may know it
    return _tunnel(proxy, place)


def _require_no_private_literal(host: str) -> None:
    with contextlib.suppress(ValueError):  # a name
        if not is_global(ipaddress.ip_address(host)):
            raise CorpusError(f"{host} is not an address on the public internet; texts are fetched from there only.")


def _tunnel(proxy: str, place: Place) -> http.client.HTTPSConnection:
    """Return a connection through an HTTP proxy, with the login that its address holds; TLS is `place`'s own."""
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    headers = {}
    if through.username is not None:
        login = f"{unquote(through.username)}:{unquote(through.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    tunnel = http.client.HTTPSConnection(through.hostname or "", through.port or 80, timeout=TIMEOUT_SECONDS)
    tunnel.set_tunnel(place.host, place.port, headers)
    return tunnel


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
