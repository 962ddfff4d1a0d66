"""Network connections for fetching a text: to hosts of the public internet only, at the address that was judged.

The name is resolved once, what it resolves to is judged, and that very address is connected to: a name that answers
otherwise the second time (DNS rebinding) gains nothing.
"""

import base64
import contextlib
import http.client
import ipaddress
import socket
import ssl
import urllib.request
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from charlstm.environment import is_public
from charlstm.errors import CorpusError

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
