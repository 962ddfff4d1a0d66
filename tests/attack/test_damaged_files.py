"""Damaged and forged models, training states and run folders: one printable sentence each, or what was saved.

python -m pytest tests/attack/test_damaged_files.py
CHARLSTM_ATTACKS=40 python -m pytest tests/attack/test_damaged_files.py        # 10,000 of each sort of file
"""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from mutations import TIMES, damaged, damaged_json, damaged_tensors
from records import FINISHED, STARTED, lines, sampled

from charlstm.checkpoint import load_model, load_training_state, save_model, save_training_state
from charlstm.cli.control import describe_run
from charlstm.config import ModelConfig, Settings
from charlstm.errors import CharLSTMError, CheckpointError
from charlstm.model import CharLSTM
from charlstm.runs.continuation import inherit_sizes, read_model_header
from charlstm.runs.control import Control
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import Extension, ParentModel, QueueTicket
from charlstm.vocabulary import Vocabulary

pytestmark = [pytest.mark.attack, pytest.mark.timeout(3600)]
VOCABULARY = Vocabulary.from_text("abc äß€")
T = TypeVar("T")
_NUM = 250
LONGEST = 2000  # characters of a sentence, beside the path that it names


def outcome(ask: Callable[[], T], path: Path) -> T | None:
    """What comes of it; nothing, where it is refused in a sentence fit to be shown."""
    try:
        return ask()
    except CharLSTMError as error:
        message = str(error).replace(str(path), "")
        assert message.isprintable(), message
        assert len(message) <= LONGEST
        return None


def texts_of(path: Path) -> dict[str, str]:
    """Those of a safetensors file's header, read byte by byte."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))


def test_a_damaged_model_is_refused_or_is_the_one_that_was_saved(tmp_path: Path) -> None:
    path, chance = tmp_path / "model.safetensors", random.Random(1)
    model = CharLSTM(len(VOCABULARY), ModelConfig(hidden_size=4, embedding_dim=2))
    save_model(path, model, VOCABULARY, None)
    whole, refused = path.read_bytes(), 0
    for _ in range(_NUM * TIMES):
        path.write_bytes(damaged_tensors(whole, chance))
        outcome(lambda: inherit_sizes(Settings(), path), path)
        loaded = outcome(lambda: load_model(path), path)
        refused += loaded is None
        if loaded and "sha256" in texts_of(path):
            assert loaded[1] == VOCABULARY
            assert loaded[0].config == model.config
            assert all(torch.equal(each, model.state_dict()[name]) for name, each in loaded[0].state_dict().items())
    assert refused > _NUM * TIMES / 2


def test_every_turned_bit_of_the_numbers_is_found(tmp_path: Path) -> None:
    model_file, state_file = tmp_path / "model.safetensors", tmp_path / "state.safetensors"
    save_model(model_file, CharLSTM(len(VOCABULARY), ModelConfig(hidden_size=4)), VOCABULARY, None)
    save_training_state(state_file, {"moments": torch.randn(200)}, {"step": 123456, "elapsed_seconds": 1.5})
    chance = random.Random(2)
    facts_begin = state_file.read_bytes().index(b"123456")
    loads: list[tuple[Path, Callable[[Path], object], int]] = [
        (model_file, load_model, 8 * 400),
        (state_file, load_training_state, 8 * 800),
    ]
    for path, load, num_bits in loads:
        whole = path.read_bytes()
        for _ in range(100 * TIMES):
            bit = chance.randrange(num_bits)
            place = len(whole) - 1 - bit // 8
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit % 8]) + whole[place + 1 :])
            with pytest.raises(CheckpointError, match=r"damaged|not finite"):
                load(path)
        path.write_bytes(whole)
    whole = state_file.read_bytes()
    state_file.write_bytes(whole[:facts_begin] + b"9" + whole[facts_begin + 1 :])
    with pytest.raises(CheckpointError, match="damaged"):
        load_training_state(state_file)


def test_a_damaged_training_state_is_refused_or_is_the_one_that_was_saved(tmp_path: Path) -> None:
    path, chance = tmp_path / "state.safetensors", random.Random(3)
    tensors, facts = {"model.weight": torch.randn(20), "nats": torch.zeros(())}, {"step": 7, "num_parts": 1}
    save_training_state(path, tensors, facts)
    whole, refused = path.read_bytes(), 0
    for _ in range(_NUM * TIMES):
        path.write_bytes(damaged_tensors(whole, chance))
        outcome(lambda: read_model_header(path), path)
        loaded = outcome(lambda: load_training_state(path), path)
        refused += loaded is None
        if loaded and "sha256" in texts_of(path):
            assert loaded[1] == facts
            assert all(torch.equal(loaded[0][name], tensor) for name, tensor in tensors.items())
    assert refused > _NUM * TIMES / 2


FILES = {
    "config.json": json.dumps(Settings().flat()).encode(),
    "control.json": Control(number=5, rate_factor=0.5).model_dump_json().encode(),
    "answer.json": b'{"number": 5, "done": 5, "is_paused": false, "rate_factor": 1.0, "saved_step": 3}',
    "queued.json": QueueTicket().model_dump_json().encode(),
    "more.json": f"[{Extension(minutes=1).model_dump_json()}]".encode(),
    "parent.json": ParentModel(name="a", sha256="0" * 64).model_dump_json().encode(),
    "events.jsonl": lines(STARTED, sampled(5), FINISHED),
    "label.txt": "näme".encode(),
    "owner": b"0" * 64,
    "worker.log": b"log\n",
}


def test_a_damaged_run_is_one_row_of_the_list(tmp_path: Path) -> None:
    """And whatever is asked of it is done, or refused in a sentence; the run beside it is as it was."""
    chance = random.Random(4)
    manager = RunManager(tmp_path)
    for name in ("broken", "sound"):
        (tmp_path / name).mkdir()
        for file, data in FILES.items():
            (tmp_path / name / file).write_bytes(data)
    (tmp_path / "sound" / "queued.json").unlink()
    (sound,) = (row for row in manager.runs() if row.name == "sound")
    for _ in range(_NUM * TIMES):
        file = chance.choice(sorted(FILES))
        damage = damaged_json if file.endswith(".json") else damaged
        (tmp_path / "broken" / file).write_bytes(damage(FILES[file], chance))
        rows = {row.name: row for row in manager.runs()}
        assert set(rows) == {"broken", "sound"}
        assert rows["sound"] == sound
        assert len(rows["broken"].label) < LONGEST
        assert rows["broken"].label.isprintable()
        describe_run(rows["broken"].folder)
        folder = rows["broken"].folder
        for ask in (folder.settings, folder.extensions, lambda: manager.steer("broken", pause=True)):
            outcome(ask, tmp_path)
        outcome(lambda: manager.rename("broken", "näme"), tmp_path)
        (tmp_path / "broken" / file).write_bytes(FILES[file])
        (tmp_path / "broken" / "control.json").write_bytes(FILES["control.json"])
