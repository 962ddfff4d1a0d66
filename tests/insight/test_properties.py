"""Properties against passages marked by hand, and the lexer against Python's own."""

import io
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest

from charlstm.insight.properties import find_properties
from charlstm.insight.python_text import CODE, COMMENT, is_python, lex
from charlstm.insight.text_layout import Layout


def marked(text: str, key: str) -> list[str]:
    """The stretches of `text` where the property is known to hold."""
    found = find_properties(text)
    at = [name.key for name in found.names].index(key)
    there = "".join("x" if each else "." for each in found.values[:, at] & found.known[:, at])
    return [text[each.start() : each.end()] for each in re.finditer("x+", there)]


PLAY = "\nROMEO:\nIs it so? (Aye!)\nThen go.\n\nNURSE:\nPeter, stay.\n"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("capitals", ["OMEO", "URSE"]),
        ("name", ["\nROMEO:", "\nNURSE:"]),
        ("speech-first", ["\nIs it so? (Aye!)", "\nPeter, stay."]),
        ("bracket", ["(Aye!"]),
        ("comma-just", [", s"]),
        ("word-start", [*"RIisATgNPs"]),
        ("after-capitalized", [":\n", " ", "!)\n", " ", ":\n", ", "]),
        ("block-deep", []),
        ("after-auxiliary", ["it"]),
        ("next-line", [":", ")", ".\n", ":", ".\n"]),
    ],
)
def test_a_play_is_described_as_by_hand(key: str, expected: list[str]):
    assert marked(PLAY * 12, key)[len(expected) : 3 * len(expected)] == expected * 2


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("after-possessive", 30 * ["hat"]),
        ("after-negation", 30 * ["so"]),
        ("after-preposition", 30 * ["it"]),
        ("sentence-word", ["He took", *(29 * [". It", ".\nHe"]), ". It"]),
        ("sentence-words", ["He took my hat. It is not", *(29 * [".\nHe took my", ". It is not"])]),
    ],
)
def test_sentences_are_described_as_by_hand(key: str, expected: list[str]):
    found = marked("He took my hat. It is not so in it.\n" * 30, key)
    assert found[: len(expected)] == expected
    assert len(found) <= len(expected) + 1  # the last sentence has none after it


def test_japanese_is_described_by_its_scripts_and_little_words():
    text = "私は学生です。\n東京に住む。print(x)\nimport json\n" * 30
    assert marked(text, "after-は") == 30 * ["学生"]
    assert marked(text, "after-に") == 30 * ["住"]
    assert marked(text, "latin-long") == 30 * ["t", "rt"]
    assert marked(text, "ascii-line") == 30 * ["t json"]
    assert marked("これは\nimport json\n    print(...)\n漢字の。\n" * 30, "after-は") == [], "only right before a word"


def test_comments_of_c_are_marked():
    assert marked("int a; /* one\ntwo */ int b; /*/ c */ d */ /* e", "comment-block") == ["/* one\ntwo *", "/*/ c *"]


def test_quotes_hold_apostrophes_and_end_with_a_paragraph():
    text = "He said: \"it's odd\" and 'so be it', it isn't.\n\n\"never closed\n\n'tis \"new\"."
    assert marked(text, "quote") == ["\"it's odd", '"new']
    assert marked(text, "single-quote") == ["'so be it"]


def test_a_question_is_known_to_come_in_its_last_thirty_characters_only():
    text = "All is well here. And so do we believe that it was you who did that thing to us? Yes." * 30
    assert set(marked(text, "question")) == {" you who did that thing to us"}


def test_counts_of_characters_since_and_until():
    layout = Layout("abcab")
    mask = layout.among("b")
    assert layout.since(mask).tolist() == [5, 0, 1, 2, 0]
    assert layout.until(mask).tolist() == [1, 3, 2, 1, 5]
    assert layout.at_last(mask, layout.among("b")).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize("text", ["", "\n", "a", "日本語。", "\ud800x", "((((", '"""', "'" * 50, "\n\n\n", "a" * 3000])
def test_no_text_is_too_odd(text: str):
    found = find_properties(text)
    assert found.values.shape == found.known.shape == (len(text), len(found.names))
    assert len({name.key for name in found.names}) == len(found.names)


SOURCE = '''
def half(x: int, *, name="it's (" ) -> dict[str, int]:
    """Say (a] lot."""
    # a 'comment' {
    if x > 3 and name != '"':  # more
        return {"a": [x // 2, (x)], 'b': f"{x}"}
    raise ValueError(r"\\\\" + "a\\"b")
'''


def test_kinds_and_depth_are_those_of_tokenize():
    check_against_tokenize(SOURCE * 3)


def test_the_lexer_reads_the_standard_library_as_tokenize_does():
    for module in (tokenize, pytest, io):
        check_against_tokenize(Path(str(module.__file__)).read_text(encoding="utf-8"))


def check_against_tokenize(source: str) -> None:
    lexed = lex(source)
    starts = np.concatenate([[0], np.cumsum([len(line) for line in source.splitlines(keepends=True)])])
    inside = np.zeros(len(source), bool)
    comment, depths, depth = inside.copy(), np.zeros(len(source), int), 0
    f_strings = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begin, end = (int(starts[row - 1]) + column for row, column in (token.start, token.end))
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":
            f_strings += 1
            opened = begin
        if name == "FSTRING_END":
            f_strings -= 1
            begin = opened
        if name in ("STRING", "FSTRING_END") and not f_strings:
            inside[source.index(source[end - 1], begin) : end - 1] = True
        comment[begin:end] |= name == "COMMENT"
        if name == "OP" and not f_strings:
            depth += (token.string in "([{") - (token.string in ")]}")
            depths[begin:] = depth
    np.testing.assert_array_equal(lexed.kinds == COMMENT, comment)
    np.testing.assert_array_equal((lexed.kinds != CODE) & ~comment, inside)
    np.testing.assert_array_equal(lexed.depth, depths)


def test_python_is_told_from_prose_and_markup():
    assert is_python(SOURCE * 3)
    assert not is_python(PLAY)
    assert not is_python("import the goods from France and class them, if you please.\n" * 40)
    assert not is_python("* a list: with items\n* for example\n\n.. code::\n\n   x = 1\n" * 40)


def test_python_is_described_as_by_hand():
    text = "def f(a, b):\n    return [a, 'b)']\n\n" * 20
    expected = {
        "in-def": "f f(a, b)",
        "signature": "(a, b",
        "colon": "f f(a, b)",
        "bracket": "(a, b",
        "square": "[a, 'b)'",
        "single-quote": "'b)",
        "in-return": "n [a, 'b)']",
        "naming": "f",
        "indented-4": "return [a, 'b)']",
    }
    for key, by_hand in expected.items():
        assert marked(text, key) == [by_hand] * 20, key
