"""Which tests of the compiled recurrence this machine can run."""

from collections.abc import Callable

import pytest
import torch

from charlstm.kernel import lstm as kernel

HAS = {dtype: kernel.is_available(dtype, 16) for dtype in (torch.float32, torch.bfloat16)}
needs_compiler = pytest.mark.skipif(not HAS[torch.float32], reason="there is no C compiler here")
needs_bfloat16 = pytest.mark.skipif(not HAS[torch.bfloat16], reason="this processor has no AVX512-BF16")
BOTH = pytest.mark.parametrize(
    "dtype", [pytest.param(torch.float32, marks=needs_compiler), pytest.param(torch.bfloat16, marks=needs_bfloat16)]
)


def named(name: str) -> Callable[[str], str]:
    """A failure's message that tells which tensor is meant."""
    return lambda text: f"{name}: {text}"
