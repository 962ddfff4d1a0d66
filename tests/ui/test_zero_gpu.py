"""A ZeroGPU Space: the platform finds what it demands, and runs train on the processor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.errors import ConfigError
from charlstm.space.zero_gpu import declare_gpu_function
from charlstm.training.optim import resolve_device

_START = """
import json, sys, runpy
order = []
class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name in ("spaces", "torch", "gradio"):
            order.append(name)
sys.meta_path.insert(0, Watcher())
runpy.run_path("app.py", run_name="imported")
from charlstm.process_setup import prepare_environment
from charlstm.space.zero_gpu import import_spaces
from charlstm.ui.gradio_import import prepare_for_gradio
prepare_for_gradio()  # as `charlstm app` begins
prepare_environment()
import_spaces()
import spaces
from pathlib import Path
declared = []
spaces.GPU = lambda function: declared.append(function.__name__) or function
from charlstm.ui.app import build
page = build(Path("no-such-folder"))
print(json.dumps([order, declared, page.max_queue_size if hasattr(page, "max_queue_size") else page._queue.max_size]))
"""


def test_the_app_starts_with_the_platforms_package_imported_before_torch_and_one_decorated_function(
    repository: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START], cwd=repository, capture_output=True, text=True, check=True
    )  # fmt: skip
    order, declared, queue_size = json.loads(done.stdout.splitlines()[-1])
    assert order.index("spaces") < order.index("torch")
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
