"""Guard of every request before Gradio sees it: route, origin, host name, content type, size and what is called.

Any page in a browser may send requests to any address, the visitor's own machine included; Gradio would run them and
only withhold the answer. Here such a request is refused with one sentence. Programs send none of a browser's headers,
and pass.
"""

import asyncio
import contextlib
import json
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlstm.environment import ALLOWED_HOSTS
from charlstm.ui.call_check import CallCheck, UnknownSessionError
from charlstm.ui.event_queue import note_body
from charlstm.ui.gradio_patches import Refusal, current_refusal
from charlstm.ui.request_body import BoundedUpload, JsonReader, RequestRefused, has_body
from charlstm.ui.served_routes import API, check_route, is_worked_on, without_root
from charlstm.ui.trusted_hosts import TrustedHosts, is_origin_of
from charlstm.ui.unqueued_call_limits import AT_ONCE, TOOLS_AT_ONCE, DirectCalls
from charlstm.ui.uploaded_files import UploadedFiles
from charlstm.ui.visitor_address import ProxyNotice, name_sender, take_sender, visitor_of

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OWN_SITES = ("same-origin", "none")  # Sec-Fetch-Site of our own pages, and of a typed address
_NO_SESSION = (
    b'data: {"msg":"unexpected_error","message":"","session_not_found":true,"success":false}\n\n'  # as Gradio's
)
_DRAIN_SECONDS, _DRAIN_BYTES = 5, 32_000_000  # a client that is cut off at once never reads the reason


class RequestGuard:
    """`app` behind the checks; one upload has at most `max_upload_bytes` in all."""

    def __init__(
        self, app: ASGIApp, hosts: TrustedHosts, calls: CallCheck, uploads: UploadedFiles, max_upload_bytes: int
    ) -> None:
        self._app, self._hosts, self._calls = app, hosts, calls
        self._uploads, self._max_upload_bytes = uploads, max_upload_bytes
        self._json, self._proxies = JsonReader(), ProxyNotice()
        self._direct, self._tools = DirectCalls(AT_ONCE), DirectCalls(TOOLS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer refused requests, and pass on the rest."""
        if scope["type"] == "websocket":  # no page or program here uses websockets
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._guard(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        take_sender(scope)
        headers = Headers(scope=scope)
        response = _Response(send, self._hosts, headers.get("origin"))
        receive = body = _Body(receive)
        self._proxies.look(scope, headers.get("x-forwarded-for"))
        try:
            check_source(scope, headers, self._hosts)
            check_route(scope["method"], scope["path"], scope["query_string"])
            if scope["method"] == "OPTIONS" and response.is_for_other_site:
                await response.allow(headers)
            elif scope["method"] in _SAFE_METHODS or not has_body(headers):
                with self._calls.stream(scope["path"], scope["query_string"]):
                    await self._pass(scope, receive, response.send, body)
            elif _content_type(headers) == "multipart/form-data" and _is_upload(scope["path"]):
                await self._pass_upload(scope, receive, response, headers)
            else:
                await self._pass_json(scope, body, response)
        except UnknownSessionError:
            await response.send_whole(200, "text/event-stream", _NO_SESSION, {})
        except RequestRefused as refusal:
            is_api = API in scope["path"] and not _is_upload(scope["path"])  # what an upload answers, the page shows
            await response.refuse(refusal, receive, is_api=is_api, drains=has_body(headers) and not body.is_over)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, body: "_Body") -> None:
        """Pass a request on to the app, where it is worked on at once: when a place of its visitor is free."""
        if not is_worked_on(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        is_tool = _is_tool(scope["path"])  # whose answers begin before they are worked on
        async with (self._tools if is_tool else self._direct).place(visitor_of(scope), body.wait_until_left) as free:

            async def send_and_free(message: Message) -> None:
                if message["type"] == "http.response.body" and not is_tool:
                    free()
                await send(message)

            await self._app(scope, receive, send_and_free)

    async def _pass_upload(self, scope: Scope, receive: Receive, response: "_Response", headers: Headers) -> None:
        answer, visitor = bytearray(), visitor_of(scope)
        length = headers.get("content-length", "")
        is_exact = length.isdecimal()
        most_bytes = min(int(length), self._max_upload_bytes) if is_exact else self._max_upload_bytes

        async def send(message: Message) -> None:
            answer.extend(message.get("body", b""))
            await response.send(message)

        with self._uploads.expecting(visitor, most_bytes, is_exact) as room:
            try:
                await self._app(scope, BoundedUpload(receive, headers, room), send)
            finally:
                self._uploads.add(visitor, bytes(answer))

    async def _pass_json(self, scope: Scope, receive: "_Body", response: "_Response") -> None:
        if _content_type(Headers(scope=scope)) != "application/json":
            raise RequestRefused(415, "Send JSON (Content-Type: application/json), or files to upload.")
        visitor = visitor_of(scope)
        body, value = await self._json.read(receive, visitor)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        try:
            self._calls.check_call(scope["path"], value)
            del value  # or it would be held twice while the app answers
            note_body(scope, body)
            if _is_tool(scope["path"]):
                name_sender(scope)
            await self._pass(scope, replay, response.send, receive)
        finally:
            self._json.release(body, visitor)


def check_source(scope: Scope, headers: Headers, hosts: TrustedHosts) -> None:
    """Raise `RequestRefused` unless the host is this app's, and the sending page its own or of an allowed origin."""
    asked = [*headers.getlist("host"), *_forwarded_hosts(headers)]
    for host in asked:
        if not hosts.has_host(host):
            raise RequestRefused(
                403,
                f"{host[:100]!r} is not known as a name of this app: open it under its own address, or name the host "
                f"in {ALLOWED_HOSTS.name} where it is started.",
            )
    if hosts.behind_a_hub:
        asked += hosts.names
    if _is_foreign(scope, headers, asked) and not hosts.has_origin(headers.get("origin", "")):
        raise RequestRefused(
            403,
            f"A page of another site may not use this app; its origin can be named in {ALLOWED_HOSTS.name} where the "
            "app is started.",
        )


def _is_foreign(scope: Scope, headers: Headers, asked: list[str]) -> bool:
    """Return whether a page of another site sends the request; a link from there to one of our pages is allowed."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    is_reading = scope["method"] in _SAFE_METHODS
    if site in _OWN_SITES:
        return False
    if site is not None:
        is_link = is_reading and headers.get("sec-fetch-mode") == "navigate" and _is_page(scope["path"])
        return not is_link
    # An old browser, or one that has the page over http from another machine, sends only the origin.
    origin = origin or (None if is_reading else headers.get("referer"))
    return origin is not None and not is_origin_of(origin, asked)


def _is_page(path: str) -> bool:
    return (API not in path or path.rstrip("/").endswith("/mcp")) and not path.rstrip("/").endswith("/logout")


def _forwarded_hosts(headers: Headers) -> list[str]:
    given = ",".join(headers.getlist("x-forwarded-host"))
    return [each.strip() for each in given.split(",") if each.strip()]


def _is_upload(path: str) -> bool:
    return path.rstrip("/").endswith("/upload")


def _is_tool(path: str) -> bool:
    return without_root(path).startswith(f"{API}mcp")


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class _Body:
    """The `receive` of a request, which records whether the body is complete."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.is_over = receive, False
        self._kept: list[Message] = []

    async def wait_until_left(self) -> None:
        """Wait until the client has left; what it sends before is kept, but not more than the first piece."""
        while not self._kept or not self._kept[-1].get("more_body", False):
            self._kept.append(await self._receive())
            if self._kept[-1]["type"] == "http.disconnect":
                return
        await asyncio.Event().wait()

    async def __call__(self) -> Message:
        message = self._kept.pop(0) if self._kept else await self._receive()
        self.is_over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message


class _Response:
    """The response, with headers that close it to pages of other sites except the allowed origins."""

    def __init__(self, send: Send, hosts: TrustedHosts, origin: str | None) -> None:
        self._send, self._hosts, self._origin = send, hosts, origin
        self.is_for_other_site = origin is not None and hosts.has_origin(origin)
        self._has_begun = False
        self._refusal = Refusal()
        current_refusal.set(self._refusal)

    async def send(self, message: Message) -> None:
        """Send a message of the app's response, with our headers added to the first.

        What Gradio takes for a failure of its own is the client's where we have refused what was sent.
        """
        if message["type"] == "http.response.start":
            self._has_begun = True
            if message["status"] == 500 and self._refusal.is_told:
                message["status"] = 400
            headers = MutableHeaders(scope=message)
            for name, value in self._headers():
                headers[name] = value
            headers.append("Content-Security-Policy", f"frame-ancestors {self._hosts.framing()}")
        await self._send(message)

    async def allow(self, asked: Headers) -> None:
        """Answer a browser's preflight request: a page of an allowed origin may send what it asks to send."""
        headers = {
            "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": asked.get("access-control-request-headers", ""),
            "Access-Control-Max-Age": "600",
        }
        await self.send_whole(200, "text/plain; charset=utf-8", b"OK", headers)

    async def refuse(self, refusal: RequestRefused, receive: Receive, is_api: bool, drains: bool) -> None:
        """Send the reason in the format that the client reads, and let it finish sending its body."""
        if self._has_begun:
            return
        kind = "application/json" if is_api else "text/plain; charset=utf-8"
        body = (
            json.dumps({"detail": refusal.sentence, **refusal.more}).encode()
            if is_api
            else f"{refusal.sentence}\n".encode()
        )
        await self.send_whole(refusal.status, kind, body, {"Connection": "close"} if drains else {}, more_body=drains)
        if drains:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drain(receive), _DRAIN_SECONDS)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send_whole(
        self, status: int, content_type: str, body: bytes, more: dict[str, str], more_body: bool = False
    ) -> None:
        """Send a response of our own."""
        headers = {"Content-Type": content_type, "Content-Length": str(len(body)), **more}
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body, "more_body": more_body})

    def _headers(self) -> list[tuple[str, str]]:
        headers = [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ]
        if self.is_for_other_site and self._origin:
            headers += [
                ("Access-Control-Allow-Origin", self._origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Vary", "Origin"),
            ]
        return headers


async def _drain(receive: Receive) -> None:
    num_bytes = 0
    while num_bytes < _DRAIN_BYTES:
        message: dict[str, Any] = dict(await receive())
        num_bytes += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
