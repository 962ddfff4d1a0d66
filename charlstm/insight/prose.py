"""Properties of letters, words, lines and sentences, in any language."""

import numpy as np

from charlstm.insight.property_matrix import PropertyBuilder
from charlstm.insight.text_layout import Counts, Layout, Mask

_FEWEST_CAPITALS = 0.01  # share of letters: a script without them has none
_SOON = 30  # characters before the end of a question; what it will be is often open until then
_FIRST_WORDS = 3  # of a sentence
_PARTICLES = "はのをにがでと"  # of Japanese, before what is not written in hiragana
_LONG_RUN = 5  # characters of one script


def add_letters(found: PropertyBuilder) -> None:
    """Add what the last characters were."""
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
    letters = max(1, int(t.letters.sum()))
    mixed = {name: mask for name, mask in written.items() if 0.01 < mask.sum() / letters < 0.99}
    for name, mask in mixed.items():
        run = np.minimum(t.since(~mask), t.places + 1)
        found.add(name, name, f"whether the last character is written in {name} letters", mask)
        found.add(f"{name}-two", f"a {name} word", f"whether two {name} characters or more stand in a row", run > 1)
        found.add(
            f"{name}-long",
            f"a long {name} word",
            f"whether {_LONG_RUN} {name} characters or more stand in a row",
            run >= _LONG_RUN,
        )
        found.add(
            f"{name}-near",
            f"{name} nearby",
            f"whether one of the last 10 characters was written in {name} letters",
            t.since(mask) < 10,
        )
    if mixed:
        is_ascii = t.by_line(line.isascii() for line in t.lines) > 0
        found.add("ascii-line", "a line in Latin", "whether the whole line is in plain Latin letters", is_ascii,
                  t.column > 5)  # fmt: skip
    if "hiragana" in mixed:
        _add_particles(found, written["hiragana"])
    _add_distances(found)


def _add_particles(found: PropertyBuilder, hiragana: Mask) -> None:
    """Add which little word of Japanese comes before a word in other characters."""
    t = found.layout
    is_near = t.since(hiragana) < t.since(t.where(str.isspace))
    for particle in _PARTICLES:
        found.add(
            f"after-{particle}",
            f"after {particle}",
            f"whether {particle} stands before the word",
            t.at_last(hiragana, t.among(particle)) & is_near,
            ~hiragana,
        )


def _add_distances(found: PropertyBuilder) -> None:
    """Add how far back the last capital and the last mark are."""
    t = found.layout
    kinds = [("mark", "punctuation", t.marks, 10, 40)]
    if t.small.sum() and t.capitals.sum() >= _FEWEST_CAPITALS * t.letters.sum():
        kinds.append(("capital", "a capital letter", t.capitals, 20, 60))
    for key, name, mask, near, far in kinds:
        found.add(
            f"{key}-near",
            f"{name} nearby",
            f"whether {name} was among the last {near} characters",
            t.since(mask) < near,
        )
        sentence = f"whether {name} is more than {far} characters back"
        found.add(f"{key}-far", f"long without {name}", sentence, t.since(mask) > far)


def has_words(t: Layout) -> bool:
    """Tell whether words have spaces between them."""
    return bool(t.size) and bool(t.word_letters.sum() > 0.05 * t.size and t.among(" ").sum() > 0.05 * t.letters.sum())


def add_words(found: PropertyBuilder) -> None:
    """Add where in its word a character stands, for text with spaces between words."""
    t = found.layout
    if t.small.sum() and t.capitals.sum() >= _FEWEST_CAPITALS * t.letters.sum():
        _add_capitals(found)
    if not has_words(t):
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


def _add_capitals(found: PropertyBuilder) -> None:
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


def add_lines(found: PropertyBuilder) -> None:
    """Add where in its line and paragraph a character stands."""
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
        found.add("blank", "after a blank line", "whether a blank line has just ended", t.blank_lines)
        found.add(
            "block-deep",
            "far from the last blank line",
            "whether the last blank line is five lines back or more",
            block > 5,
            block > 0,
        )
    if block.max(initial=0) > 2 and found.values_of("name") is None:
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


def _add_line_beginnings(found: PropertyBuilder) -> None:
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
            blocks[block[-1] + 1 : number + 1] = -1
        block, capitals, small = [], 0, 0
    verse = t.by_line(blocks.tolist())
    known = (verse >= 0) & (t.line_of_block > 1)
    sentence = "whether this is verse, each line of which begins with a capital, or prose"
    found.add("verse", "verse or prose", sentence, verse == 1, known)


def add_sentences(found: PropertyBuilder) -> None:
    """Add where in its sentence a character stands, and what the sentence is."""
    t = found.layout
    stops, names = t.full_stops, found.values_of("name")
    ends = stops | t.blank_lines
    if names is not None:
        ends = ends | names | t.back(names, 1)
    if stops.sum() < 20:
        return
    since = t.since(ends)
    inside = since > 8  # before that nothing is known of a sentence
    found.add("sentence-end", "the end of a sentence", "whether a sentence has just ended", t.since(stops) < 2)
    lengths = np.diff(np.flatnonzero(ends))
    typical = int(np.median(lengths[lengths > 8])) if (lengths > 8).any() else 0
    found.add("sentence-early", "the first part of a sentence", "whether the sentence has only just begun",
              since <= typical // 4)  # fmt: skip
    found.add("sentence-half", "counts the sentence", "whether the sentence is past its middle", since > typical // 2)
    found.add("sentence-long", "a long sentence", "whether the sentence is longer than most", since > typical, inside)
    found.add("sentence-longest", "a very long sentence", "whether the sentence is twice as long as most or longer",
              since > 2 * typical, inside)  # fmt: skip
    if has_words(t):
        spaces = np.cumsum(t.among(" \n"))
        words = spaces - spaces[np.maximum(t.places - since, 0)]
        found.add("sentence-word", "the first word of a sentence", "whether this is the first word of a sentence",
                  words <= 1)  # fmt: skip
        found.add("sentence-words", "the first words of a sentence",
                  f"whether the sentence is in its first {_FIRST_WORDS} words", words <= _FIRST_WORDS)  # fmt: skip
    commas = t.among(",、，")
    found.add("comma-just", "after a comma", "whether a comma was among the last three characters", t.since(commas) < 3)
    clause = t.since(commas) < since
    found.add("clause", "past a comma", "whether there was a comma in this sentence", clause, inside)
    parts = t.since(t.among(";:；：")) < since
    found.add(
        "semicolon",
        "past a colon or semicolon",
        "whether there was a colon or semicolon in this sentence",
        parts,
        inside,
    )
    clauses = ends | t.among(";:；：")
    to_end, known = t.until(clauses), t.since(clauses) > 8
    at_end = np.minimum(t.places + to_end, t.size - 1)
    for key, marks, name in (("question", "?？؟", "a question"), ("exclamation", "!！", "an exclamation")):
        is_so = t.among(marks)[at_end] & (to_end < _SOON)
        label = f"{name} is coming"
        found.add(key, label, f"whether {marks[0]} ends this sentence within {_SOON} characters", is_so, known)
    asked = t.at_last(stops, t.among("?？؟"))
    found.add("after-question", "after a question", "whether the sentence before was a question", asked, inside)
