"""Sessions that Gradio remembers for each page: bounded, and kept first for pages that are open.

A call with a new session name creates a session of 113 kB that stays. *Measured*: 3,000 calls took 340 MB; Gradio keeps
10,000 and drops the least recently used one, whose page may still be open. In each it keeps whatever was sent:
*measured*, 60 texts of 7.9 million characters took 1.9 GB that never came back.
"""

from collections import Counter
from typing import Any

from gradio.state_holder import SessionState, StateHolder
from starlette.types import ASGIApp, Receive, Scope, Send

MOST_SESSIONS = 500
_HEARTBEAT = "/gradio_api/heartbeat/"  # requested by a page for as long as it is open


class OpenPages:
    """`app`, and the sessions of the pages that are open in browsers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a page as open while its heartbeat request lasts."""
        if scope["type"] != "http" or _HEARTBEAT not in scope["path"]:
            await self._app(scope, receive, send)
            return
        session = scope["path"].partition(_HEARTBEAT)[2]
        self._open[session] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._open[session] -= 1
            if not self._open[session]:
                del self._open[session]

    def __contains__(self, session: str) -> bool:
        return session in self._open


class SessionWithoutValues(SessionState):
    """A session that keeps no values: only Gradio's deep links, which this app has none of, read them again."""

    def _update_value_in_config(self, key: int, value: Any) -> None:
        """Keep nothing of a value that was sent or answered."""


class SessionStates(StateHolder):
    """Gradio's session states; the oldest one that no open page uses is dropped first."""

    def __init__(self, pages: OpenPages) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pages = pages

    def __getitem__(self, session_id: str) -> SessionState:
        """Return a session, a new one where there is none of this name."""
        if session_id not in self.session_data:
            self.session_data[session_id] = SessionWithoutValues(self.blocks)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """Mark a session as used, and drop others beyond the limit."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                others = (each for each in self.session_data if each != session_id and each not in self._pages)
                gone = next(others, None) or next(iter(self.session_data))
                del self.session_data[gone]
                self.time_last_used.pop(gone, None)
