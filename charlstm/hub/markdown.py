"""Markdown that holds other people's texts as text."""

import re


def fence(text: str, language: str = "") -> str:
    """Make a block of code that no text can end: its fence is longer than any inside."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language or 'text'}\n{visible(text)}\n{fence}"


def code(text: str) -> str:
    """Set `text` as code within a line."""
    return f"`{visible(' '.join(text.split())).replace('`', chr(39))}`"


def visible(text: str) -> str:
    """Replace characters that control a terminal or a page."""
    return "".join(char if char in "\n\t" or char.isprintable() else "�" for char in text)
