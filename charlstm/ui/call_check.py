"""Check of calls to the page's functions before Gradio sees them: Gradio logs a traceback for each mistake in one."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import parse_qs

from gradio.block_function import BlockFunction
from gradio.blocks import Blocks

from charlstm.ui.mcp_message_check import check_message
from charlstm.ui.request_body import RequestRefused
from charlstm.ui.served_routes import API

_LONGEST_SESSION = 100  # characters of its name, which is kept
_NO_COMPONENT = "There is no such part of the page; load it again."
_NO_FUNCTION = "There is no such function of the page; load it again."


class Answers(Protocol):
    """What is known of the answers to come."""

    def session_of(self, event_id: str) -> str | None:
        """Return the session of an event that is worked on, or whose answer waits to be fetched."""

    def has_session(self, session: str) -> bool:
        """Return whether events of a session have been answered, or will be."""

    def reading(self, sessions: list[str]) -> AbstractContextManager[None]:
        """Note that the messages of sessions are being fetched meanwhile."""


class UnknownSessionError(Exception):
    """Messages are asked for of a session that this process does not know."""


class CallCheck:
    """Check of the calls to functions of `page`."""

    def __init__(self, page: Blocks, answers: Answers) -> None:
        self._page, self._answers = page, answers

    def check_call(self, path: str, body: Any) -> None:
        """Raise `RequestRefused` for a call to something that is not there, or with other values than it takes."""
        match _parts(path):
            case ["component_server"]:
                self._check_component(_object(body))
            case ["queue", "join"] | ["run", _]:
                self._check_event(_object(body))
            case ["call", "v2", name]:
                self._check_named(name, _object(body))
            case ["call", name]:
                self._check_listed(name, _object(body))
            case ["mcp"]:
                check_message(body)

    def stream(self, path: str, query: bytes) -> AbstractContextManager[None]:
        """Return what to hold while answers are fetched, if they are.

        Raises `RequestRefused` for an answer that nobody has asked for; `UnknownSessionError` for a page's.
        """
        sessions: list[str] = []
        match _parts(path):
            case ["call", "v2", _, event_id] | ["call", _, event_id]:
                if (session := self._answers.session_of(event_id)) is None:
                    raise RequestRefused(404, "No answer waits under this id; call the function again.")
                sessions = [session]
            case ["queue", "data"]:
                sessions = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("session_hash", [])
                if not all(self._answers.has_session(each) for each in sessions):
                    raise UnknownSessionError
        return self._answers.reading(sessions)

    def _check_component(self, call: Mapping[str, Any]) -> None:
        number = call.get("component_id")
        if not isinstance(number, int) or number not in self._page.blocks:
            raise RequestRefused(404, _NO_COMPONENT)
        _check_session(call)

    def _check_event(self, call: Mapping[str, Any]) -> None:
        number = call.get("fn_index")
        function = self._page.fns.get(number) if isinstance(number, int) else None
        if function is None or function.fn is None:
            raise RequestRefused(404, _NO_FUNCTION)
        _check_session(call)
        values = call.get("data")
        if not isinstance(values, list) or len(values) != len(function.inputs) or call.get("batched"):
            raise RequestRefused(400, f"This function takes {len(function.inputs)} values; load the page again.")

    def _check_listed(self, name: str, call: Mapping[str, Any]) -> None:
        function = self._public(name)
        _check_session(call)
        values, inputs = call.get("data"), function.inputs
        counts = {len(inputs), sum(not each.skip_api for each in inputs)}
        if not isinstance(values, list) or len(values) not in counts:
            names = ", ".join(self._parameters(name)) or "none"
            raise RequestRefused(400, f"{name} takes a list of {min(counts)} values in 'data': {names}.")

    def _check_named(self, name: str, call: Mapping[str, Any]) -> None:
        self._public(name)
        parameters = self._parameters(name)
        if unknown := next((each for each in call if each not in parameters and each != "oauth_token"), None):
            known = ", ".join(parameters) or "none"
            raise RequestRefused(400, f"{name} takes no value named {unknown[:40]!r}; it takes {known}.")
        if missing := next((each for each, is_needed in parameters.items() if is_needed and each not in call), None):
            raise RequestRefused(400, f"{name} needs a value named {missing!r}.")

    def _public(self, name: str) -> BlockFunction:
        functions = self._page.fns.values()
        public = {str(each.api_name): each for each in functions if each.api_name and each.api_visibility == "public"}
        if name not in public:
            raise RequestRefused(404, f"There is no function {name[:40]!r}; there are {', '.join(public)}.")
        return public[name]

    def _parameters(self, name: str) -> dict[str, bool]:
        """Return the names of a function's values, and whether each must be given."""
        found = self._api["named_endpoints"].get(f"/{name}", {}).get("parameters", [])
        return {each["parameter_name"]: not each.get("parameter_has_default") for each in found}

    @cached_property
    def _api(self) -> Any:
        return self._page.get_api_info()


def _parts(path: str) -> list[str]:
    return path.partition(API)[2].strip("/").split("/")


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise RequestRefused(400, "Send one JSON object.")
    return body


def _check_session(call: Mapping[str, Any]) -> None:
    session = call.get("session_hash")
    if session is not None and not (isinstance(session, str) and len(session) <= _LONGEST_SESSION):
        raise RequestRefused(400, f"session_hash must be a text of at most {_LONGEST_SESSION} characters.")
