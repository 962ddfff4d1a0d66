"""The device of a test: the processor always, so that every test is known to run, and a CUDA GPU where there is one."""

import os
import warnings
from collections.abc import Iterator

import pytest
import torch

_HAS_GPU = torch.cuda.is_available()
if _HAS_GPU:  # read when cuBLAS begins; with it cuDNN promises an LSTM the same bits every time (PyTorch's nn.LSTM)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":16:8")
_CUDA = [pytest.mark.cuda, pytest.mark.skipif(not _HAS_GPU, reason="this machine has no CUDA GPU")]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=_CUDA)])
def device(request: pytest.FixtureRequest) -> str:
    """Where the test computes."""
    return str(request.param)


@pytest.fixture
def exact() -> Iterator[None]:
    """Float32 products in cuDNN keep all 24 bits (TF32 has 11), and it takes only algorithms that repeat their bits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    _set(allow_tf32=False, deterministic=True)
    yield
    _set(*before)


def _set(allow_tf32: bool, deterministic: bool) -> None:
    with warnings.catch_warnings():  # some versions of PyTorch announce another name for the first
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = allow_tf32
        torch.backends.cudnn.deterministic = deterministic
