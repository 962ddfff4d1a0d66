"""ONNX files compute what the package computes, in onnxruntime, which shares no code with it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.errors import ExportError
from charlstm.export import onnx as export

_TEXT = "It was so; “naïve” 日本語 </script>\n"


@pytest.mark.parametrize(
    "sizes", [{"embedding_dim": 3, "num_layers": 2}, {"embedding_dim": 0, "level": "bytes"}], ids=["layers", "one-hot"]
)
def test_a_text_read_step_by_step_has_the_surprises_that_the_package_computes(
    tmp_path: Path, sizes: dict[str, Any]
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="comes with requirements-dev.txt")
    vocabulary = Vocabulary.from_text(_TEXT, sizes.get("level", "chars"))
    language_model = LanguageModel.create(vocabulary, ModelConfig(hidden_size=8, **sizes), seed=5)
    file = tmp_path / "model.onnx"
    export.write_onnx(language_model, file)
    session = runtime.InferenceSession(file)

    facts = session.get_modelmeta().custom_metadata_map
    characters = json.loads(facts["vocabulary"])
    assert tuple(characters) == vocabulary.characters
    assert facts["level"] == vocabulary.level
    is_bytes = facts["level"] == "bytes"
    tokens = list(_TEXT.encode()) if is_bytes else [characters.index(char) for char in _TEXT]

    for num_texts in (1, 3):
        state = [np.zeros((sizes.get("num_layers", 1), num_texts, 8), np.float32) for _ in "hc"]
        nats = []
        for token, following in zip(tokens, [*tokens[1:], None], strict=True):
            given = {"tokens": np.full(num_texts, token), "h": state[0], "c": state[1]}
            logits, *state = session.run(["logits", "h_next", "c_next"], given)
            assert np.array_equal(logits[0], logits[-1])
            if following is not None:
                wide = logits[0].astype(np.float64)
                nats.append(float(np.log(np.exp(wide).sum()) - wide[following]))
        assert nats == pytest.approx(_surprises(language_model, tokens), abs=1e-5)


def _surprises(language_model: LanguageModel, tokens: list[int]) -> list[float]:
    """Nats of each token after the first, as the package's network gives them."""
    import torch

    logits, _ = language_model.model(torch.tensor(tokens[:-1])[None])
    return torch.nn.functional.cross_entropy(logits[0], torch.tensor(tokens[1:]), reduction="none").tolist()


def test_without_the_exporters_packages_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_NEEDED", ("onnx_that_nobody_has",))
    language_model = LanguageModel.create(Vocabulary(("a", "b")), ModelConfig(hidden_size=4), seed=1)
    with pytest.raises(ExportError, match=r'pip install "charlstm\[onnx\]"'):
        export.write_onnx(language_model, tmp_path / "model.onnx")
    monkeypatch.setattr(export, "_NEEDED", ())
    monkeypatch.setattr(export, "_LARGEST_BYTES", 100)
    with pytest.raises(ExportError, match="GB of weights"):
        export.write_onnx(language_model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
