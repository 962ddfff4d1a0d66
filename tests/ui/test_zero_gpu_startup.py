"""A ZeroGPU Space: the platform finds what it demands, and runs train on the processor."""

import json
import sys

import pytest
from forked import Fork

from charlstm.errors import ConfigError
from charlstm.space.zero_gpu_startup import declare_gpu_function
from charlstm.training.optim import resolve_device

_DECLARES = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
declared = []
sys.modules["spaces"] = SimpleNamespace(GPU=lambda function: declared.append(function.__name__) or function)
from charlstm.ui.app import build
print(json.dumps([declared, build(Path("no-such-folder"))._queue.max_size]))
"""


def test_the_page_declares_one_function_and_lets_more_than_one_visitor_wait(fork: Fork) -> None:
    """That the package is imported before torch shows where the app starts as a Space, in `hub/test_deploy.py`."""
    process = fork(_DECLARES)
    printed, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    declared, queue_size = json.loads(printed)
    assert declared == ["_do_nothing"]
    assert queue_size > 1, "the platform's default of one waiting event would refuse a second visitor"


def test_nothing_is_declared_without_the_platforms_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    assert declare_gpu_function() is None


def test_runs_on_zero_gpu_train_on_the_processor_though_the_platform_shows_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="choose cpu or auto"):
        resolve_device("cuda")
