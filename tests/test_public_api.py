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


def modules_after(repository: Path, *lines: str) -> list[set[str]]:
    """Which modules a fresh interpreter holds after each of these lines, one after another."""
    program = "import sys, json\n" + "".join(f"{line}\nprint(json.dumps(sorted(sys.modules)))\n" for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True, timeout=100
    )
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


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


def test_every_name_brings_no_more_libraries_than_it_needs(repository: Path) -> None:
    package, settings, network, training = modules_after(
        repository,
        "import charlstm",
        "from charlstm import SampleConfig, Settings, TrainConfig, Vocabulary",
        "from charlstm import CharLSTM",
        "from charlstm import LanguageModel, Trainer, open_corpus, train",
    )
    assert "charlstm" in package
    assert not package & {"torch", "numpy", "gradio", "huggingface_hub", "pydantic", "safetensors"}
    assert not settings & {"torch", "gradio", "huggingface_hub", "safetensors"}
    assert "torch" in network
    assert not network & {"gradio", "huggingface_hub"}
    assert not training & {"gradio", "huggingface_hub", "charlstm.cli", "charlstm.runs"}
