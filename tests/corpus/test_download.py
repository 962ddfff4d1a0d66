"""Texts at an address: fetched within limits, kept, used offline; never from where a stranger must not reach."""

import base64
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from charlstm.cli import main
from charlstm.corpus import open_corpus
from charlstm.corpus.download import is_global, open_connection, parse_address, parse_dataset
from charlstm.errors import CorpusError
from charlstm.runs.run_dir import RunDir
from charlstm.runs.training_inputs import load_corpus
from charlstm.ui import corpus_picker

TEXT = "the quick brown fox jumps over the lazy dog, naïvely\n" * 60


class Web:
    """A web server of this machine: answers by path, and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[dict[str, str]] = []
        self.statuses: list[int] = []

    def put(self, path: str, data: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, {"Content-Type": "text/plain", **named}, data)


@contextmanager
def serve(web: Web) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(dict(self.headers))
            status, headers, data = web.answers.get(self.path, (404, {}, b""))
            if headers.get("ETag") and self.headers.get("If-None-Match") == headers["ETag"]:
                status, data = 304, b""
            web.statuses.append(status)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACE_ID", "CHARLSTM_PUBLIC", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def refusal(address: str) -> str:
    with pytest.raises(CorpusError) as caught:
        open_corpus(address)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_a_text_is_fetched_once_and_only_asked_about_afterwards() -> None:
    web = Web()
    web.put("/fox.txt?key=secret", TEXT.encode(), ETag='"1"')
    reports: list[tuple[int, int]] = []
    with serve(web) as address:
        for _ in range(2):
            corpus = open_corpus(f"{address}/fox.txt?key=secret", report=lambda *each: reports.append(each))
            assert corpus.text == TEXT
            assert corpus.name == f"{address}/fox.txt"  # without the key, since names are published
        assert web.statuses == [200, 304]
        assert reports[-1][0] == len(TEXT.encode())
        assert not {"Authorization", "Cookie"} & set(web.asked[0])
        web.put("/fox.txt?key=secret", b"another text", ETag='"2"')
        assert open_corpus(f"{address}/fox.txt?key=secret").text == "another text"
    offline = open_corpus(f"{address}/fox.txt?key=secret")
    assert offline.text == "another text"
    assert "can't be reached" in offline.notes[0]
    assert "can't be reached" in refusal(f"{address}/never-fetched.txt")


def test_what_is_no_text_or_too_long_is_refused_and_nothing_of_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_CORPUS_MB", "0.01")
    web = Web()
    web.put("/page", b"<html>", Content_Type="text/html; charset=utf-8")
    web.put("/picture", b"GIF", Content_Type="image/gif")
    web.put("/packed", b"\x1f\x8b", Content_Encoding="gzip")
    web.put("/said", b"", Content_Length="10001")
    web.put("/unsaid", b"x" * 10_001)
    web.put("/broken", b"x", Content_Length="50")
    web.put("/round", b"", 302, Location="/round")
    web.put("/file", b"", 302, Location="file:///etc/passwd")
    web.put("/fits", b"x" * 10_000)
    expected = {
        "/page": "a web page, not a text",
        "/picture": "image/gif, not a text",
        "/packed": "only compressed",
        "/said": "longer than",
        "/unsaid": "longer than",
        "/broken": "the connection broke",
        "/round": "without end",
        "/file": "not a web address",
        "/none": "has no such text",
    }
    with serve(web) as address:
        for path, words in expected.items():
            assert words in refusal(address + path), path
        left = [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]
        assert [path for path in left if path.parent.name != "kernels"] == []
        assert open_corpus(f"{address}/fits").num_chars == 10_000


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/x", "https://127.0.0.1/x", "https://2130706433/x", "https://0/x", "https://[::1]/x",
     "https://[::ffff:10.0.0.1]/x", "https://169.254.169.254/latest", "https://[64:ff9b::7f00:1]/x",
     "https://localhost/x", "https://0x7f.1/x", "https://1.1.1.1:8443/x", "https://me:pw@1.1.1.1/x", "ftp://1.1.1.1/x",
     "file:///etc/passwd", "https://100.64.0.1/", "https://[fe80::1]/", "https://"],
)  # fmt: skip
def test_strangers_reach_nothing_but_the_public_internet(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    connected: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *each, **_: connected.append(each))
    with pytest.raises(CorpusError):
        corpus_picker.select_corpus(corpus_picker.ADDRESS, None, address, "auto")
    assert connected == []


def test_a_name_that_resolves_otherwise_the_second_time_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    answers = iter(["93.184.216.34", "127.0.0.1"])
    connected: list[str] = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address[0])
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(answers), 443))])
    monkeypatch.setattr(socket, "create_connection", connect)
    assert "can't be reached" in refusal("https://rebound.example/x")
    assert connected == ["93.184.216.34"]
    assert "public internet" in refusal("https://rebound.example/x")


@pytest.mark.parametrize(
    ("address", "is_public"),
    [("8.8.8.8", True), ("2606:4700::1", True), ("64:ff9b::808:808", True), ("2002:7f00:1::", False),
     ("64:ff9b::a9fe:a9fe", False), ("::ffff:192.168.0.1", False), ("::", False), ("224.0.0.1", False),
     ("fd00::1", False), ("255.255.255.255", False), ("::7f00:1", False)],
)  # fmt: skip
def test_an_address_is_judged_by_what_it_wraps(address: str, is_public: bool) -> None:
    assert is_global(ipaddress.ip_address(address)) is is_public


def test_a_page_of_the_hub_and_the_short_form_name_the_same_file() -> None:
    page = parse_dataset("https://huggingface.co/datasets/user/name/blob/main/data/fox%20one.txt?download=true")
    assert page == parse_dataset("hf://datasets/user/name/data/fox one.txt")
    revised = parse_dataset("hf://datasets/user/name@v1/a.txt")
    assert revised == parse_dataset("hf://datasets/user/name/a.txt@v1")
    assert parse_address("https://münchen.example/ä?x=1#y").target == "/%C3%A4?x=1"


def test_a_run_keeps_the_text_that_was_fetched_for_it(tmp_path: Path) -> None:
    web = Web()
    web.put("/fox.txt", TEXT.encode())
    flags = "--hidden-size 8 --batch-size 2 --seq-len 16 --max-steps 3 --max-minutes 0 --name fox --preset blog"
    with serve(web) as address:
        command = ["train", "--corpus", f"{address}/fox.txt", "--checkpoints-dir", str(tmp_path), *flags.split()]
        assert main(command) == 0
    folder = RunDir(tmp_path / "fox")
    assert folder.settings().train.corpus == f"{address}/fox.txt"
    assert load_corpus(folder, folder.settings()).text == TEXT  # with the server gone


def test_the_page_takes_addresses_and_no_paths(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    with pytest.raises(CorpusError, match="give an address such as"):
        corpus_picker.select_corpus(corpus_picker.ADDRESS, None, str(tmp_path / "secret.txt"), "auto")
    described = corpus_picker.describe_text(corpus_picker.ADDRESS, None, "https://host/x", "auto")
    assert "when you press Start" in described.html


@pytest.mark.parametrize("login", ["", "user:p%40ss@"])
def test_a_proxy_is_asked_for_the_host_with_the_login_of_its_address(
    monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def refuse() -> None:
            line, _ = proxy.accept()
            with line:
                asked.extend(line.recv(4096).decode().splitlines())
                line.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        monkeypatch.setenv("https_proxy", f"http://{login}127.0.0.1:{proxy.getsockname()[1]}")
        assert "can't be reached" in refusal("https://host.invalid/text.txt")
        thread.join()
    assert asked[0].startswith("CONNECT host.invalid:443")
    expected = "Proxy-Authorization: Basic " + base64.b64encode(b"user:p@ss").decode()
    assert (expected in asked) == bool(login)


def test_no_proxy_stands_between_this_machine_and_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    web = Web()
    web.put("/fox.txt", TEXT.encode())
    with serve(web) as address:
        assert open_corpus(f"{address}/fox.txt").text == TEXT


def test_behind_a_proxy_a_page_leads_to_no_private_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    for host in ("10.0.0.1", "127.0.0.1", "[::ffff:10.0.0.1]", "169.254.169.254"):
        with pytest.raises(CorpusError, match="not an address on the public internet"):
            open_connection(parse_address(f"https://{host}/x"), may_be_private=False)


def test_a_server_that_closes_its_side_and_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer belongs to no connection any more that could be shut down."""
    monkeypatch.setattr("charlstm.corpus.download._OWN_SECONDS", 0.3)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            line, _ = server.accept()
            with line, suppress(OSError):
                line.recv(4096)
                line.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
                while not is_over.wait(0.02):
                    line.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        assert "takes too long" in refusal(f"http://127.0.0.1:{server.getsockname()[1]}/drip.txt")
        is_over.set()
        thread.join()
