"""Properties that marks make: names of speakers, brackets, quotes, lists, headings; and what comes next."""

from collections.abc import Callable

import numpy as np

from charlstm.insight.property_matrix import PropertyBuilder
from charlstm.insight.prose import has_words
from charlstm.insight.text_layout import Layout, Mask

_FEWEST_NAMES = 0.02  # share of lines that are `NAME:`
_FEWEST_COMMENTS = 0.01  # share of lines that begin with a comment's mark
_LONGEST_QUOTE, _LONGEST_COMMENT = 1000, 2000


def add_names(found: PropertyBuilder) -> None:
    """Add who speaks, for plays: lines that hold a name and a colon."""
    t = found.layout
    pattern = r"^[^\W\d_](?:[\w .'’-]{0,38}[\w.'’])?:$"
    names = t.matches(pattern)
    is_name = np.array([bool(line) and line[-1] == ":" for line in t.lines])
    starts = np.flatnonzero(names & (t.column == 1))
    if len(starts) < max(20, _FEWEST_NAMES * len(t.lines)):
        return
    is_first = t.line_of_block[starts] == 1
    name_lines = np.zeros(len(t.lines) + 1, bool)
    name_lines[t.line[starts[is_first] if is_first.mean() > 0.5 else starts]] = True  # lines of verse end so, too
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


def add_pairs(found: PropertyBuilder) -> None:
    """Add what is inside brackets and quotes."""
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


def add_markup(found: PropertyBuilder) -> None:
    """Add headings, lists, emphasis, tables, comments and the like."""
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
    block = t.spans("/*", "*/", _LONGEST_COMMENT)
    found.add("comment-block", "a comment", "whether this is a comment between /* and */", block)
    for mark in ("#", "//", "--"):
        commented = np.array([line.lstrip().startswith(mark) for line in t.lines])
        if commented.mean() >= _FEWEST_COMMENTS:
            name = "heading or comment" if mark == "#" else "comment"
            there = t.by_line(commented.tolist()) > 0
            found.add(
                f"comment-{mark}", f"a {name}", f"whether the line is a {name} ({mark})", there, t.column > len(mark)
            )
    _add_underlines(found)


def _is_item(line: str) -> bool:
    first, _, rest = line.lstrip().partition(" ")
    return bool(rest) and (first in ("*", "-", "+", "•") or (first.rstrip(".)").isdigit() and first[-1] in ".)"))


def _add_underlines(found: PropertyBuilder) -> None:
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


def add_coming(found: PropertyBuilder) -> None:
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
    if has_words(t):
        ends = t.word_letters & ~t.ahead(t.word_letters)
        found.add("next-end", "the word ends here", "whether the word ends here", ends, t.word_letters)
    blank = t.until(t.blank_lines)
    found.add("blank-near", "a blank line is near", "whether a blank line comes within 10 characters", blank <= 10)
