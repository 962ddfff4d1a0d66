"""The compiled steps against `CharLSTM.forward`, which is held against a naive loop; and texts beside each other."""

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler
from torch.nn import functional

from charlstm import LanguageModel
from charlstm.config import ModelConfig, SampleConfig
from charlstm.corpus import open_corpus
from charlstm.generation import engine
from charlstm.generation.quantization import quantize_weights
from charlstm.generation.sampling import counter_uniform, sample_token
from charlstm.kernel import decoder
from charlstm.kernel.decoder import DecoderState
from charlstm.model import CharLSTM

pytestmark = needs_compiler
TYPES = pytest.mark.parametrize("is_int8", [False, True])
SHAPES = [
    (7, {"hidden_size": 16}),
    (65, {"hidden_size": 48, "num_layers": 2, "embedding_dim": 12}),
    (130, {"hidden_size": 20, "num_layers": 3}),  # rounded up to 32 units, and neither to a block of characters
]


def model_of(vocab_size: int, **settings: object) -> CharLSTM:
    """Weights large enough that what was read matters."""
    torch.manual_seed(5)
    model = CharLSTM(vocab_size, ModelConfig(**settings))
    with torch.no_grad():
        for weight in filter(lambda each: each.dim() > 1, model.parameters()):
            weight.mul_(3.0)
    return model


@torch.no_grad()
def log_probabilities(model: CharLSTM, ids: np.ndarray) -> torch.Tensor:
    """ids (B, T) -> (B, T - 1, V) of what follows each, by `forward`, in float32."""
    logits, _ = model(torch.from_numpy(ids.astype(np.int64)))
    return functional.log_softmax(logits[:, :-1].double(), dim=-1)


def followed(model: CharLSTM, ids: np.ndarray, is_int8: bool, num_likeliest: int = 0) -> decoder.DecodedTokens:
    network = engine.pack_weights(model, is_int8)
    return DecoderState.together([DecoderState.after(network, row[:1]) for row in ids]).follow(
        ids[:, 1:], num_likeliest
    )


@pytest.mark.parametrize(("vocab_size", "settings"), SHAPES)
@pytest.mark.parametrize("num_texts", [1, 2, 3, 4, 5, 6, 7, 13])
def test_every_probability_is_that_of_the_network(vocab_size: int, settings: dict, num_texts: int) -> None:
    """In float32, for every number of rows that a tile takes and for two tiles."""
    model = model_of(vocab_size, **settings)
    ids = np.random.default_rng(2).integers(0, vocab_size, (num_texts, 40)).astype(np.int32)
    expected = log_probabilities(model, ids)
    found = followed(model, ids, is_int8=False, num_likeliest=vocab_size)
    surprise = -expected.gather(-1, torch.from_numpy(ids[:, 1:, None].astype(np.int64)))[..., 0]
    np.testing.assert_allclose(found.surprises, surprise, atol=3e-4)
    by_character = np.take_along_axis(expected.exp().numpy(), found.likeliest.astype(np.int64), axis=-1)
    np.testing.assert_allclose(found.probabilities, by_character, atol=1e-4)
    assert (np.sort(found.likeliest, axis=-1) == np.arange(vocab_size)).all()
    assert (np.diff(found.probabilities, axis=-1) <= 0).all()


@pytest.fixture(scope="module")
def bundled(repository: object) -> tuple[CharLSTM, np.ndarray]:
    """The bundled model that is at home in a text that every machine has, and the last 4 x 1,500 characters of that."""
    known = LanguageModel.load(f"{repository}/checkpoints/python-stdlib")
    text = "".join(
        char for char in open_corpus("python-stdlib").text[-9000:] if not known.vocabulary.find_unknown(char)
    )
    return known.model, known.vocabulary.encode(text)[:6000].astype(np.int32).reshape(4, -1)


def test_over_a_long_text_float32_stays_with_the_network(bundled: tuple[CharLSTM, np.ndarray]) -> None:
    model, ids = bundled
    expected = log_probabilities(model, ids)
    surprise = -expected.gather(-1, torch.from_numpy(ids[:, 1:, None].astype(np.int64)))[..., 0]
    np.testing.assert_allclose(followed(model, ids, is_int8=False).surprises, surprise, atol=2e-3)


def test_8_bits_cost_less_than_0_002_nats(bundled: tuple[CharLSTM, np.ndarray]) -> None:
    model, ids = bundled
    loss = [float(followed(model, ids, is_int8).surprises.mean()) for is_int8 in (False, True)]
    assert loss[1] != loss[0], "one of them is not what it says"
    assert abs(loss[1] - loss[0]) < 0.002


def states_in_8_bits(model: CharLSTM, ids: np.ndarray) -> np.ndarray:
    """Cell states (T, L, H) after each of `ids` (T,), number by number as docs/elsewhere.md defines them."""
    rounded, one = quantize_weights(model), np.float32(1)
    table, size = rounded.gate_table(), model.config.hidden_size
    h, c = (np.zeros((model.config.num_layers, size), np.float32) for _ in "hc")

    def exponential(x: np.ndarray) -> np.ndarray:
        magic = np.float32(12582912)
        scaled = np.clip(x, np.float32(-60), np.float32(60)) * np.float32(1.44269504088896)
        shifted = scaled + magic
        power = np.float32(1.54035304e-4)
        for each in (1.33335581e-3, 9.61812911e-3, 5.55041087e-2, 2.40226507e-1, 6.93147181e-1, 1.0):
            power = power * (scaled - (shifted - magic)) + np.float32(each)
        return (power.view(np.int32) + ((shifted.view(np.int32) - magic.view(np.int32)) << 23)).view(np.float32)

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return one / (one + exponential(-x))

    def tanh(x: np.ndarray) -> np.ndarray:
        return one - np.float32(2) * (one / (one + exponential(x + x)))

    cells = []
    for token in ids:
        given = table[token]
        for layer, matrix in enumerate(rounded.layers):
            inputs = np.concatenate([h[layer - 1], h[layer]]) if layer else h[layer]
            whole = np.rint(inputs * np.float32(127)).astype(np.int64)
            product = (matrix.weights.astype(np.int64) @ whole).astype(np.float32)
            sums = product * (matrix.scales / np.float32(127)) + (rounded.biases[layer] if layer else given)
            i, f, g, o = sums.reshape(4, size)
            c[layer] = sigmoid(f) * c[layer] + sigmoid(i) * tanh(g)
            h[layer] = sigmoid(o) * tanh(c[layer])
        cells.append(c.copy())
    return np.array(cells)


@pytest.mark.parametrize(("vocab_size", "settings"), SHAPES)
def test_states_in_8_bits_are_those_of_their_definition_to_the_bit(vocab_size: int, settings: dict) -> None:
    model = model_of(vocab_size, **settings)
    ids = np.random.default_rng(3).integers(0, vocab_size, 200).astype(np.int32)
    network = engine.pack_weights(model, True)
    found = DecoderState.after(network, ids[:1]).record(ids[None])
    assert np.array_equal(found.cells[0], states_in_8_bits(model, ids))


@TYPES
def test_logits_taken_one_by_one_lead_to_the_text_that_is_written_at_once(is_int8: bool) -> None:
    config, start = SampleConfig(temperature=1.0, top_p=0.95, seed=4), np.array([1, 2, 3], np.int32)
    network = engine.pack_weights(model_of(65, hidden_size=48, num_layers=2), is_int8)
    whole = DecoderState.after(network, start, 2).write(config, 60, 0)
    texts = DecoderState.after(network, start, 2)
    for position in range(60):
        logits = texts.next_logits().astype(np.float64)
        chosen = [sample_token(each, config, counter_uniform(4, text, position)) for text, each in enumerate(logits)]
        texts.accept(np.array(chosen))
        assert chosen == whole.ids[:, position].tolist()
    assert np.array_equal(
        texts.write(config, 30, 60).ids, DecoderState.after(network, start, 2).write(config, 90, 0).ids[:, 60:]
    )


@TYPES
def test_a_text_is_the_same_to_the_bit_alone_and_beside_others(is_int8: bool) -> None:
    network = engine.pack_weights(model_of(65, hidden_size=48, num_layers=2), is_int8)
    config = SampleConfig(temperature=1.0, top_p=0.9, seed=4)
    beginnings = [np.array(each, np.int32) for each in ([1, 2, 3], [4], [5, 6], [1, 2], *[[7]] * 9)]
    together = DecoderState.together([DecoderState.after(network, each) for each in beginnings]).write(
        config, 100, 0, 5
    )
    for sample in (0, 3, 12):
        alone = [DecoderState.after(network, beginnings[sample])] * (sample + 1)  # only its number counts
        again = DecoderState.together(alone).write(config, 100, 0, 5)
        assert again.leanings is together.leanings is None
        for found, expected in zip(again[:-1], together[:-1], strict=True):
            assert found is not None
            assert expected is not None
            assert np.array_equal(found[sample], expected[sample])


@TYPES
def test_a_text_is_the_same_to_the_bit_however_it_is_cut(is_int8: bool) -> None:
    """Written at once, in pieces, and continued by who only has the text."""
    network = engine.pack_weights(model_of(65, hidden_size=48, num_layers=2), is_int8)
    config, start = SampleConfig(temperature=1.0, no_repeat=3, seed=4), np.array([1, 2, 3], np.int32)
    whole = DecoderState.after(network, start).write(config, 2100, 0)
    texts, pieces, done = DecoderState.after(network, start), [], 0
    for length in (1, 9, 1500, 590):
        pieces.append(texts.write(config, length, done))
        done += length
    assert np.array_equal(np.concatenate([piece.ids for piece in pieces], axis=1), whole.ids)
    assert np.array_equal(np.concatenate([piece.surprises for piece in pieces], axis=1), whole.surprises)
    begun = np.concatenate([start, whole.ids[0, :1700]])
    continued = DecoderState.after(network, begun).write(config, 400, 1700)
    assert np.array_equal(continued.ids, whole.ids[:, 1700:])
    assert np.array_equal(continued.surprises, whole.surprises[:, 1700:])


def test_threads_change_nothing() -> None:
    network = engine.pack_weights(model_of(65, hidden_size=48), False)
    texts, before = (
        [DecoderState.after(network, np.array([1], np.int32), 20) for _ in range(2)],
        torch.get_num_threads(),
    )
    one = texts[0].write(SampleConfig(), 50, 0)
    try:
        torch.set_num_threads(3)
        assert np.array_equal(texts[1].write(SampleConfig(), 50, 0).ids, one.ids)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("vocab_size", "changed_at"), [(20, 3), (20, 19), (21, 0), (21, 20)])
def test_changed_weights_are_noticed(vocab_size: int, changed_at: int) -> None:
    model = model_of(vocab_size, hidden_size=16)
    first = engine.pack_weights(model, False)
    assert engine.pack_weights(model, False) is first
    with torch.no_grad():
        model.head.bias[changed_at] += 50.0
    changed = engine.pack_weights(model, False)
    assert changed is not first
    assert set(DecoderState.after(changed, np.zeros(1, np.int32)).write(SampleConfig(), 50, 0).ids[0].tolist()) == {
        changed_at
    }


def test_weights_that_are_no_numbers_choose_a_character_all_the_same() -> None:
    model = model_of(20, hidden_size=256)
    with torch.no_grad():
        model.lstm.weight_hh_l0.fill_(float("nan"))
    for settings in ({}, {"temperature": 0}, {"top_k": 3, "top_p": 0.5, "no_repeat": 2}):
        texts = engine.start_session(model, [np.zeros(2, np.int32)], SampleConfig(**settings))
        assert set(texts.write(SampleConfig(**settings), 30, 0, 5).ids[0].tolist()) <= set(range(20))


def test_memory_stays_where_it_was_however_much_is_written() -> None:
    """What one piece needs is freed before the next but one: the state of a text holds nothing that grows."""
    texts = DecoderState.after(engine.pack_weights(model_of(20, hidden_size=16), False), np.zeros(1, np.int32))

    def held() -> int:
        return sum(
            each.nbytes if isinstance(each, np.ndarray) else each.untyped_storage().nbytes()
            for each in vars(texts).values()
            if isinstance(each, np.ndarray | torch.Tensor)
        )

    texts.write(SampleConfig(), 10, 0)
    before = held()
    for position in range(10, 200_010, 20_000):
        texts.write(SampleConfig(), 20_000, position)
    assert held() == before
    assert texts._history.base is None, "not a view of something longer"
