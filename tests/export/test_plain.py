"""What leaves for PyTorch alone needs nothing of this package."""

import runpy
from pathlib import Path

import pytest

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.export.plain import PROGRAM_FILE, write_plain


def test_the_program_beside_the_weights_writes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what would end a program's string in the vocabulary."""
    language_model = LanguageModel.create(Vocabulary(tuple("\"'\\{}\n日é")), ModelConfig(hidden_size=8), seed=1)
    write_plain(language_model, tmp_path)
    assert "charlstm" not in (tmp_path / PROGRAM_FILE).read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(PROGRAM_FILE)
    written = capsys.readouterr().out
    assert written.startswith("\"'\\{}\n日é")
    assert len(written) == 8 + 300 + 1
    assert LanguageModel.load(tmp_path).vocabulary == language_model.vocabulary
