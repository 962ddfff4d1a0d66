"""What Gradio remembers of sessions: bounded, with those of open pages kept."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from charlstm.ui import remembered_sessions
from charlstm.ui.remembered_sessions import OpenPages, SessionStates

from waiting import run_async  # isort: skip  tests/support/waiting.py


def test_a_flood_of_names_takes_no_session_from_an_open_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered_sessions, "SessionWithoutValues", lambda _: SimpleNamespace())
    comes, leaves = asyncio.Event(), asyncio.Event()
    states: list[SessionStates] = []

    async def page(*_: Any) -> None:
        comes.set()
        await leaves.wait()

    async def flood() -> None:
        pages = OpenPages(page)
        held = SessionStates(pages)
        held.blocks, held.capacity = SimpleNamespace(), 5  # type: ignore[assignment]
        heartbeat = {"type": "http", "path": "/gradio_api/heartbeat/mine"}
        is_open = asyncio.ensure_future(pages(heartbeat, None, None))  # type: ignore[arg-type]
        await comes.wait()
        mine = held["mine"]
        for number in range(100):
            held[f"other{number}"]
            assert len(held.session_data) <= 5
        assert held["mine"] is mine
        assert set(held.session_data) == {"mine", *(f"other{number}" for number in range(96, 100))}
        assert set(held.time_last_used) == set(held.session_data)
        leaves.set()
        await is_open
        for number in range(5):
            held[f"later{number}"]
        assert "mine" not in held
        states.append(held)

    run_async(flood())
    assert states
