"""Proxies named by variables: what httpx can't read of them is left out before it is asked for anything."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from charlstm.environment import NO_PROXY, PROXIES

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_log = logging.getLogger(__name__)


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
