"""The page: a line on top, tabs to write, train, look inside and share."""

import importlib.util
import threading
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from starlette.middleware import Middleware

from charlstm.data_folders import page_checkpoints_dir
from charlstm.environment import is_public, limits
from charlstm.formatting import escape_html
from charlstm.kernel.build import compiler_note
from charlstm.runs.manager import RunManager
from charlstm.runs.store import RunStore
from charlstm.space.backup import BackupThread
from charlstm.space.zero_gpu_startup import declare_gpu_function
from charlstm.ui import assets, export_page, link_preview, page_call_route, server
from charlstm.ui.components import PRIVATE
from charlstm.ui.event_queue import MOST_WAITING
from charlstm.ui.generate_tab import build_generate_tab
from charlstm.ui.gradio_patches import LAUNCH_OPTIONS, freeze_startup_objects, patch_page
from charlstm.ui.hub_tab import build_hub_tab
from charlstm.ui.inside_tab import build_inside_tab
from charlstm.ui.models import ModelRegistry
from charlstm.ui.remembered_sessions import MOST_SESSIONS
from charlstm.ui.run_cache import RunCache
from charlstm.ui.theme import CSS, THEME
from charlstm.ui.top_line import TITLE, build_top_line
from charlstm.ui.train_form import KEPT
from charlstm.ui.train_tab import build_train_tab, run_of
from charlstm.ui.training_api import build_training_api

_GENERATE = "generate"


def launch_options() -> dict[str, Any]:
    """Return the options for `launch` of the page, here and in tests."""
    return {
        "theme": THEME,
        "css": CSS + assets.css(),
        "head": assets.head(),
        "footer_links": ["api"],
        "max_file_size": "200mb",
        "enable_monitoring": False,
        "run_history": False,  # or each text would be kept a second time, in the browser
        "ssr_mode": False,
        "mcp_server": importlib.util.find_spec("mcp") is not None,  # comes with gradio[mcp]
        "state_session_capacity": MOST_SESSIONS,
        "max_threads": 100,  # of writers, each of which sits in one
        "app_kwargs": {
            "middleware": [Middleware(assets.Compressed)],
            "routes": [*page_call_route.routes(), *assets.routes(), link_preview.route(), export_page.route()],
        },
        **LAUNCH_OPTIONS,
    }


def build(checkpoints_dir: Path, warms_up: bool = False) -> gr.Blocks:
    """Build the whole page, on the models and runs of `checkpoints_dir`.

    With `warms_up` the first click need not wait for a compiler or a model.
    """
    manager = RunManager(checkpoints_dir)
    manager.start_scheduler(stands_by=warms_up)
    watch = RunCache(manager, shows_recorded=True)
    shelf = ModelRegistry(checkpoints_dir, watch.live_models, watch.labels, manager.read_history)
    if warms_up:
        # No daemon: a thread that Python ends inside PyTorch takes the process down with an abort.
        threading.Thread(target=_warm_up, args=(shelf,)).start()
    link_preview.show_runs(watch)
    declare_gpu_function()
    page = gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 86400))
    with page:
        build_top_line(shelf, watch)
        build_training_api(watch, shelf)
        with gr.Tabs() as tabs:
            with gr.Tab("Write", id=_GENERATE) as generate_tab:
                generate = build_generate_tab(shelf)
            with gr.Tab("Train", id="train"):
                train = build_train_tab(watch, shelf)
            with gr.Tab("Look inside", id="inside"):
                build_inside_tab(shelf)
            with gr.Tab("Share", id="hub") as hub_shown:
                hub = build_hub_tab(shelf, manager.store)
        if note := owner_note():
            gr.HTML(escape_html(note), elem_id="compiler-note")

        def open_page(request: gr.Request) -> list[Any]:
            return generate.read_address(request)

        def write_with(event: gr.EventData) -> list[Any]:
            return [gr.Tabs(selected=_GENERATE), *generate.show_model(watch.model_of(run_of(event)))]

        loaded = page.load(open_page, None, [*generate.outputs, *generate.form], queue=False, **PRIVATE)
        generate.start_if_linked(loaded)
        page.load(train.restored, train.form.kept, train.restores, js=KEPT, **PRIVATE)
        generate_tab.select(generate.show_model, generate.model, generate.outputs, queue=False, **PRIVATE)
        hub_shown.select(hub.offer_models, [hub.chosen, generate.model], hub.model, queue=False, **PRIVATE)
        hub_shown.select(hub.describe_login, None, hub.login, queue=False, **PRIVATE)
        with_it = train.stage.write(write_with, None, [tabs, *generate.outputs], queue=False, **PRIVATE)
        with_it.then(None, js="() => window.charlstm.writing.writeNow()", queue=False, **PRIVATE)
    page.queue(max_size=MOST_WAITING, default_concurrency_limit=1, api_open=False)  # no call goes past the queue
    patch_page(assets.first_tags(), server.start_server, link_preview.replace_tags)
    return page


def owner_note() -> str:
    """Return a note on this machine for a person at home; strangers could not install anything."""
    return "" if is_public() else compiler_note()


def _warm_up(shelf: ModelRegistry) -> None:
    shelf.warm_up()
    freeze_startup_objects()


def serve(host: str | None, port: int | None, checkpoints_dir: Path | None) -> None:
    """Serve the page until interrupted; prints its address."""
    checkpoints_dir = checkpoints_dir or page_checkpoints_dir()
    torch.set_num_threads(1)  # a text is written by one; the other cores are for other visitors and for runs
    page = build(checkpoints_dir, warms_up=True)
    BackupThread(RunStore(checkpoints_dir)).start()
    largest = {"max_file_size": f"{limits().max_corpus_mb:.0f}mb"} if limits().max_corpus_mb else {}
    page.launch(server_name=host, server_port=port, **{**launch_options(), **largest})
