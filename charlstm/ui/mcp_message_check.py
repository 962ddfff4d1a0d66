"""Check of messages of the Model Context Protocol: its library logs a traceback for each that it can't read."""

from importlib.util import find_spec
from typing import Any, get_args

from pydantic import ValidationError

from charlstm.ui.request_body import RequestRefused

_NO_SUCH_METHOD, _INVALID = -32601, -32602  # of JSON-RPC


def check_message(message: Any) -> None:
    """Raise `RequestRefused` for what is neither a request nor a notification of a client."""
    if find_spec("mcp") is None:  # then nothing of it is served
        return
    from mcp.types import ClientNotification, ClientRequest

    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise _refusal(None, _INVALID, "Send one JSON-RPC 2.0 message with a method.")
    method, number = message["method"], message.get("id")
    if "id" in message and (isinstance(number, bool) or not isinstance(number, int | str)):
        raise _refusal(None, _INVALID, "The id of a message must be a whole number or a text.")
    kind: Any = ClientRequest if "id" in message else ClientNotification
    methods = {
        get_args(each.model_fields["method"].annotation)[0] for each in get_args(kind.model_fields["root"].annotation)
    }
    if method not in methods:
        raise _refusal(number, _NO_SUCH_METHOD, f"There is no method {method[:40]!r}.")
    try:
        kind.model_validate({name: value for name, value in message.items() if name in ("method", "params")})
    except ValidationError:
        raise _refusal(number, _INVALID, f"{method} takes other parameters.") from None


def _refusal(number: int | str | None, code: int, sentence: str) -> RequestRefused:
    error = {"code": code, "message": sentence}
    return RequestRefused(400, sentence, {"jsonrpc": "2.0", "id": number, "error": error})
