"""The HTTP server under the page, on raw sockets: where it listens, and what connections that say nothing can do."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from charlstm.errors import ConfigError
from charlstm.ui import server
from charlstm.ui.server import BoundedConnection, Server

PATIENCE = 0.5
_LARGE = 16_000_000  # more than what lies between two sockets
_is_over = threading.Event()


async def _answer(request: Request) -> Response:
    return PlainTextResponse(f"{len(await request.body())} bytes")


async def _stream(_: Request) -> Response:
    async def quiet() -> object:
        yield "begun\n"
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 4 * PATIENCE)
        yield "done\n"

    return StreamingResponse(quiet())


async def _large(_: Request) -> Response:
    return Response(b"x" * _LARGE, background=BackgroundTask(_is_over.set))


@contextlib.contextmanager
def served(host: str, most_connections: int = 100) -> Iterator[int]:
    """The port of a small app on the server of the page, with little patience."""
    small = type("Small", (BoundedConnection,), {"patience_seconds": PATIENCE, "most_connections": most_connections})
    app = Starlette(
        routes=[Route("/stream", _stream), Route("/large", _large), Route("/", _answer, methods=["GET", "POST"])]
    )
    sockets = server._bind_free(host, 0)
    config = uvicorn.Config(app, log_level="warning", http=small, ws="none", timeout_keep_alive=30)
    running = Server(config, sockets)
    running.run_in_thread()
    try:
        yield int(sockets[0].getsockname()[1])
    finally:
        running.close()


def heard(connection: socket.socket, what: bytes) -> bool:
    """Whether the other side says `what` before it ends."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while what not in said and (part := connection.recv(1000)):
            said += part
    return what in said


def is_closed(connection: socket.socket, seconds: float = 20) -> bool:
    """Whether the other side ends it in that time, without a word."""
    connection.settimeout(seconds)
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: lo",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_a_client_that_lets_the_server_wait_is_cut_off(said: bytes) -> None:
    with served("127.0.0.1") as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(said)
        assert is_closed(connection)


def test_a_half_request_after_a_whole_one_is_cut_off_too() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served("127.0.0.1") as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(whole)
        assert heard(connection, b"0 bytes")
        connection.sendall(whole[:9])
        assert is_closed(connection)


def test_a_body_that_drips_is_cut_off_and_a_slow_one_arrives() -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    for piece, num_pieces, arrives in ((b"x", 40, False), (b"x" * 3000, 12, True)):
        with served("127.0.0.1") as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head % (len(piece) * num_pieces))
            with contextlib.suppress(ConnectionError):
                for _ in range(num_pieces):
                    connection.sendall(piece)
                    threading.Event().wait(PATIENCE / 5)  # the pace of a line
            assert heard(connection, b" bytes") is arrives


def test_a_stream_may_be_quiet_and_a_connection_be_used_for_long() -> None:
    with served("127.0.0.1") as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/stream", timeout=20).text == "begun\ndone\n"
        end = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < end:
            assert client.get("/").text == "0 bytes"


def test_an_answer_of_which_nothing_is_taken_is_given_up_and_a_slow_reader_has_it_whole() -> None:
    ask = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for is_read in (False, True):
        with served("127.0.0.1") as port, socket.socket() as connection:
            connection.settimeout(20)
            connection.connect(("127.0.0.1", port))
            connection.sendall(ask)
            _is_over.clear()
            num_taken = 0
            if is_read:
                while part := connection.recv(_LARGE // 100):
                    num_taken += len(part)
                    threading.Event().wait(PATIENCE / 20)  # the pace of a line
                assert num_taken > _LARGE
            else:
                assert _is_over.wait(20)


def test_connections_that_say_nothing_make_room_for_those_that_do(caplog: pytest.LogCaptureFixture) -> None:
    with served("127.0.0.1", most_connections=8) as port, contextlib.ExitStack() as idle:
        for _ in range(30):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        for _ in range(5):
            assert httpx.get(f"http://127.0.0.1:{port}/", timeout=20).text == "0 bytes"
    assert caplog.text.count("\n") <= 1


def test_connections_that_all_are_in_use_leave_a_sentence_to_the_next() -> None:
    with served("127.0.0.1", most_connections=3) as port, contextlib.ExitStack() as busy:
        for _ in range(3):
            stream = busy.enter_context(httpx.stream("GET", f"http://127.0.0.1:{port}/stream", timeout=20))
            assert stream.status_code == 200
        answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=20)
    assert answer.status_code == 503
    assert "try again" in answer.text


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "asked"),
    [("::1", ["[::1]"]), ("::", ["[::1]", "127.0.0.1"]), ("localhost", ["localhost"]), ("0.0.0.0", ["127.0.0.1"])],
)
def test_it_listens_on_what_it_was_told_to(host: str, asked: list[str]) -> None:
    with served(host) as port:
        for name in asked:
            assert httpx.get(f"http://{name}:{port}/", timeout=20).text == "0 bytes"


def test_what_can_not_be_listened_on_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1, port {port} .*--port"):
            server._bind_free("127.0.0.1", port)
    for host, port in (("no.such.host.invalid", 7860), ("203.0.113.7", 7860), ("127.0.0.1", 99999), ("a b", 1)):
        with pytest.raises(ConfigError, match="--host"):
            server._bind_free(host, port)


def test_the_first_free_port_is_taken_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("GRADIO_SERVER_PORT", str(port))
        (found,) = server._bind_free("127.0.0.1", None)
        with found:
            assert port < found.getsockname()[1] < port + 100
