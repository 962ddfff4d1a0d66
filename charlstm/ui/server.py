"""The HTTP server under Gradio: binds its sockets, and limits how many connections wait and for how long.

Gradio's own server binds an IPv4 port whatever the host, keeps a connection that sends nothing for ever, and at the
limit of open files prints a traceback for each failed accept (*measured*: 39 MB of them in 15 s).
"""

import asyncio
import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import h11
import uvicorn
from gradio import http_server
from gradio.routes import App
from uvicorn.protocols.http.h11_impl import H11Protocol

from charlstm.environment import GRADIO_NUM_PORTS, GRADIO_SERVER_NAME, GRADIO_SERVER_PORT
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.ui.call_check import CallCheck
from charlstm.ui.event_queue import EventQueue
from charlstm.ui.gradio_patches import (
    bound_upload_progress,
    discard_unused_uploads,
    refuse_wrong_values,
    use_session_states,
)
from charlstm.ui.remembered_sessions import OpenPages, SessionStates
from charlstm.ui.request_guard import RequestGuard
from charlstm.ui.trusted_hosts import TrustedHosts
from charlstm.ui.uploaded_files import UploadedFiles
from charlstm.ui.visitor_address import list_trusted_proxies

_PATIENCE_SECONDS = 20.0  # for a request's head, and for each further piece of its body
_LEAST_BYTES = 1000  # of a body within that time: a line of 50 bytes a second is slower than any in use
_MOST_STALLS = 3  # times as long may nothing be taken of an answer: what it is made of is held meanwhile
_SHARE_OF_FILES = 0.6  # of the open-file limit, for connections; the rest is for models, runs and uploads
_MOST_CONNECTIONS = 4000
_UNSENT_BYTES = 128 << 10  # of an answer, in the system's hands: it may take megabytes at once
_BACKLOG = 100  # asyncio tries to accept this many at once, and reports each failure
_WARN_SECONDS = 60.0
_UPLOAD_BYTES = 200_000_000  # where no other limit is set
_REFUSED_SECONDS = 0.5  # a refused connection stays open this long, so that its client can read the reason
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Retry-After: 5\r\n\r\nToo many connections are open; try again in a moment.\n"
)
_log = logging.getLogger(__name__)


class BoundedConnection(H11Protocol):
    """A connection that is closed when its client sends or takes nothing for too long; responses may take any time.

    When too many are open, the one that has waited longest for its client is closed.
    """

    patience_seconds = _PATIENCE_SECONDS
    most_connections = _MOST_CONNECTIONS
    _is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the idle timer, or refuse the connection if there is no room for it."""
        super().connection_made(transport)
        self._num_bytes = self._num_bytes_before = 0
        self._num_unread_before = self._num_stalls = 0  # of an answer, bytes and checks
        self._last_cycle: object = None  # the latest request at the last check
        self._timer = self.loop.call_later(self.patience_seconds, self._check_progress)
        self._last_data_at = self.loop.time()
        if len(self.connections) > self.most_connections and not self._make_room():
            self._is_refused = True
            transport.write(_BUSY)
            # Closing at once would answer data still in flight with a reset, which discards the message.
            if transport.can_write_eof():
                transport.write_eof()
            self.loop.call_later(_REFUSED_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Count the bytes, and handle them unless the connection was refused."""
        if self._is_refused:
            return
        self._num_bytes += len(data)
        self._last_data_at = self.loop.time()
        super().data_received(data)

    def resume_writing(self) -> None:
        """Go on with an answer, most of which has been taken."""
        self._num_stalls = 0
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the idle timer."""
        self._timer.cancel()
        super().connection_lost(exc)

    @property
    def waits_for_client(self) -> bool:
        """True while nothing can be done before the client sends the rest of a request."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.flow.read_paused

    def _check_progress(self) -> None:
        is_same = self.cycle is self._last_cycle
        is_slow = self.conn.their_state is h11.IDLE or self._num_bytes < self._num_bytes_before + _LEAST_BYTES
        if self.waits_for_client and is_same and is_slow:
            self.transport.close()
            return
        num_unread = self.transport.get_write_buffer_size() if self.flow.write_paused else 0
        is_stalled = num_unread > self._num_unread_before - _LEAST_BYTES and self.flow.write_paused
        self._num_stalls = self._num_stalls + 1 if is_stalled else 0
        if self._num_stalls > _MOST_STALLS:
            self.transport.abort()
            return
        self._num_unread_before = num_unread
        self._last_cycle, self._num_bytes_before = self.cycle, self._num_bytes
        self._timer = self.loop.call_later(self.patience_seconds, self._check_progress)

    def _make_room(self) -> bool:
        waiting = [each for each in self.connections if isinstance(each, BoundedConnection) and each is not self]
        waiting = [each for each in waiting if each.waits_for_client and not each.transport.is_closing()]
        if not waiting:
            return False
        oldest = min(waiting, key=lambda each: each._last_data_at)
        oldest.transport.abort()
        self.connections.discard(oldest)  # now, not when the event loop reports it
        return True


class Server(http_server.Server):
    """Gradio's server, on sockets bound before it starts."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket]) -> None:
        super().__init__(config)
        self._sockets = sockets
        self._last_warning = -_WARN_SECONDS

    def run_in_thread(self) -> None:
        """Start the server and return once it accepts connections; raises `CharLSTMError` if it ends before."""
        self.thread = threading.Thread(target=self.run, args=(self._sockets,), daemon=True)
        self.thread.start()
        while not self.started:
            self.thread.join(0.01)
            if not self.thread.is_alive():
                raise CharLSTMError("The page's server ended while it started; what stands above says why.")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and limit the event loop's reports of failed accepts."""
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not str(context.get("message")).startswith("socket.accept()"):
            loop.default_exception_handler(context)
        elif (now := time.monotonic()) - self._last_warning >= _WARN_SECONDS:
            self._last_warning = now
            _log.warning("no connection can be accepted (%s); those that close make room", context.get("exception"))


def start_server(
    app: App, server_name: str | None = None, server_port: int | None = None, **_tls: object
) -> tuple[str, int, str, Server]:
    """Replace Gradio's function of this name; raises `ConfigError` if no port can be bound."""
    host = (server_name or GRADIO_SERVER_NAME.read()).strip("[]")
    sockets = _bind_free(host, server_port)
    port = int(sockets[0].getsockname()[1])
    BoundedConnection.most_connections = _connection_limit()
    discard_unused_uploads()
    bound_upload_progress()
    refuse_wrong_values()
    options: dict[str, Any] = {"http": BoundedConnection, "ws": "none", "backlog": _BACKLOG, "log_level": "warning"}
    options["forwarded_allow_ips"] = list_trusted_proxies()
    config = uvicorn.Config(app=_guard_app(app, host), host=host, port=port, **options)
    server = Server(config, sockets)
    server.run_in_thread()
    name = f"[{host}]" if ":" in host else host
    return name, port, f"http://{_local_host(host)}:{port}/", server


def _guard_app(app: App, host: str) -> RequestGuard:
    """Put `app` behind the request checks, and protect the sessions of open pages from a flood of new ones."""
    blocks = app.get_blocks()
    pages = OpenPages(app)
    use_session_states(app, SessionStates(pages))
    hosts = TrustedHosts.from_environment(host)
    calls, uploads = CallCheck(blocks, EventQueue(blocks._queue)), UploadedFiles(blocks.upload_file_set)
    return RequestGuard(pages, hosts, calls, uploads, blocks.max_file_size or _UPLOAD_BYTES)


def _bind_free(host: str, port: int | None) -> list[socket.socket]:
    first = GRADIO_SERVER_PORT.read()
    number = GRADIO_NUM_PORTS.read()
    tried = [port] if port is not None else list(range(first, min(first + max(number, 1), 65536)))
    sockets, reason = _bind_first(host, tried)
    if not sockets:
        place = f"{host}, port {tried[0]}" + (f" to {tried[-1]}" if len(tried) > 1 else "")
        raise ConfigError(
            f"The page can't be served at {place} ({reason}); choose another --port (0 to 65535) or --host."
        )
    return sockets


def _bind_first(host: str, ports: list[int]) -> tuple[list[socket.socket], str]:
    """Return sockets on the first free port, or none and the reason."""
    reason = ""
    try:
        found = dict.fromkeys(socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
        addresses = [(each[0], each[4]) for each in found]
        for port in ports:
            try:
                return _bind(addresses, port, takes_both=host == "::"), ""
            except OSError as error:  # noqa: PERF203  a hundred ports at most
                reason = error.strerror or str(error)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    return [], reason


def _bind(addresses: Sequence[tuple[int, tuple[Any, ...]]], port: int, takes_both: bool) -> list[socket.socket]:
    """Return sockets on those of `addresses` that this machine has, all on one port; raises `OSError`."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            number = port or (sockets[0].getsockname()[1] if sockets else 0)
            try:
                sockets.append(_listen(family, (address[0], number, *address[2:]), takes_both))
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                absent = error  # such as ::1, where `localhost` has both but the machine has no IPv6
    except BaseException:
        for each in sockets:
            each.close()
        raise
    if not sockets:
        raise absent or OSError(errno.EADDRNOTAVAIL, "no such address here")
    return sockets


def _listen(family: int, address: tuple[Any, ...], takes_both: bool) -> socket.socket:
    """Return a socket that already listens, so that no other program can take the port."""
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would let two programs listen at once
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if takes_both else 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # or a slow client would seem to take nothing for minutes
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _local_host(host: str) -> str:
    """Return the name under which this machine reaches `host`, for use in a URL."""
    if host in ("", "0.0.0.0"):  # noqa: S104  compared only
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _connection_limit() -> int:
    if sys.platform == "win32":
        return _MOST_CONNECTIONS
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files < 0 else max(8, min(_MOST_CONNECTIONS, int(files * _SHARE_OF_FILES)))
