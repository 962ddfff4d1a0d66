"""Every function of the page, called past it with values of other kinds: one sentence each, and nothing in the log."""

from typing import Any

import httpx
from page_app import App

FORGED = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}


def test_no_function_of_the_page_fails_over_values_of_other_kinds(app: App) -> None:
    log = app.log_file
    before = log.stat().st_size
    with httpx.Client(base_url=f"{app.url}gradio_api/", timeout=60) as client:
        config = client.get("../config").json()
        for each in config["components"]:
            call = {"data": FORGED, "component_id": each["id"], "session_hash": "wrong"}
            for name in each["props"].get("server_fns") or ():
                assert client.post("component_server", json={**call, "fn_name": name}).status_code == 200, name
        for function in config["dependencies"]:
            if function["backend_fn"]:
                (call_queued if function["queue"] else call_directly)(client, function)
    assert b"Traceback" not in log.read_bytes()[before:]


def call_queued(client: httpx.Client, function: dict[str, Any]) -> None:
    session = f"wrong {function['id']}"
    call = {"data": [[]] * len(function["inputs"]), "fn_index": function["id"], "session_hash": session}
    assert client.post("queue/join", json=call).status_code == 200, function["api_name"]
    said = client.get("queue/data", params={"session_hash": session}).text
    assert "process_completed" in said, function["api_name"]


def call_directly(client: httpx.Client, function: dict[str, Any]) -> None:
    for value in ([], FORGED):
        values = {"data": [value] * len(function["inputs"]), "event_data": value}
        answer = client.post("run/predict", json={**values, "fn_index": function["id"], "session_hash": "wrong"})
        assert answer.status_code in (200, 400), function["api_name"]
        assert answer.is_success or answer.json()["error"].endswith("."), function["api_name"]
