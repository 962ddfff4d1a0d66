"""Formatting for people: durations, losses, HTML escapes, paths removed from messages."""

import html
import re
import sys
from pathlib import Path

from charlstm.errors import printable

TEXT_LABELS = {
    "tiny-shakespeare": "Shakespeare",
    "moby-dick.txt": "Moby Dick",
    "python-reference": "Python's reference",
    "python-stdlib": "Python's library",
}
_ROOT = r"(?:~?/|\\\\|[A-Za-z]:[\\/])"  # of a path of this kind of machine or another
_QUOTED = re.compile(rf"""(?<=["'`]){_ROOT}[^"'`\n]*[\\/](?=[^"'`\n]*["'`])""")
_BARE = re.compile(rf"""(?<![\w/.:<>~-]){_ROOT}(?:[^\s"'`(),;:]+[\\/])+""")


def without_places(text: str) -> str:
    """Remove the folders of files that `text` names, which are nobody's business on a page."""
    homes = (Path(__file__).parents[1], sys.prefix, sys.base_prefix)
    for place in sorted(
        {str(each) for each in homes}, key=len, reverse=True
    ):  # they may hold spaces, as no pattern can
        if len(place) > 1:
            text = text.replace(place, "/...")
    return _BARE.sub(".../", _QUOTED.sub(".../", text)).replace("/.../", ".../")


def own_command() -> str:
    """Return the command this program was called with, so that hints name one that works here."""
    return "charlstm" if Path(sys.argv[0]).stem.lower() == "charlstm" else "python -m charlstm"


def format_duration(seconds: float) -> str:
    """Format a duration for people: `2 min 13 s`."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number] or ["0 s"]
    return " ".join(shown[:2])


def format_largest_unit(seconds: float) -> str:
    """Format a duration in its largest unit: `53 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def escape_html(text: str) -> str:
    """Return `text` as HTML that shows exactly it: neither tags nor the `${...}` and `{{...}}` of templates act."""
    escaped = html.escape(text)
    return escaped.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;").replace("`", "&#96;")


def escape_lines(text: str) -> str:
    """Escape as `escape_html` does, with line ends as `<br>`."""
    return "<br>".join(escape_html(line) for line in text.split("\n"))


def capitalize(text: str) -> str:
    """Return `text` with its first letter large."""
    return text[:1].upper() + text[1:]


def error_text(error: Exception) -> str:
    """Return an error's message as a sentence of the page; a name it begins with keeps its letters."""
    message = without_places(str(error))
    return capitalize(message) if message.split(" ", 1)[0].isalpha() else message


def label_text(corpus: str) -> str:
    """Return what people call the text of a corpus of this name, wherever they read it: its label, or the name."""
    return TEXT_LABELS.get(corpus, corpus)


def name_text(corpus: str, max_chars: int) -> str:
    """Return what people call such a text in the name of a run: its label, or the file's name without its ending."""
    return TEXT_LABELS.get(corpus) or printable(Path(corpus).stem.strip(), max_chars)
