"""Properties of a text, character by character, that a unit of a network may follow.

Each is true, false or unknown after each character, and of what has been read and of what comes: whether a bracket is
open, whether this sentence will be a question. Nothing here knows of any network. `docs/insight.md` tells what they are
for. F = properties, T = characters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.insight.layout import Counts, Layout, Mask

_FEWEST_CAPITALS = 0.01  # share of letters: a script without them has none
_FEWEST_LETTERS = 0.05  # share of characters
_FEWEST_NAMES = 0.02  # share of lines that are `NAME:`
_FEWEST_COMMENTS = 0.01  # share of lines that begin with a comment's mark
_LONGEST_QUOTE = 1000


@dataclass(frozen=True)
class Property:
    """What may be followed: its name on the wire, on a button, and after "Unit 7 tells"."""

    key: str
    label: str
    sentence: str


class Properties(NamedTuple):
    """Properties of a text of T characters."""

    names: tuple[Property, ...]  # (F,)
    values: NDArray[np.bool_]  # (T, F)
    known: NDArray[np.bool_]  # (T, F)


class Collection:
    """Properties of one text, gathered one by one."""

    def __init__(self, text: str) -> None:
        self.layout = Layout(text)
        self._found: list[tuple[Property, Mask, Mask]] = []

    def add(self, key: str, label: str, sentence: str, values: Mask, known: Mask | None = None) -> None:
        """Add a property; what is not `known` counts neither way."""
        everywhere = np.ones(self.layout.size, bool)
        self._found.append(
            (Property(key, label, sentence), values.astype(bool), everywhere if known is None else known)
        )
<<<<<<< HEAD
=======

    def has(self, key: str) -> bool:
        """Tell whether a property was added."""
        return any(name.key == key for name, _, _ in self._found)
>>>>>>> i-naming

    def gathered(self) -> Properties:
        """Return all of them."""
        size = (self.layout.size, 0)
        columns = [np.zeros(size, bool)]
        return Properties(
            tuple(name for name, _, _ in self._found),
            np.concatenate([*columns, *(values[:, None] for _, values, _ in self._found)], axis=1),
            np.concatenate([*columns, *(known[:, None] for _, _, known in self._found)], axis=1),
        )


def find_properties(text: str) -> Properties:
    """Describe every character of `text` by properties of any text, and by Python's own where it is Python."""
    from charlstm.insight.python_text import add_python, is_python

    found = Collection(text)
    for add in (_add_letters, _add_words, _add_names, _add_lines, _add_sentences):
        add(found)
    if is_python(text):
        add_python(found)
    else:
        _add_pairs(found)
        _add_markup(found)
    _add_coming(found)
    return found.gathered()


def _add_letters(found: Collection) -> None:
    t = found.layout
    found.add("vowel", "vowels", "whether the letter just read is a vowel", t.vowels, t.letters)
    found.add("vowel-1", "a vowel before", "whether the letter before the last one was a vowel", t.back(t.vowels, 1))
    found.add(
        "vowel-2", "a vowel two back", "whether the letter two before the last one was a vowel", t.back(t.vowels, 2)
    )
    found.add("punctuation", "punctuation", "whether the last character was punctuation", t.marks)
    found.add("space", "spaces", "whether the last character was a space", t.among(" "))
    found.add("digit", "digits", "whether the last character was a digit", t.digits)
    found.add("number", "inside a number", "whether two digits or more stand in a row", t.digits & t.back(t.digits, 1))
    found.add(
        "digits-near",
        "numbers nearby",
        "whether there was a digit among the last 20 characters",
        t.since(t.digits) < 20,
    )
    found.add("line-feed", "the start of a line", "whether a new line has just begun", t.line_feeds)
    scripts = {
        "hiragana": ("ぁ", "ゟ"), "katakana": ("゠", "ヿ"), "kanji": ("一", "鿿"), "cyrillic": ("Ѐ", "ӿ"),
        "latin": ("A", "ɏ"),
    }  # fmt: skip
    written = {
        name: t.where(lambda char, first=first, last=last: first <= char <= last and char.isalpha())  # type: ignore[misc]
        for name, (first, last) in scripts.items()
    }
    for name, mask in written.items():
        if t.size and 0.01 < mask.sum() / max(1, t.letters.sum()) < 0.99:
            found.add(name, name, f"whether the last character is written in {name} letters", mask)
            two = mask & t.back(mask, 1)
            found.add(f"{name}-two", f"a {name} word", f"whether two {name} characters or more stand in a row", two)


def _has_words(t: Layout) -> bool:
    """Tell whether words have spaces between them."""
    return (
        t.size > 0 and t.word_letters.sum() > _FEWEST_LETTERS * t.size and t.among(" ").sum() > 0.05 * t.letters.sum()
    )


def _add_words(found: Collection) -> None:
    t = found.layout
    if t.small.sum() and t.capitals.sum() >= _FEWEST_CAPITALS * t.letters.sum():
        _add_capitals(found)
    if not _has_words(t):
        return
    length, word = t.word_length, t.word_letters
    found.add("word", "inside a word", "whether a word has begun and not ended", word)
    for least in (3, 5, 7):
        label = f"{least} letters into a word"
        found.add(f"word-{least}", label, f"whether the word has {least} letters or more already", length >= least)
    found.add("word-start", "the start of a word", "whether exactly one letter of a word has been read", t.word_starts)
    apostrophe = word & ~t.letters
    short = t.since(apostrophe) <= length
    found.add(
        "apostrophe", "an apostrophe in the word", "whether the word has an apostrophe already", short & (length > 0)
    )
    last_length = _length_of_last_word(t)
    found.add(
        "after-short", "after a short word", "whether the word before has three letters or fewer", last_length <= 3
    )
    found.add(
        "little-word", "after a little word", "whether the word before is one of the ten commonest", _after_common(t)
    )
    doubled = t.letters & (t.codes == np.concatenate([t.codes[:1] * 0, t.codes[:-1]]))
    found.add("doubled", "doubled letters", "whether the last letter stands there twice", doubled, t.letters)
    hyphen = t.among("-") & t.back(t.letters, 1) & t.ahead(t.letters)
    found.add("hyphen", "a word with a hyphen", "whether the word is the second part of one with a hyphen", t.at_last(
        t.word_starts, t.back(hyphen, 1)) & word)  # fmt: skip


def _length_of_last_word(t: Layout) -> Counts:
    """Return how long the last finished word was."""
    ends = t.back(t.word_letters, 1) & ~t.word_letters
    since = t.since(ends)
    at = np.maximum(t.places - since - 1, 0)
    return np.where(since < t.size, t.word_length[at], t.size)


def _after_common(t: Layout) -> Mask:
    """Mark where the last finished word is one of the ten commonest of at most four letters."""
    words: dict[str, list[int]] = {}
    starts = np.flatnonzero(t.word_starts)
    for start in starts.tolist():
        ahead = t.word_letters[start : start + 6]
        length = int(ahead.argmin()) if not ahead.all() else 6
        if length <= 4:
            words.setdefault(t.text[start : start + length].lower(), []).append(start + length)
    common = sorted(words, key=lambda word: -len(words[word]))[:10]
    is_common, ends = np.zeros(t.size + 1, bool), t.back(t.word_letters, 1) & ~t.word_letters
    for word in common:
        is_common[words[word]] = True
    return t.at_last(ends, is_common[:-1])


def _add_capitals(found: Collection) -> None:
    t = found.layout
    in_word = t.word_letters
    begun = t.at_last(t.word_starts, t.capitals) & in_word
    two = t.capitals & t.back(t.capitals, 1)
    found.add("capital", "capital letters", "whether the letter just read is a capital", t.capitals, t.letters)
    found.add("capitals", "words in capitals", "whether two capitals or more stand in a row", two)
    label = "words with a capital"
    found.add("capitalized", label, "whether the word began with a capital letter", begun, in_word)
    ends = t.back(in_word, 1) & ~in_word
    was = t.at_last(ends, t.back(begun, 1)) & ~in_word
    sentence = "whether the word just finished began with a capital letter"
    found.add("after-capitalized", "after a word with a capital", sentence, was, ~in_word)


def _add_lines(found: Collection) -> None:
    t = found.layout
    lengths = t.line_lengths[t.line_lengths > 0]
    if len(lengths) > 20:
        typical = int(np.quantile(lengths, 0.75))
        unit = "line" if typical < 200 else "paragraph"
        column = t.column
        found.add(
            "column-early",
            f"the first part of a {unit}",
            f"whether the {unit} has only just begun",
            column <= typical // 4,
        )
        found.add("column-half", f"counts the {unit}", f"whether the {unit} is past its middle", column > typical // 2)
        found.add("column-long", f"a long {unit}", f"whether the {unit} is longer than most", column > typical)
        before = t.by_line(np.concatenate([t.line_lengths[:1] * 0, t.line_lengths[:-1]]).tolist())
        found.add(
            "before-short",
            f"after a short {unit}",
            f"whether the {unit} before was short",
            before < typical // 2,
            before > 0,
        )
    block = t.line_of_block
    if block.max(initial=0) > 2:
<<<<<<< HEAD
        found.add(
            "block-first",
            "the first line after a blank one",
            "whether this is the first line after a blank one",
            block == 1,
            block > 0,
        )
        found.add(
            "block-second",
            "the second line after a blank one",
            "whether this is the second line after a blank one",
            block == 2,
            block > 0,
        )
        found.add(
            "block-deep",
            "far from the last blank line",
            "whether the last blank line is five lines back or more",
            block > 5,
            block > 0,
        )
=======
>>>>>>> i-naming
        found.add("blank", "after a blank line", "whether a blank line has just ended", t.blank_lines)
        found.add(
            "block-deep",
            "far from the last blank line",
            "whether the last blank line is five lines back or more",
            block > 5,
            block > 0,
        )
    if block.max(initial=0) > 2 and not found.has("name"):
        found.add(
            "block-first",
            "the first line after a blank one",
            "whether this is the first line after a blank one",
            block == 1,
            block > 0,
        )
        found.add(
            "block-second",
            "the second line after a blank one",
            "whether this is the second line after a blank one",
            block == 2,
            block > 0,
        )
    for least in (1, 4, 8, 12):
        label = "an indented line" if least == 1 else f"indented by {least} or more"
        text = "whether the line is indented" + ("" if least == 1 else f" by {least} spaces or more")
        found.add(f"indented-{least}", label, text, t.indentation >= least, t.is_past_indentation)
    in_margin = ~t.is_past_indentation & (t.column > 0)
    found.add("margin", "in the margin", "whether nothing but spaces has been read of the line", in_margin)
    _add_line_beginnings(found)


def _add_line_beginnings(found: Collection) -> None:
    """Add whether lines break anywhere (prose) or begin with a capital each (verse), paragraph by paragraph."""
    t = found.layout
    block, capitals, small = list[int](), 0, 0
    blocks, kind = np.zeros(len(t.lines), np.int64), -1
    for number, line in enumerate([*t.lines, ""]):
        if line.strip():
            block.append(number)
            capitals, small = capitals + line[0].isupper(), small + line[0].islower()
            continue
        kind = -1 if len(block) < 3 else 1 if not small else 0 if small * 3 >= len(block) else -1
        blocks[block] = kind
        if block:
            blocks[[each for each in range(block[-1] + 1, min(number + 1, len(t.lines)))]] = -1
        block, capitals, small = [], 0, 0
    verse = t.by_line(blocks.tolist())
    known = (verse >= 0) & (t.line_of_block > 1)
    sentence = "whether this is verse, each line of which begins with a capital, or prose"
    found.add("verse", "verse or prose", sentence, verse == 1, known)


def _add_sentences(found: Collection) -> None:
    t = found.layout
    ends = t.sentence_ends
    if ends.sum() < 20:
        return
    since = t.since(ends)
    inside = since > 1
    found.add("sentence-end", "the end of a sentence", "whether a sentence has just ended", since < 2)
    lengths = np.diff(np.flatnonzero(ends))
    typical = int(np.median(lengths))
    found.add("sentence-long", "a long sentence", "whether the sentence is longer than most", since > typical, inside)
    commas = t.among(",、，")
    found.add("comma-just", "after a comma", "whether a comma was among the last three characters", t.since(commas) < 3)
    clause = t.since(commas) < since
    found.add("clause", "past a comma", "whether there was a comma in this sentence", clause, inside)
    stops = t.since(t.among(";:；：")) < since
    found.add(
        "semicolon",
        "past a colon or semicolon",
        "whether there was a colon or semicolon in this sentence",
        stops,
        inside,
    )
    to_end = t.until(ends)
    at_end = np.minimum(t.places + to_end, t.size - 1)
    known = inside & (to_end < t.size)
    for key, marks, label in (
        ("question", "?？؟", "a question is coming"),
        ("exclamation", "!！", "an exclamation is coming"),
    ):
        found.add(key, label, f"whether this sentence will end with {marks[0]}", t.among(marks)[at_end], known)
    asked = t.at_last(ends, t.among("?？؟"))
    found.add("after-question", "after a question", "whether the sentence before was a question", asked, inside)


def _add_names(found: Collection) -> None:
    """Add who speaks, for plays: lines that hold a name and a colon."""
    t = found.layout
    pattern = r"^[^\W\d_](?:[\w .'’-]{0,38}[\w.'’])?:$"
    names = t.matches(pattern)
    is_name = np.array([bool(line) and line[-1] == ":" for line in t.lines])
    starts = np.flatnonzero(names & (t.column == 1))
    if len(starts) < max(20, _FEWEST_NAMES * len(t.lines)):
        return
    name_lines = np.zeros(len(t.lines) + 1, bool)
    name_lines[t.line[starts]] = True
    name_lines[:-1] &= is_name
    found.add(
        "name", "a speaker's name", "whether this is the line with the name of who speaks next", name_lines[t.line]
    )
    colons = t.ahead(t.line_feeds) & name_lines[t.line] & t.among(":")
    since_lines = t.line - np.maximum.accumulate(np.where(name_lines[t.line], t.line, -(10**6)))
    spoken = since_lines > 0
    found.add(
        "speech-first",
        "the first line of a speech",
        "whether this is the first line of a speech",
        since_lines == 1,
        spoken,
    )
    found.add(
        "speech-long", "a long speech", "whether the speech has gone on for five lines or more", since_lines > 4, spoken
    )
    order: dict[str, int] = {}
    who = [order.setdefault(line, len(order)) if flag else -1 for line, flag in zip(t.lines, name_lines, strict=False)]
    speaker = t.by_line(who)
    at = np.maximum(t.places - t.since(colons), 0)
    known = (t.since(colons) > 20) & (t.since(colons) < t.size) & spoken
    sentence = "who speaks: one half of the speakers or the other"
    found.add("speaker", "who speaks", sentence, speaker[at] % 2 == 1, known)


_PAIRS = (
    ("bracket", "(", ")", "inside brackets", "whether a round bracket is open"),
    ("square", "[", "]", "inside square brackets", "whether a square bracket is open"),
    ("brace", "{", "}", "inside braces", "whether a brace is open"),
    ("typographic", "“", "”", "inside quotation marks", "whether a quotation is open"),
    ("low-quote", "„", "“", "inside quotation marks", "whether a quotation is open"),
    ("guillemet", "«", "»", "inside quotation marks", "whether a quotation is open"),
    ("corner", "「", "」", "inside quotation marks", "whether a quotation is open"),
    ("wide-bracket", "（", "）", "inside brackets", "whether a bracket is open"),
)  # fmt: skip


def _add_pairs(found: Collection) -> None:
    t = found.layout
    for key, opening, closing, label, sentence in _PAIRS:
        if opening in t.text and closing in t.text:
            found.add(key, label, sentence, t.between(opening, closing))
    found.add("quote", 'inside "…"', 'whether a " is open', _between_quotes(t, '"'))
    found.add("single-quote", "inside '…'", "whether a ' is open", _between_quotes(t, "'"))
    found.add("backtick", "inside `…`", "whether a ` is open", t.matches(r"`[^`\n]+`|``[^`]+``"))


def _between_quotes(t: Layout, mark: str) -> Mask:
    """Mark what stands between a mark that may open (no letter before it) and one that may close (none after it)."""
    inside, open_at = np.zeros(t.size, bool), -1
    text = f" {t.text} "
    at = text.find(mark, 1)
    while at >= 0:
        before, after = text[at - 1], text[at + 1]
        gap = text.find("\n\n", open_at, at) if open_at >= 0 else -1
        if open_at >= 0 and (gap >= 0 or at - open_at > _LONGEST_QUOTE):
            open_at = -1
        if open_at >= 0 and not after.isalnum():
            inside[open_at - 1 : at - 1] = True
            open_at = -1
        elif open_at < 0 and not before.isalnum() and not after.isspace():
            open_at = at
        at = text.find(mark, at + 1)
    return inside


def _add_markup(found: Collection) -> None:
    t = found.layout
    found.add(
        "emphasis",
        "emphasis",
        "whether a word is set off by * or _",
        t.matches(r"(?<![\w*])[*_][^\s*_][^*_\n]*[*_](?!\w)"),
    )
    found.add("strong", "bold", "whether words are set in bold by **", t.matches(r"\*\*[^*\n]+\*\*"))
    found.add("tag", "inside a tag", "whether a tag <…> is open", t.matches(r"</?[A-Za-z][^<>\n]*>"))
    found.add(
        "link",
        "inside an address",
        "whether this is the address of a page",
        t.matches(r"\bhttps?://[^\s<>()\"']+", True),
    )
    item = t.by_line(_is_item(line) for line in t.lines)
    found.add("item", "a line of a list", "whether the line is an item of a list", item > 0, t.column > 4)
    code = t.by_line(line.startswith((">>>", "...", "   >>>", "   ...")) for line in t.lines)
    found.add("console", "typed at a prompt", "whether the line was typed at a prompt (>>>)", code > 0, t.column > 4)
    rows = t.by_line(line.lstrip().startswith(("|", "+-", "+=")) for line in t.lines)
    found.add("table", "a table", "whether the line is a row of a table", rows > 0, t.column > 4)
    for mark in ("#", "//", "--"):
        commented = np.array([line.lstrip().startswith(mark) for line in t.lines])
        if commented.mean() >= _FEWEST_COMMENTS:
            name = "heading or comment" if mark == "#" else "comment"
            found.add(f"comment-{mark}", f"a {name}", f"whether the line is a {name} ({mark})", t.by_line(commented.tolist()) > 0,
                      t.column > len(mark))  # fmt: skip
    _add_underlines(found)


def _is_item(line: str) -> bool:
    first, _, rest = line.lstrip().partition(" ")
    return bool(rest) and (first in ("*", "-", "+", "•") or first.rstrip(".)").isdigit() and first[-1] in ".)")


def _add_underlines(found: Collection) -> None:
    """Add rows of one character, and the titles above them."""
    t = found.layout
    under = np.array([len(line) > 3 and len(set(line)) == 1 and not line[0].isalnum() for line in t.lines])
    found.add(
        "rule",
        "a row of one character",
        "whether the line is a row of one character",
        t.by_line(under.tolist()) > 0,
        t.column > 2,
    )
    titles = np.append(under[1:], False) & (t.line_lengths > 0)
    found.add(
        "title", "a title", "whether the line is underlined as a title", t.by_line(titles.tolist()) > 0, t.column > 0
    )


def _add_coming(found: Collection) -> None:
    """Add what comes next."""
    t = found.layout
    coming: list[tuple[str, str, str, Callable[[], Mask]]] = [
        ("next-line", "a line break is next", "whether the line ends here", lambda: t.line_feeds),
        ("next-vowel", "a vowel is next", "whether the next letter is a vowel", lambda: t.vowels),
        ("next-mark", "punctuation is next", "whether punctuation comes next", lambda: t.marks),
        ("next-capital", "a capital is next", "whether a capital letter comes next", lambda: t.capitals),
        ("next-digit", "a digit is next", "whether a digit comes next", lambda: t.digits),
    ]
    for key, label, sentence, mask in coming:
        known = t.ahead(t.letters) if key == "next-vowel" else t.places < t.size - 1
        found.add(key, label, sentence, t.ahead(mask()), known)
    if _has_words(t):
        ends = t.word_letters & ~t.ahead(t.word_letters)
        found.add("next-end", "the word ends here", "whether the word ends here", ends, t.word_letters)
    blank = t.until(t.blank_lines)
    found.add("blank-near", "a blank line is near", "whether a blank line comes within 10 characters", blank <= 10)
