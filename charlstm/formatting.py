"""Words that the command line and the page share."""

import re
import sys
from pathlib import Path

_ROOT = r"(?:~?/|\\\\|[A-Za-z]:[\\/])"  # of a path of this kind of machine or another
_QUOTED = re.compile(rf"""(?<=["'`]){_ROOT}[^"'`\n]*[\\/](?=[^"'`\n]*["'`])""")
_BARE = re.compile(rf"""(?<![\w/.:<>~-]){_ROOT}(?:[^\s"'`(),;:]+[\\/])+""")


def without_places(text: str) -> str:
    """`text` with the names of files and without the folders they lie in, which are nobody's business on a page."""
    homes = (Path(__file__).parents[1], sys.prefix, sys.base_prefix)
    for place in sorted(
        {str(each) for each in homes}, key=len, reverse=True
    ):  # they may hold spaces, as no pattern can
        if len(place) > 1:
            text = text.replace(place, "/...")
    return _BARE.sub(".../", _QUOTED.sub(".../", text)).replace("/.../", ".../")


def own_command() -> str:
    """How this program was called, so that hints name a command that works here."""
    return "charlstm" if Path(sys.argv[0]).stem.lower() == "charlstm" else "python -m charlstm"


def format_duration(seconds: float) -> str:
    """A time a person can read: `2 min 13 s`."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number] or ["0 s"]
    return " ".join(shown[:2])
