"""The address by which a visitor is told from others where no token does it."""

import ipaddress
from typing import Any

from starlette.types import Scope

from charlstm.environment import is_space

_LOOPBACK = "127.0.0.1,::1"
_PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
_HOME_BITS = 64  # of an IPv6 address: one household or server has all that begin with them


def trusted_proxies() -> str | None:
    """Return the proxies whose word the server takes for who asks: on a Space its own, elsewhere uvicorn's choice.

    That is this machine, unless its owner tells uvicorn otherwise.
    """
    return f"{_LOOPBACK},{_PRIVATE}" if is_space() else None


def address_of(scope: Scope) -> str:
    """Return the address a request comes from, as the server has it from the connection or a trusted proxy."""
    client: Any = scope.get("client")
    return str(client[0]) if client else ""


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
