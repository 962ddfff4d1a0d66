"""A model as ONNX: one step of one character, with the state in and out, for any program that runs such files.

`pip install "charlstm[onnx]"` brings what PyTorch's exporter needs. Shapes: B = texts at once, V = vocabulary size,
L = layers, H = hidden size.

    tokens (B,) int64, h (L, B, H), c (L, B, H)  ->  logits (B, V), h_next (L, B, H), c_next (L, B, H)

States begin as zeros; `logits` are of the character that follows. Everything is float32. The file's metadata hold
`vocabulary` (a JSON list; a character's place is its token), `level` (`chars`, or `bytes` where a token is a byte of
UTF-8), `config`, `provenance` and `format_version`.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from charlstm.checkpoint import FORMAT_VERSION
from charlstm.errors import ExportError
from charlstm.files import atomic_write
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM

if TYPE_CHECKING:
    from torch.onnx import ONNXProgram

INPUTS, OUTPUTS = ("tokens", "h", "c"), ("logits", "h_next", "c_next")
_NEEDED = ("onnx", "onnxscript")
_LARGEST_BYTES = 1_900_000_000  # of weights: a protobuf message ends at 2 GiB
_TRACED_BATCH = 2  # any other than 1, which the exporter would keep as a constant
_OPSET = 20


class _Step(nn.Module):
    """One step of a network, of PyTorch's own modules alone."""

    def __init__(self, model: CharLSTM) -> None:
        super().__init__()
        config = model.config
        self.num_one_hot = 0 if config.embedding_dim else model.vocab_size
        self.embedding = nn.Embedding(model.vocab_size, config.embedding_dim) if config.embedding_dim else None
        self.lstm = nn.LSTM(config.embedding_dim or model.vocab_size, config.hidden_size, config.num_layers)
        self.head = nn.Linear(config.hidden_size, model.vocab_size)
        self.load_state_dict(model.state_dict())

    def forward(self, tokens: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.embedding is not None:
            inputs = self.embedding(tokens)
        else:
            inputs = functional.one_hot(tokens, self.num_one_hot).to(torch.float32)
        hidden, (h_next, c_next) = self.lstm(inputs[None], (h, c))
        return self.head(hidden[0]), h_next, c_next


def write_onnx(language_model: LanguageModel, path: Path) -> None:
    """Write a model as ONNX to `path`; takes some seconds.

    Raises `ExportError` where the exporter's packages are missing, the weights exceed what such a file holds, or it
    can't be written.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise ExportError(f'ONNX needs {" and ".join(missing)}: pip install "charlstm[onnx]", then export again.')
    num_bytes = 4 * language_model.model.num_parameters
    if num_bytes > _LARGEST_BYTES:
        raise ExportError(
            f"an ONNX file holds at most {_LARGEST_BYTES / 1e9:.1f} GB of weights and this model has "
            f"{num_bytes / 1e9:.1f}; use its model.safetensors instead."
        )
    program = _export(language_model.model)
    program.model.metadata_props.update(_metadata(language_model))
    program.model.producer_name = "charlstm"
    program.model.doc_string = "One step of a character-level LSTM: a token and a state to logits and the next state"
    try:
        with atomic_write(path) as temporary:
            program.save(temporary)
    except OSError as error:
        raise ExportError(f"{path} can't be written ({error.strerror or error}); choose another place.") from None


def _export(model: CharLSTM) -> "ONNXProgram":
    step = _Step(model).eval()
    tokens = torch.zeros(_TRACED_BATCH, dtype=torch.int64)
    batch = torch.export.Dim("batch", min=1)
    with _quiet(), torch.inference_mode(False), torch.no_grad():
        program = torch.onnx.export(
            step,
            (tokens, *model.initial_state(_TRACED_BATCH)),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch}, {1: batch}, {1: batch}),
            verbose=False,
        )
    if program is None:  # what the type allows
        raise ExportError("PyTorch's exporter made no ONNX program of this model; report this.")
    return program


def _metadata(language_model: LanguageModel) -> dict[str, str]:
    vocabulary, origin = language_model.vocabulary, language_model.provenance
    return {
        "format_version": FORMAT_VERSION,
        "level": vocabulary.level,
        "vocabulary": json.dumps(vocabulary.characters),
        "config": language_model.model.config.model_dump_json(),
        "provenance": origin.model_dump_json() if origin else "null",
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of its own modules, which nobody here can change."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
