"""Each patch of Gradio: that Gradio as it comes still needs it, and that the patch takes nothing from anybody."""

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import inspect
import sys
from collections.abc import AsyncGenerator
from importlib.machinery import PathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import gradio as gr
import httpx
import pytest
from gradio import networking, queueing, state_holder
from gradio.blocks import BlocksConfig
from gradio.route_utils import FileUploadProgress, GradioMultiPartParser
from gradio.state_holder import SessionState, StateHolder
from page_app import App, free_port
from playwright.sync_api import BrowserContext, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from starlette.datastructures import Headers
from uvicorn.server import ServerState

from charlstm.ui import gradio_import, gradio_patches
from charlstm.ui.assets import first_script

from waiting import run_async  # isort: skip  tests/support/waiting.py

DELETE = "Gradio no longer needs this patch: delete it"

# Counts what the page asks the browser for, and what reaches `idle_frames.js` from Gradio's scripts.
_COUNTED_FRAMES = """
window.native = window.requestAnimationFrame; window.asked = []; window.opened = performance.now();
window.requestAnimationFrame = (call) => { asked.push(performance.now()); return native.call(window, call); };
"""

# Holds back the end of the first stream of messages until it is released, and until then the second event's beginning.
_HELD_STREAM = """(() => {
  const ask = window.fetch.bind(window), seen = window.seen = { begun: 0, streams: 0 };
  let hold, end;
  const ended = new Promise((done) => { end = done; });
  const held = new Promise((done) => { hold = done; });
  const released = new Promise((done) => { window.release = async () => { done(); await ended; }; });
  const decoder = new TextDecoder();
  const transform = async (chunk, controller) => {
    if (decoder.decode(chunk).includes('close_stream')) { hold(); await released; setTimeout(end); }
    controller.enqueue(chunk);
  };
  const value = async (target, options) => {
    const address = String(target.url ?? target);
    seen.streams += address.includes('/queue/data');
    if (address.includes('/queue/join') && seen.streams) await held;
    const answer = await ask(target, options);
    if (address.includes('/queue/join')) {
      const read = answer.json.bind(answer); // counted once whoever asked has made of it what they make of it
      answer.json = async () => { const said = await read(); setTimeout(() => { seen.begun += 1; }); return said; };
    }
    if (!address.includes('/queue/data')) return answer;
    return new Response(answer.body.pipeThrough(new TransformStream({ transform })), answer);
  };
  Object.defineProperty(window, 'fetch', { value, writable: IS_OURS });
})();"""


def _as_it_comes(name: str) -> Any:
    """A module of Gradio's, anew and without any patch."""
    package, _, _ = name.rpartition(".")
    spec = PathFinder.find_spec(name, importlib.import_module(package).__path__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _page() -> Any:
    """As much of a page of two components as a session asks for."""
    config = BlocksConfig(SimpleNamespace(renderables=[]))  # type: ignore[arg-type]
    for component in (gr.Slider(1, 8, value=3, label="Texts"), gr.Textbox("as built", label="Prompt")):
        config.blocks[component._id] = component
    return SimpleNamespace(default_config=config, blocks=config.blocks)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Such a page whose configs are cached."""
    monkeypatch.setattr(BlocksConfig, "config_for_block", BlocksConfig.config_for_block)  # put back afterwards
    gradio_patches.cache_component_configs()
    return _page()


def test_gradio_checks_the_interface_file_of_each_component_whenever_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_it_comes = _as_it_comes("gradio.component_meta")
    written: list[str] = []
    monkeypatch.setattr(as_it_comes, gradio_import.INTERFACE_WRITER, lambda _, name, __: written.append(name))
    as_it_comes.ComponentMeta("Made", (), {"EVENTS": []})
    assert written == ["Made"], DELETE
    (tmp_path / "made.py").write_text("from gradio.component_meta import ComponentMeta\n\n\n"
                                      "class Made(metaclass=ComponentMeta):\n    EVENTS = []\n")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("made")
    assert not (tmp_path / "made.pyi").exists()  # with what the tests' own process was prepared by


def test_gradio_describes_each_component_anew_for_each_session(monkeypatch: pytest.MonkeyPatch) -> None:
    current = BlocksConfig.config_for_block
    plain = current.describe if isinstance(current, gradio_patches.ConfigCache) else current
    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(plain))
    page, asked = _page(), []
    for component in page.blocks.values():
        describe = component.get_config
        monkeypatch.setattr(component, "get_config", lambda describe=describe: asked.append(1) or describe())
    SessionState(page)
    first = len(asked)
    SessionState(page)
    assert len(asked) == 2 * first > 0, DELETE


def test_what_one_visitor_is_shown_does_not_show_for_the_next(page: Any) -> None:
    slider, box = page.blocks
    first, second = SessionState(page), SessionState(page)
    first._update_value_in_config(box, "typed by the first")
    first[slider] = gr.Slider(1, 8, value=7, label="Texts")
    first._update_config(slider)
    for state in (second, SessionState(page)):
        assert state.config_values[box]["props"]["value"] == "as built"
        assert state.config_values[slider]["props"]["value"] == 3
    assert first.config_values[box]["props"]["value"] == "typed by the first"
    assert first.config_values[slider]["props"]["value"] == 7


def test_each_visitor_gets_the_components_as_they_describe_themselves(page: Any) -> None:
    for _ in range(2):
        for number, seen in SessionState(page).config_values.items():
            anew = page.default_config.config_for_block(number, [number], page.blocks[number])
            assert seen == anew
            assert seen["props"]["label"] in ("Texts", "Prompt")


@pytest.mark.skipif(sys.platform == "win32", reason="Gradio looks less often there itself")
@pytest.mark.parametrize("loop", ["start_processing", "start_progress_updates"])
def test_gradios_idle_queue_looks_a_hundred_times_a_second_or_more(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pauses() -> list[float]:
        queue = gr.Blocks(analytics_enabled=False)._queue  # its locks belong to the loop that runs
        seen: list[float] = []

        async def sleep(seconds: float) -> None:
            seen.append(seconds)
            queue.stopped = len(seen) >= 3

        monkeypatch.setattr(queueing, "asyncio", SimpleNamespace(sleep=sleep))
        await getattr(queue, loop)()
        return seen

    assert max(run_async(pauses())) <= 0.01, f"delete what `event_queue` puts in place of {loop}"


def test_gradios_server_sets_no_limit_to_connections_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_comes = _as_it_comes("gradio.http_server")
    configs: list[Any] = []
    monkeypatch.setattr(as_it_comes, "Server", lambda config: configs.append(config) or MagicMock())
    as_it_comes.start_server(MagicMock(), "127.0.0.1", free_port())
    (config,) = configs
    config.load()
    loop = MagicMock()
    connection = config.http_protocol_class(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    connection.connection_made(MagicMock(get_extra_info=lambda _: None))
    timers = loop.call_later.called or loop.call_at.called
    assert not timers, DELETE
    assert config.limit_concurrency is None, DELETE


def test_gradio_leaves_parts_of_an_upload_on_disk_that_it_answers_nothing_for(tmp_path: Path) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\ntext\r\n--x--\r\n'
    headers = Headers({"Content-Type": "multipart/form-data; boundary=x"})

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    def left_by(parse: Any) -> int:
        run_async(parse(GradioMultiPartParser(headers, stream(), max_file_size=99, upload_dir=tmp_path)))
        return len(list(tmp_path.iterdir()))

    assert left_by(gradio_patches._parse_and_discard) == 0
    assert left_by(gradio_patches._parse) == 1, DELETE


def test_refusals_of_what_the_queue_works_on_leave_nothing_with_the_request_that_started_it() -> None:
    started = gradio_patches.Refusal()
    gradio_patches.current_refusal.set(started)
    for number in range(3):
        gradio_patches._refusal(f"This is refused for the reason {number}.")
    assert vars(started) == {"is_told": True}


@pytest.mark.parametrize("visibility", ["public", "private"])
def test_a_program_is_told_what_is_wrong_with_its_value_and_the_log_has_why(
    visibility: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    number = gr.Number(maximum=9)
    function: Any = SimpleNamespace(api_visibility=visibility)

    async def preprocess(*_: Any) -> None:
        number.preprocess(12)

    monkeypatch.setattr(gradio_patches, "_preprocess", preprocess)
    with caplog.at_level("DEBUG", "charlstm.ui.gradio_patches"), pytest.raises(gr.Error) as refused:
        run_async(gradio_patches._preprocess_or_refuse(MagicMock(), function, []))
    assert (refused.value.message == "Value 12 is greater than maximum value 9.") == (visibility == "public")
    assert "greater than maximum" in caplog.text


def test_gradio_drops_the_session_of_an_open_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_holder, "SessionState", lambda _: SimpleNamespace())
    states = StateHolder()  # type: ignore[no-untyped-call]
    states.blocks, states.capacity = SimpleNamespace(), 5  # type: ignore[assignment]
    for name in ("of an open page", *"abcde"):
        states[name]
    assert "of an open page" not in states, DELETE


def test_gradio_fails_to_launch_where_the_first_answer_takes_over_three_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    def head(_: str, timeout: float, **_options: Any) -> None:
        waits.append(timeout)
        raise httpx.ReadTimeout("of this test")

    monkeypatch.setattr(networking.httpx, "head", head)
    assert inspect.signature(gr.Blocks.launch).parameters["_frontend"].default is True, DELETE
    assert not networking.url_ok("http://127.0.0.1/"), DELETE
    assert waits == [3], DELETE


def test_torch_and_gradio_leave_the_garbage_collector_a_hundred_thousand_objects() -> None:
    assert len(gc.get_objects()) + gc.get_freeze_count() > 100_000, DELETE


@pytest.mark.browser
def test_a_page_that_nobody_touches_draws_a_frame_a_second_and_every_one_again_once_it_is_touched(
    context: BrowserContext, app: App
) -> None:
    page = context.new_page()
    page.emulate_media(reduced_motion="no-preference")
    page.add_init_script(_COUNTED_FRAMES)
    page.goto(app.url, wait_until="load")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    page.wait_for_function("opened + 3000 < performance.now()", polling=100)
    page.wait_for_function("asked.filter(at => performance.now() - at < 1000).length <= 3", polling=100)
    page.evaluate("asked.length = 0")
    try:
        page.wait_for_function("asked.length", polling=100, timeout=10_000)
    except PlaywrightTimeout:
        pytest.fail(DELETE)  # nothing of an idle page asks for a frame
    for touched in ("page.keyboard", "page.mouse"):
        page.evaluate("asked.length = 0")
        if touched == "page.keyboard":
            page.keyboard.press("Tab")
        else:
            page.mouse.move(200, 200)
        page.wait_for_function("asked.filter(at => performance.now() - at < 1000).length >= 20")


@pytest.mark.browser
def test_what_waits_for_a_frame_can_be_taken_back_and_one_that_fails_keeps_no_other_from_coming(
    context: BrowserContext,
) -> None:
    page = context.new_page()
    page.clock.install(time=0)
    page.set_content("<p>nothing</p>")
    page.add_script_tag(content=first_script())
    page.clock.run_for(10_000)
    page.evaluate("""() => {
        window.seen = [];
        requestAnimationFrame(() => { throw new Error('of this test'); });
        const taken = requestAnimationFrame(() => seen.push('taken back'));
        requestAnimationFrame(() => { seen.push('drawn'); cancelAnimationFrame(later); });
        const later = requestAnimationFrame(() => seen.push('taken back by one before it'));
        cancelAnimationFrame(taken);
    }""")
    page.clock.run_for(500)
    assert page.evaluate("seen") == []
    page.clock.run_for(1000)
    assert page.evaluate("seen") == ["drawn"]


@pytest.mark.browser
@pytest.mark.parametrize("is_ours", [True, False])
def test_an_event_that_begins_while_the_stream_of_another_ends_is_answered(
    context: BrowserContext, app: App, is_ours: bool
) -> None:
    """The text that a page begins with, which is asked for after the page has asked for its runs."""
    page = context.new_page()
    page.add_init_script(_HELD_STREAM.replace("IS_OURS", str(is_ours).lower()))
    page.goto(app.url, wait_until="load")
    page.wait_for_function("seen.begun >= 2 && seen.streams === 1")
    streams = page.evaluate("release().then(() => new Promise((done) => setTimeout(() => done(seen.streams), 100)))")
    if is_ours:
        expect(page.locator("#generate-rate")).to_contain_text("500 characters")
    else:
        assert streams == 1, DELETE  # the next event may open one, and bring what is missing


def test_the_progress_of_few_uploads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FileUploadProgress()
    monkeypatch.setattr(gradio_patches, "file_upload_statuses", fresh)
    monkeypatch.setattr(gradio_patches, "_MOST_PROGRESS", 5)

    async def ask(number: int) -> None:
        await asyncio.wait_for(fresh.is_tracked(f"asked {number}"), 0.001)

    def flood() -> None:
        for number in range(20):
            fresh.append(f"sent {number}", "a.txt", b"abc")
            with contextlib.suppress(asyncio.TimeoutError):
                run_async(ask(number))

    flood()
    assert len(fresh._statuses) == 20, "Gradio bounds it itself: this patch is no longer needed"
    gradio_patches.bound_upload_progress()
    flood()
    assert (len(fresh._statuses), len(fresh._signals)) == (5, 5)
    assert fresh.pop("sent 19").chunk_size == 3
    fresh.stop_tracking("sent 19")
    assert not fresh._statuses.keys() & {"sent 19", "sent 0"}
