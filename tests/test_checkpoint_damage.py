"""Files that are well-formed and yet not what was saved, and files that change while they are read."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_checkpoint import PROVENANCE, VOCABULARY, assert_refused, make, parts

from charlstm import checkpoint
from charlstm.checkpoint import load_model, load_training_state, save_model
from charlstm.config import Settings
from charlstm.corpus import open_file
from charlstm.errors import CheckpointError, CorpusError, RunError
from charlstm.runs.continuation import inherit_sizes
from charlstm.runs.run_dir import RunDir
from charlstm.safetensors_header import read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model file as `save_model` publishes it."""
    path = tmp_path / "model.safetensors"
    save_model(path, make(), VOCABULARY, PROVENANCE)
    return path


def without_digest(path: Path) -> None:
    tensors, header = parts(path)
    save_file(tensors, path, metadata={key: text for key, text in header.items() if key != "sha256"})


def test_a_file_of_an_earlier_version_has_no_digest_and_is_read(file: Path) -> None:
    without_digest(file)
    assert torch.equal(load_model(file)[0].head.weight, make().head.weight)


def test_the_digest_is_that_of_the_texts_and_tensors_by_name(file: Path) -> None:
    """Found here from the file alone, as its docstring says."""
    tensors, header = parts(file)
    whole = (header["config"] + header["vocabulary"]).encode("utf-8", "surrogatepass")
    for name in sorted(tensors):
        whole += f"{name} torch.float32 {list(tensors[name].shape)}\n".encode() + tensors[name].numpy().tobytes()
    assert header["sha256"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("key", ["config", "vocabulary"])
def test_other_settings_or_characters_that_would_fit_are_refused(file: Path, key: str) -> None:
    tensors, header = parts(file)
    other = {"config": header["config"].replace("0.25", "0.75"), "vocabulary": header["vocabulary"].replace("z", "y")}
    assert other[key] != header[key]
    save_file(tensors, file, metadata={**header, key: other[key]})
    assert_refused(file, "it is not what was saved")


def test_weights_of_another_model_of_the_same_sizes_are_refused(file: Path) -> None:
    save_file({name: tensor + 1 for name, tensor in parts(file)[0].items()}, file, metadata=parts(file)[1])
    assert_refused(file, "it is not what was saved")


def test_a_pointer_of_git_lfs_is_called_what_it_is(file: Path) -> None:
    file.write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 10466736\n"
    )
    for ask in (load_model, load_training_state):
        with pytest.raises(CheckpointError, match=r"only the pointer that Git LFS leaves .* run `git lfs pull`"):
            ask(file)
    with pytest.raises(RunError, match="Git LFS"):
        inherit_sizes(Settings(), file)
    with pytest.raises(CorpusError, match="Git LFS"):
        open_file(file)
    folder = RunDir(file.parent)
    folder.settings_file.write_bytes(file.read_bytes())
    with pytest.raises(RunError, match=r"^the settings file of run [^ ]+ is only the pointer that Git LFS leaves"):
        folder.settings()


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has mapped is told by Linux alone")
def test_nothing_of_a_file_stays_mapped_while_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or `cp` over it, which cuts it first, would end the process (SIGBUS)."""
    mapped = []
    look = torch.Tensor.isfinite
    monkeypatch.setattr(torch.Tensor, "isfinite", lambda tensor: mapped.append(maps()) or look(tensor))
    monkeypatch.setattr(checkpoint, "read_header", lambda opened: mapped.append(maps()) or read_header(opened))

    def maps() -> bool:
        return str(file) in Path("/proc/self/maps").read_text(encoding="utf-8")

    load_model(file)
    assert len(mapped) > 2
    assert not any(mapped)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_and_cut(opened: Any) -> object:
        header = read_header(opened)
        os.truncate(file, 2000)
        return header

    monkeypatch.setattr(checkpoint, "read_header", read_and_cut)
    assert_refused(file, "it became shorter while it was read")


def test_a_file_far_larger_than_its_header_says_is_refused_unread(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)
    assert_refused(file, "1,099,511,627,776 bytes and should have")


def test_names_of_a_file_are_shown_printable_and_short(file: Path) -> None:
    tensors, header = parts(file)
    for name in ("\x1b]0;owned\x07\nhead", "n" * 100_000):
        save_file({**tensors, name: torch.zeros(1)}, file, metadata=header)
        with pytest.raises(CheckpointError) as caught:
            load_model(file)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600 + 2 * len(str(file))
