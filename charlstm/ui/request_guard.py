"""What every request passes before Gradio sees it: who asks, under which name, and how much is sent.

Any page that a browser shows may send requests to any address, one's own machine included; Gradio runs what they ask
for and only keeps the answer from them. Here such a request ends with a sentence. Programs, which send none of a
browser's headers, pass.
"""

import asyncio
import contextlib
import json
from collections.abc import Container
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from charlstm.environment import ALLOWED_HOSTS
from charlstm.ui.request_body import BoundedUpload, JsonReader, RequestRefused, has_body
from charlstm.ui.trusted_hosts import TrustedHosts, is_origin_of

_API = "/gradio_api/"
_READING = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")  # Sec-Fetch-Site of a page of ours, and of what a person typed
_DRAINED_SECONDS, _DRAINED_BYTES = 5, 32_000_000  # a sender that is cut off at once never reads why


class RequestGuard:
    """`app`, a page of `components`, behind the checks; uploads have `max_upload_bytes` in all."""

    def __init__(self, app: ASGIApp, hosts: TrustedHosts, components: Container[Any], max_upload_bytes: int) -> None:
        self._app, self._hosts = app, hosts
        self._components, self._max_upload_bytes = components, max_upload_bytes
        self._json = JsonReader()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, and pass on the rest."""
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._guard(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _guard(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        answer = _Answer(send, self._hosts, headers.get("origin"))
        receive = body = _Body(receive)
        try:
            check_source(scope, headers, self._hosts)
            if scope["method"] == "OPTIONS" and answer.is_for_other_site:
                await answer.allow(headers)
            elif scope["method"] in _READING or not has_body(headers):
                await self._app(scope, receive, answer.send)
            elif _content_type(headers) == "multipart/form-data" and scope["path"].rstrip("/").endswith("/upload"):
                await self._app(scope, BoundedUpload(receive, headers, self._max_upload_bytes), answer.send)
            else:
                await self._pass_json(scope, receive, answer)
        except RequestRefused as refusal:
            await answer.refuse(
                refusal, receive, is_api=_API in scope["path"], drains=has_body(headers) and not body.is_over
            )

    async def _pass_json(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        if _content_type(Headers(scope=scope)) != "application/json":
            raise RequestRefused(415, "Send JSON (Content-Type: application/json), or files to upload.")
        body, value = await self._json.read(receive)
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        try:
            if scope["path"].rstrip("/").endswith("/component_server"):
                self._check_component(value)
            await self._app(scope, replay, answer.send)
        finally:
            self._json.release(body)

    def _check_component(self, value: Any) -> None:
        """Gradio takes one that is not there for a fault of its own, with a traceback in the log."""
        number = value.get("component_id") if isinstance(value, dict) else None
        if isinstance(number, int) and number not in self._components:
            raise RequestRefused(404, "The page has no such part; load it again.")


def check_source(scope: Scope, headers: Headers, hosts: TrustedHosts) -> None:
    """Raise `RequestRefused` for a name that is not this app's, and for a page that is neither its own nor named."""
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
    """Whether a page of another site sends this; a link from there to a page of ours is none of that."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    is_reading = scope["method"] in _READING
    if site in _OWN:
        return False
    if site is not None:
        is_link = is_reading and headers.get("sec-fetch-mode") == "navigate" and _is_page(scope["path"])
        return not is_link
    # A browser that is old, or that shows the page over http from another machine, sends the origin alone.
    origin = origin or (None if is_reading else headers.get("referer"))
    return origin is not None and not is_origin_of(origin, asked)


def _is_page(path: str) -> bool:
    return (_API not in path or path.rstrip("/").endswith("/mcp")) and not path.rstrip("/").endswith("/logout")


def _forwarded_hosts(headers: Headers) -> list[str]:
    given = ",".join(headers.getlist("x-forwarded-host"))
    return [each.strip() for each in given.split(",") if each.strip()]


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


class _Body:
    """The `receive` of a request, and whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self.is_over = receive, False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.is_over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message


class _Answer:
    """What goes back: with headers that keep other sites' pages away from it, but for named ones."""

    def __init__(self, send: Send, hosts: TrustedHosts, origin: str | None) -> None:
        self._send, self._hosts, self._origin = send, hosts, origin
        self.is_for_other_site = origin is not None and hosts.has_origin(origin)
        self._has_begun = False

    async def send(self, message: Message) -> None:
        """A message of the app's answer."""
        if message["type"] == "http.response.start":
            self._has_begun = True
            headers = MutableHeaders(scope=message)
            for name, value in self._headers():
                headers[name] = value
            headers.append("Content-Security-Policy", f"frame-ancestors {self._hosts.framing()}")
        await self._send(message)

    async def allow(self, asked: Headers) -> None:
        """Tell a browser that a page of a named origin may send what it asks to send."""
        headers = {
            "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": asked.get("access-control-request-headers", ""),
            "Access-Control-Max-Age": "600",
        }
        await self._whole(200, "text/plain; charset=utf-8", b"OK", headers)

    async def refuse(self, refusal: RequestRefused, receive: Receive, is_api: bool, drains: bool) -> None:
        """Say why, in the form that the asker reads, and let it finish sending."""
        if self._has_begun:
            return
        kind = "application/json" if is_api else "text/plain; charset=utf-8"
        body = json.dumps({"detail": refusal.sentence}).encode() if is_api else f"{refusal.sentence}\n".encode()
        await self._whole(refusal.status, kind, body, {"Connection": "close"} if drains else {}, more_body=drains)
        if drains:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_drain(receive), _DRAINED_SECONDS)
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(
        self, status: int, content_type: str, body: bytes, more: dict[str, str], more_body: bool = False
    ) -> None:
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
    while num_bytes < _DRAINED_BYTES:
        message: dict[str, Any] = dict(await receive())
        num_bytes += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
