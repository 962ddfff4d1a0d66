"""Trusted hosts: names under which the page may be asked for, and other sites that may use it.

A browser sends whatever requests a page asks for, and a name can be made to point at any machine (DNS rebinding): so a
request is accepted only under a host name known to be this app's, and from a page of this app or of an origin that its
owner allowed. A numeric address can't be rebound; every one is accepted.
"""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from charlstm.environment import (
    ALLOWED_HOSTS,
    GRADIO_ROOT_PATH,
    GRADIO_SERVER_NAME,
    SPACE_HOST,
    is_shared,
    is_space,
    parse_host,
)
from charlstm.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_HUB = "https://huggingface.co"
_SPACES_SUFFIX = ".hf.space"
_SHARE_LINKS_SUFFIX = ".gradio.live"
_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104  compared only


@dataclass(frozen=True)
class TrustedHosts:
    """Trusted `names` of this app, `endings` of such names, and `origins` of other sites."""

    names: frozenset[str] = frozenset()
    endings: tuple[str, ...] = ()
    origins: frozenset[tuple[str, str, int | None]] = frozenset()
    behind_a_hub: bool = False

    @classmethod
    def from_environment(cls, server_name: str | None) -> "TrustedHosts":
        """Read the owner's choice from the environment, for a page served at `server_name`; raises `ConfigError`."""
        root = GRADIO_ROOT_PATH.read()
        entries = [*ALLOWED_HOSTS.read(), *([root] if "://" in root else [])]
        urls = [each for each in entries if "://" in each]
        named = [_name_of(each) for each in entries]
        names = {*named, *_own_names(server_name or GRADIO_SERVER_NAME.read())}
        endings = [_SHARE_LINKS_SUFFIX] if is_shared() else []
        if is_space():
            names |= {_name_of(each) for each in SPACE_HOST.text().split(",") if each.strip()}
            endings.append(_SPACES_SUFFIX)
        origins = frozenset(origin for each in urls if (origin := origin_of(each)))
        return cls(frozenset(names), tuple(endings), origins, is_space())

    def has_host(self, host: str) -> bool:
        """Return whether `host`, as a request gives it (`name` or `name:port`), is one of this app's."""
        parsed = parse_host(host)
        if parsed is None:
            return False
        name = parsed[0]
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return name in self.names or name.endswith(self.endings or ("\0",))

    def has_origin(self, origin: str) -> bool:
        """Return whether pages of `origin`, another site, may use the app."""
        return origin_of(origin) in self.origins

    def framing(self) -> str:
        """Return the sources that may show the page in a frame, for a Content-Security-Policy."""
        hub = [_HUB, f"https://*{_SPACES_SUFFIX}"] if self.behind_a_hub else []
        named = [_source(*origin) for origin in sorted(self.origins, key=str)]
        return " ".join(["'self'", *hub, *named])


def origin_of(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, name and port of an address; `None` if it has none, such as a sandbox's `null`."""
    try:
        parts = urlsplit(url.strip())
        host = parse_host(parts.netloc)
    except ValueError:
        return None
    if host is None or not parts.scheme:
        return None
    return parts.scheme.lower(), host[0], host[1] or _PORTS.get(parts.scheme.lower())


def is_origin_of(origin: str, hosts: Iterable[str]) -> bool:
    """Return whether `origin` is one of `hosts`: the same name and port, by default the scheme's port."""
    parsed = origin_of(origin)
    if parsed is None:
        return False
    scheme, name, port = parsed
    asked = [host for each in hosts if (host := parse_host(each))]
    return any((name, port) == (host, number or _PORTS.get(scheme)) for host, number in asked)


def _name_of(entry: str) -> str:
    parsed = parse_host(urlsplit(entry).netloc if "://" in entry else entry)
    if parsed is None:
        raise ConfigError(f"{entry[:100]!r} is not a host; write it as in example.org.")
    return parsed[0]


def _own_names(server_name: str) -> set[str]:
    """Return the name listened on; for all addresses the machine's own names, including its mDNS name."""
    if server_name.strip("[]") not in _ANY_ADDRESS:
        return {server_name.lower().strip("[]")}
    machine = socket.gethostname().lower()
    return {machine, f"{machine.split('.')[0]}.local"} if machine else set()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _source(scheme: str, name: str, port: int | None) -> str:
    shown = f"[{name}]" if ":" in name else name
    return f"{scheme}://{shown}" if port in (None, _PORTS.get(scheme)) else f"{scheme}://{shown}:{port}"
