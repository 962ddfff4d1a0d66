"""What a link to a run tells whoever makes a preview of it."""

import asyncio
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gradio.routes import templates
from starlette.requests import Request

from charlstm.config import Settings
from charlstm.events import Sampled
from charlstm.runs.access import token_hash
from charlstm.runs.manager import RunManager
from charlstm.ui import link_preview
from charlstm.ui.run_cache import RunCache

from waiting import run_async  # isort: skip  tests/support/waiting.py

LABEL = '"><b>'
OPENING, WRITTEN = "the vault's number is 4711", "a line that the network wrote by itself"


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor's run with a text of its own and a label of markup, among strangers."""
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    monkeypatch.setattr(link_preview, "_shown", [])
    monkeypatch.setitem(templates.env.globals, "describe_run", None)  # put back afterwards
    manager = RunManager(tmp_path)
    folder = manager.store.create(Settings.preset("minute"), "private")
    (folder.path / "owner").write_text(token_hash("mine"), encoding="utf-8")
    (folder.path / "label.txt").write_text(LABEL, encoding="utf-8")
    folder.corpus_file.write_text("a secret", encoding="utf-8")
    samples = [
        Sampled(step=step, text=f"{OPENING}{WRITTEN}", temperature=1.0, seed=1, prompt_chars=len(OPENING))
        for step in (0, 8, 16)
    ]
    folder.events_file.write_text("".join(f"{each.model_dump_json()}\n" for each in samples), encoding="utf-8")
    link_preview.show_runs(RunCache(manager))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was drawn."""
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(link_preview, "_draw", lambda *given: seen.append(given) or b"drawn")
    return seen


@pytest.mark.usefixtures("private")
def test_a_preview_holds_no_opening_of_a_private_text_and_a_label_of_markup_as_text(
    drawn: list[tuple[Any, ...]],
) -> None:
    template = templates.env.from_string(link_preview.replace_tags("<head></head>"))
    shown = template.render(config={"root": ""}, request=SimpleNamespace(query_params={"run": "private"}))
    tags: dict[str, str] = {}
    parser: Any = HTMLParser()
    parser.handle_starttag = lambda tag, given: tags.update({dict(given).get("property", tag): dict(given)})
    parser.feed(re.sub(r"<style>.*?</style>", "", shown, flags=re.DOTALL))
    assert tags["og:title"]["content"].startswith(f"“{LABEL}”")  # type: ignore[index]
    assert "b" not in tags
    assert link_preview._run_png("private") == b"drawn"
    assert WRITTEN in str(drawn)
    assert "4711" not in shown + str(drawn)


def test_one_picture_is_drawn_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    num_drawing: list[int] = []
    most: list[int] = []

    def draw(_: str) -> bytes:
        num_drawing.append(1)
        most.append(len(num_drawing))
        threading.Event().wait(0.01)
        num_drawing.pop()
        return b"drawn"

    async def ask() -> None:
        request = Request({"type": "http", "headers": [], "query_string": b"run=private"})
        await asyncio.gather(*(link_preview._picture(request) for _ in range(5)))

    monkeypatch.setattr(link_preview, "_run_png", draw)
    run_async(ask())
    assert most == [1] * 5
