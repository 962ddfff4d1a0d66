"""Who may ask the page for what, as raw requests to a small app behind the guard."""

import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from charlstm.errors import ConfigError
from charlstm.ui.call_check import CallCheck
from charlstm.ui.request_body import MOST_JSON_BYTES
from charlstm.ui.request_guard import RequestGuard
from charlstm.ui.trusted_hosts import TrustedHosts
from charlstm.ui.uploaded_files import UploadedFiles

from waiting import run_async  # isort: skip  tests/support/waiting.py

VARIABLES = ("CHARLSTM_ALLOWED_HOSTS", "GRADIO_ROOT_PATH", "GRADIO_SHARE", "SPACE_ID", "SPACE_HOST")
JSON = {"Content-Type": "application/json"}
ACT = "/gradio_api/component_server"
MAX_UPLOAD = 300_000


class Behind:
    """What the guard let through."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self.clients: list[str] = []
        routes = [Route("/{path:path}", self._answer, methods=["GET", "HEAD", "POST", "DELETE", "OPTIONS"])]
        self.app = Starlette(routes=routes)

    async def _answer(self, request: Request) -> Response:
        if request.url.path.endswith("/upload"):
            from starlette.formparsers import MultiPartException

            try:
                body = b"".join([part async for part in request.stream()])
            except MultiPartException as error:
                return PlainTextResponse(error.message, 413)
        else:
            body = await request.body()
        self.headers.append(dict(request.headers))
        self.clients.append(request.client.host if request.client else "")
        self.calls.append((request.method, request.url.path, body))
        return PlainTextResponse("done", headers={"Access-Control-Allow-Credentials": "true"})


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def behind() -> Behind:
    return Behind()


Ask = Callable[..., httpx.Response]


def guarded(behind: Behind, hosts: TrustedHosts) -> RequestGuard:
    page: Any = SimpleNamespace(blocks={3}, fns={})
    answers: Any = SimpleNamespace(session_of=str, has_session=lambda _: True, reading=lambda _: nullcontext())
    return RequestGuard(behind.app, hosts, CallCheck(page, answers), UploadedFiles(set()), MAX_UPLOAD)


@pytest.fixture
def ask(behind: Behind) -> Ask:
    """One request to the guarded app, as it is set up by the environment of that moment."""

    def asked(method: str, path: str, server_name: str | None = None, sender: str = "127.0.0.1", **request: Any) -> Any:
        guard = guarded(behind, TrustedHosts.from_environment(server_name))

        async def talk() -> httpx.Response:
            transport = httpx.ASGITransport(guard, client=(sender, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as client:
                return await client.request(method, path, **request)

        return run_async(talk())

    return asked


def is_sentence(answer: httpx.Response) -> bool:
    """One sentence in the form that is announced, whole, and nothing else."""
    if answer.headers["content-type"] == "application/json":
        said = answer.json()["detail"]
    else:
        assert answer.headers["content-type"].startswith("text/plain")
        said = answer.text
    return 400 <= answer.status_code < 500 and said.strip().endswith(".") and said.strip().count("\n") == 0


FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"},  # another app of the same machine
    {"Origin": "http://localhost:7860"},  # the same page under another name is another origin
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},  # a sandboxed frame
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:786"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "something-new"},
    {"Origin": "https://evil.example"},
    {"Referer": "https://evil.example/page"},
    {"Origin": "http://127.0.0.1:7860.evil.example"},
    {"Origin": "http://127.0.0.1:7860@evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (ACT, "text/plain", b'{"data":{"action":"delete"}}'),
        (ACT, "application/json", b'{"data":{"action":"delete"}}'),
        (ACT, "application/x-www-form-urlencoded", b'{"data":{"action":"=delete"}}'),
        ("/gradio_api/upload", 'multipart/form-data; boundary="x"', b"--x\r\n\r\n--x--"),
        ("/gradio_api/queue/join", "application/json", b"{}"),
        ("/gradio_api/run/generate", "application/json", b"{}"),
        ("/gradio_api/call/generate", "application/json", b"{}"),
        ("/gradio_api/mcp/", "application/json", b"{}"),
        ("/gradio_api/reset", "application/json", b""),
        ("/anything/that/comes/later", "application/json", b"{}"),
    ],
)
def test_a_page_of_another_site_sends_nothing(
    ask: Ask, behind: Behind, headers: dict[str, str], path: str, kind: str, body: bytes
) -> None:
    answer = ask("POST", path, headers={**headers, "Content-Type": kind}, content=body)
    assert answer.status_code == 403
    assert is_sentence(answer)
    assert behind.calls == []


@pytest.mark.parametrize("path", ["/config", "/gradio_api/queue/data", "/gradio_api/file=x", "/", "/logout"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "https://evil.example"},
    ],
)
def test_a_page_of_another_site_reads_nothing(ask: Ask, behind: Behind, path: str, headers: dict[str, str]) -> None:
    answer = ask("GET", path, headers=headers)
    assert answer.status_code == 403
    assert is_sentence(answer)
    assert "access-control-allow-origin" not in answer.headers
    assert behind.calls == []


def test_a_browsers_question_before_a_foreign_request_is_refused(ask: Ask, behind: Behind) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = ask("OPTIONS", ACT, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert behind.calls == []


def test_a_link_from_another_site_opens_the_page_but_nothing_that_acts(ask: Ask) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask("GET", "/?prompt=ROMEO", headers=link).status_code == 200
    assert ask("GET", "/login/callback?code=1", headers=link).status_code == 200  # the Hub sends people back here
    assert ask("GET", "/logout", headers=link).status_code == 403
    assert ask("GET", "/gradio_api/heartbeat/x", headers=link).status_code == 403
    assert ask("POST", "/", headers={**link, **JSON}, content=b"{}").status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl, httpx, gradio_client, MCP
        {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://127.0.0.1:7860"},  # a browser that is old, or http from another machine
        {"Sec-Fetch-Site": "none"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_the_page_itself_and_programs_pass(ask: Ask, behind: Behind, headers: dict[str, str]) -> None:
    assert ask("POST", ACT, headers={**headers, **JSON}, content=b'{"component_id": 3}').status_code == 200
    assert ask("GET", "/config", headers=headers).status_code == 200
    assert ask("DELETE", "/gradio_api/mcp/", headers=headers).status_code == 200
    assert behind.calls[0] == ("POST", ACT, b'{"component_id": 3}')


@pytest.mark.parametrize(
    "host",
    [
        "localhost:7860",
        "LOCALHOST",
        "charlstm.localhost:7860",
        "127.0.0.1",
        "127.8.9.1:80",
        "[::1]:7860",
        "192.168.1.5:7860",
    ],
)
def test_names_of_this_machine_and_addresses_in_numbers_are_served(ask: Ask, host: str) -> None:
    assert ask("GET", "/config", headers={"Host": host}).status_code == 200
    origin = {"Host": host, "Origin": f"http://{host.lower()}", **JSON}
    assert ask("POST", ACT, headers=origin, json={"component_id": 3}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@b",
        "",
        "[evil]",
        "2130706433.evil",
        "owner-space.hf.space",
        "x.gradio.live",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(ask: Ask, behind: Behind, host: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/config"), ("POST", ACT), ("GET", "/gradio_api/queue/data")):
        answer = ask(method, path, headers={"Host": host})
        assert answer.status_code == 403
        assert is_sentence(answer)
    assert ask("GET", "/", headers={"X-Forwarded-Host": "evil.example"}).status_code == 403
    assert behind.calls == []


def test_the_host_it_was_told_to_listen_on_is_a_name_of_it(ask: Ask) -> None:
    mine = {"Host": "letters.example:7860"}
    assert ask("GET", "/", headers=mine).status_code == 403
    assert ask("GET", "/", headers=mine, server_name="letters.example").status_code == 200
    own = {"Host": f"{socket.gethostname()}:7860"}
    assert ask("GET", "/", headers=own, server_name="0.0.0.0").status_code == 200
    assert ask("GET", "/", headers=own, server_name="::").status_code == 200


def test_named_hosts_and_origins_are_let_in_and_may_read_and_frame(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_ALLOWED_HOSTS", "letters.example, https://blog.example:8443")
    host = {"Host": "letters.example"}
    assert ask("GET", "/", headers=host).status_code == 200
    assert ask("GET", "/", headers={**host, "Origin": "https://letters.example"}).status_code == 200
    assert ask("GET", "/", headers={**host, "Origin": "https://letters.example:444"}).status_code == 403
    named = {"Origin": "https://blog.example:8443", "Sec-Fetch-Site": "cross-site"}
    asked_first = {**named, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    allowed = ask("OPTIONS", ACT, headers=asked_first)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-headers"] == "content-type"
    answer = ask("POST", ACT, headers=named, json={"component_id": 3})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://blog.example:8443"
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self' https://blog.example:8443"
    assert ask("POST", ACT, headers={**JSON, "Origin": "https://blog.example"}, content=b"{}").status_code == 403


@pytest.mark.parametrize("value", ["https://", "a b@c", "[x"])
def test_a_host_that_is_none_is_told_at_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_ALLOWED_HOSTS", value)
    with pytest.raises(ConfigError, match="CHARLSTM_ALLOWED_HOSTS"):
        TrustedHosts.from_environment(None)


def test_the_address_of_a_proxy_is_a_name_of_the_app(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", "https://example.org/letters")
    through = {"Host": "example.org", "X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"}
    page = {**through, "Origin": "https://example.org", **JSON}
    assert ask("POST", ACT, headers=page, json={"component_id": 3}).status_code == 200
    hidden = {"Host": "127.0.0.1:7860", "Origin": "https://example.org", **JSON}  # a proxy that passes its own view
    assert ask("POST", ACT, headers=hidden, json={"component_id": 3}).status_code == 200
    assert ask("POST", ACT, headers={**through, "Origin": "https://evil.example", **JSON}).status_code == 403


def test_a_space_serves_its_own_host_and_is_framed_by_the_hub_alone(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("SPACE_HOST", "owner-space.hf.space")
    direct = {"Host": "owner-space.hf.space", "Origin": "https://owner-space.hf.space", **JSON}
    inside = {"Host": "10.0.1.7:7860", "X-Forwarded-Host": "owner-space.hf.space", "X-Forwarded-Proto": "https"}
    for page in (direct, {**inside, "Origin": "https://owner-space.hf.space", **JSON}):
        answer = ask("POST", ACT, headers=page, json={"component_id": 3}, server_name="0.0.0.0")
        assert answer.status_code == 200
    frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    framed = ask("GET", "/", headers={**inside, **frame}, server_name="0.0.0.0")
    assert framed.status_code == 200
    policy = framed.headers["content-security-policy"]
    assert policy == "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
    for origin in ("https://other-space.hf.space", "https://huggingface.co", "https://evil.example"):
        answer = ask("POST", ACT, headers={**inside, "Origin": origin, **JSON}, content=b"{}")
        assert answer.status_code == 403
    assert ask("GET", "/", headers={**inside, "X-Forwarded-Host": "evil.example"}).status_code == 403
    assert ask("GET", "/", headers={"Host": "evil.example"}).status_code == 403


def test_every_answer_keeps_others_from_framing_and_guessing(ask: Ask) -> None:
    for answer in (ask("GET", "/"), ask("GET", "/", headers={"Host": "evil.example"})):
        assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", ""],
)
def test_a_body_that_is_not_json_goes_to_no_function(ask: Ask, behind: Behind, kind: str) -> None:
    answer = ask("POST", ACT, headers={"Content-Type": kind} if kind else {}, content=b'{"component_id": 3}')
    assert answer.status_code == 415
    assert is_sentence(answer)
    assert behind.calls == []


def test_a_call_through_the_mcp_server_tells_whose_it_is(ask: Ask, behind: Behind) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    forged = {"X-Forwarded-For": "203.0.113.9"}  # not of a trusted proxy
    ask("POST", "/gradio_api/mcp/", sender="198.51.100.7", headers=forged, json=ping)
    passed_on = {name: each for name, each in behind.headers[0].items() if name != "content-length"}
    assert passed_on["x-forwarded-for"] == "198.51.100.7"
    others = {name: "0" * len(each) if name.startswith("x-charlstm") else each for name, each in passed_on.items()}
    for headers in (passed_on, {**others, **forged}):  # as Gradio's MCP server calls this one, and as anybody can
        ask("POST", ACT, headers=headers, json={"component_id": 3})
    assert behind.clients == ["198.51.100.7", "198.51.100.7", "127.0.0.1"]


def test_a_request_without_a_body_needs_no_type(ask: Ask, behind: Behind) -> None:
    assert ask("POST", "/gradio_api/cancel").status_code == 200
    assert behind.calls == [("POST", "/gradio_api/cancel", b"")]


def test_a_part_of_the_page_that_is_not_there_is_told(ask: Ask, behind: Behind) -> None:
    for number in (99, -1):
        answer = ask("POST", ACT, json={"component_id": number})
        assert answer.status_code == 404
        assert is_sentence(answer)
    assert behind.calls == []


async def pieces(data: bytes, size: int = 60_000) -> AsyncIterator[bytes]:
    """A body without a length that is known before."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_json_has_a_bound_in_bytes_and_a_million_characters_fit(ask: Ask, behind: Behind, is_chunked: bool) -> None:
    pasted = json.dumps({"component_id": 3, "data": "漢" * 1_000_000}, ensure_ascii=False).encode()
    large = json.dumps({"data": "x" * MOST_JSON_BYTES}).encode()
    for body, status in ((pasted, 200), (large, 413)):
        answer = ask("POST", ACT, headers=JSON, content=pieces(body) if is_chunked else body)
        assert answer.status_code == status
        assert status == 200 or is_sentence(answer)
    assert [len(body) for _, _, body in behind.calls] == [len(pasted)]


def multipart(num_files: int, size: int) -> bytes:
    head = '--x\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
    return b"".join(head.format(number).encode() + b"y" * size + b"\r\n" for number in range(num_files)) + b"--x--\r\n"


def test_uploads_are_bounded_together_whatever_their_announced_length(ask: Ask, behind: Behind) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for body, status in (
        (multipart(1, MAX_UPLOAD), 200),
        (multipart(1, 2 * MAX_UPLOAD), 413),
        (multipart(15, MAX_UPLOAD // 10), 413),
        (multipart(20, 10), 200),
        (multipart(60, 10), 413),
    ):
        for content in (body, pieces(body, 1009)):
            answer = ask("POST", "/gradio_api/upload", headers=headers, content=content)
            assert answer.status_code == status
            assert status == 200 or is_sentence(answer)
    assert len(behind.calls) == 4


def test_a_web_socket_is_closed() -> None:
    sent: list[dict[str, Any]] = []

    async def talk() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(dict(message))

        guard = guarded(Behind(), TrustedHosts())
        await guard({"type": "websocket", "headers": [], "path": "/"}, receive, send)

    run_async(talk())
    assert sent == [{"type": "websocket.close", "code": 1008}]
