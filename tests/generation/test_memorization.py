"""The longest stretch that was copied, against a search through all stretches."""

import random
import time

import pytest

from charlstm.corpus import Corpus
from charlstm.errors import CorpusError
from charlstm.generation.memorization import Match, longest_stretch


def longest_by_trying(corpus: str, text: str) -> int:
    """The length of the longest stretch of `text` in `corpus`, every one of them tried."""
    return max(
        (
            end - begin
            for begin in range(len(text))
            for end in range(begin + 1, len(text) + 1)
            if text[begin:end] in corpus
        ),
        default=0,
    )


@pytest.mark.parametrize("alphabet", ["ab", "abcdef \n", "aé漢😀字"])
def test_nothing_longer_is_in_the_corpus(alphabet: str) -> None:
    """At random, in characters of one to four bytes, some of which share their first bytes."""
    rng = random.Random(4)
    for size in (1, 7, 300):
        corpus = "".join(rng.choices(alphabet, k=size))
        for _ in range(20):
            text = "".join(
                rng.choices(alphabet + "xñ語", weights=[5] * len(alphabet) + [1] * 3, k=rng.randrange(1, 40))
            )
            found = longest_stretch(Corpus("c", corpus), text)
            assert found.length == longest_by_trying(corpus, text)
            assert corpus[found.place : found.place + found.length] == text[found.begin : found.end]


def test_a_whole_text_that_was_copied_is_found_where_it_stands() -> None:
    corpus = "".join(f"line {number} of many\n" for number in range(3000))
    text = corpus[20_000:24_000]
    assert longest_stretch(Corpus("lines", corpus), text) == Match(0, 4000, 20_000)
    assert longest_stretch(Corpus("lines", corpus), f"?{text[:500]}?") == Match(1, 501, 20_000)


def test_the_first_of_equals_is_marked_and_nothing_in_a_text_of_strangers() -> None:
    corpus = Corpus("c", "abc-xyz")
    assert longest_stretch(corpus, "xyz abc")[:2] == (0, 3)
    assert longest_stretch(corpus, "QQQ").length == 0
    assert longest_stretch(corpus, "").length == 0


@pytest.mark.parametrize("text", ["a" * 100_000, "ab" * 50_000, "a" * 50_000 + "b" * 50_000])
def test_the_time_grows_with_the_length_alone(text: str) -> None:
    """Each of these took minutes where every place was looked up anew: pieces of 50,000 bytes, 100,000 times."""
    corpus = "a" * 50_000 + "c" + "ab" * 25_000
    began = time.process_time()
    assert longest_stretch(Corpus("c", corpus), text).length == 50_000
    assert time.process_time() - began < 10


def test_a_corpus_too_large_for_an_index_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.generation.memorization._LARGEST_BYTES", 10)
    with pytest.raises(CorpusError, match="at most"):
        longest_stretch(Corpus("c", "more than ten bytes"), "ten")
