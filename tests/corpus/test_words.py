"""Real words, counted by hand."""

import pytest

from charlstm.training.samples import RealWords
from charlstm.vocabulary import Vocabulary

PROSE = "It was the king's own dog, and the dog don't bark.\n" * 30  # 11 words a line
CODE = "def read_all(self, n2):\n    return self.__init__(n2) + 10\n" * 60


def of(text: str, level: str = "chars") -> RealWords:
    vocabulary = Vocabulary.from_text(text, level)  # type: ignore[arg-type]
    return RealWords(vocabulary, vocabulary.encode(text))


@pytest.mark.parametrize(
    ("prompt", "continuation", "num_words", "num_real"),
    [
        ("\n", "The dog was", 2, 2),  # the last may go on
        ("\n", "The dog was ", 3, 3),
        ("It", "x was the. ", 2, 2),  # the first is the end of one that the prompt began
        ("It ", "x was the. ", 3, 2),
        ("", "kingx OWN, doggo--bark; 'the' don’t 42 KING'S\n", 7, 5),  # all but kingx and doggo; 42 is no word
        ("\n", "kingdogand", 0, 0),
        ("\n", "", 0, 0),
        ("\n", ". , \n", 0, 0),
    ],
)
def test_whole_words_are_counted_and_real_is_what_the_text_has(
    prompt: str, continuation: str, num_words: int, num_real: int
) -> None:
    assert of(PROSE).count(prompt, continuation) == (num_words, num_real)
    assert of(PROSE, "bytes").count(prompt, continuation) == (num_words, num_real)


def test_identifiers_are_words_of_code() -> None:
    assert of(CODE).count("\n", "    return read_all(self) + self.read + n2 + n3 + 10 ") == (7, 5)


@pytest.mark.parametrize(
    "text",
    [
        "春眠不覺曉,處處聞啼鳥。 夜來風雨聲,花落知多少。\n" * 100,
        "สวัสดี ครับ ผม ชื่อ สมชาย \n" * 100,
        "3.14 159 26 5358\n" * 200,  # without letters
        "acgtacgtacgtacgtacgtacgt " * 200,  # too long for words
        "It was the dog. " * 20,  # too few of them
    ],
    ids=["Chinese", "Thai", "numbers", "codes", "short"],
)
def test_a_text_without_words_counts_none(text: str) -> None:
    words = of(text)
    assert len(words) == 0
    assert words.count("\n", text[:200]) == (0, 0)


def test_marks_belong_to_their_letters() -> None:
    hindi = "यह एक किताब है और वह मेरी है।\n" * 60
    assert of(hindi).count("\n", "यह मेरी किताब है कताब ") == (5, 4)
    assert of("Das ist über äpfel und o\u0308l.\n" * 80).count("\n", "ÜBER o\u0308l ol ") == (3, 2)


def test_of_a_long_text_pieces_from_all_over_it_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.training.samples._READ_AT_MOST", 8_000)
    parts = [f"{letter}one {letter}two\n" * 1000 for letter in "abcdefghij"]
    words = of("".join(parts))
    assert 8 <= len(words) <= 16 + 16  # two of each piece, and the ends that were cut
    assert words.count("\n", "aone jtwo zone ") == (3, 2)
