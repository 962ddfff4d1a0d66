"""Who is told from whom behind which proxies, as uvicorn takes their word."""

import logging
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from waiting import run_async

from charlstm.ui.visitor_address import ProxyNotice, list_trusted_proxies, visitor_of

STRANGER, FORGED, PROXY = "203.0.113.9", "198.51.100.7", "172.18.0.5"


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORWARDED_ALLOW_IPS", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


def visitor(sender: str, forwarded_for: str) -> str:
    """Who a request from `sender` with such a header counts as."""
    seen: list[str] = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(visitor_of(scope))

    scope: Any = {"type": "http", "client": (sender, 1), "headers": [(b"x-forwarded-for", forwarded_for.encode())]}
    unused: Any = None
    run_async(ProxyHeadersMiddleware(app, list_trusted_proxies())(scope, unused, unused))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize("named", ["", PROXY, "172.18.0.0/16", f"192.0.2.1, {PROXY}/32"])
@pytest.mark.parametrize("inside", ["", "::ffff:"])  # as a server that listens on `::` sees it
def test_a_proxy_in_another_container_is_believed_where_it_is_named(
    named: str, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", named)
    assert visitor(inside + PROXY, f"{FORGED}, {STRANGER}") == (STRANGER if named else PROXY)
    assert visitor("172.19.0.5", STRANGER) == "172.19.0.5"
    assert visitor(FORGED, "127.0.0.1") == FORGED  # whoever connects directly says what they like


@pytest.mark.parametrize("loopback", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_proxy_on_this_machine_is_believed_unless_others_are_named(
    loopback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visitor(loopback, STRANGER) == STRANGER
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", PROXY)
    assert visitor(loopback, STRANGER) != STRANGER


def test_a_space_believes_its_own_proxy_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert visitor("10.20.0.1", STRANGER) == STRANGER
    assert visitor("203.0.113.1", STRANGER) == "203.0.113.1"


def test_a_proxy_that_is_not_believed_is_named_once_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    notice = ProxyNotice()
    with caplog.at_level(logging.WARNING):
        notice.look({"client": ("127.0.0.1", 1)}, None)
        notice.look({"client": (STRANGER, 1)}, f"{FORGED}, {STRANGER}")  # believed
        notice.look({"client": ("8.8.8.8", 1)}, FORGED)  # no machine of ours
        for host in ("fd00::5", "[fd00::5]:443"):
            notice.look({"client": ("fd00::5", 1)}, f"{FORGED}, {host}")
        notice.look({"client": (PROXY, 1)}, f"{PROXY}:443")
        assert not caplog.text
        for _ in range(3):
            notice.look({"client": (PROXY, 1)}, f"{PROXY}1, {STRANGER}")
    assert caplog.text.count(PROXY) == caplog.text.count("FORWARDED_ALLOW_IPS") == 1
