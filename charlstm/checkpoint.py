"""The two files a run leaves behind, both safetensors: never a pickle, never half written, never half loaded.

`model.safetensors` is sufficient alone. Its header holds, as JSON texts:
    format_version   "1"
    config           the `ModelConfig`
    vocabulary       the ordered list of characters
    provenance       where the weights come from (`Provenance`)
`training_state.safetensors` holds everything a run needs to continue bit for bit.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from charlstm.config import ModelConfig, checked
from charlstm.errors import CheckpointError, ConfigError, VocabularyError
from charlstm.files import publish
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

MODEL_FILE = "model.safetensors"
FORMAT_VERSION = "1"
_HEADER_KEYS = ("format_version", "config", "vocabulary", "provenance")
_STATE_KEY = "training_state"


class Provenance(BaseModel):
    """Everything needed to know, and to repeat, how the weights came to be."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    corpus: str
    corpus_sha256: str  # of the text as UTF-8, after reading
    corpus_chars: int
    # How its lines begin, the most frequent first: prompts that belong to the model. Short in strangers' files too.
    beginnings: Annotated[tuple[Annotated[str, Field(max_length=16)], ...], Field(max_length=3)] = ()
    split: str
    train_config: dict[str, Any]  # as the run was planned
    more: tuple[dict[str, Any], ...] = ()  # for how much longer it went on, each time
    parent: str | None = None  # the model it began from, and the SHA-256 of that model's file
    parent_sha256: str | None = None
    step: int
    training_seconds: float
    val_loss: float | None = None  # nats per character, as `val_method` says, when these weights were chosen
    val_method: str | None = None
    val_stateful: float | None = None  # nats per character, measured on these weights after the run
    val_windows: float | None = None
    val_stateful_method: str | None = None  # whether exactly, and of how much
    hardware: str
    versions: dict[str, str]


def save_model(path: Path, model: CharLSTM, vocabulary: Vocabulary, provenance: Provenance | None) -> None:
    """Publish the self-sufficient model file at `path`."""
    header = {
        "format_version": FORMAT_VERSION,
        "config": model.config.model_dump_json(),
        "vocabulary": json.dumps(vocabulary.characters),
        "provenance": provenance.model_dump_json() if provenance else "null",
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _publish(path, tensors, header)


def load_model(path: Path) -> tuple[CharLSTM, Vocabulary, Provenance | None]:
    """Load strictly: version, settings, vocabulary, names, shapes and types are checked before any tensor is used.

    Raises `CheckpointError`, in one sentence.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            config, vocabulary, provenance = _read_header(path, header)
            with torch.device("meta"):  # the expected names and shapes, without memory or random numbers
                model = CharLSTM(len(vocabulary), config)
            _check_tensors(path, file, model)
            # copied into aligned memory: PyTorch sums in another order, so to other bits, where it is not
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise CheckpointError(f"{path} holds weights that are no numbers; fetch or train the model again.")
    model.load_state_dict(weights, strict=True, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.lstm.flatten_parameters()
    return model.eval(), vocabulary, provenance


def save_training_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Publish tensors and JSON facts together, in one file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    _publish(path, contiguous, {"format_version": FORMAT_VERSION, _STATE_KEY: json.dumps(facts)})


def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_training_state` published; raises `CheckpointError`."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dict
        facts = json.loads(header[_STATE_KEY])
        _check_version(path, header)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from None
    except (KeyError, ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} holds no training state; start the run anew.")
    return tensors, facts


def _publish(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """A full disk is an `OSError` here as it is for every other file; safetensors has an error of its own for it."""
    with publish(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=dict(header))
        except SafetensorError as error:
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
            raise


def _read_header(path: Path, header: Mapping[str, str]) -> tuple[ModelConfig, Vocabulary, Provenance | None]:
    missing = [key for key in _HEADER_KEYS if key not in header]
    if missing:
        raise CheckpointError(
            f"{path} was not written by charlstm (its header lacks {', '.join(missing)}); choose another model."
        )
    _check_version(path, header)
    try:
        config = checked(ModelConfig, json.loads(header["config"]))
        vocabulary = Vocabulary(_characters(header["vocabulary"]), config.level)
        provenance = json.loads(header["provenance"])
        return config, vocabulary, Provenance(**provenance) if provenance is not None else None
    except (ConfigError, VocabularyError, ValidationError, ValueError, TypeError, RecursionError) as error:
        what = str(error).splitlines()[0].rstrip(".")
        raise CheckpointError(f"{path} has a damaged header ({what}); fetch or train the model again.") from None


def _check_version(path: Path, header: Mapping[str, str]) -> None:
    if header["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {header['format_version'][:20]!r}, this charlstm reads {FORMAT_VERSION}; update it."
        )


def _characters(listed: str) -> tuple[str, ...]:
    characters = json.loads(listed)
    if not isinstance(characters, list) or not all(isinstance(char, str) for char in characters):
        raise ValueError("the vocabulary is no list of characters")
    return tuple(characters)


def _check_tensors(path: Path, file: Any, model: CharLSTM) -> None:
    expected = {name: (list(tensor.shape), "F32") for name, tensor in model.state_dict().items()}
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  not a dict
    found = {name: (each.get_shape(), each.get_dtype()) for name, each in slices.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} does not fit its own settings: {name} is {_described(found.get(name))} and should be "
                f"{_described(expected.get(name))}; fetch or train the model again."
            )


def _described(entry: tuple[list[int], str] | None) -> str:
    return "absent" if entry is None else f"{entry[1]} {'x'.join(map(str, entry[0]))}"


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if not path.exists():
        return CheckpointError(f"there is no model file {path}; give a folder that holds {MODEL_FILE}, or the file.")
    return CheckpointError(f"{path} can't be read ({str(error)[:200]}); fetch or train the model again.")
