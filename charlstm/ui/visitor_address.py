"""The address by which a visitor is told from others where no token does it."""

import ipaddress
import logging
import re
import secrets
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from charlstm.environment import FORWARDED_ALLOW_IPS, is_public, is_space

_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
_PROOF_NAME, _PROOF = "x-charlstm-sender", secrets.token_hex()  # known to this process alone
_HOME_BITS = 64  # of an IPv6 address: one household or server has all that begin with them

_log = logging.getLogger(__name__)


def list_trusted_proxies() -> str:
    """Return the proxies whose word the server takes for who asks: on a Space its own too, elsewhere those named."""
    named = [each.strip() for each in FORWARDED_ALLOW_IPS.read().split(",")]
    networks = [ipaddress.ip_network(each) for each in (*named, *(_PRIVATE if is_space() else ()))]
    # A server that listens on IPv6 and IPv4 sees an IPv4 address inside an IPv6 one.
    mapped = [f"::ffff:{each.network_address}/{96 + each.prefixlen}" for each in networks if each.version == 4]
    return ",".join([*map(str, networks), *mapped])


def address_of(scope: Scope) -> str:
    """Return the address a request comes from, as the server has it from the connection or a trusted proxy."""
    client: Any = scope.get("client")
    return str(client[0]) if client else ""


def name_sender(scope: Scope) -> None:
    """Name in a request to Gradio's MCP server who sent it: that server calls this one with the headers it got."""
    headers = MutableHeaders(scope=scope)
    headers["X-Forwarded-For"] = address_of(scope)
    headers[_PROOF_NAME] = _PROOF


def take_sender(scope: Scope) -> None:
    """Make a call of this process's own MCP server one of whoever it names, whatever proxies are trusted."""
    headers = Headers(scope=scope)
    if secrets.compare_digest(headers.get(_PROOF_NAME, "").encode(), _PROOF.encode()):
        scope["client"] = (headers.get("x-forwarded-for", ""), 0)
        del MutableHeaders(scope=scope)[_PROOF_NAME]


class ProxyNotice:
    """One warning in the log where strangers come through a proxy that is not trusted: all of them are one visitor."""

    def __init__(self) -> None:
        self._is_due = True

    def look(self, scope: Scope, forwarded_for: str | None) -> None:
        """Warn if a machine of the own network names another as who asks, and is not believed."""
        if not (self._is_due and forwarded_for and is_public()):
            return
        address = address_of(scope)
        if address not in map(_without_port, forwarded_for.split(",")) and _is_private(address):
            self._is_due = False
            _log.warning(
                "requests from %s name others as their senders: if that is your proxy, name it in %s, or all who come "
                "through it share the places of one visitor.",
                address,
                FORWARDED_ALLOW_IPS.name,
            )


def _without_port(host: str) -> str:
    host = host.strip()
    return host[1:].partition("]")[0] if host.startswith("[") else re.sub(r"^([^:]*):\d+$", r"\1", host)


def _is_private(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        return parsed.is_private and not parsed.is_loopback
    except ValueError:
        return False


def visitor_of(scope: Scope) -> str:
    """Return what is one visitor: an address, or the network that one IPv6 connection has for itself."""
    address = address_of(scope)
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((int(parsed), _HOME_BITS), strict=False))
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
