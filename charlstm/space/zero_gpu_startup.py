"""What a ZeroGPU Space demands of an app before it starts. The Space trains and writes on its CPU all the same."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any


def import_spaces() -> None:
    """Import `spaces`, which hands out the GPU and must come before torch, where it is installed."""
    if importlib.util.find_spec("spaces"):
        importlib.import_module("spaces")


def declare_gpu_function() -> Callable[[], None] | None:
    """Declare what a ZeroGPU Space demands before it starts; return it, or `None` without the `spaces` package.

    It is never called: the Space trains and writes on its CPU, as a small model gains little from a GPU that is lent by
    the minute.
    """
    spaces: Any = sys.modules.get("spaces")  # imported by `import_spaces`, where it is installed
    return spaces.GPU(_do_nothing) if spaces else None


def _do_nothing() -> None:
    """Do nothing."""
