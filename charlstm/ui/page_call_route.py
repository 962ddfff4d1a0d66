"""The route by which the page's scripts call functions of the server, in place of Gradio's own.

Gradio's goes through a hundred routes, a thread to see who is logged in, and a session for each page that calls, before
a second thread works. Each open page calls once a second; what that takes, before and now, is in docs/performance.md,
"Being watched".
"""

from typing import Any

import anyio.to_thread
from gradio.blocks import Blocks
from gradio.helpers import special_args
from gradio.routes import ORJSONResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from charlstm.ui.served_routes import API


def routes() -> list[Route]:
    """Return the route, as Gradio's client calls it and as programs do."""
    return [Route(f"{API}component_server{end}", _answer, methods=["POST"]) for end in ("", "/")]


async def _answer(request: Request) -> Response:
    try:
        call = await request.json()  # whose component there is, see `call_check`
    except ValueError:  # there is no body, which is all that is not checked there
        return JSONResponse({"detail": "Invalid JSON body."}, 400)
    page: Blocks = request.app.get_blocks()
    function: Any = getattr(page.blocks[call["component_id"]], str(call.get("fn_name")), None)
    if not getattr(function, "_is_server_fn", False):
        return JSONResponse({"detail": "Function not found."}, 404)
    values, *_ = special_args(function, [call.get("data")], request)  # and who asks, for those that want to know
    return ORJSONResponse(await anyio.to_thread.run_sync(function, *values, limiter=page.limiter))
