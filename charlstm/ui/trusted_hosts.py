"""Under which names the page may be asked for, and which other sites' pages may use it.

A browser does what any page tells it to, and a name can be made to point at anybody's machine (DNS rebinding): so a
request counts only under a name that is known to be this app's, and from a page of this app or of an origin that its
owner named. An address in numbers can't be rebound; every one is taken.
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
    GRADIO_SHARE,
    SPACE_HOST,
    is_space,
    parse_host,
)
from charlstm.errors import ConfigError

_PORTS = {"http": 80, "https": 443}
_HUB = "https://huggingface.co"
_OF_SPACES = ".hf.space"
_OF_SHARE_LINKS = ".gradio.live"
_ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104  compared, not listened on


@dataclass(frozen=True)
class TrustedHosts:
    """What was named: `names` of this app, `endings` of such names, and `origins` of other sites."""

    names: frozenset[str] = frozenset()
    endings: tuple[str, ...] = ()
    origins: frozenset[tuple[str, str, int | None]] = frozenset()
    behind_a_hub: bool = False

    @classmethod
    def from_environment(cls, server_name: str | None) -> "TrustedHosts":
        """As the owner wishes it, where the page is served at `server_name`; raises `ConfigError`."""
        root = GRADIO_ROOT_PATH.read()
        entries = [*ALLOWED_HOSTS.read(), *([root] if "://" in root else [])]
        urls = [each for each in entries if "://" in each]
        named = [_name_of(each) for each in entries]
        names = {*named, *_own_names(server_name or GRADIO_SERVER_NAME.read())}
        endings = [_OF_SHARE_LINKS] if GRADIO_SHARE.text().lower() == "true" else []
        if is_space():
            names |= {_name_of(each) for each in SPACE_HOST.text().split(",") if each.strip()}
            endings.append(_OF_SPACES)
        origins = frozenset(origin for each in urls if (origin := origin_of(each)))
        return cls(frozenset(names), tuple(endings), origins, is_space())

    def has_host(self, host: str) -> bool:
        """Whether `host`, as a request gives it (`name` or `name:port`), is one of this app's."""
        parsed = parse_host(host)
        if parsed is None:
            return False
        name = parsed[0]
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return name in self.names or name.endswith(self.endings or ("\0",))

    def has_origin(self, origin: str) -> bool:
        """Whether pages of `origin` may use the app although it is not their own."""
        return origin_of(origin) in self.origins

    def framing(self) -> str:
        """Who may show the page in a frame, as sources of a Content-Security-Policy."""
        hub = [_HUB, f"https://*{_OF_SPACES}"] if self.behind_a_hub else []
        named = [_source(*origin) for origin in sorted(self.origins, key=str)]
        return " ".join(["'self'", *hub, *named])


def origin_of(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, name and port of an address; `None` for what has none, as the `null` of a sandbox."""
    try:
        parts = urlsplit(url.strip())
        host = parse_host(parts.netloc)
    except ValueError:
        return None
    if host is None or not parts.scheme:
        return None
    return parts.scheme.lower(), host[0], host[1] or _PORTS.get(parts.scheme.lower())


def is_origin_of(origin: str, hosts: Iterable[str]) -> bool:
    """Whether a page of `origin` is a page of one of `hosts`: same name and port, by default that of the scheme."""
    parsed = origin_of(origin)
    if parsed is None:
        return False
    scheme, name, port = parsed
    asked = [host for each in hosts if (host := parse_host(each))]
    return any((name, port) == (host, number or _PORTS.get(scheme)) for host, number in asked)


def _name_of(entry: str) -> str:
    parsed = parse_host(urlsplit(entry).netloc if "://" in entry else entry)
    if parsed is None:
        raise ConfigError(f"{entry[:100]!r} is no host; write it as in example.org.")
    return parsed[0]


def _own_names(server_name: str) -> set[str]:
    """The name it listens on; on all addresses the machine's own, in its own network too (mDNS)."""
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
