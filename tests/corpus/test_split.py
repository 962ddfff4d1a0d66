"""A text's facts, and its two parts: training, then validation, nothing between and nothing lost."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus, StreamBatches
from charlstm.errors import CorpusError, VocabularyError
from charlstm.vocabulary import Vocabulary

CHARS = ModelConfig()
BYTES = ModelConfig(level="bytes")
FRACTIONS = st.floats(0, 0.5, exclude_min=True)


def split_of(text, model=CHARS, **settings_):
    return Corpus("sample", text).split(model, TrainConfig(**settings_))


def refusal(text, model=CHARS, **settings_):
    """The one sentence with which a text is refused."""
    with pytest.raises(CorpusError) as caught:
        split_of(text, model, **settings_)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def needed_in(message):
    """The length that a refusal says is needed."""
    return int(re.search(r"at least ([\d,]+)", message)[1].replace(",", ""))


# --- facts ---


def test_the_hash_is_that_of_the_text_as_utf8():
    text = "Grüße, 日本 🙂\n"
    assert Corpus("sample", text).sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert Corpus("other name", text).sha256 == Corpus("sample", text).sha256
    assert Corpus("sample", text + " ").sha256 != Corpus("sample", text).sha256
    assert re.fullmatch("[0-9a-f]{64}", Corpus("with a lone surrogate", "\ud800").sha256)


@given(st.text("abcdé🙂\n"))
def test_frequencies_count_every_character_the_most_frequent_first(text):
    frequencies = Corpus("sample", text).frequencies
    assert dict(frequencies) == {char: text.count(char) for char in set(text)}
    assert len(frequencies) == len(set(text))
    counts = [count for _, count in frequencies]
    assert counts == sorted(counts, reverse=True)


# --- the two parts ---


def test_by_default_the_last_tenth_is_validation():
    text = "".join(chr(0x4E00 + place) for place in range(1000))
    split = split_of(text)
    assert split.vocabulary.decode(split.train) == text[:900]
    assert split.vocabulary.decode(split.validation) == text[900:]


@settings(deadline=None)
@given(st.text("abcdé🙂", min_size=60, max_size=300), FRACTIONS, st.sampled_from([CHARS, BYTES]))
@example("ab" * 50, 0.5, CHARS)
@example("ab" * 50, 1e-9, CHARS)
def test_the_parts_are_contiguous_cover_everything_and_are_of_the_size_asked(text, val_fraction, model):
    split = split_of(text, model, val_fraction=val_fraction)
    tokens = list(text.encode()) if model is BYTES else [sorted(set(text)).index(char) for char in text]
    assert [*split.train.tolist(), *split.validation.tolist()] == tokens
    share = len(tokens) * val_fraction
    assert abs(len(split.validation) - share) <= 0.5 or (share < 2 and len(split.validation) == 2)


def test_both_parts_have_the_vocabularys_integer_type():
    few, many = split_of("ab" * 50), split_of("".join(map(chr, range(0x4E00, 0x4E00 + 300))))
    assert few.train.dtype == few.validation.dtype == np.uint8
    assert many.train.dtype == many.validation.dtype == np.uint16


def test_the_vocabulary_knows_also_the_characters_of_validation_alone():
    split = split_of("a" * 95 + "zzzzz", val_fraction=0.05)
    assert split.vocabulary.characters == ("a", "z")
    assert set(split.train.tolist()) == {0}
    assert set(split.validation.tolist()) == {1}


def test_a_given_vocabulary_is_used_as_it_is():
    vocabulary = Vocabulary(("z", "b", "a"))
    split = Corpus("sample", "ab" * 50).split(CHARS, TrainConfig(), vocabulary)
    assert split.vocabulary is vocabulary
    assert split.train[:4].tolist() == [2, 1, 2, 1]


def test_a_text_with_characters_outside_a_given_vocabulary_is_refused():
    with pytest.raises(VocabularyError, match="'b'"):
        Corpus("sample", "ab" * 50).split(CHARS, TrainConfig(), Vocabulary(("a",)))


# --- too short ---


@settings(deadline=None)
@given(st.integers(1, 300), FRACTIONS)
@example(1, 0.5)
@example(1, 5e-324)
@example(4096, 0.5)
def test_the_length_named_is_enough_and_one_less_is_not(batch_size, val_fraction):
    layout = {"batch_size": batch_size, "val_fraction": val_fraction}
    needed = needed_in(refusal("ab", **layout))
    split = split_of("a" * needed, **layout)
    assert len(split.train) + len(split.validation) == needed
    assert len(split.validation) >= 2, "one character predicted from another"
    batches = StreamBatches(split.train, batch_size, 64)
    assert batches[0].num_targets >= batch_size, "something to learn in every stream"
    assert needed_in(refusal("a" * (needed - 1), **layout)) == needed


def test_a_short_text_is_refused_with_its_length_the_layout_and_the_way_out():
    message = refusal("short", batch_size=8, val_fraction=0.1)
    assert message == (
        "sample has 5 characters; 8 parallel streams and 10% for validation need at least 11: "
        "add text or lower batch_size."
    )
    assert "need at least 8,193:" in refusal("short", batch_size=4096, val_fraction=0.5)


def test_at_level_bytes_lengths_are_in_bytes():
    assert refusal("日本", BYTES).startswith("sample has 6 bytes; ")
    assert len(split_of("日本本本", BYTES).train) == 10
