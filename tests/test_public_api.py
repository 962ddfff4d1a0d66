"""What `import charlstm` offers, pinned: a change here is a change for everybody who imports it."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import charlstm

PUBLIC = [
    "CharLSTM",
    "CharLSTMError",
    "Corpus",
    "LanguageModel",
    "ModelConfig",
    "SampleConfig",
    "Settings",
    "TrainConfig",
    "Trainer",
    "Vocabulary",
    "open_corpus",
    "train",
]


def modules_after(code: str, repository: Path) -> set[str]:
    """Which modules a fresh interpreter holds after running `code`."""
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def test_the_names_are_these() -> None:
    assert charlstm.__all__ == PUBLIC
    assert len(PUBLIC) <= 15


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(charlstm, name)
    assert value.__name__ == name
    assert value is getattr(import_module(value.__module__), name)
    assert value.__doc__


def test_a_star_import_brings_these_names_and_no_others() -> None:
    names: dict[str, object] = {}
    exec("from charlstm import *", names)
    assert sorted(set(names) - {"__builtins__"}) == PUBLIC


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"module 'charlstm' has no attribute 'no_such_thing'"):
        _ = charlstm.no_such_thing
    with pytest.raises(ImportError, match="no_such_thing"):
        exec("from charlstm import no_such_thing")
    assert not hasattr(charlstm, "no_such_thing")


def test_the_version_is_a_number_of_three_parts() -> None:
    assert [part.isdecimal() for part in charlstm.__version__.split(".")] == [True] * 3


def test_importing_the_package_loads_no_heavy_library(repository: Path) -> None:
    loaded = modules_after("import charlstm", repository)
    assert "charlstm" in loaded
    assert not loaded & {"torch", "numpy", "gradio", "huggingface_hub", "pydantic", "safetensors"}


def test_settings_do_without_torch_and_the_network_brings_it(repository: Path) -> None:
    settings = modules_after("from charlstm import SampleConfig, Settings, TrainConfig, Vocabulary", repository)
    assert not settings & {"torch", "gradio", "huggingface_hub", "safetensors"}
    network = modules_after("from charlstm import CharLSTM", repository)
    assert "torch" in network
    assert not network & {"gradio", "huggingface_hub"}


def test_training_and_writing_do_without_page_and_hub(repository: Path) -> None:
    loaded = modules_after("from charlstm import LanguageModel, Trainer, open_corpus, train", repository)
    assert not loaded & {"gradio", "huggingface_hub", "charlstm.cli", "charlstm.runs"}
