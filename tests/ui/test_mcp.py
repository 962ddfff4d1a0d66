"""The public functions as tools of an MCP server, for a client that speaks MCP over HTTP."""

import ast
import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from page_app import App

from charlstm import LanguageModel, SampleConfig

mcp = pytest.importorskip("mcp", reason="comes with gradio[mcp]")
MODEL = "tiny-shakespeare"


def spoken(app: App, talk: Callable[[Any], Awaitable[Any]]) -> Any:
    """What comes of a talk with the app's MCP server."""
    from mcp.client.streamable_http import streamable_http_client

    async def talked() -> Any:
        address = f"{app.url}gradio_api/mcp/"
        async with (
            streamable_http_client(address) as (reading, writing, _),
            mcp.ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await talk(session)

    with ThreadPoolExecutor(1) as aside:  # where no browser's event loop runs
        return aside.submit(lambda: asyncio.run(talked())).result()


def called(app: App, name: str, values: dict[str, Any]) -> Any:
    """What tool `name` answers; an error is its sentence."""
    answer = spoken(app, lambda session: session.call_tool(name, values))
    (part,) = answer.content
    return part.text if answer.isError else ast.literal_eval(part.text)  # Gradio's text of an answer is Python's


@pytest.fixture(scope="module")
def known(repository: Path) -> LanguageModel:
    return LanguageModel.load(repository / "checkpoints" / MODEL)


def test_the_tools_are_the_public_functions_and_say_what_they_do(app: App) -> None:
    tools = {tool.name: tool for tool in spoken(app, lambda session: session.list_tools()).tools}
    writing, training = {"generate", "score", "models"}, {"train", "watch", "steer", "export"}
    assert set(tools) == {*writing, *training, "units", "trace", "explain", "similar"}
    assert all(tool.description for tool in tools.values())
    generate = tools["generate"].inputSchema
    assert generate["required"] == ["model"]
    assert {"prompt", "num_chars", "temperature", "seed"} <= set(generate["properties"])
    assert "characters" in generate["properties"]["num_chars"]["description"].lower()
    for tool in tools.values():  # Gradio keeps the first line of what is said of a parameter, so one has to do
        for name, about in tool.inputSchema["properties"].items():
            assert about["description"].endswith("."), f"{tool.name}: {name}"


def test_each_tool_does_what_its_function_does(app: App, known: LanguageModel) -> None:
    assert MODEL in [each["name"] for each in called(app, "models", {})]
    answer = called(app, "generate", {"model": MODEL, "prompt": "ROMEO:", "num_chars": 60, "seed": 7})
    assert answer["texts"] == [known.generate("ROMEO:", SampleConfig(num_chars=60, seed=7))]
    assert answer["is_done"]
    score = called(app, "score", {"model": MODEL, "text": "To be"})
    assert score["nats"] == pytest.approx(known.score("To be").nats)


def test_a_wrong_call_gets_a_sentence(app: App) -> None:
    said = called(app, "generate", {"model": "../secret"})
    assert said == "This model is no longer there; choose another one."
