"""What leaves for PyTorch alone needs nothing of this package."""

import runpy
from pathlib import Path

import pytest

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.cli import main
from charlstm.export.pytorch import PROGRAM_FILE


def test_the_program_beside_the_weights_writes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what would end a program's string in the vocabulary."""
    language_model = LanguageModel.create(Vocabulary(tuple("\"'\\{}\n日é")), ModelConfig(hidden_size=8), seed=1)
    language_model.save(tmp_path / "model")
    command = ["export", str(tmp_path / "model"), str(tmp_path / "plain"), "--plain"]
    assert main([*command, "--onnx"]) == main([*command, "--float16"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert main(command) == 0
    assert "python write.py there" in capsys.readouterr().out

    (tmp_path / "file").touch()
    assert main([*command[:2], str(tmp_path / "file" / "folder"), "--plain"]) == 1
    assert "choose another folder" in capsys.readouterr().err

    monkeypatch.chdir(tmp_path / "plain")
    assert "charlstm" not in Path(PROGRAM_FILE).read_text(encoding="utf-8")
    runpy.run_path(PROGRAM_FILE)
    written = capsys.readouterr().out
    assert written.startswith("\"'\\{}\n日é")
    assert len(written) == 8 + 300 + 1
    assert LanguageModel.load(Path()).vocabulary == language_model.vocabulary
