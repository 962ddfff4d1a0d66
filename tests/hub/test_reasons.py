"""What the Hub, its storage or a network in between says reaches the person: as one harmless sentence."""

import json
import ssl
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import huggingface_hub.constants
import pytest
from commands import sentence_of
from loopback import OWNER, Fault, LoopbackHub

from charlstm.errors import HubError
from charlstm.hub import pull as pulling
from charlstm.hub.client import _after_response, hub_call, read_token, write_token
from charlstm.hub.error_messages import describe, httpx
from charlstm.hub.pull import fetch
from charlstm.hub.push import ModelFiles, push

_PORTAL = b"<html><body>Welcome to our hotel</body></html>"


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, {"X-Error-Message": "Private repository storage limit reached"}, b""),
        (403, {}, json.dumps({"error": "Private repository storage limit reached"}).encode()),
        (402, {}, json.dumps({"message": "Private repository storage limit reached"}).encode()),
        (422, {}, json.dumps({"error": {"message": "Private repository storage limit reached"}}).encode()),
        (400, {}, json.dumps({"errors": [{"message": "Private repository storage limit reached"}]}).encode()),
        (418, {"Content-Type": "text/plain"}, b"Private repository storage limit reached"),
        (451, {}, json.dumps({"error": ["Private repository storage limit reached"]}).encode()),
    ],
)
@pytest.mark.parametrize("path", ["/api/repos/create", "/api/validate-yaml", "/preupload/", "/commit/"])
def test_the_hubs_own_reason_is_said(
    hub: LoopbackHub, published: ModelFiles, path: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    if path == "/api/repos/create":
        hub.repos.clear()  # or it is there already, which is as good
    hub.faults.append(Fault(path, status, headers=headers, body=body))
    assert "“Private repository storage limit reached”" in sentence_of(lambda: push(published, OWNER))


def test_both_errors_of_a_card_that_is_refused_are_said(hub: LoopbackHub, published: ModelFiles) -> None:
    body = json.dumps({"errors": [{"message": '"license" must be known'}, {"message": '"tags" must be an array'}]})
    hub.faults.append(Fault("/api/validate-yaml", 400, body=body.encode()))
    told = sentence_of(lambda: push(published, OWNER))
    assert '"license" must be known; "tags" must be an array' in told


@pytest.mark.parametrize(
    "said",
    [
        "\x1b[31mred\x1b]0;title\x07 \u202ereversed\nnew line " + "x" * 5000,
        f"your token {OWNER} at https://storage.example/f?X-Signature=abc",
        "<script>alert(1)</script>",
    ],
)
def test_a_reason_is_one_harmless_line(hub: LoopbackHub, published: ModelFiles, said: str) -> None:
    hub.faults.append(Fault("/commit/", 403, body=json.dumps({"error": said}).encode()))
    told = sentence_of(lambda: push(published, OWNER))
    assert OWNER not in told
    assert "Signature" not in told


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (407, "proxy asks for a login"),
        (409, "changed by somebody else"),
        (410, "is gone"),
        (412, "changed by somebody else"),
        (423, "is locked"),
        (451, "legal reasons"),
        (511, "sign-in"),
        (402, "--hardware zero-a10g"),
        (413, "larger than the Hub takes"),
        (422, "does not help"),
    ],
)
def test_each_refusal_says_what_it_is_without_a_reason_too(
    hub: LoopbackHub, published: ModelFiles, status: int, expected: str
) -> None:
    hub.faults.append(Fault("/commit/", status, body=b""))
    told = sentence_of(lambda: push(published, OWNER))
    assert expected in told
    assert "“" not in told


@pytest.mark.parametrize(
    ("path", "status"), [("/put/", 403), ("/put/", 400), ("/put/", 404), ("/get/", 403), ("/get/", 404)]
)
def test_a_refusal_of_the_storage_is_not_taken_for_one_of_the_hub(
    hub: LoopbackHub, published: ModelFiles, path: str, status: int
) -> None:
    body = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    if path == "/get/":
        push(published, OWNER)
    hub.faults.append(Fault(path, status, headers={"Content-Type": "application/xml"}, body=body))
    told = sentence_of(lambda: push(published, OWNER) if path == "/put/" else fetch("owner/tiny"))
    assert "storage" in told
    assert "Request has expired" in told
    assert "trying again helps" in told


class TestANetworkThatWantsASignInFirst:
    @pytest.mark.parametrize("path", ["/api/repos/create", "/api/validate-yaml", "/preupload/", "/commit/", "/put/"])
    def test_is_named_where_its_page_answers_a_push(self, hub: LoopbackHub, published: ModelFiles, path: str) -> None:
        hub.faults.append(Fault(path, 200, headers={"Content-Type": "text/html; charset=utf-8"}, body=_PORTAL))
        assert "sign-in" in sentence_of(lambda: push(published, OWNER))

    @pytest.mark.parametrize("path", ["/resolve/", "/get/"])
    def test_is_named_where_its_page_answers_a_pull(self, hub: LoopbackHub, published: ModelFiles, path: str) -> None:
        push(published, OWNER)
        hub.faults.append(Fault(path, 200, headers={"Content-Type": "text/html"}, body=_PORTAL))
        assert "sign-in" in sentence_of(lambda: fetch("owner/tiny"))

    def test_does_not_keep_what_was_fetched_before_from_serving(self, hub: LoopbackHub, published: ModelFiles) -> None:
        push(published, OWNER)
        cached = fetch("owner/tiny")
        hub.faults.append(Fault("/", 200, headers={"Content-Type": "text/html"}, body=_PORTAL))
        assert fetch("owner/tiny") == cached

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    @pytest.mark.parametrize("path", ["/api/repos/create", "/commit/", "/put/"])
    def test_gets_neither_login_nor_body(self, hub: LoopbackHub, published: ModelFiles, status: int, path: str) -> None:
        asked: list[str] = []

        class Stranger(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            do_POST = do_PUT = do_GET  # noqa: N815

        with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
            threading.Thread(target=stranger.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            location = f"http://127.0.0.1:{stranger.server_address[1]}/login"
            hub.faults.append(Fault(path, status, headers={"Location": location}))
            assert "sign-in" in sentence_of(lambda: push(published, OWNER))
            stranger.shutdown()
        assert asked == []


def test_an_upload_that_its_own_host_refers_elsewhere_is_not_taken_for_done() -> None:
    """The HTTP library asks the other address without the body, and takes its answer for that of the upload."""
    seen: list[str] = []

    def answer(request: Any) -> Any:
        seen.append(request.method)
        return httpx.Response(302, headers={"location": "/else"}) if request.method == "PUT" else httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(answer), follow_redirects=True) as client:
        assert client.put("http://storage/file", content=b"all of it").status_code == 200
        client.event_hooks = {"response": [_after_response]}
        with pytest.raises(HubError, match="was not sent"), hub_call("owner/tiny"):
            client.put("http://storage/file", content=b"all of it")
    assert seen == ["PUT", "GET", "PUT"]


def test_a_certificate_that_nobody_knows_is_named() -> None:
    def unknown() -> None:
        with hub_call("owner/tiny"):
            cause = ssl.SSLCertVerificationError(
                "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate "
                "(_ssl.c:1006)"
            )
            raise httpx.ConnectError(str(cause)) from cause

    told = sentence_of(unknown)
    assert "unable to get local issuer certificate" in told
    assert "SSL_CERT_FILE" in told


@pytest.mark.parametrize("token", ["hf_tokén", "hf_a b", "“hf_quoted”"])
def test_a_login_that_is_no_token_is_named(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    for ask in (write_token, read_token):
        assert "is not a token" in sentence_of(ask)
    assert hub.requests == []


def test_a_home_that_can_not_be_made_is_named(published: ModelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    push(published, OWNER)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "/proc/no-such-place/hub")
    assert "HF_HOME" in sentence_of(lambda: fetch("owner/tiny"))


def test_what_the_hub_remarks_on_a_card_is_no_warning_of_pythons(hub: LoopbackHub, published: ModelFiles) -> None:
    body = json.dumps({"errors": [], "warnings": [{"message": "empty metadata"}]}).encode()
    hub.faults.append(Fault("/api/validate-yaml", 200, body=body))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        push(published, OWNER)
    assert [each for each in seen if "metadata" in str(each.message)] == []


def test_the_seconds_that_are_said_are_those_that_were_waited(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "_METADATA_SECONDS", 0.25)
    hub.faults.append(Fault("/resolve/", until=threading.Event()))
    assert "has not answered for 0.25 seconds" in sentence_of(lambda: fetch("owner/tiny"))


def test_a_file_shorter_than_it_was_said_to_be_is_named() -> None:
    error = OSError("Consistency check failed: file should be of size 10 but has size 5 (model.safetensors).")
    assert "not as long" in str(describe(error, "owner/tiny"))
