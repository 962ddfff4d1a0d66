"""What lets many visitors share one server: what would be done again and again for each is done once for all."""

import gc
import importlib.util
import sys
import weakref
from typing import Any

from gradio.blocks import Block, BlocksConfig
from gradio.queueing import Queue


def prepare_for_crowds() -> None:
    """Spare the server most of what Gradio does per message and per visitor beside our own work.

    *Measured* with 32 visitors on 2 cores: Gradio tries to import matplotlib twice per message, 0.8 ms each where it is
    not installed, and describes every component of the page anew for each visitor, half of all that one costs.
    """
    if "matplotlib" not in sys.modules and importlib.util.find_spec("matplotlib") is None:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]  # an import that fails at once
    if not isinstance(BlocksConfig.config_for_block, _Remembering):
        BlocksConfig.config_for_block = _Remembering(BlocksConfig.config_for_block)  # type: ignore[assignment,method-assign]


def look_less_often(queue: Queue) -> None:
    """Have Gradio's queue look for work a hundred times a second, not a thousand; call it before the page is served.

    *Measured*: an app that nobody used took 50 to 76 ms of each second of a processor, now 21 to 34; a run on the same
    processor has the rest. A click waits for its turn 5 ms longer.
    """
    queue.sleep_when_free = 0.01
    queue.progress_update_sleep_when_free = 0.1


def settle() -> None:
    """Have Python's search for garbage pass over all that there is now; call it once the app is up.

    *Measured*: a full search looks at 310,000 objects of PyTorch and Gradio for 0.2 s, in which nobody is served; after
    this it looks at what visitors left behind alone.
    """
    gc.collect()
    gc.freeze()


class _Remembering:
    """Descriptions of components, made once each: nothing changes one, an update puts another in its place."""

    def __init__(self, describe: Any) -> None:
        self._describe = describe
        self._known: weakref.WeakKeyDictionary[Block, dict[str, Any]] = weakref.WeakKeyDictionary()

    def __call__(self, number: int, rendered: list[int], block: Block, renderable: Any = None) -> dict[str, Any]:
        if rendered or renderable is not None:  # the page's own description, not a visitor's
            return dict(self._describe(number, rendered, block, renderable))
        known = self._known.get(block)
        if known is None:
            known = self._known[block] = self._describe(number, rendered, block)
        return {**known, "props": {**known["props"]}}  # a session writes its own values into its own copy
