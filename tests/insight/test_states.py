"""States, held or not, against a loop in NumPy written here and against `nn.LSTM` one character at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler

from charlstm import LanguageModel
from charlstm.config import ModelConfig
from charlstm.errors import ConfigError
from charlstm.generation import engine
from charlstm.generation.holds import Hold, resolve_holds
from charlstm.insight.states import iterate_streams, read_streams, trace
from charlstm.kernel import decoder
from charlstm.kernel.decoder import DecoderState
from charlstm.vocabulary import Vocabulary

LETTERS = Vocabulary.from_text("\n abcdefghijklmnopqrstuvwxyz")
SHAPES = [
    {"hidden_size": 8},
    {"hidden_size": 20, "num_layers": 3, "embedding_dim": 5},
    {"hidden_size": 32, "num_layers": 2},
]
SIZES = pytest.mark.parametrize("settings", SHAPES)
BY = pytest.mark.parametrize("has_kernel", [pytest.param(True, marks=needs_compiler), False])
HOLDS = (Hold(3, 2.5), Hold(0, -1.25))


def model_of(vocabulary: Vocabulary = LETTERS, **settings: object) -> LanguageModel:
    """Weights large enough that what was read matters."""
    lm = LanguageModel.create(vocabulary, ModelConfig(**settings), seed=3)
    with torch.no_grad():
        for weight in filter(lambda each: each.dim() > 1, lm.model.parameters()):
            weight.mul_(2.0)
    return lm


def ids_of(number: int, vocab_size: int = len(LETTERS)) -> np.ndarray:
    return np.random.default_rng(7).integers(0, vocab_size, number).astype(np.int32)


def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "is_available", lambda *_: False)


def naive(lm: LanguageModel, ids: np.ndarray, held: dict[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray]:
    """Cells and hidden states (T, L, H) by the equations, in double precision."""
    weights = [[each.detach().double().numpy() for each in layer] for layer in lm.model.lstm.all_weights]
    vectors = lm.model.embedding.weight if lm.model.embedding is not None else torch.eye(len(lm.vocabulary))
    size, layers = lm.model.config.hidden_size, lm.model.config.num_layers
    h, c = np.zeros((layers, size)), np.zeros((layers, size))
    cells, hidden = [], []
    for index in ids.tolist():
        below = vectors[index].detach().double().numpy()
        for layer, (w_ih, w_hh, b_ih, b_hh) in enumerate(weights):
            i, f, g, o = np.split(w_ih @ below + b_ih + w_hh @ h[layer] + b_hh, 4)
            i, f, o = (1 / (1 + np.exp(-each)) for each in (i, f, o))
            c[layer] = f * c[layer] + i * np.tanh(g)
            for (at, unit), value in held.items():
                if at == layer:
                    c[layer, unit] = value
            below = h[layer] = o * np.tanh(c[layer])
        cells.append(c.copy())
        hidden.append(h.copy())
    return np.array(cells), np.array(hidden)


@BY
@SIZES
@pytest.mark.parametrize("is_held", [False, True])
def test_states_and_surprises_are_those_of_the_equations(
    settings: dict, is_held: bool, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        without_kernel(monkeypatch)
    lm, ids = model_of(**settings), ids_of(60)
    holds = (*HOLDS, Hold(5, 0.5, settings.get("num_layers", 1) - 1)) if is_held else ()
    held = {(hold.layer, hold.unit): hold.value for hold in holds}
    cells, hidden = naive(lm, ids, held)
    found = trace(lm, ids, holds)
    np.testing.assert_allclose(found.cells, cells, atol=2e-4)
    np.testing.assert_allclose(found.hidden, hidden, atol=1e-4)
    for (layer, unit), value in held.items():
        assert (found.cells[:, layer, unit] == np.float32(value)).all(), "not near it: at it"
    head = lm.model.head
    logits = hidden[:, -1] @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found.surprises[1:], -logs[np.arange(59), ids[1:]], atol=3e-4)
    assert np.isnan(found.surprises[0])


@BY
@SIZES
def test_states_are_those_of_the_library_one_character_at_a_time(
    settings: dict, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        without_kernel(monkeypatch)
    lm, ids = model_of(**settings), ids_of(60)
    state, found = lm.model.initial_state(1), trace(lm, ids)
    for at, index in enumerate(ids.tolist()):
        with torch.no_grad():
            _, state = lm.model.lstm(lm.model._inputs(torch.tensor([[index]])), state)
        np.testing.assert_allclose(found.hidden[at], state[0][:, 0], atol=1e-4)
        np.testing.assert_allclose(found.cells[at], state[1][:, 0], atol=1e-4)


@SIZES
def test_gates_give_the_states_back(settings: dict) -> None:
    lm, ids = model_of(**settings), ids_of(60)
    found = trace(lm, ids, HOLDS)
    gates = found.gates(lm)
    before = np.concatenate([np.zeros_like(found.cells[:1]), found.cells[:-1]])
    cells = gates["forget"] * before + gates["input"] * gates["candidate"]
    for hold in HOLDS:
        cells[:, hold.layer, hold.unit] = hold.value
    np.testing.assert_allclose(found.cells, cells, atol=1e-4)
    np.testing.assert_allclose(found.hidden, gates["output"] * np.tanh(found.cells), atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("is_int8", [False, True])
def test_a_unit_held_where_it_would_have_gone_changes_no_bit(is_int8: bool) -> None:
    """At every step the unit is held at what it comes to by itself: states and probabilities stay what they are."""
    lm, ids = model_of(**SHAPES[1]), ids_of(40)
    network = engine.pack_weights(lm.model, is_int8)

    def after(at: int, held: dict[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells and hidden states after ids[at], held after that one only, and the surprise of what follows."""
        states = DecoderState.after(network, ids[: at + 1], 1, held).record(ids[None, at : at + 1])
        followed = DecoderState.after(network, ids[: at + 1], 1, held).follow(ids[None, at + 1 : at + 2])
        return states.cells[0, 0], states.hidden[0, 0], followed.surprises

    for at in range(39):
        free = after(at, {})
        for layer, unit in ((0, 7), (2, 19)):
            value = float(free[0][layer, unit])
            for held, expected in zip(after(at, {(layer, unit): value}), free, strict=True):
                assert np.array_equal(held, expected)
            cells = after(at, {(layer, unit): value + 1})[0]
            changed = zip(*(cells[: layer + 1] != free[0][: layer + 1]).nonzero(), strict=True)
            assert [*map(tuple, changed)] == [(layer, unit)], "and no other of its layer or below"


@BY
@SIZES
def test_what_is_known_of_a_text_is_not_read_again_and_no_bit_differs(
    settings: dict, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        without_kernel(monkeypatch)
    lm, ids = model_of(**settings), ids_of(60)
    changed = ids.copy()
    changed[30] += 1 if ids[30] < 5 else -1
    for holds in ((), HOLDS):
        whole = trace(lm, ids, holds)
        for other in (ids[:1], ids[:2], np.append(ids, 3), changed, ids[:0]):
            known = trace(lm, other, holds)
            found = trace(lm, ids, holds, known=known)
            for name in ("ids", "cells", "hidden", "surprises"):
                np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    poisoned = replace(whole, cells=whole.cells + 100)
    assert trace(lm, ids, HOLDS, known=poisoned).cells[:-1].min() > 50, "it was read again"


def test_what_a_model_lacks_can_not_be_held_and_nothing_has_no_states() -> None:
    lm = model_of(hidden_size=8)
    for hold, said in ((Hold(8, 1.0), "no unit 8"), (Hold(0, 1.0, 1), "no layer 1"), (Hold(0, float("nan")), "nan")):
        with pytest.raises(ConfigError, match=said):
            trace(lm, ids_of(5), [hold])
    assert resolve_holds([Hold(7, 1.0)], lm.model.config) == {(0, 7): 1.0}
    assert trace(lm, ids_of(0)).cells.shape == (0, 1, 8)
    assert trace(lm, ids_of(1)).cells.shape == (1, 1, 8)
    assert len(read_streams(lm, ids_of(0)).places) == 0


@pytest.mark.parametrize(("number", "num_streams", "burn_in"), [(1, 8, 30), (50, 8, 30), (401, 6, 60), (401, 6, 0)])
@pytest.mark.parametrize("settings", [*SHAPES[:2], {"hidden_size": 64}])
def test_streams_side_by_side_are_one_long_one(settings: dict, number: int, num_streams: int, burn_in: int) -> None:
    """Up to the rounding of bfloat16, where it is used, and from a burn-in on that is as long as the memory."""
    lm = LanguageModel.create(LETTERS, ModelConfig(**settings, forget_bias=0.0), seed=3)  # soon forgets
    ids = ids_of(number)
    exact, found = trace(lm, ids), read_streams(lm, ids, num_streams, burn_in, np.float32)
    assert found.places.tolist() == list(range(number))
    whole = [*iterate_streams(lm, ids, num_streams, burn_in, window=7)]
    places = np.concatenate([each.places for each in whole])
    assert sorted(places.tolist()) == list(range(number))
    length = -(-number // max(1, min(num_streams, number // max(1, burn_in))))
    is_first = np.arange(number) < length
    is_warm = is_first | (burn_in > 0)
    limit = 0.01 if settings["hidden_size"] == 64 else 1e-4  # bfloat16
    assert abs(found.cells - exact.cells)[is_warm].max() < limit
    assert abs(found.hidden - exact.hidden)[is_warm].max() < limit
    for window in whole:
        np.testing.assert_array_equal(window.cells, found.cells[window.places])
    if not burn_in:
        assert abs(found.cells - exact.cells)[~is_first].max() > 0.02, "nothing is there to warm up"


@pytest.mark.parametrize(
    ("vocabulary", "settings"),
    [
        (Vocabulary.from_text("", "bytes"), {"level": "bytes", "hidden_size": 8}),
        (Vocabulary(tuple(map(chr, range(0x4E00, 0x4E00 + 8000)))), {"hidden_size": 8, "embedding_dim": 4}),
    ],
)
def test_bytes_and_a_vocabulary_of_thousands_have_states_too(vocabulary: Vocabulary, settings: dict) -> None:
    lm = model_of(vocabulary, **settings)
    ids = ids_of(40, len(vocabulary))
    np.testing.assert_allclose(
        trace(lm, ids, HOLDS).cells, naive(lm, ids, resolve_holds(HOLDS, lm.model.config))[0], atol=2e-4
    )
