"""Messages of the Model Context Protocol that are none."""

from typing import Any

import pytest

from charlstm.ui.mcp_message_check import check_message
from charlstm.ui.request_body import RequestRefused

pytest.importorskip("mcp", reason="comes with gradio[mcp]")
HEAD = {"jsonrpc": "2.0", "id": 1}
INVALID, NO_SUCH_METHOD = -32602, -32601  # the codes of JSON-RPC


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ([], INVALID),
        (None, INVALID),
        (HEAD, INVALID),
        ({**HEAD, "jsonrpc": "1.0", "method": "ping"}, INVALID),
        ({**HEAD, "id": [1], "method": "ping"}, INVALID),
        ({**HEAD, "result": {}}, INVALID),
        ({**HEAD, "method": "nope"}, NO_SUCH_METHOD),
        ({"jsonrpc": "2.0", "method": "notifications/nope"}, NO_SUCH_METHOD),
        ({**HEAD, "method": "tools/call", "params": {"name": 5}}, INVALID),
        ({**HEAD, "method": "tools/call", "params": {"name": "generate", "arguments": []}}, INVALID),
        ({**HEAD, "method": "initialize"}, INVALID),
    ],
)
def test_each_gets_one_sentence_in_the_form_that_clients_read(message: Any, code: int) -> None:
    with pytest.raises(RequestRefused) as caught:
        check_message(message)
    refused = caught.value
    assert (refused.status, refused.more["jsonrpc"], refused.more["error"]["code"]) == (400, "2.0", code)
    assert refused.more["error"]["message"] == refused.sentence
    assert refused.sentence.endswith(".")


@pytest.mark.parametrize(
    "message",
    [
        {**HEAD, "method": "ping"},
        {**HEAD, "id": "a", "method": "tools/call", "params": {"name": "generate", "arguments": {"model": "x"}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
    ],
)
def test_others_pass(message: Any) -> None:
    check_message(message)
