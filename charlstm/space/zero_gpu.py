"""The decorated function that a ZeroGPU Space demands before it starts, declared before launch.

The Space trains and writes on its CPU: a small model gains little from a GPU that is lent by the minute.
"""

import sys
from collections.abc import Callable
from typing import Any


def declare_gpu_function() -> Callable[[], None] | None:
    """Declare the decorated function, which is never called; return it, or `None` without the `spaces` package."""
    spaces: Any = sys.modules.get("spaces")  # imported before torch by `prepare_environment`, where it is installed
    return spaces.GPU(_unused) if spaces else None


def _unused() -> None:
    """Do nothing."""
