"""Reasons of a letter, the horizon, similar moments and the step of a cell, each against a loop written here."""

import math

import numpy as np
import pytest
import torch

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.errors import ConfigError
from charlstm.insight.attribution import describe, erase_spans, explain_letter, find_reasons
from charlstm.insight.cell import explain_step, measure_carried_state, score_with_forget_gate
from charlstm.insight.horizon import measure_horizon
from charlstm.insight.neighbors import StateIndex
from charlstm.insight.states import trace

LETTERS = "abcde \n"
GENERATOR = np.random.default_rng(3)
IDS = GENERATOR.integers(0, len(LETTERS), 1500).astype(np.int32)


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    config = ModelConfig(hidden_size=8, num_layers=request.param)
    built = LanguageModel.create(Vocabulary.from_text(LETTERS), config, 2)
    with torch.no_grad():
        for parameter in built.model.parameters():
            parameter.mul_(4)  # so that a letter makes a difference
    return built


def log_probabilities(model: LanguageModel, inputs: torch.Tensor) -> torch.Tensor:
    """What follows one-hot or averaged characters (T, V), by PyTorch's own LSTM."""
    with torch.no_grad():
        hidden, _ = model.model.lstm(inputs[None])
        return model.model.head(hidden[0]).log_softmax(1)  # type: ignore[no-any-return]


def one_hot(ids: np.ndarray) -> torch.Tensor:  # type: ignore[type-arg]
    return torch.nn.functional.one_hot(torch.from_numpy(ids).long(), len(LETTERS)).float()


def surprises_in_one(model: LanguageModel, ids: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    logs = log_probabilities(model, one_hot(ids)).numpy()
    return np.append(0.0, -logs[np.arange(len(ids) - 1), ids[1:]])


def test_a_worth_is_that_of_reading_the_altered_text_from_its_beginning(model: LanguageModel) -> None:
    place, count = 60, 20
    untouched = log_probabilities(model, one_hot(IDS[:place]))[-1, IDS[place]]
    expected = []
    for erased in range(place - count, place):
        inputs = one_hot(IDS[:place])
        inputs[erased] = 1 / len(LETTERS)
        expected.append(float(untouched - log_probabilities(model, inputs)[-1, IDS[place]]))
    before = trace(model, IDS).state(place - count - 1)
    found = erase_spans(model, IDS, [(at, at + 1) for at in range(place - count, place)], (place, place + 1), before)
    assert found == pytest.approx(expected, abs=1e-4)
    assert max(map(abs, expected)) > 0.1


def test_a_character_of_several_tokens_is_erased_and_asked_for_as_a_whole(model: LanguageModel) -> None:
    spans, target = [(0, 2), (2, 3), (3, 6)], (6, 8)

    def chance(inputs: torch.Tensor) -> float:
        logs = log_probabilities(model, inputs)
        return float(logs[5, IDS[6]] + logs[6, IDS[7]])

    expected = []
    for begin, end in spans:
        inputs = one_hot(IDS[:8])
        inputs[begin:end] = 1 / len(LETTERS)
        expected.append(chance(one_hot(IDS[:8])) - chance(inputs))
    assert erase_spans(model, IDS, spans, target, None) == pytest.approx(expected, abs=1e-4)


def test_a_letter_far_from_the_beginning_is_explained_by_all_that_stands_before_it(model: LanguageModel) -> None:
    place, count = 1400, 12  # beyond the first piece that is read
    text = model.vocabulary.decode(IDS[: place + 1])
    ids = model.vocabulary.encode(text).astype(np.int32)
    found = explain_letter(model, text, place, count)
    untouched = log_probabilities(model, one_hot(ids[:place]))[-1]
    assert found.chance == pytest.approx(float(untouched[ids[place]].exp()), abs=1e-3)
    inputs = one_hot(ids[:place])
    inputs[place - count] = 1 / len(LETTERS)
    erased = log_probabilities(model, inputs)[-1]
    assert found.worths[0] == pytest.approx(float((untouched - erased)[ids[place]]), abs=1e-4)
    assert len(found.worths) == count


def test_nothing_before_a_letter_explains_nothing(model: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="choose a place from 1 to 1"):
        explain_letter(model, "ab", 0)
    assert len(explain_letter(model, "ab", 1).worths) == 1


@pytest.mark.parametrize(
    ("worths", "chance", "said"),
    [
        ([0.0, 0.1, 0.0], 0.02, "“d” had a chance of 2 %, and no single letter before it made it much likelier."),
        ([0.0, 0.0, 2.0], 0.6, "“d” is likely here (60 %) because of the “c” just before it."),
        ([1.0, 0.0, 2.0], 0.05, "“d” had a chance of 5 %; what speaks for it most is the “c” just before it and "
         "the line that began 2 characters earlier."),
        ([0.0, 0.5, 2.0], 0.6, "“d” is likely here (60 %) because of the “bc” just before it."),
    ],
)  # fmt: skip
def test_the_sentence_names_what_speaks_for_the_letter(worths: list[float], chance: float, said: str) -> None:
    assert describe("\nbcd", 3, chance, np.array(worths, np.float32)) == said


@pytest.mark.parametrize(
    ("before", "said"),
    [(" ", "space"), ("    ", "4 spaces"), ("\t\t", "2 tabs"), (" \t", "“␣⇥”"), ("a b", "“a b”")],
)
def test_letters_that_are_not_seen_are_named_in_the_sentence(before: str, said: str) -> None:
    found = describe(f"{before}d", len(before), 0.6, np.ones(len(before), np.float32))
    assert found == f"“d” is likely here (60 %) because of the {said} just before it."


def test_neighbouring_characters_are_one_reason_and_the_strongest_comes_first() -> None:
    worths = np.array([0.3, 0.0, 0.5, 0.4, -3.0, 0.26], np.float32)
    found = find_reasons(worths, 10)
    assert [(each.first, each.last) for each in found] == [(6, 7), (4, 4), (9, 9)]
    assert found[0].worth == pytest.approx(0.9)


def test_the_loss_by_context_is_that_of_cold_starts(model: LanguageModel) -> None:
    found = measure_horizon(model, IDS)
    full = surprises_in_one(model, IDS)
    assert found.full == pytest.approx(np.mean(full[1:]), abs=2e-3)
    places = np.linspace(0, len(IDS) - (int(found.contexts[-1] * 1.1) + 1) - 2, len(IDS) // 4).astype(int)
    for context in (1, 2, 5):
        cold = [
            -float(log_probabilities(model, one_hot(IDS[place : place + context]))[-1, IDS[place + context]])
            - full[place + context]
            for place in places
        ]
        assert found.nats[found.contexts.index(context)] == pytest.approx(found.full + np.mean(cold), abs=5e-3)


def test_similar_moments_are_those_that_all_pairs_compared_give() -> None:
    model = LanguageModel.create(Vocabulary.from_text(LETTERS), ModelConfig(hidden_size=8, num_layers=2), 2)
    index = StateIndex.build(model, IDS)
    states = trace(model, IDS).cells.reshape(len(IDS), -1)
    centred = states - index.mean
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for place in (700, 1200):
        cosines = centred @ centred[place]
        best = max(cosines[: place - 99].max(), cosines[place + 100 :].max())
        itself, *found = [each.place for each in index.near(trace(model, IDS[: place + 1]).cells[-1], 4)]
        assert cosines[itself] > 0.95
        assert cosines[found[0]] > best - 0.05
        assert min(cosines[each] for each in found) > np.quantile(cosines, 0.95)
        assert all(abs(a - b) >= 100 for at, a in enumerate([itself, *found]) for b in found[at:])


def test_a_step_obeys_the_equations_of_the_cell(model: LanguageModel) -> None:
    found = trace(model, IDS[:30])
    gates = found.gates(model)
    step = explain_step(found, gates, 20, 0, 3)
    assert step.cell == pytest.approx(float(found.cells[20, 0, 3]), abs=1e-5)
    assert step.hidden == pytest.approx(float(found.hidden[20, 0, 3]), abs=1e-5)
    other = explain_step(found, gates, 20, 0, 3, forget=0.0)
    assert other.cell == pytest.approx(step.input * step.candidate)
    assert explain_step(found, gates, 0, 0, 3).old == 0


def test_forget_gates_that_are_left_alone_give_the_score_and_held_ones_another(model: LanguageModel) -> None:
    free = score_with_forget_gate(model, IDS[:40], None)
    assert free[1:] == pytest.approx(surprises_in_one(model, IDS[:40])[1:], abs=1e-4)
    held = score_with_forget_gate(model, IDS[:40], 0.0)
    alone = [-float(log_probabilities(model, one_hot(IDS[at : at + 1]))[-1, IDS[at + 1]]) for at in (0,)]
    assert held[1] == pytest.approx(alone[0], abs=1e-4)
    assert not np.allclose(free, held, atol=1e-3)


def test_a_state_carried_over_disturbs_less_and_less(model: LanguageModel) -> None:
    found = measure_carried_state(model, IDS)
    assert len(found.whole) == len(found.contexts) == 8
    assert abs(found.only_cells[0]) < 1e-3 < abs(found.whole[0]) or math.isclose(found.whole[0], found.only_hidden[0])
    assert abs(found.whole[-1]) < max(map(abs, found.whole[:3])) + 1e-3


def test_a_letter_that_is_read_as_several_is_explained_whole() -> None:
    built = LanguageModel.create(Vocabulary.from_text("abc."), ModelConfig(hidden_size=8), 2)
    found = explain_letter(built, "abca…b", 4, 3)
    ids = built.vocabulary.encode("abca...")
    assert (found.text, found.place, len(found.worths)) == ("abca...", 4, 3)
    assert found.chance == pytest.approx(math.exp(-trace(built, ids).surprises[4:].sum()), rel=1e-5)
