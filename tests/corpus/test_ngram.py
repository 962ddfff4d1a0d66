"""The figures of simple models, against the textbook's formulas written out with dictionaries."""

import math
import random
import tracemalloc
from collections import Counter, defaultdict

import numpy as np
import pytest

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus, Split
from charlstm.corpus.ngram import Cancelled, compute_baselines, kneser_ney
from charlstm.vocabulary import Vocabulary


class NaiveKneserNey:
    """P(char | history) by recursion over suffixes of the history; a k-gram is a string."""

    def __init__(self, text: str, alphabet: str, order: int = 5) -> None:
        self.alphabet, self.order = alphabet, order
        grams = {k: [text[t - k : t] for t in range(k, len(text) + 1)] for k in range(1, order + 1)}
        self.counts: dict[int, Counter[str]] = {order: Counter(grams[order])}
        for k in range(1, order):
            self.counts[k] = Counter(longer[1:] for longer in set(grams[k + 1]))
        self.discounts = {}
        self.followers: dict[str, list[int]] = defaultdict(list)
        for k, counts in self.counts.items():
            once, twice = list(counts.values()).count(1), list(counts.values()).count(2)
            self.discounts[k] = once / (once + 2 * twice) if once else 0.5
            for gram, count in counts.items():
                self.followers[f"{k}{gram[:-1]}"].append(count)

    def probability(self, history: str, char: str, order: int | None = None) -> float:
        k = self.order if order is None else order
        if k == 0:
            return 1 / len(self.alphabet)
        shorter = self.probability(history, char, k - 1)
        context = history[len(history) - k + 1 :]
        following = self.followers.get(f"{k}{context}", [])
        if len(history) < k - 1 or not following:
            return shorter
        discount = self.discounts[k]
        seen = max(self.counts[k][context + char] - discount, 0)
        return (seen + discount * len(following) * shorter) / sum(following)


def ids(text: str, alphabet: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.array([alphabet.index(char) for char in text], np.int64)


@pytest.mark.parametrize(("length", "order"), [(0, 5), (1, 5), (2, 5), (5, 5), (30, 5), (300, 3), (300, 5), (300, 8)])
def test_an_n_gram_model_is_that_of_the_formulas_and_a_distribution(length: int, order: int) -> None:
    draw = random.Random(length)
    alphabet = "abcd"  # the last one is in no training text
    train = "".join(draw.choices("abc", weights=(5, 3, 1), k=length))
    validation = "".join(draw.choices(alphabet, weights=(5, 3, 2, 1), k=40))
    naive = NaiveKneserNey(train, alphabet, order)
    expected = [naive.probability(validation[:place], validation[place]) for place in range(1, 40)]
    found = kneser_ney(ids(train, alphabet), ids(validation, alphabet), 4, order=order)
    assert found == pytest.approx(expected, rel=1e-12)
    for history in ("a", "ab", "abca", "ddab", "abcabc"):
        texts = (ids(history + char, alphabet) for char in alphabet)
        last = [kneser_ney(ids(train, alphabet), text, 4, order=order)[-1] for text in texts]
        assert sum(last) == pytest.approx(1, rel=1e-12)


def test_the_figures_are_means_over_the_validation_text() -> None:
    """By hand: 20 characters, 18 to learn from (13 a, 5 b), and `ba` to predict the second of."""
    corpus = Corpus("text", "aaaabaaaabaaabaabb" + "ba")
    split = corpus.split(ModelConfig(), TrainConfig(batch_size=1))
    figures = compute_baselines(split)
    assert (figures.num_train_chars, figures.num_val_chars) == (18, 1)
    assert figures.uniform == pytest.approx(math.log(2))
    assert figures.frequencies == pytest.approx(-math.log(14 / 20))
    naive = NaiveKneserNey("aaaabaaaabaaabaabb", "ab")
    assert figures.fivegram == pytest.approx(-math.log(naive.probability("b", "a")))
    assert "all 18 characters" in figures.method


def test_a_text_of_one_character_costs_nothing_and_not_less() -> None:
    figures = compute_baselines(Corpus("text", "x" * 50).split(ModelConfig(), TrainConfig(batch_size=1)))
    assert [str(each) for each in figures[:3]] == ["0.0"] * 3


def test_of_a_long_text_the_end_is_counted_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.corpus.ngram._COUNTED_AT_MOST", 10)
    corpus = Corpus("text", "x" * 50 + "ab" * 10)
    figures = compute_baselines(corpus.split(ModelConfig(), TrainConfig(batch_size=1)))
    assert figures.num_train_chars == 10
    assert "the last 10 characters" in figures.method
    assert figures.frequencies == pytest.approx(-math.log(6 / 13)), "no x is counted"


def test_figures_that_nobody_wants_any_more_are_not_found() -> None:
    split = Corpus("text", "ab" * 10).split(ModelConfig(), TrainConfig(batch_size=1))
    with pytest.raises(Cancelled):
        compute_baselines(split, lambda: False)


def test_a_counted_character_takes_less_than_90_bytes_however_long_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the training itself they would else be what a run on a large text needs the most memory for."""
    counted = 1 << 17
    monkeypatch.setattr("charlstm.corpus.ngram._COUNTED_AT_MOST", counted)
    for num_chars in (counted, 8 * counted):
        drawn = np.random.default_rng(1).integers(0, 60, num_chars).astype(np.uint8)
        split = Split(Vocabulary(tuple(map(chr, range(60)))), drawn, drawn[:1000])
        tracemalloc.start()
        try:
            compute_baselines(split)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert 8 * counted < peak < 90 * counted
