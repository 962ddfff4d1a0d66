"""Reading a text first: the n-gram against a count by hand, what is written against its probabilities, and learning."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import assert_one_sentence, run
from numpy.typing import NDArray
from torch.nn import functional

from charlstm import LanguageModel
from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import ConfigError, VocabularyError
from charlstm.evaluation import evaluate_stateful
from charlstm.generation.dynamic_evaluation import LearningModel, evaluate_adaptive
from charlstm.generation.ngram_memory import NgramMemory, to_ids, to_text
from charlstm.generation.read_first import LONGEST_READ, Reader
from charlstm.vocabulary import Vocabulary

LETTERS = "\n abcdefghijklmnopqrstuvwxyz"
SONG = "the silver lantern burns for fenwick\nthe silver lantern burns for zorblax\n" * 6
RANDOM = np.random.default_rng(7)


def make(text: str = LETTERS, level: str = "chars", **sizes: int) -> LanguageModel:
    config = ModelConfig(**{"hidden_size": 16, "embedding_dim": 4, **sizes})
    lm = LanguageModel.create(Vocabulary.from_text(text, level), config, seed=3)
    with torch.no_grad():
        for parameter in filter(lambda each: each.dim() > 1, lm.model.parameters()):
            parameter.mul_(3.0)
    return lm


def weights_of(lm: LanguageModel) -> list[NDArray[np.float32]]:
    return [each.detach().numpy().copy() for each in lm.model.parameters()]


class ByHand:
    """The rule of the document, by looking through the whole text again for each character."""

    def __init__(self) -> None:
        self.text, self.learned = "", dict[tuple[int, int, int], list[float]]()

    def steps(self) -> list[tuple[tuple[int, int, int], str]]:
        found = []
        for length in range(3, 9):
            context = self.text[-length:]
            if len(context) < length:
                break
            places = [at for at in range(len(self.text) - length) if self.text[at : at + length] == context]
            if not places:
                break
            followers = "".join(self.text[at + length] for at in places[-8:])
            kinds, times = len(set(followers)), len(followers)
            kind = 1 if kinds == 1 else 2 if kinds == 2 else 3 if kinds < 5 else 4
            found.append(((length, kind, 1 if times == 1 else 2 if times < 4 else 4 if times < 8 else 8), followers))
        return found

    def read(self, char: str, mixed: float) -> float:
        for kind, followers in self.steps():
            observed = self.learned.setdefault(kind, [0.1, 0.1])  # two observations of 0.1
            weight = sum(observed) / len(observed)
            own = weight * followers.count(char) / len(followers)
            mixed = (1 - weight) * mixed + own
            observed.append(own / mixed)
        self.text += char
        return mixed


def test_the_mix_is_that_of_a_count_by_hand() -> None:
    text = SONG[:300] + "".join(RANDOM.choice(list("ab"), 150)) + SONG[:60]
    alone = RANDOM.uniform(0.01, 0.6, len(text))
    by_hand, ngram = ByHand(), NgramMemory()
    expected = [by_hand.read(char, chance) for char, chance in zip(text, alone.tolist(), strict=True)]
    pieces = np.split(np.arange(len(text)), (1, 5, 260))
    found = np.concatenate([ngram.read(to_ids(text)[each], alone[each]) for each in pieces])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(ngram) == len(text)
    assert -np.log(found[100:300]).mean() < -np.log(alone[100:300]).mean() - 1


def test_the_mix_of_all_characters_is_a_distribution_and_that_of_the_next_one() -> None:
    ngram = NgramMemory()
    ngram.read(to_ids(SONG[:200]), RANDOM.uniform(0.1, 0.5, 200))
    alone = RANDOM.dirichlet(np.ones(128))
    mixed = ngram.mix(alone, SONG[192:200])
    assert mixed.sum() == pytest.approx(1, abs=1e-12)
    assert mixed[ord(SONG[200])] > 10 * alone[ord(SONG[200])]
    next_ = ngram.read(to_ids(SONG[200]), alone[[ord(SONG[200])]])
    assert next_[0] == pytest.approx(mixed[ord(SONG[200])], rel=1e-12)


def test_a_character_without_any_probability_is_counted_too() -> None:
    ngram, ids = NgramMemory(), np.array([0, 1, 2, 3, 0, 1, 2, 4] * 2, np.int32)
    mixed = ngram.read(ids, np.zeros(len(ids)))
    assert np.isfinite(mixed).all()
    assert mixed[:11].max() == 0.0  # nothing stood there before that was followed by the same
    assert mixed[11] > 0


def test_the_amount_turns_from_the_model_alone_to_what_was_read() -> None:
    ngram = NgramMemory()
    ngram.read(to_ids(SONG), RANDOM.uniform(0.1, 0.5, len(SONG)))
    alone, tail = RANDOM.dirichlet(np.ones(128)), "ver lant"
    chances = [ngram.mix(alone, tail, amount)[ord("e")] for amount in (0, 0.5, 1, 1.5, 2)]
    assert chances[0] == alone[ord("e")]
    assert chances[-1] == 1.0  # nothing else ever followed
    assert chances == sorted(chances)
    np.testing.assert_array_equal(ngram.mix(alone, "no such tail"), alone)
    np.testing.assert_array_equal(ngram.mix(alone, "la"), alone)


def test_what_is_written_follows_from_the_mixed_probabilities() -> None:
    lm = make()
    reading, prompt = lm.read(SONG), "the silver "
    config = SampleConfig(num_chars=80, seed=5, temperature=0.7)
    chunks = list(reading.stream(prompt, config, num_likeliest=3))
    text = "".join(chunk.text for chunk in chunks)
    ids = torch.from_numpy(lm.vocabulary.encode(prompt + text).astype(np.int64))
    with torch.no_grad():
        alone = lm.model(ids[None])[0][0, len(prompt) - 1 : -1].double().softmax(1).numpy()
    shown = to_text(ids.numpy().astype(np.int32))
    mixed = np.stack([reading.taken_in.mix(row, shown[: len(prompt) + at][-8:]) for at, row in enumerate(alone)])
    surprises = -np.log(mixed[np.arange(len(text)), ids[len(prompt) :]])
    np.testing.assert_allclose([each for chunk in chunks for each in chunk.surprises], surprises, atol=1e-4)
    likeliest = [each[0] for chunk in chunks for each in chunk.likeliest]
    assert likeliest == [lm.vocabulary.characters[each] for each in mixed.argmax(1)]
    greedy = reading.generate(prompt, SampleConfig(num_chars=20, temperature=0))
    assert greedy == "lantern burns for fenwick\n"[:20]  # seen six times and more
    assert "".join(c.text for c in reading.stream(prompt, config, [text[:33]])).startswith(text[33:])


@pytest.mark.parametrize("is_learning", [False, True])
def test_reading_leaves_the_model_as_it_is_and_forgetting_restores_it(is_learning: bool) -> None:
    lm, config = make(), SampleConfig(num_chars=60, seed=2, num_samples=2)
    before, weights, was_training = lm.model, weights_of(lm), lm.model.training
    texts = lm.generate_samples("the silver ", config)
    reading = lm.read(SONG, is_learning)
    assert reading.adapted < reading.alone - 0.2
    with_it = reading.generate_samples("the silver ", config)
    assert with_it != texts
    assert reading.weighted(0).generate_samples("the silver ", config) == texts  # to the bit
    assert lm.generate("the silver ", config, read=SONG if not is_learning else reading) == with_it[0]
    assert lm.generate_samples("the silver ", config) == texts
    assert lm.model is before
    assert lm.model.training is was_training
    for old, new in zip(weights, weights_of(lm), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("has_kernel", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_learning_is_gradient_descent_on_what_was_scored(
    has_kernel: bool, num_layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        monkeypatch.setattr("charlstm.kernel.lstm.is_available", lambda *_: False)
    lm = make(num_layers=num_layers)
    ids = lm.vocabulary.encode(SONG[:41]).astype(np.int32)
    learning = LearningModel(lm.model, int(ids[0]), rate=0.5, pull=0.1)
    found = [learning.read(ids[1:21]), learning.read(ids[21:41])]
    model = make(num_layers=num_layers).model
    own, state, expected = [each.detach().clone() for each in model.parameters()], None, []
    for begin in (0, 20):
        read, following = (torch.from_numpy(ids[at : at + 20].astype(np.int64)) for at in (begin, begin + 1))
        hidden, state = model.lstm(model.embedding(read)[None], state)
        loss = functional.cross_entropy(model.head(hidden)[0], following)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for weight, gradient, first in zip(model.parameters(), gradients, own, strict=True):
                weight.sub_(0.5 * gradient)
                weight.add_(0.1 * (first - weight))
        state = tuple(each.detach() for each in state)
        expected.append(20 * loss.item())
    tolerance = {"rtol": 0.02, "atol": 0.02} if has_kernel else {"rtol": 1e-4, "atol": 1e-5}  # bfloat16, if it can
    np.testing.assert_allclose(found, expected, **tolerance)
    for name, learned in learning.finish(lm.model).at(1.0).named_parameters():
        np.testing.assert_allclose(learned.detach(), dict(model.named_parameters())[name].detach(), **tolerance)


def test_what_the_model_does_not_know_is_left_out_and_said() -> None:
    lm = make()
    reader = Reader(lm.model, lm.vocabulary, "THE “silver”\r\nlantern\u20ac 42")
    assert len(reader) == len("the silver\nlantern ")
    assert reader.note == "The model has never seen '“', '”', '€', '4', '2': read without them."
    assert Reader(lm.model, lm.vocabulary, "plain").note == ""
    with pytest.raises(VocabularyError, match="there is no text to read"):
        lm.read("42")
    with pytest.raises(ConfigError, match=f"{LONGEST_READ + 1:,} characters; at most {LONGEST_READ:,}"):
        lm.read("a" * (LONGEST_READ + 1))
    with pytest.raises(ConfigError, match="from 0 to 2"):
        lm.generate("a", SampleConfig(num_chars=1), read="abc", read_weight=2.1)
    with pytest.raises(ConfigError, match="from 0 to 2"):
        lm.read("abc").weighted(float("nan"))


def test_a_model_of_bytes_reads_any_text() -> None:
    lm = make("", "bytes")
    text = "Grüße, 東京 😀!\n" * 12
    reading = lm.read(text)
    assert reading.adapted < reading.alone - 1
    assert reading.weighted(2).generate("Grüße, 東", SampleConfig(num_chars=7, temperature=0)).startswith("京")


@pytest.mark.parametrize("method", ["ngram", "dynamic"])
def test_the_adaptive_figures_stand_beside_those_of_the_model_alone(method: str) -> None:
    lm = make()
    tokens = lm.vocabulary.encode(SONG)
    told = list[int]()
    losses = evaluate_adaptive(lm.model, tokens, method, told.append)
    assert losses.alone.nats == pytest.approx(evaluate_stateful(lm.model, tokens).nats, abs=1e-4)
    assert losses.alone.num_chars == losses.adapted.num_chars == len(SONG) - 1 == sum(told)
    if method == "ngram":
        reading = lm.read(SONG)
        assert losses.adapted.nats == pytest.approx(reading.adapted, abs=0.02)  # which scores the first one, too
    assert losses.adapted.nats < losses.alone.nats - 0.2


def test_the_commands_read_and_measure(tmp_path: Path) -> None:
    lm, text, model = make(), tmp_path / "song.txt", tmp_path / "model"
    lm.save(model)
    text.write_text(SONG + "42")
    code, out, err = run("generate", model, "--read", text, "--prompt", "the sil", "--num-chars", 30)
    assert (code, out) == (0, "the sil" + lm.generate("the sil", SampleConfig(num_chars=30), read=SONG) + "\n")
    assert f"read {len(SONG):,} characters: " in err
    assert "never seen '4', '2'" in err
    learned = run("generate", model, "--read", text, "--learn", "--read-weight", "0.5", "--prompt", "a")
    assert learned.out == "a" + lm.read(SONG, is_learning=True).weighted(0.5).generate("a", SampleConfig()) + "\n"
    for more in (["--read-weight", "3"], ["--mix", model], ["--read", tmp_path / "gone.txt"]):
        refused = run("generate", model, "--read", text, *more)
        assert (refused.code in (1, 2), refused.out) == (True, "")
        assert_one_sentence(refused.err)
    asked = ["evaluate", model, "--corpus", text, "--val-fraction", "0.5", "--adaptive", "ngram"]
    text.write_text(SONG)
    told = json.loads(run(*asked, "--json").out)["adaptive"]
    kept = lm.vocabulary.encode(SONG)[len(SONG) // 2 :]
    losses = evaluate_adaptive(lm.model, kept, "ngram")
    assert (told["nats"], told["alone"]["nats"]) == (losses.adapted.nats, losses.alone.nats)
    assert f"adaptive (ngram)     {losses.adapted.nats:.4f} nats" in run(*asked).out
