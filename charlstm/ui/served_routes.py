"""The routes that are served: those that the page, Gradio's client, the API and MCP use. Gradio has some 60 more.

Among the others are some that write to disk whatever they are asked for (`deep_link`: *measured*, 41 small requests
wrote 154 MB), fetch from other machines or show how the app is used.
"""

import re
from urllib.parse import urlsplit

from charlstm.environment import GRADIO_ROOT_PATH
from charlstm.ui.request_body import RequestRefused

API = "/gradio_api/"
_READ = re.compile(
    r"""/(?:
    |config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon(?:/\d+)?
    |(?:assets|static|charlstm)/.+
    |monitoring/summary
    |login/(?:huggingface|callback)|logout
    |gradio_api/(?:
        info|openapi\.json|app_id|startup-events|theme\.css|upload_progress
        |file=.+
        |queue/data|heartbeat/[^/]+|call/(?:v2/)?[^/]+/[^/]+
        |mcp(?:/schema)?
    ))""",
    re.VERBOSE | re.DOTALL,
)
_SENT = re.compile(
    r"/gradio_api/(?:component_server|queue/join|run/[^/]+|call/(?:v2/)?[^/]+|cancel|reset|upload|mcp)", re.DOTALL
)
# What is worked out for each request, and outside the event queue, which has bounds of its own.
_WORKED_ON = {
    "GET": re.compile(r"/(?:|config|charlstm/preview\.png|gradio_api/(?:info|openapi\.json|mcp/schema))"),
    "POST": re.compile(r"/gradio_api/(?:component_server|run/[^/]+|mcp)", re.DOTALL),
}
_WORKED_ON["HEAD"] = _WORKED_ON["GET"]
_LONGEST_UPLOAD_QUERY = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # of which Gradio logs a traceback
_SERVED = {"GET": _READ, "HEAD": _READ, "OPTIONS": re.compile(f"{_READ.pattern}|{_SENT.pattern}", _READ.flags)}
_SERVED |= {"POST": _SENT, "DELETE": re.compile("/gradio_api/mcp")}


def check_route(method: str, path: str, query: bytes = b"") -> None:
    """Raise `RequestRefused` for a route that nothing here uses, or for an id of an upload that is none."""
    if _CONTROL.search(path) or not _is_one(_SERVED, method, path):
        raise RequestRefused(404, "There is nothing at this address; the page is at the address without a path.")
    if "/upload" in path and len(query) > _LONGEST_UPLOAD_QUERY:  # its id is kept
        raise RequestRefused(400, f"The id of an upload has at most {_LONGEST_UPLOAD_QUERY} characters.")


def is_worked_on(method: str, path: str) -> bool:
    """Return whether the answer is worked out at once, past the event queue."""
    return _is_one(_WORKED_ON, method, path)


def _is_one(routes: dict[str, re.Pattern[str]], method: str, path: str) -> bool:
    known = routes.get(method)
    return known is not None and known.fullmatch(without_root(path).rstrip("/") or "/") is not None


def without_root(path: str) -> str:
    """Return a request's path without the prefix that the owner has named, as Gradio takes it from a proxy."""
    root = urlsplit(GRADIO_ROOT_PATH.read()).path.rstrip("/")
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
