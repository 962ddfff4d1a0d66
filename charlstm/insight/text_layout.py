"""The layout of a text, character by character: letters, words, lines, paragraphs, sentences, pairs.

Everything describes what is known after a character was read, and is an array (T,), T = characters of the text. A line
feed belongs to the line that it begins.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from charlstm.vocabulary import code_points

Mask = NDArray[np.bool_]  # (T,)
Counts = NDArray[np.int64]  # (T,)

_VOWELS = frozenset("aeiouyæøœıаеёиоуыэюяіїєαεηιουω")
_ENDS = frozenset(".!?…。！？؟")
_LONGEST_PAIR = 2000  # characters that a bracket or a quote holds; what is never closed holds nothing


class Layout:
    """Letters, words, lines, paragraphs and sentences of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text)
        self.codes = code_points(text)
        self._distinct, self._which = np.unique(self.codes, return_inverse=True)
        self.places = np.arange(self.size)

    def where(self, is_so: Callable[[str], bool]) -> Mask:
        """Mark the characters for which `is_so`, which is asked once for each distinct one."""
        answers = np.array([is_so(chr(code)) for code in self._distinct], bool)
        return answers[self._which] if self.size else np.zeros(0, bool)

    def among(self, characters: Iterable[str]) -> Mask:
        """Mark the characters that are among `characters`."""
        return self.where(frozenset(characters).__contains__)

    @cached_property
    def letters(self) -> Mask:
        """Letters, with the marks that are set on them."""
        return self.where(lambda char: unicodedata.category(char)[0] in "LM")

    @cached_property
    def capitals(self) -> Mask:
        """Upper-case letters."""
        return self.where(str.isupper)

    @cached_property
    def small(self) -> Mask:
        """Lower-case letters."""
        return self.where(str.islower)

    @cached_property
    def digits(self) -> Mask:
        """Digits."""
        return self.where(lambda char: unicodedata.category(char) == "Nd")

    @cached_property
    def vowels(self) -> Mask:
        """Vowels of the Latin, Cyrillic and Greek alphabets, whatever stands on them."""
        return self.where(lambda char: unicodedata.normalize("NFD", char)[0].lower() in _VOWELS)

    @cached_property
    def marks(self) -> Mask:
        """Punctuation and symbols."""
        return self.where(lambda char: unicodedata.category(char)[0] in "PS")

    @cached_property
    def line_feeds(self) -> Mask:
        """Line feeds."""
        return self.among("\n")

    @cached_property
    def word_letters(self) -> Mask:
        """Letters, and apostrophes between two of them."""
        apostrophes = self.among("'’")
        inside = np.zeros(self.size, bool)
        inside[1:-1] = apostrophes[1:-1] & self.letters[:-2] & self.letters[2:]
        return self.letters | inside

    def since(self, mask: Mask) -> Counts:
        """Count the characters since the last marked one: 0 at it, `size` where there was none."""
        last = np.maximum.accumulate(np.where(mask, self.places, -1)) if self.size else self.places
        return np.where(last < 0, self.size, self.places - last)

    def until(self, mask: Mask) -> Counts:
        """Count the characters until the next marked one after each: at least 1, `size` where there is none."""
        after = self.size - 1 - self.places
        ahead = np.concatenate([mask[1:], np.zeros(min(1, self.size), bool)])[::-1]
        last = np.maximum.accumulate(np.where(ahead, self.places, -1)) if self.size else self.places
        return np.where(last < 0, self.size, self.places - last + 1)[after]

    def at_last(self, mask: Mask, values: Mask) -> Mask:
        """Tell for each character what `values` is at the last marked one; false where there was none."""
        since = self.since(mask)
        there: Mask = values[np.maximum(self.places - since, 0)] & (since < self.size)
        return there

    def back(self, mask: Mask, count: int) -> Mask:
        """Mark the characters that come `count` after a marked one."""
        return np.concatenate([np.zeros(min(count, self.size), bool), mask[: max(0, self.size - count)]])

    def ahead(self, mask: Mask) -> Mask:
        """Mark the characters that come before a marked one."""
        return np.concatenate([mask[1:], np.zeros(min(1, self.size), bool)])

    @cached_property
    def word_length(self) -> Counts:
        """How many letters of the word have been read; 0 outside of words."""
        length: Counts = np.minimum(self.since(~self.word_letters), self.places + 1)
        return length

    @cached_property
    def word_starts(self) -> Mask:
        """First letters of words."""
        starts: Mask = self.word_length == 1
        return starts

    @cached_property
    def column(self) -> Counts:
        """How many characters of the line have been read; 0 at the line feed before it."""
        column: Counts = np.minimum(self.since(self.line_feeds), self.places + 1)
        return column

    @cached_property
    def line(self) -> Counts:
        """The number of the line, from 0."""
        return np.cumsum(self.line_feeds)

    @cached_property
    def lines(self) -> list[str]:
        """The lines, without line feeds."""
        return self.text.split("\n")

    def by_line(self, values: Iterable[int]) -> Counts:
        """Give each character the value of its line."""
        return np.fromiter(values, np.int64)[self.line]

    @cached_property
    def line_lengths(self) -> NDArray[np.int64]:
        """The length of each line, (lines,)."""
        return np.array([len(line) for line in self.lines])

    @cached_property
    def indentation(self) -> Counts:
        """How many spaces the line begins with (a tab counts four), but never more than what has been read of it."""
        leading = self.by_line(_indentation(line) for line in self.lines)
        return np.minimum(leading, self.column)

    @cached_property
    def is_past_indentation(self) -> Mask:
        """Characters of a line from its first non-space on."""
        leading = self.by_line(len(line) - len(line.lstrip(" \t")) for line in self.lines)
        return self.column > leading

    @cached_property
    def line_of_block(self) -> Counts:
        """The number of the line since the last blank one, from 1; 0 on blank ones."""
        number, numbers = 0, []
        for line in self.lines:
            number = number + 1 if line.strip() else 0
            numbers.append(number)
        return self.by_line(numbers)

    @cached_property
    def full_stops(self) -> Mask:
        """Full stops and the like, but for those before a letter, a digit or another of them."""
        ends = self.among(_ENDS)
        is_wide = self.among("。！？")
        stops: Mask = ends & (is_wide | ~self.ahead(self.letters | self.digits | ends))
        return stops

    @cached_property
    def blank_lines(self) -> Mask:
        """Line feeds that end a blank line, or begin a text's second line if its first is blank."""
        return self.line_feeds & self.back(self.line_feeds, 1)

    def between(self, opening: str, closing: str, is_in_line: bool = False) -> Mask:
        """Mark what stands between matched marks, from the opening one to the one before the closing one.

        Pairs may hold each other, and end at a blank line, or with `is_in_line` at any line's end.
        """
        inside, stack = np.zeros(self.size, bool), list[int]()
        border = "\n" if is_in_line else "\n\n"
        for found in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}|{border}", self.text):
            if found.group() == border:
                stack.clear()
            elif found.group() == opening:
                stack.append(found.start())
            elif stack and found.start() - stack[-1] <= _LONGEST_PAIR:
                inside[stack.pop() : found.start()] = True
        return inside

    def spans(self, opening: str, closing: str, most: int) -> Mask:
        """Mark what stands between marks that don't nest, both with it but for the last character; in linear time."""
        inside, begin = np.zeros(self.size, bool), self.text.find(opening)
        while begin >= 0 and (end := self.text.find(closing, begin + len(opening))) >= 0:
            end += len(closing)
            if end - begin <= most:
                inside[begin : end - 1] = True
            begin = self.text.find(opening, end)
        return inside

    def matches(self, pattern: str, is_from_second: bool = False) -> Mask:
        """Mark what a regular expression finds (line by line: ^ and $), but for each last character."""
        inside = np.zeros(self.size, bool)
        for found in re.finditer(pattern, self.text, re.MULTILINE):
            inside[found.start() + is_from_second : max(found.start(), found.end() - 1)] = True
        return inside


def _indentation(line: str) -> int:
    leading = line[: len(line) - len(line.lstrip(" \t"))]
    return len(leading) + 3 * leading.count("\t")
