"""The route of the page's functions beside Gradio's own, which it takes the place of."""

from typing import Any

import anyio.to_thread
import gradio as gr
import httpx
import pytest
from gradio.routes import App
from waiting import run_async

from charlstm.ui import page_call_route

CALLS = [
    ("double", [1, 2.5]),
    ("sender", None),
    ("profile", 3),
    ("double", {"é": "\u2028<b>"}),
    ("not_a_number", 0),
    ("missing", 1),
    ("elem_id", 1),
]


def double(data: Any) -> Any:
    return {"data": data, "again": data}


def sender(data: Any, request: gr.Request | None = None) -> Any:
    return [data, request.headers["user-agent"] if request else None]


def profile(data: Any, who: gr.OAuthProfile | None) -> Any:
    return [data, who]


def not_a_number(_: Any) -> Any:
    return float("nan")


async def _answers(has_ours: bool) -> list[tuple[int, bytes]]:
    with gr.Blocks(analytics_enabled=False) as page:
        html = gr.HTML(server_functions=[double, sender, profile, not_a_number])
    app = App.create_app(page, app_kwargs={"routes": page_call_route.routes()} if has_ours else {})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
        call = {"session_hash": "page", "component_id": html._id}
        address = "/gradio_api/component_server"
        answers = [
            await client.post(f"{address}{'/' * (len(name) % 2)}", json={**call, "fn_name": name, "data": data})
            for name, data in CALLS
        ]
        answers.append(await client.post(address, headers={"Content-Type": "application/json"}))
    return [(answer.status_code, answer.content) for answer in answers]


def test_a_function_is_answered_as_by_gradio_on_one_thread_in_place_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []
    run_sync = anyio.to_thread.run_sync

    async def count(function: Any, *values: Any, **more: Any) -> Any:
        threads.append(function)
        return await run_sync(function, *values, **more)

    monkeypatch.setattr(anyio.to_thread, "run_sync", count)
    ours, num_ours = run_async(_answers(has_ours=True)), len(threads)
    theirs, num_theirs = run_async(_answers(has_ours=False)), len(threads) - num_ours
    assert ours == theirs
    assert [status for status, _ in ours] == [200, 200, 200, 200, 200, 404, 404, 400]
    assert num_ours == 5
    assert num_theirs >= 10, "Gradio no longer needs `page_call_route`: delete it"
