"""Checkpoints: models and training states as safetensors, written atomically and read strictly.

`model.safetensors` is sufficient alone. Its header holds, as JSON texts:
    format_version   "1"
    config           the `ModelConfig`
    vocabulary       the ordered list of characters
    provenance       where the weights come from (`Provenance`)
    sha256           of all but where they come from (`_digest`); files of earlier versions lack it
`training_state.safetensors` holds everything a run needs to continue bit for bit, and such a digest.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from charlstm.config import ModelConfig
from charlstm.errors import CheckpointError, ConfigError, VocabularyError, printable
from charlstm.files import atomic_write
from charlstm.json_text import parse_json
from charlstm.model import CharLSTM
from charlstm.model_paths import MODEL_FILE
from charlstm.safetensors_header import Header, LfsPointer, read_header
from charlstm.vocabulary import Vocabulary

FORMAT_VERSION = "1"
_HEADER_KEYS = ("format_version", "config", "vocabulary", "provenance")
_STATE_KEY = "training_state"
_DIGEST_KEY = "sha256"
_DIGESTED = (_STATE_KEY, "config", "vocabulary")
_LONGEST_TEXT = 1 << 20  # characters of a header's texts, but for the vocabulary: those written here have thousands
_SHOWN_CHARS = 200
_TYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


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
    logit_scale: float = 1.0  # by which this run multiplied the output layer that it learned, where it calibrated it
    val_stateful: float | None = None  # nats per character, measured on these weights after the run
    val_windows: float | None = None
    val_stateful_method: str | None = None  # whether exactly, and of how much
    hardware: str
    versions: dict[str, str]


def save_model(path: Path, model: CharLSTM, vocabulary: Vocabulary, provenance: Provenance | None) -> None:
    """Write the self-sufficient model file at `path`."""
    header = {
        "format_version": FORMAT_VERSION,
        "config": model.config.model_dump_json(),
        "vocabulary": json.dumps(vocabulary.characters),
        "provenance": provenance.model_dump_json() if provenance else "null",
    }
    _publish(path, model.state_dict(), header)


@torch.inference_mode(False)
def load_model(path: Path) -> tuple[CharLSTM, Vocabulary, Provenance | None]:
    """Load strictly: version, settings, vocabulary, names, shapes and types are checked before any tensor is read.

    Raises `CheckpointError`, in one sentence.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            config, vocabulary, provenance = _read_texts(path, header.texts)
            model = CharLSTM(len(vocabulary), config, device="meta")  # the expected names and shapes, without memory
            _check_tensors(path, header, model)
            weights = _read_tensors(file, header)
    except (ValueError, OSError, MemoryError) as error:
        raise _unreadable(path, error) from None
    _check_digest(path, header, weights)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise CheckpointError(
            f"{path} holds weights that are not finite (NaN or infinite); fetch or train the model again."
        )
    model.assign_weights(weights)
    return model.eval(), vocabulary, provenance


def save_training_state(
    path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], is_durable: bool = True
) -> None:
    """Write tensors and JSON facts together, in one file; see `atomic_write` for `is_durable`."""
    _publish(path, tensors, {"format_version": FORMAT_VERSION, _STATE_KEY: json.dumps(facts)}, is_durable)


@torch.inference_mode(False)
def load_training_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load what `save_training_state` published; raise `CheckpointError` for any other file."""
    try:
        with path.open("rb") as file:
            header = read_header(file)
            facts = _read_facts(path, header.texts)
            tensors = _read_tensors(file, header)
    except (ValueError, OSError, MemoryError) as error:
        raise _unreadable(path, error) from None
    _check_digest(path, header, tensors)
    return tensors, facts


def read_facts(path: Path) -> dict[str, Any]:
    """Read the facts of what `save_training_state` published, and none of its tensors; raise `CheckpointError`."""
    try:
        with path.open("rb") as file:
            return _read_facts(path, read_header(file).texts)
    except (ValueError, OSError, MemoryError) as error:
        raise _unreadable(path, error) from None


def _publish(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str], is_durable: bool = True) -> None:
    """Turn safetensors' own error for a full disk into an `OSError`, as for every other file."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path, is_durable) as temporary:
        try:
            save_file(whole, temporary, metadata={**texts, _DIGEST_KEY: _digest(whole, texts)})
        except SafetensorError as error:
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from None
            raise


def _digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """Compute the SHA-256 of the texts the tensors need, and of each tensor: name, type, shape, bytes.

    What a model says of where it comes from is not among them: people may add to it.
    """
    digest = hashlib.sha256("".join(texts.get(key, "") for key in _DIGESTED).encode("utf-8", "surrogatepass"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode("utf-8", "surrogatepass"))
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _check_digest(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    if header.texts.get(_DIGEST_KEY) not in (None, _digest(tensors, header.texts)):
        again = "start the run anew" if _STATE_KEY in header.texts else "fetch or train the model again"
        raise CheckpointError(f"{path} is damaged (it is not what was saved); {again}.")


def _read_tensors(file: io.BufferedReader, header: Header) -> dict[str, Tensor]:
    """Read tensors into memory that PyTorch aligns: elsewhere it sums in another order, to other bits.

    Raises `ValueError` if there is too little memory, `OSError` if the file has become shorter.
    """
    tensors = {}
    for name, entry in header.tensors.items():
        try:
            tensors[name] = torch.empty(entry.shape, dtype=_TYPES[entry.dtype], device="cpu")
        except RuntimeError:  # PyTorch's word for it
            raise ValueError(f"there is too little memory for {entry.end - entry.begin:,} bytes of it") from None
        file.seek(entry.begin)
        if file.readinto(_bytes_of(tensors[name])) != entry.end - entry.begin:
            raise ValueError("it became shorter while it was read")
    return tensors


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return a view of the memory of a contiguous tensor on the CPU."""
    return tensor.view(-1).view(torch.uint8).numpy().data


def _read_texts(path: Path, texts: Mapping[str, str]) -> tuple[ModelConfig, Vocabulary, Provenance | None]:
    missing = [key for key in _HEADER_KEYS if key not in texts]
    if missing:
        raise CheckpointError(
            f"{path} was not written by charlstm (its header lacks {', '.join(missing)}); choose another model."
        )
    _check_version(path, texts)
    try:
        config = ModelConfig(**parse_json(_short(texts["config"])))
        vocabulary = Vocabulary(_characters(texts["vocabulary"]), config.level)
        provenance = parse_json(_short(texts["provenance"]))
        return config, vocabulary, Provenance(**provenance) if provenance is not None else None
    except (ConfigError, VocabularyError, ValidationError, ValueError, TypeError) as error:
        what = printable(str(error).splitlines()[0].rstrip("."), _SHOWN_CHARS)
        raise CheckpointError(f"{path} has a damaged header ({what}); fetch or train the model again.") from None


def _read_facts(path: Path, texts: Mapping[str, str]) -> dict[str, Any]:
    try:
        facts = parse_json(_short(texts[_STATE_KEY]))
        _check_version(path, texts)
    except (KeyError, ValueError):
        facts = None
    if not isinstance(facts, dict):
        raise CheckpointError(f"{path} holds no training state; start the run anew.")
    return facts


def _short(text: str) -> str:
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"one of its texts has {len(text):,} characters")
    return text


def _check_version(path: Path, texts: Mapping[str, str]) -> None:
    if texts["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {texts['format_version'][:20]!r}, this charlstm reads {FORMAT_VERSION}; update it."
        )


def _characters(listed: str) -> tuple[str, ...]:
    characters = parse_json(listed)
    if not isinstance(characters, list) or not all(isinstance(char, str) for char in characters):
        raise ValueError("the vocabulary is not a list of characters")
    return tuple(characters)


def _check_tensors(path: Path, header: Header, model: CharLSTM) -> None:
    expected = {name: (tuple(tensor.shape), "F32") for name, tensor in model.state_dict().items()}
    found = {name: (entry.shape, entry.dtype) for name, entry in header.tensors.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise CheckpointError(
                f"{path} does not fit its own settings: {printable(name, _SHOWN_CHARS)} is "
                f"{_describe(found.get(name))} and should be {_describe(expected.get(name))}; fetch or train the "
                "model again."
            )


def _describe(entry: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if entry is None else f"{entry[1]} {'x'.join(map(str, entry[0]))}"


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if not path.exists():
        return CheckpointError(f"there is no model file {path}; give a folder that holds {MODEL_FILE}, or the file.")
    if isinstance(error, LfsPointer):
        return CheckpointError(f"{path} {error}.")
    what = error.strerror if isinstance(error, OSError) else str(error)
    what = printable(what or str(error), _SHOWN_CHARS)
    return CheckpointError(f"{path} can't be read ({what}); fetch or train the model again.")
