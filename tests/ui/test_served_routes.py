"""Which of Gradio's routes are served."""

import pytest

from charlstm.ui.request_body import RequestRefused
from charlstm.ui.served_routes import check_route, is_worked_on

ROUTES = {
    "GET": [
        "/", "/config", "/theme.css", "/charlstm/preview.png", "/assets/index.js", "/static/img/logo.svg", "/logout",
        "/monitoring/summary", "/login/huggingface", "/gradio_api/info", "/gradio_api/startup-events",
        "/gradio_api/app_id", "/gradio_api/file=/tmp/gradio/x/y.txt", "/gradio_api/upload_progress",
        "/gradio_api/queue/data", "/gradio_api/heartbeat/x", "/gradio_api/call/score/x", "/gradio_api/call/v2/score/x",
        "/gradio_api/mcp/", "/gradio_api/mcp/schema",
    ],
    "POST": [
        "/gradio_api/component_server/", "/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/call/score",
        "/gradio_api/call/v2/score", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/upload",
        "/gradio_api/mcp/",
    ],
    "DELETE": ["/gradio_api/mcp/"],
}  # fmt: skip
UNUSED = [
    "/gradio_api/deep_link", "/gradio_api/deep_link/", "/gradio_api/proxy=https://huggingface.co/x", "/monitoring",
    "/monitoring/x", "/gradio_api/runs", "/gradio_api/run-history/records", "/gradio_api/dev/reload",
    "/gradio_api/stream/a/b/3/playlist.m3u8", "/gradio_api/custom_component/a/client/b/c.js", "/gradio_api/token",
    "/gradio_api/queue/status", "/gradio_api/vibe-code", "/gradio_api/file/x", "/svelte/x", "/gradio_api/mcp/sse",
    "/gradio_api/process_recording", "/gradio_api/vibe-edit/", "/gradio_api/api/predict", "/gradio_api/stream/x",
    "/login", "/x/gradio_api/upload", "/gradio_api/heartbeat/\n", "/gradio_api/file=/a\0b",
]  # fmt: skip


@pytest.mark.parametrize("method", ROUTES)
def test_only_the_routes_in_use_are_served(method: str) -> None:
    for path in ROUTES[method]:
        check_route(method, path)
    for path in UNUSED:
        with pytest.raises(RequestRefused) as refused:
            check_route(method, path)
        assert refused.value.status == 404


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_are_not_served(method: str) -> None:
    with pytest.raises(RequestRefused):
        check_route(method, "/")


@pytest.mark.parametrize("root", ["/lab", "/lab/", "https://example.org/lab"])
def test_a_proxy_may_keep_the_prefix_that_the_owner_named(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", root)
    for path in ("", *ROUTES["GET"]):
        check_route("GET", f"/lab{path}")
    for path in ("/laboratory/config", "/lab/lab/config", *(f"/lab{each}" for each in UNUSED)):
        with pytest.raises(RequestRefused):
            check_route("GET", path)
    check_route("GET", "/config")


def test_the_picture_of_a_run_is_worked_on_for_each_request() -> None:
    assert is_worked_on("GET", "/charlstm/preview.png")
    assert not is_worked_on("GET", "/charlstm/page.js")


def test_the_id_of_an_upload_is_short() -> None:
    for method, path in (("GET", "/gradio_api/upload_progress"), ("POST", "/gradio_api/upload")):
        check_route(method, path, b"upload_id=" + b"x" * 30)
        with pytest.raises(RequestRefused, match="id of an upload"):
            check_route(method, path, b"upload_id=" + b"x" * 300)
    check_route("GET", "/", b"prompt=" + b"x" * 3000)
