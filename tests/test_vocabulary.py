"""Characters and ids: nothing lost on the way there and back, and nothing unknown passed over."""

import time
import unicodedata
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlstm.corpus import Corpus
from charlstm.errors import CharLSTMError, VocabularyError
from charlstm.vocabulary import Decoder, Vocabulary

TEXTS = {
    "plain": "To be, or not to be.\n",
    "japanese": "吾輩は猫である。名前はまだ無い。",
    "emoji": "🙂🙃🤖",
    "joined emoji": "👩‍👩‍👧‍👦 and 🏳️‍🌈",
    "combining": "e\u0301 and é",
    "controls": "\0\x01\t\r\n\x7f\x85\u2028",
    "ends of unicode": "\0\ud7ff\ue000\uffff\U00010000\U0010ffff",
}
each_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
# any character at all, lone surrogates too
CHARACTERS = st.characters() | st.integers(0xD800, 0xDFFF).map(chr)
BYTES_VOCABULARY = Vocabulary.from_text("", "bytes")


def distinct(count):
    """A text of `count` distinct characters."""
    return "".join(map(chr, [*range(0xD800), *range(0xE000, 0x20000)][:count]))


def pieces(sequence, cuts):
    """`sequence` cut at the given places."""
    places = [0, *sorted(min(cut, len(sequence)) for cut in cuts), len(sequence)]
    return [sequence[begin:end] for begin, end in pairwise(places)]


def decoded_piecewise(vocabulary, ids, cuts):
    """What an incremental decoder gives for `ids` in pieces."""
    decoder = Decoder(vocabulary)
    return "".join([decoder.feed(piece) for piece in pieces(ids, cuts)] + [decoder.feed([], is_last=True)])


def refusal(function, text):
    """The one sentence with which `text` is refused."""
    with pytest.raises(VocabularyError) as caught:
        function(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


# --- characters ---


@each_text
def test_a_vocabulary_is_the_sorted_distinct_characters(text):
    assert Vocabulary.from_text(text).characters == tuple(sorted(set(text)))
    assert len(Vocabulary.from_text(text)) == len(set(text))


@each_text
def test_an_id_is_the_characters_place(text):
    vocabulary = Vocabulary.from_text(text)
    assert vocabulary.encode(text).tolist() == [sorted(set(text)).index(char) for char in text]


def test_the_order_given_is_the_order_kept():
    vocabulary = Vocabulary(("c", "🙂", "a"))
    assert vocabulary.encode("a🙂c🙂").tolist() == [2, 1, 0, 1]
    assert vocabulary.decode([0, 1, 2]) == "c🙂a"


@settings(deadline=None)
@given(st.text(CHARACTERS, min_size=1))
@example("\ud83d\ude00")  # two lone surrogates are not the emoji that they would make in UTF-16
@example("\ud800\U0010ffff")
def test_any_text_comes_back_from_its_ids(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.decode(ids.tolist()) == text
    assert len(ids) == len(text)


@settings(deadline=None)
@given(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS))
def test_encoding_succeeds_exactly_when_every_character_is_known(known, text):
    vocabulary = Vocabulary.from_text(known)
    unknown = [char for place, char in enumerate(text) if char not in known and char not in text[:place]]
    assert list(vocabulary.find_unknown(text)) == unknown
    if unknown:
        refusal(vocabulary.encode, text)
    else:
        assert vocabulary.encode(text).tolist() == [sorted(set(known)).index(char) for char in text]


def test_no_text_is_no_ids():
    vocabulary = Vocabulary.from_text("abc")
    assert vocabulary.encode("").tolist() == []
    assert vocabulary.encode("").dtype == np.uint8
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize(
    ("count", "dtype"),
    [(1, np.uint8), (2, np.uint8), (256, np.uint8), (257, np.uint16), (65_536, np.uint16), (65_537, np.uint32)],
)
def test_ids_are_of_the_smallest_type_that_holds_them_all(count, dtype):
    text = distinct(count)
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text[::-1])
    assert vocabulary.dtype == ids.dtype == dtype
    assert ids.tolist() == list(range(count - 1, -1, -1))


@pytest.mark.parametrize("kind", [list, tuple, iter, np.array, torch.tensor, lambda ids: np.array(ids, np.uint8)])
@pytest.mark.parametrize("level", ["chars", "bytes"])
def test_ids_of_any_kind_are_decoded(kind, level):
    vocabulary = Vocabulary.from_text("abc", level)
    ids = vocabulary.encode("cab").tolist()
    assert vocabulary.decode(kind(ids)) == "cab"


def test_a_character_decoder_holds_nothing_back():
    decoder = Decoder(Vocabulary.from_text("ab🙂"))
    assert [decoder.feed([index]) for index in (0, 2, 1)] == ["a", "🙂", "b"]
    assert decoder.feed([], is_last=True) == ""


# --- what is no vocabulary, and what a vocabulary refuses ---


@pytest.mark.parametrize("characters", [(), ("ab",), ("a", ""), ("e\u0301",)])
def test_a_vocabulary_is_of_single_characters(characters):
    with pytest.raises(VocabularyError, match="single characters"):
        Vocabulary(characters)


def test_an_empty_text_has_no_vocabulary_of_characters():
    with pytest.raises(VocabularyError, match="at least one"):
        Vocabulary.from_text("")


def test_a_character_can_not_have_two_ids():
    with pytest.raises(VocabularyError, match="once"):
        Vocabulary(("a", "b", "a"))


def test_a_vocabulary_of_bytes_can_not_be_another():
    assert Vocabulary(tuple(map(chr, range(256))), "bytes") == BYTES_VOCABULARY
    with pytest.raises(VocabularyError, match="256"):
        Vocabulary(("a", "b"), "bytes")
    with pytest.raises(VocabularyError, match="256"):
        Vocabulary(tuple(map(chr, range(255, -1, -1))), "bytes")


def test_a_vocabulary_can_not_be_changed_afterwards():
    vocabulary = Vocabulary.from_text("ab")
    with pytest.raises(FrozenInstanceError):
        vocabulary.level = "bytes"


def test_vocabulary_errors_are_this_packages_and_value_errors():
    assert issubclass(VocabularyError, CharLSTMError)
    assert issubclass(VocabularyError, ValueError)


def test_unknown_characters_are_named_once_each_in_order_of_appearance():
    message = refusal(Vocabulary.from_text("abc ").encode, "a🙂b\n🙂 é")
    assert message.startswith("the model has never seen '🙂' (U+1F642), '\\n' (U+000A), 'é' (U+00E9); ")


def test_accents_that_are_characters_of_their_own_are_told_with_the_way_out():
    """As in a text in the decomposed form; `encode` changes no text, so that figures are of what is there."""
    with pytest.raises(VocabularyError, match=r"U\+0308\).*convert the text to NFC first\.$"):
        Vocabulary.from_text("Bücher").encode(unicodedata.normalize("NFD", "Bücher"))


@pytest.mark.parametrize("count", [1, 9, 10, 11, 25])
def test_at_most_ten_unknown_characters_are_named_and_the_rest_counted(count):
    unknown = "".join(chr(ord("一") + place) for place in range(count))
    for function in (Vocabulary.from_text("abc").encode, Vocabulary.from_text("abc").normalize):
        message = refusal(function, f"abc{unknown}")
        named = [char for char in unknown if char in message]
        assert named == list(unknown[:10])
        assert (f" and {count - 10} more;" in message) == (count > 10)


# --- fitting a prompt ---


@pytest.mark.parametrize(
    ("known", "text", "fitted"),
    [
        ("é", "e\u0301", "é"),
        ("한", "\u1112\u1161\u11ab", "한"),
        ("e\u0301'", "e\u0301’", "e\u0301'"),  # what is known as it stands stays so beside what is not
        ("it's", "it’s", "it's"),
        ("'", "‘’", "''"),
        (",", "‚", ","),
        ('"', "“”„", '"""'),
        ("a-b", "a–b—a", "a-b-a"),
        ("a.", "a…", "a..."),
        ("a b", "a\u00a0b\tb", "a b b"),
        ("romeo:", "ROMEO:", "romeo:"),
        ("ROMEO:", "romeo:", "ROMEO:"),
        ("aB", "Ab", "aB"),
        ("S", "ß", "SS"),
        ("é", "E\u0301", "é"),
        ("i\u0307", "İ", "i\u0307"),
        ("e\u0301", "é", "e\u0301"),
        ("\u1112\u1161\u11ab", "한", "\u1112\u1161\u11ab"),
        ("e\u0301E", "É", "E\u0301"),  # rather than another case
        ("e\u0301ü", "éu\u0308", "e\u0301ü"),  # a text of both forms
        ("a\nb", "a\r\nb", "a\nb"),
        ("a\nb", "a\rb\n\r", "a\nb\n\n"),
        ("a\nb", "\ufeffa\r\n\r\nb", "a\n\nb"),
        ("a\r\n", "\ufeffa\r\n", "a\n"),
    ],
)
def test_an_unknown_character_gives_way_to_a_known_equivalent(known, text, fitted):
    assert Vocabulary.from_text(known).normalize(text) == fitted


@pytest.mark.parametrize("text", ["it’s “so” – well… a\u00a0b\tc", "e\u0301E\u0301éÉ", "ROMEO: romeo", ""])
def test_known_text_is_left_as_it_is(text):
    assert Vocabulary.from_text(f"{text}'\"-. RomeoÉ").normalize(text) == text


def test_only_the_unknown_characters_are_replaced():
    assert Vocabulary.from_text("abcB-–").normalize("aAbB–—") == "aabB–-"


@pytest.mark.parametrize("text", ["a…b", "a“b", "a\u00a0b", "1", "漢", "a\u0301", "🙂", "a\nb"])
def test_what_has_no_known_equivalent_is_refused_and_named(text):
    vocabulary = Vocabulary.from_text("ab")
    unknown = [char for char in unicodedata.normalize("NFC", text) if char not in "ab"]
    assert unknown
    assert all(f"U+{ord(char):04X}" in refusal(vocabulary.normalize, text) for char in unknown)


@settings(deadline=None)
@given(st.text(CHARACTERS, min_size=1), st.text(CHARACTERS | st.sampled_from("aÀé\u0301\u0327’“—…ßİ\t")))
@example("e\u0301'", "e\u0301’")
def test_fitting_gives_only_known_characters_and_drops_none(known, text):
    vocabulary = Vocabulary.from_text(known)
    try:
        fitted = vocabulary.normalize(text)
    except VocabularyError:
        assert not set(text) <= set(known)
        return
    assert set(fitted) <= set(known)
    shortest = unicodedata.normalize("NFC", "\n".join(text.removeprefix("\ufeff").replace("\r\n", "\r").split("\r")))
    assert len(fitted) >= min(len(text), len(shortest))
    if set(text) <= set(known):
        assert fitted == text


# --- bytes ---


@each_text
def test_at_level_bytes_the_ids_are_the_utf8_bytes(text):
    assert BYTES_VOCABULARY.encode(text).tobytes() == text.encode()
    assert BYTES_VOCABULARY.encode(text).dtype == np.uint8
    assert BYTES_VOCABULARY.decode(list(text.encode())) == text
    assert BYTES_VOCABULARY.find_unknown(text) == ()
    assert BYTES_VOCABULARY.normalize(text) == text.replace("\r", "")


def test_at_level_bytes_a_prompt_has_the_line_ends_of_a_text_that_was_learned_from():
    assert BYTES_VOCABULARY.normalize("\ufeffROMEO:\r\nI\r") == "ROMEO:\nI\n"


def test_at_level_bytes_the_vocabulary_does_not_depend_on_the_text():
    assert len(BYTES_VOCABULARY) == 256
    assert Vocabulary.from_text("日本", "bytes") == BYTES_VOCABULARY
    assert BYTES_VOCABULARY.level == "bytes"


@settings(deadline=None)
@given(st.text(), st.lists(st.integers(0, 50)))
def test_at_level_bytes_any_text_comes_back_also_in_pieces(text, cuts):
    ids = BYTES_VOCABULARY.encode(text)
    assert BYTES_VOCABULARY.decode(ids) == text
    assert decoded_piecewise(BYTES_VOCABULARY, ids, cuts) == text


@settings(deadline=None)
@given(st.binary(), st.lists(st.integers(0, 50)))
@example(b"\xf0\x9f\x99", [1, 2])  # an emoji that never ends
@example(b"\xe6\x97A\x80\xff\xc3", [1, 2, 3])
@example(b"\xed\xa0\x80", [1])
def test_at_level_bytes_what_is_not_utf8_becomes_the_replacement_character(data, cuts):
    expected = data.decode("utf-8", "replace")
    assert BYTES_VOCABULARY.decode(list(data)) == expected
    assert decoded_piecewise(BYTES_VOCABULARY, list(data), cuts) == expected


def test_an_unfinished_character_is_held_back_until_it_is_whole():
    decoder = Decoder(BYTES_VOCABULARY)
    assert [decoder.feed([byte]) for byte in "a🙂é".encode()] == ["a", "", "", "", "🙂", "", "é"]


def test_an_unfinished_character_at_the_end_becomes_the_replacement_character():
    decoder = Decoder(BYTES_VOCABULARY)
    assert decoder.feed("🙂".encode()[:3]) == ""
    assert decoder.feed([], is_last=True) == "\ufffd"


def test_at_level_bytes_a_lone_surrogate_is_encoded_and_shown_as_replaced():
    ids = BYTES_VOCABULARY.encode("a\ud800b")
    assert ids.tolist() == [ord("a"), 0xED, 0xA0, 0x80, ord("b")]
    assert BYTES_VOCABULARY.decode(ids) == "a\ufffd\ufffd\ufffdb"


def test_marks_by_the_thousand_take_no_longer_than_other_characters() -> None:
    """Composing them sorts in quadratic time: 100,000 took 22 s, during which no other thread went on."""
    text = "a" + "\u0301" * 50_000 + "\u0323" * 50_000
    began = time.process_time()
    with pytest.raises(VocabularyError):
        Vocabulary.from_text("abc").normalize(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("known", "given"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_text_in_another_normal_form_is_read_in_that_of_the_model(known: str, given: str):
    word = "Bücher für Ängstliche, 각"
    vocabulary = Vocabulary.from_text(unicodedata.normalize(known, word))
    corpus = Corpus("words", unicodedata.normalize(given, word), ("read",))
    found = corpus.in_known_form(vocabulary)
    assert (found.text, found.notes[0], len(found.notes)) == (unicodedata.normalize(known, word), "read", 2)
    assert Corpus("words", found.text).in_known_form(vocabulary).notes == ()
    for other in ("Bcher", "x", "x\u0301" * 50):  # all known, or unknown in every form
        assert Corpus("words", other).in_known_form(vocabulary).notes == ()
        assert Corpus("words", other).in_known_form(vocabulary).text == other
