"""Words that the command line and the page share."""

import sys
from pathlib import Path


def own_command() -> str:
    """How this program was called, so that hints name a command that works here."""
    return "charlstm" if Path(sys.argv[0]).stem.lower() == "charlstm" else "python -m charlstm"


def duration(seconds: float) -> str:
    """A time a person can read: `2 min 13 s`."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(hours, "h"), (minutes, "min"), (seconds, "s")]
    shown = [f"{number} {unit}" for number, unit in parts if number] or ["0 s"]
    return " ".join(shown[:2])
