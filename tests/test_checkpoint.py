"""The files a run leaves behind: exact, sufficient alone, strict when read, whole after any failure."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from damaged import DAMAGED
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from charlstm import checkpoint
from charlstm.checkpoint import Provenance, load_model, save_model, save_training_state
from charlstm.config import ModelConfig
from charlstm.errors import CheckpointError
from charlstm.model import CharLSTM
from charlstm.vocabulary import Vocabulary

VOCABULARY = Vocabulary(tuple("\n\t \"'\\{}[],:€é漢😀\u2028\x00\ud800az"))
CONFIG = ModelConfig(hidden_size=5, num_layers=2, embedding_dim=3, dropout=0.25, weight_dropout=0.125, forget_bias=1.5)
PROVENANCE = Provenance(
    corpus='a "quoted" näme',
    corpus_sha256="ab" * 32,
    corpus_chars=1234,
    split="first 90% training, last 10% validation",
    train_config={"batch_size": 8, "learning_rate": 0.005, "sample_prompt": "\n😀"},
    step=17,
    training_seconds=1.5,
    val_loss=1.0 / 3.0,
    val_method="stateful",
    hardware="two cores",
    versions={"torch": "9.9"},
)
ALICE = Vocabulary.from_text("alice in wonderland")


def make(vocabulary: Vocabulary = VOCABULARY, config: ModelConfig = CONFIG, seed: int = 31) -> CharLSTM:
    torch.manual_seed(seed)
    return CharLSTM(len(vocabulary), config)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model file as `save_model` publishes it."""
    path = tmp_path / "model.safetensors"
    save_model(path, make(), VOCABULARY, PROVENANCE)
    return path


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header, read without charlstm."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118  not a dict


# Round trip ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vocabulary", "config"),
    [
        (VOCABULARY, CONFIG),
        (ALICE, ModelConfig(hidden_size=4)),
        (Vocabulary.from_text("", "bytes"), ModelConfig(hidden_size=3, level="bytes", forget_bias=0)),
        (Vocabulary(("x",)), ModelConfig(hidden_size=1)),
    ],
    ids=["everything", "one-hot", "bytes", "smallest"],
)
@pytest.mark.parametrize("provenance", [PROVENANCE, None])
def test_a_model_comes_back_exactly(
    tmp_path: Path, vocabulary: Vocabulary, config: ModelConfig, provenance: Provenance | None
) -> None:
    model = make(vocabulary, config)
    save_model(tmp_path / "m.safetensors", model, vocabulary, provenance)
    loaded, loaded_vocabulary, loaded_provenance = load_model(tmp_path / "m.safetensors")
    saved = dict(model.named_parameters())
    assert [name for name, _ in loaded.named_parameters()] == list(saved)
    for name, parameter in loaded.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, saved[name]), name
    assert loaded_vocabulary.characters == vocabulary.characters
    assert loaded_vocabulary.level == vocabulary.level
    assert loaded.config == config
    assert loaded_provenance == provenance


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    model = make()
    with torch.no_grad():
        model.head.weight[0, 0] = value
    save_model(tmp_path / "m.safetensors", model, VOCABULARY, None)
    with pytest.raises(CheckpointError, match="not finite"):
        load_model(tmp_path / "m.safetensors")


def test_odd_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    model = make()
    odd = torch.tensor([3.4e38, -3.4e38, 1.0000001, -0.0, 1e-45])
    with torch.no_grad():
        model.head.weight[0] = odd
    save_model(tmp_path / "m.safetensors", model, VOCABULARY, None)
    loaded, _, _ = load_model(tmp_path / "m.safetensors")
    assert loaded.head.weight.detach()[0].view(torch.int32).tolist() == odd.view(torch.int32).tolist()


def test_a_loaded_model_gives_the_same_logits_through_both_ways(file: Path) -> None:
    model, tokens = make().eval(), torch.tensor([[0, 3, 1, 5]])
    loaded, _, _ = load_model(file)
    assert not loaded.training
    assert torch.equal(loaded(tokens)[0], model(tokens)[0])
    assert torch.equal(
        loaded.step(tokens[:, 0], loaded.initial_state(1))[0], model.step(tokens[:, 0], model.initial_state(1))[0]
    )


def test_a_loaded_model_trains(file: Path) -> None:
    """Every parameter gets a gradient, and the network computes with the parameters the optimiser changed."""
    loaded, _, _ = load_model(file)
    tokens = torch.tensor([[0, 3, 1, 5, 2, 4, 6, 7]])
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    optimizer = torch.optim.Adam(loaded.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(loaded(tokens[:, :-1])[0][0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        assert all(each.grad is not None and each.grad.any() for each in loaded.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = make().train()
    save_model(tmp_path / "m.safetensors", model, VOCABULARY, None)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_loading_draws_no_random_number(file: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load_model(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_file_alone_tells_everything_to_a_reader_without_charlstm(file: Path) -> None:
    tensors, header = parts(file)
    assert set(header) == {"format_version", "config", "vocabulary", "provenance", "sha256"}
    assert header["format_version"] == "1"
    assert json.loads(header["vocabulary"]) == list("\n\t \"'\\{}[],:€é漢😀\u2028\x00\ud800az")
    assert json.loads(header["config"]) == {
        "level": "chars",
        "embedding_dim": 3,
        "hidden_size": 5,
        "num_layers": 2,
        "dropout": 0.25,
        "weight_dropout": 0.125,
        "forget_bias": 1.5,
        "recurrent_init": "orthogonal",
        "input_scale": 1.0,
    }
    provenance = json.loads(header["provenance"])
    assert provenance["corpus"] == 'a "quoted" näme'
    assert provenance["val_loss"] == 1.0 / 3.0
    assert provenance["train_config"]["sample_prompt"] == "\n😀"
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "embedding.weight": (21, 3),
        "lstm.weight_ih_l0": (20, 3),
        "lstm.weight_hh_l0": (20, 5),
        "lstm.bias_ih_l0": (20,),
        "lstm.bias_hh_l0": (20,),
        "lstm.weight_ih_l1": (20, 5),
        "lstm.weight_hh_l1": (20, 5),
        "lstm.bias_ih_l1": (20,),
        "lstm.bias_hh_l1": (20,),
        "head.weight": (21, 5),
        "head.bias": (21,),
    }


def test_facts_that_a_later_version_adds_to_the_provenance_do_no_harm(file: Path) -> None:
    tensors, header = parts(file)
    header["provenance"] = json.dumps({**json.loads(header["provenance"]), "mood": "sunny"})
    save_file(tensors, file, metadata=header)
    assert load_model(file)[2] == PROVENANCE


# Strictness ----------------------------------------------------------------------------------------------------------


def assert_refused(path: Path, what: str = "") -> None:
    """`CheckpointError` in one sentence that names the file and what to do."""
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message
    assert what in message
    assert "\n" not in message
    assert "\r" not in message
    assert message.endswith(".")
    assert ". " not in message, "more than one sentence"
    assert any(advice in message for advice in ("fetch", "choose", "give", "update")), "what is to be done?"
    assert len(message) < 600 + 2 * len(str(path))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nowhere" / "model.safetensors", "there is no model file")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "can't be read")


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_refused(file: Path, damage: Callable[[bytes], bytes]) -> None:
    file.write_bytes(damage(file.read_bytes()))
    assert_refused(file)


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    assert_refused(tmp_path / "foreign.safetensors", "not written by charlstm")


def test_a_training_state_is_no_model(tmp_path: Path) -> None:
    save_training_state(tmp_path / "state.safetensors", {"weight": torch.zeros(3)}, {"step": 1})
    assert_refused(tmp_path / "state.safetensors", "not written by charlstm")


@pytest.mark.parametrize("key", ["format_version", "config", "vocabulary", "provenance"])
def test_a_header_without_one_of_its_texts_is_refused(file: Path, key: str) -> None:
    tensors, header = parts(file)
    del header[key]
    save_file(tensors, file, metadata=header)
    assert_refused(file, f"lacks {key}")


CHARACTERS = list(VOCABULARY.characters)
SETTINGS = CONFIG.model_dump()
BAD_HEADERS: dict[str, tuple[dict[str, str], str]] = {
    "a later version": ({"format_version": "2"}, "has format '2'"),
    "no version": ({"format_version": ""}, "has format ''"),
    "version of many lines": ({"format_version": "1\n" * 1000}, "has format"),
    "config is garbage": ({"config": "{hidden"}, "damaged header"),
    "config is a list": ({"config": "[]"}, "damaged header"),
    "config is null": ({"config": "null"}, "damaged header"),
    "config is bottomless": ({"config": "[" * 100_000}, "damaged header"),
    "unknown setting": ({"config": json.dumps({**SETTINGS, "num_heads": 8})}, "'num_heads'"),
    "unknown setting of two lines": ({"config": json.dumps({**SETTINGS, "a\nb": 8})}, "no setting"),
    "setting out of bounds": ({"config": json.dumps({**SETTINGS, "hidden_size": 10**9})}, "hidden_size"),
    "setting of the wrong kind": ({"config": json.dumps({**SETTINGS, "dropout": "much " * 999})}, "dropout"),
    "setting is not a number": ({"config": json.dumps({**SETTINGS, "dropout": math.nan})}, "dropout"),
    "level of another kind": ({"config": json.dumps({**SETTINGS, "level": "bytes"})}, "damaged header"),
    "other sizes than the weights": ({"config": json.dumps({**SETTINGS, "hidden_size": 6})}, "head.weight"),
    "fewer layers than the weights": ({"config": json.dumps({**SETTINGS, "num_layers": 1})}, "lstm.bias_hh_l1"),
    "other input than the weights": ({"config": json.dumps({**SETTINGS, "embedding_dim": 0})}, "embedding.weight"),
    "vocabulary is garbage": ({"vocabulary": '["a", '}, "damaged header"),
    "vocabulary is a text": ({"vocabulary": json.dumps("".join(CHARACTERS))}, "damaged header"),
    "vocabulary is an object": ({"vocabulary": json.dumps(dict.fromkeys(CHARACTERS, 1))}, "damaged header"),
    "vocabulary of numbers": ({"vocabulary": json.dumps(list(range(21)))}, "damaged header"),
    "vocabulary of lists": ({"vocabulary": json.dumps([[char] for char in CHARACTERS])}, "damaged header"),
    "vocabulary is bottomless": ({"vocabulary": "[" * 100_000}, "damaged header"),
    "vocabulary is empty": ({"vocabulary": "[]"}, "damaged header"),
    "vocabulary of words": ({"vocabulary": json.dumps([*CHARACTERS[:-1], "zz"])}, "damaged header"),
    "vocabulary with a character twice": ({"vocabulary": json.dumps([*CHARACTERS[:-1], "a"])}, "each character once"),
    "vocabulary shorter than the weights": ({"vocabulary": json.dumps(CHARACTERS[:-1])}, "embedding.weight"),
    "vocabulary longer than the weights": ({"vocabulary": json.dumps([*CHARACTERS, "Z"])}, "embedding.weight"),
    "provenance is garbage": ({"provenance": "nope"}, "damaged header"),
    "provenance is a list": ({"provenance": "[]"}, "damaged header"),
    "provenance lacks facts": ({"provenance": '{"corpus": "x"}'}, "damaged header"),
    "provenance is bottomless": ({"provenance": '{"a":' * 100_000}, "damaged header"),
}


@pytest.mark.parametrize(("changes", "what"), BAD_HEADERS.values(), ids=BAD_HEADERS.keys())
def test_a_header_that_does_not_hold_is_refused(file: Path, changes: dict[str, str], what: str) -> None:
    tensors, header = parts(file)
    save_file(tensors, file, metadata={**header, **changes})
    assert_refused(file, what)


BAD_TENSORS: dict[str, tuple[dict[str, Tensor | None], str]] = {
    "missing": ({"head.bias": None}, "head.bias is absent and should be F32 21"),
    "extra": ({"head.scale": torch.ones(2)}, "head.scale is F32 2 and should be absent"),
    "none": (dict.fromkeys(name for name, _ in make().named_parameters()), "is absent"),
    "wrong shape": ({"head.weight": torch.zeros(21, 6)}, "head.weight is F32 21x6 and should be F32 21x5"),
    "transposed": ({"head.weight": torch.zeros(5, 21)}, "head.weight is F32 5x21"),
    "flattened": ({"head.weight": torch.zeros(105)}, "head.weight is F32 105"),
    "double": ({"head.weight": torch.zeros(21, 5, dtype=torch.float64)}, "head.weight is F64"),
    "bfloat16": ({"lstm.bias_ih_l0": torch.zeros(20, dtype=torch.bfloat16)}, "lstm.bias_ih_l0 is BF16"),
    "integers": ({"head.bias": torch.zeros(21, dtype=torch.int32)}, "head.bias is I32"),
}


@pytest.mark.parametrize(("changes", "what"), BAD_TENSORS.values(), ids=BAD_TENSORS.keys())
def test_tensors_that_do_not_fit_are_refused(file: Path, changes: dict[str, Tensor | None], what: str) -> None:
    tensors, header = parts(file)
    changed = {**tensors, **changes}
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, file, metadata=header)
    assert_refused(file, what)


# Publishing ----------------------------------------------------------------------------------------------------------


class _Tied(CharLSTM):
    """Two names for one tensor, which `save_file` refuses."""

    def __init__(self, vocab_size: int, config: ModelConfig) -> None:
        super().__init__(vocab_size, config)
        self.twin = nn.Linear(config.hidden_size, vocab_size, bias=False)
        self.twin.weight = self.head.weight


def test_a_save_that_fails_leaves_the_file_before_whole(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(RuntimeError, match="share memory"):
        save_model(file, _Tied(len(VOCABULARY), CONFIG), VOCABULARY, None)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_disk_that_fills_up_half_way_leaves_the_file_before_whole(
    file: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    before = file.read_bytes()

    def half(_: dict[str, Tensor], path: Path, **__: object) -> None:
        path.write_bytes(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(checkpoint, "save_file", half)
    for save in (
        lambda: save_model(file, make(seed=32), VOCABULARY, None),
        lambda: save_training_state(file, {"weight": torch.zeros(3)}, {}),
    ):
        with pytest.raises(type(error)):
            save()
        assert file.read_bytes() == before
        assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_a_save_replaces_the_file_before(file: Path) -> None:
    save_model(file, make(seed=32), VOCABULARY, None)
    loaded, _, provenance = load_model(file)
    assert torch.equal(loaded.head.weight, make(seed=32).head.weight)
    assert provenance is None
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_a_model_in_use_survives_the_file_being_replaced(file: Path) -> None:
    """A page that holds the best model goes on while the worker publishes a better one."""
    loaded, _, _ = load_model(file)
    save_model(file, make(seed=32), VOCABULARY, None)
    assert torch.equal(loaded.head.weight, make().head.weight)


def test_folders_are_made_where_they_lack(tmp_path: Path) -> None:
    save_model(tmp_path / "a" / "b" / "m.safetensors", make(), VOCABULARY, None)
    assert load_model(tmp_path / "a" / "b" / "m.safetensors")[1] == VOCABULARY
