"""Python source, character by character: strings, comments, brackets, indentation, and what a statement is.

The lexer takes what `tokenize` would (strings, comments, depth of brackets), but also reads sources that break off or
hold mistakes, as what a model writes does. Places are characters that have been read: a string is open from its first
quote to the one before its last.
"""

import ast
import keyword
import re
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.insight.property_matrix import PropertyBuilder
from charlstm.insight.text_layout import Layout, Mask

CODE, COMMENT, SINGLE, DOUBLE, TRIPLE = range(5)
_KEYWORDS = (*keyword.kwlist, "match", "case")
_FEWEST_STATEMENTS = 0.1  # share of lines that begin as Python's statements do
_STATEMENT = re.compile(
    r"\s*(?:(?:def|class|import|from|return|if|elif|for|while|with|except|raise|assert|async|yield|del) \S"
    r"|(?:else|try|finally):|pass\b|self\.\w|@\w|[a-z_]\w* = \S)"
)
_OPENING = re.compile(
    r"(?P<comment>#[^\n]*)|(?P<prefix>\b[rRbBuUfF]{1,2})?(?P<quote>\"\"\"|'''|\"|')|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|\n(?=(?:def|class|import|from) )"
)
_REST = {  # of a string after its opening quote
    **{mark: re.compile(rf"(?:\\.|[^\\\n{mark}])*(?:{mark}|(?=\n)|\Z)", re.DOTALL) for mark in "'\""},
    **{mark: re.compile(rf"(?:\\.|[^\\])*?{mark}", re.DOTALL) for mark in ("'''", '"""')},
}


class Lexed(NamedTuple):
    """What each of T characters is part of."""

    kinds: NDArray[np.int8]  # (T,): CODE, COMMENT, SINGLE, DOUBLE or TRIPLE
    round_depth: NDArray[np.int16]  # (T,): brackets open after it, by kind
    square_depth: NDArray[np.int16]
    curly_depth: NDArray[np.int16]

    @property
    def depth(self) -> NDArray[np.int16]:
        """Brackets of all kinds that are open."""
        return self.round_depth + self.square_depth + self.curly_depth


def is_python(text: str) -> bool:
    """Tell whether `text` is Python source: it compiles, or many of its lines begin as statements do."""
    lines = [line for line in text[:65_536].splitlines() if line.strip()]
    statements = sum(bool(_STATEMENT.match(line)) for line in lines)
    if not lines or statements < _FEWEST_STATEMENTS * len(lines):
        return False
    defined = len(re.findall(r"^\s*(?:def|class|import|from) \w.*(?::|import|\w)$", text[:65_536], re.MULTILINE))
    if defined * 50 > len(lines) and statements > 0.3 * len(lines):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text[:65_536].rsplit("\n", 1)[0])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return statements > 0.2 * len(lines)


def lex(text: str) -> Lexed:
    """Read `text` as Python.

    A string of one line that is not closed ends with its line; a bracket that is not closed ends before a line that
    begins with def, class, import or from at the margin.
    """
    kinds = np.zeros(len(text), np.int8)
    changes = np.zeros((3, len(text) + 1), np.int16)  # of depth
    stack: list[int] = []
    at = 0
    while found := _OPENING.search(text, at):
        at = found.end()
        if found["comment"]:
            kinds[found.start() : at] = COMMENT
        elif quote := found["quote"]:
            ended = _REST[quote].match(text, at)
            end = ended.end() if ended else len(text)
            is_closed = ended is not None and text.endswith(quote, at, end)
            kind = TRIPLE if len(quote) == 3 else SINGLE if quote == "'" else DOUBLE
            kinds[found.start("quote") : end - is_closed] = kind
            at = end
        elif found["open"]:
            stack.append("([{".index(found["open"]))
            changes[stack[-1], found.start()] += 1
        elif found["close"]:
            if stack and stack[-1] == ")]}".index(found["close"]):
                changes[stack.pop(), found.start()] -= 1
        else:
            for kind in stack:
                changes[kind, found.start()] -= 1
            stack.clear()
    depths = np.cumsum(changes, axis=1, dtype=np.int16)[:, :-1]
    return Lexed(kinds, *depths)


def add_python(found: PropertyBuilder) -> None:
    """Add the properties of Python source."""
    lexed = lex(found.layout.text)
    _add_kinds(found, lexed)
    _add_statements(found, lexed)
    _add_parts(found, lexed)


def _add_kinds(found: PropertyBuilder, lexed: Lexed) -> None:
    t, kinds, depth = found.layout, lexed.kinds, lexed.depth
    is_code = kinds == CODE
    found.add("bracket", "an open bracket", "whether a round bracket is open", lexed.round_depth > 0)
    found.add("square", "an open square bracket", "whether a square bracket is open", lexed.square_depth > 0)
    found.add("brace", "an open brace", "whether a brace is open", lexed.curly_depth > 0)
    found.add("nested", "brackets in brackets", "whether two brackets or more are open", depth > 1)
    found.add("triple", "a docstring", "whether a triple-quoted string is open", kinds == TRIPLE)
    found.add(
        "single-quote", "inside '…'", "whether a string in single quotes is open", kinds == SINGLE, kinds != TRIPLE
    )
    found.add("quote", 'inside "…"', "whether a string in double quotes is open", kinds == DOUBLE, kinds != TRIPLE)
    string = (kinds == SINGLE) | (kinds == DOUBLE)
    found.add("string", "a string", "whether a string of one line is open, in quotes of either kind", string)
    found.add("comment", "a comment", "whether this is in a comment", kinds == COMMENT)
    found.add(
        "words",
        "prose, not code",
        "whether this is prose (a comment or a docstring) or code",
        (kinds == COMMENT) | (kinds == TRIPLE),
    )
    doctest = t.by_line(line.lstrip().startswith((">>>", "...")) for line in t.lines)
    found.add(
        "console", "typed at a prompt", "whether the line was typed at a prompt (>>>)", (doctest > 0) & (t.column > 4)
    )
    continued = np.append(np.zeros(min(1, t.size), np.int16), depth[:-1])
    inside = t.at_last(t.line_feeds, continued > 0)
    found.add("continued", "a continued line", "whether the line began inside an open bracket", inside, is_code)


def _words(t: Layout, words: tuple[str, ...], code: Mask, at_start: bool = True) -> Mask:
    """Mark the last letter of `words` in code, by default only where a statement begins."""
    ends = np.zeros(t.size, bool)
    lead = r"^[ \t]*(?:async )?" if at_start else r"(?<![\w.])"
    for found in re.finditer(rf"{lead}(?:{'|'.join(words)})(?=\W)", t.text, re.MULTILINE):
        ends[found.end() - 1] = True
    return ends & code


def _add_statements(found: PropertyBuilder, lexed: Lexed) -> None:
    """Add what the line's first word announces, until the statement ends."""
    t, code, depth = found.layout, lexed.kinds == CODE, lexed.depth
    ended = t.line_feeds & code & (depth == 0)  # a statement goes on in brackets and in strings
    colon = t.among(":") & code & (depth == 0)
    begun = {
        "def": ("def",), "class": ("class",), "import": ("import", "from"), "return": ("return", "yield"),
        "raise": ("raise",), "if": ("if", "elif", "while"), "for": ("for",), "with": ("with", "except"),
    }  # fmt: skip
    labels = {
        "def": ("the first line of a function", "whether the line defines a function"),
        "class": ("the first line of a class", "whether the line defines a class"),
        "import": ("an import", "whether the line imports something"),
        "return": ("a return", "whether the line returns or yields something"),
        "raise": ("a raise", "whether the line raises an error"),
        "if": ("a condition", "whether this is the condition of if, elif or while"),
        "for": ("the line of a for", "whether this is the line of a for loop, before its colon"),
        "with": ("with and except", "whether this is a line of with or except, before its colon"),
    }
    expected = np.zeros(t.size, bool)
    for key, words in begun.items():
        starts = _words(t, words, code)
        ends = ended if key in ("import", "return", "raise") else ended | colon
        inside = t.since(starts) < t.since(ends)
        found.add(f"in-{key}", *labels[key], inside)
        if key not in ("import", "return", "raise"):
            expected |= inside
    rest = _words(t, ("else", "try", "finally"), code)
    expected |= t.since(rest) < t.since(ended | colon)
    found.add("colon", "a colon is due", "whether this line needs a colon before it ends", expected)
    signature = (t.since(_words(t, ("def",), code)) < t.since(ended | colon)) & (lexed.round_depth > 0)
    found.add("signature", "a function's parameters", "whether these are the parameters of a function", signature)
    name = t.matches(r"(?<=def )\w+\(|(?<=class )\w+[(:]") & code
    found.add("naming", "the name of a function or class", "whether this is the name of a new function or class", name)
    equals = t.matches(r"(?<![=!<>+\-*/%&|^:@])=(?!=).", False) & t.among("=") & code
    assigned = equals & (depth == 0)
    found.add(
        "assigned", "after =", "whether there was an = in this statement", t.since(assigned) < t.since(ended), code
    )
    decorator = t.by_line(line.lstrip().startswith("@") for line in t.lines)
    found.add(
        "decorator",
        "a decorator",
        "whether the line is a decorator (@…)",
        (decorator > 0) & t.is_past_indentation & code,
    )
    opened = t.at_last(t.line_feeds, t.back(t.at_last(~t.among(" \n"), colon), 1))
    found.add(
        "body", "the first line of a block", "whether the line before opened a block with a colon", opened, t.column > 0
    )


def _add_parts(found: PropertyBuilder, lexed: Lexed) -> None:
    """Add what the word is."""
    t, code = found.layout, lexed.kinds == CODE
    identifier = t.where(lambda char: char.isalnum() or char == "_")
    run = np.minimum(t.since(~identifier), t.places + 1)
    starts = run == 1
    attribute = t.at_last(starts, t.back(t.among("."), 1)) & identifier & code
    found.add("attribute", "a name after a dot", "whether this is a name after a dot", attribute)
    inside = identifier & code & ~t.at_last(starts, t.digits)
    words = "|".join(_KEYWORDS)
    is_keyword = np.zeros(t.size, bool)
    for match in re.finditer(rf"\b(?:{words})\b", t.text):
        is_keyword[match.start() : match.end()] = True
    found.add(
        "keyword",
        "words of the language",
        "whether the word is one of Python's own: if, for, return",
        is_keyword & code,
        inside,
    )
    underscore = t.among("_")
    snake = (t.since(underscore) < run) & identifier
    found.add("snake", "a name with _", "whether there was an underscore in this name", snake, inside)
    private = t.at_last(starts, underscore) & identifier
    found.add("private", "a name that begins with _", "whether the name began with an underscore", private, inside)
    own = np.zeros(t.size, bool)
    for match in re.finditer(r"\bself\.", t.text):
        own[match.end() - 1] = True
    found.add(
        "self", "after self.", "whether this is a name after self.", (t.since(own) <= run) & (identifier | own) & code
    )
    call = t.ahead(t.among("(")) & identifier
    found.add("call", "a call is next", "whether a bracket opens next", call, identifier & code)
    found.add("operator", "after an operator", "whether an operator was among the last two characters",
              (t.since(t.among("=+-*/%<>!&|^")) < 2) & code, code)  # fmt: skip
    default = t.matches(r"(?<=[(, ])\w+=(?!=)") & code & (lexed.round_depth > 0)
    found.add(
        "named", "a named argument", "whether this is the name of an argument, before its =", default, identifier & code
    )
