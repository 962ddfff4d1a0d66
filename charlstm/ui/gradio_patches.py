"""Patches of Gradio's inner workings, each with its reason and what it was measured to do.

All were seen with gradio 6.31 and measured on 2026-11-28 on 2 cores of a shared x86-64 machine (Python 3.11, torch
2.13.0 CPU), with and without in turns in one process, medians. `tests/ui/test_gradio_patches.py` has a test for each
that fails once Gradio no longer needs it. One more must come before the import: `gradio_import`. Those that
bound what requests hold have modules of their own: `event_queue`, `unread_answer_limits` and `remembered_sessions`.
"""

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gradio import http_server
from gradio.block_function import BlockFunction
from gradio.blocks import Block, Blocks, BlocksConfig
from gradio.exceptions import Error, InvalidPathError
from gradio.route_utils import GradioMultiPartParser
from gradio.routes import App, file_upload_statuses, templates
from gradio.state_holder import StateHolder
from gradio.utils import LRUCache
from jinja2 import BaseLoader, Environment
from starlette.datastructures import FormData

from charlstm.errors import CharLSTMError
from charlstm.formatting import error_text

# For `launch`, which otherwise asks the page for its first answer and fails if that takes over 3 seconds.
# *Measured* with 40 busy processes on one core: it took 3.5 s, and launching failed.
LAUNCH_OPTIONS: dict[str, Any] = {"_frontend": False}
_MOST_PROGRESS = 1000
_WRONG_VALUES = "This function takes other values; load the page again."
_log = logging.getLogger(__name__)


class Refusal:
    """Whether a request was refused with a sentence."""

    is_told = False


# Of the request that is worked on; all that the queue works on has that of the request which started the queue.
current_refusal: ContextVar[Refusal] = ContextVar("current_refusal")


def patch_page(first_tags: str, start_server: Callable[..., Any], edit_template: Callable[[str], str]) -> None:
    """Apply what concerns a page before it is launched; `first_tags` begin its head.

    `edit_template` returns a template of Gradio's with the page's own tags in its head.
    """
    cache_component_configs()
    change_head(first_tags, edit_template)
    use_server(start_server)


def cache_component_configs() -> None:
    """Describe each component of the page once, not anew for each session.

    *Measured*: a session of this page took 75 ms (44 to 86), with this 0.35 ms; of 16 visitors at once half had their
    first characters after 1.8 s (1.2 to 2.0), with this after 0.5 s (0.4 to 0.7).
    """
    if not isinstance(BlocksConfig.config_for_block, ConfigCache):
        BlocksConfig.config_for_block = ConfigCache(BlocksConfig.config_for_block)  # type: ignore[assignment,method-assign]


def change_head(tags: str, edit: Callable[[str], str] = str) -> None:
    """Begin the head of every page of this process with `tags`, and `edit` the rest of its template.

    `launch(head=...)` comes after Gradio's own scripts and tags. `idle_frames.js` must replace `requestAnimationFrame`
    before they keep it. *Measured*: an open page that nobody touched drew 60 frames a second and took 100 ms (96 to
    104) of each second of a processor, app and Chromium together; with this one frame and 41 ms (34 to 42).
    `message_stream.js` wraps `fetch`: without it Gradio's client missed the answer to an event that began while the
    stream of an earlier one ended. *Measured* (2026-11-29): so did the first text in 1 of 30 visits that
    pressed an example as soon as it was there, with this in 0 of 60.
    `first.css` keeps the page from moving aside when Gradio's own styles arrive. *Measured* (2026-11-29), the layout
    shift on arrival at 1366 x 768: 0.052 to 0.057 without and 0.007 with it, parts hidden until all are there.
    Previews of links take the first tags they find, which name Gradio.
    """
    if not isinstance(templates.env.loader, _HeadEditor):
        templates.env.loader = _HeadEditor(templates.env.loader, tags, edit)


def use_server(start_server: Callable[..., Any]) -> None:
    """Make `launch` start our server.

    Gradio's binds an IPv4 port whatever the host, and neither bounds the number of connections nor closes one that
    sends nothing.
    """
    http_server.start_server = start_server


def use_session_states(app: App, states: StateHolder) -> None:
    """Keep the sessions of `app` in `states`.

    Gradio's drops the session that was used least recently, also one whose page is open.
    """
    app.state_holder = states
    states.set_blocks(app.get_blocks())


class _Signals(LRUCache[str, asyncio.Event]):
    def __missing__(self, upload_id: str) -> asyncio.Event:
        self[upload_id] = asyncio.Event()
        return self[upload_id]


def bound_upload_progress() -> None:
    """Keep the progress of the last uploads alone; Gradio keeps each that nobody asks for, and each that is asked for.

    Their ids, of up to 60 kB, stayed for as long as the app ran.
    """
    if not isinstance(file_upload_statuses._signals, _Signals):
        file_upload_statuses._statuses = LRUCache(_MOST_PROGRESS)
        file_upload_statuses._signals = _Signals(_MOST_PROGRESS)  # type: ignore[assignment]


def discard_unused_uploads() -> None:
    """Remove the parts of an upload that Gradio writes to disk and answers nothing for.

    Those are parts of another name than it asks for, and such as have no end. They would stay there for ever.
    """
    if GradioMultiPartParser.parse is not _parse_and_discard:
        GradioMultiPartParser.parse = _parse_and_discard  # type: ignore[method-assign, assignment]


_parse = GradioMultiPartParser.parse


async def _parse_and_discard(parser: GradioMultiPartParser) -> FormData:
    taken: set[str] = set()
    try:
        form = await _parse(parser)
        taken = {each.file.name for each in form.getlist("files") if not isinstance(each, str)}
    finally:
        for file in parser._files_to_close_on_error:
            if file.name not in taken:
                file.close()
                Path(file.name).unlink(missing_ok=True)
    return form


def refuse_wrong_values() -> None:
    """Answer values that no component takes with one sentence; Gradio logs a traceback for each, and answers 500.

    So too a mistake that a function itself tells, and paths of files that nobody uploaded.
    """
    if Blocks.process_api is not _process_or_refuse:
        Blocks.preprocess_data = _preprocess_or_refuse  # type: ignore[method-assign, assignment]
        Blocks.process_api = _process_or_refuse  # type: ignore[method-assign, assignment]


_preprocess, _process = Blocks.preprocess_data, Blocks.process_api


async def _preprocess_or_refuse(page: Blocks, function: BlockFunction, *call: Any, **more: Any) -> Any:
    try:
        return await _preprocess(page, function, *call, **more)
    except Exception as error:  # noqa: BLE001  whatever a component makes of a value that it never has from the page
        _log.debug("values were refused", exc_info=True)
        is_api = function.api_visibility == "public"  # whoever writes a program reads what is wrong
        raise _refusal(error.message if is_api and isinstance(error, Error) else _WRONG_VALUES) from None


async def _process_or_refuse(page: Blocks, *call: Any, **more: Any) -> Any:
    try:
        return await _process(page, *call, **more)
    except CharLSTMError as error:
        raise _refusal(error_text(error)) from None
    except (Error, InvalidPathError) as error:
        if getattr(error, "print_exception", True):
            raise _refusal(_WRONG_VALUES) from None
        raise


def _refusal(sentence: str) -> Error:
    current_refusal.get(Refusal()).is_told = True
    return Error(sentence, print_exception=False)


def freeze_startup_objects() -> None:
    """Exempt all objects that exist now from Python's garbage collection; call it once the app is up.

    *Measured*: a full search of PyTorch's and Gradio's 310,000 objects takes 0.46 s (0.43 to 0.57), in which nobody is
    served, and comes once in 160 to 270 visits; amid 16 visitors it took 0.9 s (0.3 to 4.4), with this 0.08 s.
    """
    gc.collect()
    gc.freeze()


class ConfigCache:
    """Configs of components, made once each: nothing changes a component, an update puts another in its place."""

    def __init__(self, describe: Any) -> None:
        self.describe = describe
        self._configs: weakref.WeakKeyDictionary[Block, dict[str, Any]] = weakref.WeakKeyDictionary()

    def __call__(self, number: int, rendered: list[int], block: Block, renderable: Any = None) -> dict[str, Any]:
        """Return the config of `block`; a session writes its own values into its own copy."""
        if rendered or renderable is not None:  # the page's own config, not a session's
            return dict(self.describe(number, rendered, block, renderable))
        config = self._configs.get(block)
        if config is None:
            config = self._configs[block] = self.describe(number, rendered, block)
        return {**config, "props": {**config["props"]}}


class _HeadEditor(BaseLoader):
    """Templates of another loader, edited, with tags at the beginning of their heads."""

    def __init__(self, loader: BaseLoader | None, tags: str, edit: Callable[[str], str]) -> None:
        self._loader, self._tags, self._edit = loader or BaseLoader(), tags, edit

    def get_source(self, environment: Environment, template: str) -> tuple[str, str | None, Callable[[], bool] | None]:
        source, path, is_current = self._loader.get_source(environment, template)
        tags = f"{{% raw %}}{self._tags}{{% endraw %}}"
        return self._edit(source).replace("<head>", f"<head>\n{tags}", 1), path, is_current
