"""Units are named as they are wired, and only then; scores against counting pairs."""

import itertools
import random

import numpy as np
import pytest
import torch

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.errors import ConfigError
from charlstm.generation.holds import Hold
from charlstm.insight import hold_experiment, text_sample
from charlstm.insight.batched_holds import BatchedReader
from charlstm.insight.hold_effects import Probe, measure_effects
from charlstm.insight.hold_experiment import run_experiment
from charlstm.insight.properties import Properties, find_properties
from charlstm.insight.scores import Coding, area, count_stretches, estimate_areas, score_context
from charlstm.insight.states import trace
from charlstm.insight.text_sample import Sample
from charlstm.insight.units import UnitTable, name_units

SIZE, WIRED = 16, 5
ALPHABET = "\n ().abcdefgh"


def some_text(seed: int, length: int = 12_000) -> str:
    """Words, lines and brackets, at random."""
    dice = random.Random(seed)
    pieces, is_open = list[str](), False
    while sum(map(len, pieces)) < length:
        pieces.append("".join(dice.choices("abcdefgh", k=dice.randint(1, 7))))
        if dice.random() < 0.2:
            pieces.append(")" if is_open else "(")
            is_open = not is_open
        pieces.append(dice.choice("   \n") if dice.random() < 0.9 else ". ")
    return "".join(pieces)


@pytest.fixture(scope="module")
def text() -> str:
    return some_text(1)


def wired_model() -> LanguageModel:
    """An untrained network, one unit of which remembers an open bracket and makes a closing one likely."""
    lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=SIZE, embedding_dim=0), 3)
    opening, closing = (int(lm.vocabulary.encode(mark)[0]) for mark in "()")
    weight_ih, weight_hh, bias_ih, bias_hh = lm.model.lstm.all_weights[0]
    with torch.no_grad():
        for gate, bias in enumerate((-8.0, 8.0, 0.0, 8.0)):  # input shut, forget gate kept, candidate, output open
            row = gate * SIZE + WIRED
            weight_ih[row], weight_hh[row], bias_ih[row], bias_hh[row] = 0.0, 0.0, bias, 0.0
        weight_hh[:, WIRED] = 0.0  # or other units would know of brackets by this one
        weight_ih[WIRED, opening], weight_ih[2 * SIZE + WIRED, opening] = 16.0, 8.0
        weight_ih[SIZE + WIRED, closing] = -16.0
        lm.model.head.weight[:, WIRED] = 0.0
        lm.model.head.weight[closing, WIRED] = 4.0
    return lm


@pytest.fixture(scope="module")
def wired() -> LanguageModel:
    return wired_model()


@pytest.fixture(scope="module")
def table(wired: LanguageModel, text: str) -> UnitTable:
    return name_units(wired, Sample.take(wired, text))


def test_a_wired_unit_is_named_and_remembers(table: UnitTable):
    (named,) = (unit for unit in table.units if unit.unit == WIRED)
    assert (named.follows.key, named.layer, named.sign, named.remembers) == ("bracket", 0, 1, True)
    assert named.score > 0.999
    assert named.twin < 0.8
    assert named.low == pytest.approx(0.0, abs=0.02)
    assert named.high == pytest.approx(1.0, abs=0.02)
    assert named.memory > 10
    assert WIRED in [keeper.unit for keeper in table.keepers[:1]]


def test_what_was_not_wired_has_no_name(table: UnitTable):
    assert [unit.unit for unit in table.units] == [WIRED]


def test_permuted_units_have_the_same_names_elsewhere(table: UnitTable, wired: LanguageModel, text: str):
    lm, order = wired_model(), torch.tensor([*range(1, SIZE), 0])
    rows = torch.cat([order + gate * SIZE for gate in range(4)])
    with torch.no_grad():
        for parameter, source in zip(lm.model.lstm.all_weights[0], wired.model.lstm.all_weights[0], strict=True):
            parameter.copy_(source[rows])
        weight_hh = lm.model.lstm.all_weights[0][1]
        weight_hh.copy_(weight_hh[:, order].clone())
        lm.model.head.weight.copy_(wired.model.head.weight[:, order])
    moved = name_units(lm, Sample.take(lm, text))
    assert [(unit.unit, unit.follows, unit.twin) for unit in moved.units] == [
        ((unit.unit - 1) % SIZE, unit.follows, unit.twin) for unit in table.units
    ]
    assert [unit.score for unit in moved.units] == pytest.approx([unit.score for unit in table.units], abs=1e-3)


def test_holding_the_wired_unit_does_what_the_wiring_says(wired: LanguageModel, text: str):
    ids = wired.vocabulary.encode(text)
    wired_effect, other = measure_effects(wired, ids, [(0, WIRED), (0, WIRED + 1)])
    assert wired_effect.acts
    assert not other.acts
    assert wired_effect.measure == ")"
    assert wired_effect.value == pytest.approx(0.0, abs=0.02) or wired_effect.value == pytest.approx(1.0, abs=0.02)
    assert (wired_effect.after > wired_effect.before) == (wired_effect.value > 0.5)
    assert abs(wired_effect.after - wired_effect.before) > 0.05
    assert not wired_effect.control_low <= wired_effect.after <= wired_effect.control_high
    meter = Probe(wired, ids).meter(Hold(WIRED, 0.0))
    assert meter["fitting"] == ")"
    (bracket,) = (each for each in meter["measures"] if each["key"] == ")")
    assert bracket["held"] < bracket["low"] <= bracket["high"]
    assert bracket["held"] < bracket["plain"]
    rows = run_experiment(wired, ids, [Hold(WIRED, 1.0)], controls=5)["rows"]
    assert rows[0]["is_beyond"]
    assert {row["key"] for row in rows if row["is_beyond"]} >= {")"}


def test_the_turn_of_a_unit_is_what_it_adds_to_the_evidence_of_the_letters_to_come(wired: LanguageModel, text: str):
    ids, probe = wired.vocabulary.encode(text), Probe(wired, wired.vocabulary.encode(text))
    closing = int(wired.vocabulary.encode(")")[0])
    evidence = np.zeros(len(wired.vocabulary))
    evidence[closing] = 2.0
    (found,) = measure_effects(wired, ids, [(0, WIRED)], evidence=[(evidence, 1)])
    at = [each["key"] for each in probe.meter(Hold(WIRED, 0.0))["measures"]].index(")")
    low, high = probe.read(probe.extremes(0, WIRED))[..., at].mean((1, 2))
    assert found.turn == pytest.approx(2 * (high - low), rel=1e-3)
    assert found.turn > found.control_turn > 0
    (turned,) = measure_effects(wired, ids, [(0, WIRED)], evidence=[(evidence, -1)])
    assert turned.turn == -found.turn
    told = Sample.take(wired, text).evidence("bracket", len(wired.vocabulary))
    assert int(told.argmax()) == closing  # which follows nowhere but in brackets


def test_random_units_rarely_seem_to_do_something(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hold_experiment, "_CHARACTERS", 200)
    lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=32), 2)
    ids, hits = lm.vocabulary.encode(text), 0
    probe = Probe(lm, ids, controls=0)
    for unit in range(20):
        rows = run_experiment(lm, ids, [probe.extremes(0, unit)[unit % 2]])["rows"]
        hits += any(row["is_beyond"] for row in rows)
    assert hits <= 1


def test_a_meter_shows_places_that_its_measure_was_not_chosen_by(wired: LanguageModel, text: str):
    ids, hold = wired.vocabulary.encode(text), Hold(WIRED, 0.0)
    probe = Probe(wired, ids)
    shown = next(each for each in probe.meter(hold)["measures"] if each["key"] == ")")
    at = [each["key"] for each in probe.meter(hold)["measures"]].index(")")
    for key, holds in (("plain", [None]), ("held", [hold])):
        chances = probe.read(holds)[0, :, :, at]
        assert shown[key] == pytest.approx(100 * chances[:, 1::2].mean(), abs=0.006)
        assert shown[key] != pytest.approx(100 * chances.mean(), abs=0.006)


def test_a_meter_reads_what_the_states_of_the_held_text_predict(wired: LanguageModel, text: str):
    """By reading one text from its beginning with the unit held near its end, as `trace` does not batch."""
    ids = wired.vocabulary.encode(text)[:100].astype(np.int64)
    hold = Hold(2, 0.7)
    rows = BatchedReader(wired.model, 2, [[], [hold]])
    for token in ids:
        rows.read(torch.tensor([token, token]))
    for at, holds in enumerate(([], [hold])):
        known = trace(wired, ids, holds)
        np.testing.assert_allclose(rows.cells[0, at], known.cells[-1, 0], atol=1e-5)
        np.testing.assert_allclose(rows.hidden[0, at], known.hidden[-1, 0], atol=1e-5)
        logits = torch.from_numpy(known.hidden[-1, 0]) @ wired.model.head.weight.T + wired.model.head.bias
        torch.testing.assert_close(rows.log_probabilities()[at], logits.log_softmax(0).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [24, 80])  # in float32 and, where the processor multiplies it, in bfloat16
def test_held_rows_read_as_a_text_with_the_unit_held(size: int):
    lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=size, num_layers=2), 1)
    ids = lm.vocabulary.encode(some_text(3, 60))[:40].astype(np.int64)
    held = [[], [Hold(2, 0.7)], [Hold(3, -0.4, 1), Hold(5, 1.2)]]
    rows = BatchedReader(lm.model, 6, held)
    cells, outputs = rows.read_all(torch.from_numpy(ids)[:, None].expand(-1, 6))
    for row in range(6):
        known = trace(lm, ids, held[row // 2])
        np.testing.assert_allclose(cells[:, :, row], known.cells, atol=0.02)
        np.testing.assert_allclose(outputs[:, :, row].float(), known.hidden, atol=0.02)
        for hold in held[row // 2]:
            np.testing.assert_allclose(cells[:, hold.layer, row, hold.unit], hold.value, atol=1e-6)
    free = BatchedReader(lm.model, 1).read_all(torch.from_numpy(ids)[:, None])  # as one window, where it is compiled
    np.testing.assert_allclose(free[0][:, :, 0], cells[:, :, 0], atol=0.02)


def test_rows_of_several_layers_read_as_the_network_does():
    lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=80, num_layers=3), 1)
    ids = torch.from_numpy(lm.vocabulary.encode(some_text(2, 90)).astype(np.int64))
    rows = BatchedReader(lm.model, 2)
    for token in ids:
        rows.read(token.expand(2))
    with torch.no_grad():
        logits, (hidden, cells) = lm.model(ids[None])
    torch.testing.assert_close(rows.cells[:, 1], cells[:, 0], atol=0.02, rtol=0)  # products may be bfloat16
    torch.testing.assert_close(rows.hidden[:, 1], hidden[:, 0], atol=0.02, rtol=0)
    torch.testing.assert_close(rows.log_probabilities()[1], logits[0, -1].log_softmax(0), atol=0.02, rtol=0)


def test_untrained_networks_have_no_names(text: str):
    """At most 1 in 100 tests of a property may give one; these are some 200."""
    tests, names = 0, 0
    for seed in range(1, 13):
        lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=16), seed)
        table = name_units(lm, Sample.take(lm, text, 8192))
        names += len({each.follows for each in table.units})
        tests += len({each.follows for each in (*table.units, *table.nearly)}) + len(table.absent)
    assert tests >= 200
    assert names <= tests / 100


def test_properties_moved_against_the_text_give_no_names(
    wired: LanguageModel, text: str, monkeypatch: pytest.MonkeyPatch
):
    def moved(read: str) -> Properties:
        found = find_properties(read)
        return found._replace(**{part: np.roll(getattr(found, part), 1000, axis=0) for part in ("values", "known")})

    monkeypatch.setattr(text_sample, "find_properties", moved)
    table = name_units(wired, Sample.take(wired, text))
    assert len(table.absent) > 20
    assert table.units == table.nearly == ()


def test_naming_can_be_ended_and_tells_how_far_it_is(wired: LanguageModel, text: str):
    shares, named = list[float](), list[bool]()

    def end(share: float, stage: str, table: UnitTable) -> None:
        assert stage
        shares.append(share)
        named.append(WIRED in [unit.unit for unit in table.units])
        if share > 0.7:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        name_units(wired, Sample.take(wired, text), report=end)
    assert shares == sorted(shares)
    assert len(shares) > 5
    assert named == [share >= 0.6 for share in shares]  # 0.4 for itself, 0.2 for an untrained network


def test_a_short_text_is_refused_in_one_sentence(wired: LanguageModel):
    with pytest.raises(ConfigError, match=r"^100 characters are too few .*: give 4,256\.$"):
        Sample.take(wired, "ab " * 33 + "a")


def test_bytes_are_named_by_the_characters_they_end():
    text = some_text(4, 9000).replace("a", "ä")
    lm = LanguageModel.create(Vocabulary.from_text(text, "bytes"), ModelConfig(hidden_size=8), 1)
    table = name_units(lm, Sample.take(lm, text))
    assert table.characters > 4096
    assert {each.property.key for each in table.absent} | {each.follows.key for each in table.nearly} >= {"bracket"}


def test_a_character_is_read_with_the_last_of_its_bytes():
    text = "aéb、\n" * 2000
    taken = Sample.take(LanguageModel.create(Vocabulary.from_text(text, "bytes"), ModelConfig(hidden_size=8), 1), text)
    assert taken.last_read[:9].tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 5]
    places = (taken.starts[:, None] + np.arange(taken.length)).ravel()
    for place, context in zip(places.tolist()[:20], taken.context(), strict=False):
        read = bytes(taken.ids[: place + 1].tolist()).decode(errors="ignore")
        assert "".join(map(chr, context)) == read[:-5:-1]


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    dice = np.random.default_rng(1)
    channel = dice.integers(0, 9, 300).astype(np.uint8)
    values, known = dice.random(300) < 0.3, dice.random(300) < 0.8
    pairs = list(itertools.product(channel[values & known].astype(int), channel[~values & known].astype(int)))
    counted = np.mean([(a > b) + (a == b) / 2 for a, b in pairs])
    assert area(channel, values, known) == pytest.approx(counted, abs=1e-12)
    assert area(channel / 7.0, values, known) == pytest.approx(counted, abs=1e-12)
    everywhere = np.ones(300, bool)
    estimated = estimate_areas(channel[None], values[:, None], everywhere[:, None])
    assert estimated[0, 0] == pytest.approx(area(channel, values, everywhere), abs=1e-6)
    assert np.isnan(area(channel, everywhere, everywhere))


def test_a_byte_holds_enough_of_a_value():
    dice = np.random.default_rng(2)
    numbers = dice.normal(size=(4000, 1)).astype(np.float32)
    values = numbers[:, 0] + dice.normal(size=4000) > 0.5
    coding = Coding.fit(torch.from_numpy(numbers))
    codes = coding.encode(torch.from_numpy(numbers)).T.numpy()
    everywhere = np.ones(4000, bool)
    assert area(codes[0], values, everywhere) == pytest.approx(area(numbers[:, 0], values, everywhere), abs=0.002)
    low, high = coding.quantiles(codes, (0.05, 0.95))[:, 0]
    assert [low, high] == pytest.approx(np.quantile(numbers, [0.05, 0.95]), abs=float(coding.width[0]) * 1.01)


def test_stretches_begin_anew_with_each_piece():
    values = np.array([1, 1, 0, 1, 1, 1, 0, 0], bool)[:, None]
    assert count_stretches(values, np.ones((8, 1), bool), 4).tolist() == [3]
    assert count_stretches(values, np.array([1, 1, 1, 1, 1, 0, 1, 1], bool)[:, None], 4).tolist() == [3]


def test_the_last_four_characters_tell_what_they_tell_and_no_more():
    dice = np.random.default_rng(3)
    ids = dice.integers(0, 3, 20_000)
    context = np.stack([np.roll(ids, back) for back in range(4)], 1)
    values = np.stack([np.roll(ids, 3) == 1, np.roll(ids, 4) == 1, (ids == 0) & (np.roll(ids, 1) == 2)], 1)
    scores = score_context(context, values, np.ones_like(values), 10_000)
    assert scores == pytest.approx([1.0, 0.5, 1.0], abs=0.02)


@pytest.mark.parametrize("size", [1, 8])
def test_the_smallest_networks_are_looked_into_too(size: int, text: str, monkeypatch: pytest.MonkeyPatch):
    lm = LanguageModel.create(Vocabulary.from_text(ALPHABET), ModelConfig(hidden_size=size, embedding_dim=2), 1)
    ids = lm.vocabulary.encode(text)
    assert len(name_units(lm, Sample.take(lm, text)).keepers) == size
    (effect,) = measure_effects(lm, ids, [(0, size - 1)])
    assert effect.kl >= 0
    assert not (size == 1 and effect.acts)
    meter = Probe(lm, ids).meter(Hold(0, 0.3))
    assert meter["controls"] == size - 1
    assert {each["low"] is None for each in meter["measures"]} == {size == 1}
    monkeypatch.setattr(hold_experiment, "_CHARACTERS", 60)
    proved = run_experiment(lm, ids, [Hold(0, 3.0)])
    assert proved["controls"] == size - 1
    if size == 1:
        assert {(row["control_low"], row["is_beyond"]) for row in proved["rows"]} == {(None, False)}
    else:
        assert (
            run_experiment(lm, ids, [Hold(0, 3.0), Hold(5, -1.0), Hold(1, 0.0)])["controls"] == 1
        )  # set of 3 of 5 others


def test_units_held_together_are_compared_with_as_many_others(
    wired: LanguageModel, text: str, monkeypatch: pytest.MonkeyPatch
):
    written: list[list[list[Hold]]] = []

    def write(_lm: object, _begun: object, holds: list[list[Hold]], _tell: object) -> list[list[str]]:
        written.append(holds)
        return [["a b\n"] * 20 for _ in holds]

    monkeypatch.setattr(hold_experiment, "_write", write)
    held = [Hold(WIRED, 1.0), Hold(2, -9.0)]
    assert run_experiment(wired, wired.vocabulary.encode(text), held)["controls"] == 7
    free, together, *others = written[0]
    assert (free, together) == ([], held)
    drawn = [each.unit for others in others for each in others]
    assert sorted(drawn) == [unit for unit in range(SIZE) if unit not in (WIRED, 2)]
    _, (low, high) = [Probe(wired, wired.vocabulary.encode(text)).extremes(0, each.unit) for each in others[0]]
    assert abs(others[0][1].value - low.value) < abs(others[0][1].value - high.value)  # as the second was held low
