"""The directory of runs: naming, creation and listing. Imports no torch.

A label is visible, and not confusable with another run's. Unicode has many invisible characters and many that look
alike. Its full list of confusables is long and changes; this module uses what the standard library knows (compatibility
forms, accents, kinds of dashes and spaces) and a short list of letters that look like Latin ones in most typefaces.
"""

import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from charlstm.config import Settings
from charlstm.errors import CharLSTMError, RunError
from charlstm.files import atomic_write_text
from charlstm.places import RECORDED_RUNS
from charlstm.runs.run_dir import RunDir

LONGEST_LABEL = 80
# Invisible despite a category of letters, symbols or marks: fillers, empty Braille, joiners, selectors.
_BLANK = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\U00016fe4\U0001d159"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
# Look-alikes of Latin letters in most typefaces: Cyrillic, Greek, Armenian, Cherokee and small capitals.
_LOOKS_LIKE = {
    "a": "аАɑαΑᎪᴀ", "b": "вВΒᏴЬьʙ", "c": "сСϲϹᏟᴄ", "d": "ԁᎠɗᴅ", "e": "еЕΕᎬҽєᴇ", "f": "ƒғҒϜ", "g": "ɡԌᏀɢ",
    "h": "һНнΗᎻհʜ", "j": "јЈϳᎫյᴊ", "k": "КкΚκᏦᴋ", "l": "іІΙιӏӀⅼıɩɪǀ|1iʟᏞᛁ", "m": "МмΜᎷᴍ", "n": "ΝոռпηɴՈ",
    "o": "оОΟοσօ0०੦߀ᴏՕ",
    "p": "рРΡρᏢᴘ",
    "q": "ԛԚգզ", "r": "гᎡʀᴦ", "s": "ѕЅᏚꜱՏ", "t": "тТΤτᎢᴛ", "u": "υսᴜՍ", "v": "νѵѴᏙᴠ", "w": "ԝԜᏔѡωᴡ", "x": "хХΧχ",
    "y": "уУΥγүҮᎩʏ", "z": "ΖᏃᴢ",
}  # fmt: skip
_ALIKE = {ord(char): letter for letter, chars in _LOOKS_LIKE.items() for char in chars}


def validate_label(label: str, others: Iterable[str]) -> str:
    """Return the normalized `label`; raise `RunError` unless it is visible and unlike all `others`."""
    label = label.strip()
    if not label or len(label) > LONGEST_LABEL or not label.isprintable():  # first: normalizing a long label takes long
        raise RunError(f"a run's name is one line of up to {LONGEST_LABEL} characters; choose another one.")
    if any(map(_is_blank, label)) or not any(map(_is_drawn, label)):
        raise RunError("a run's name holds characters that can't be seen; choose one of letters and digits.")
    label = unicodedata.normalize("NFC", label)
    look = _look(label)
    if any(look == _look(other) for other in others):
        raise RunError(f"another run is called {label}, or looks so; choose another name.")
    return label


def _is_blank(char: str) -> bool:
    return char in _BLANK or any(each in _BLANK for each in unicodedata.normalize("NFKC", char))


def _is_drawn(char: str) -> bool:
    """Return whether the character is visible: a letter, a digit, a symbol or punctuation."""
    return unicodedata.category(char)[0] in "LNSP"


def _look(label: str) -> str:
    """Return a skeleton that is equal for labels that are hard to tell apart."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", label).translate(_ALIKE).casefold())
    plain = (_plain(char) for char in folded.translate(_ALIKE) if unicodedata.category(char) not in ("Mn", "Me", "Cf"))
    return " ".join("".join(plain).replace("rn", "m").replace("vv", "w").split())


def _plain(char: str) -> str:
    """Fold all dashes into one, and all spaces."""
    category = unicodedata.category(char)
    return "-" if category == "Pd" or char in "\u2212\u02d7\u2043\u30fc_" else " " if category == "Zs" else char


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)  # learn.microsoft.com: Naming Files


class RunStore:
    """The directory of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str) -> RunDir:
        """Return the run named `name`; raise `RunError` for an invalid or unknown name."""
        folder = RunDir(self.root / (name if name in self._names() else _validate_name(name)))
        if not folder.exists:
            raise RunError(f"there is no run named {name}; see the list of runs.")
        return folder

    def find_by_job(self, job: str) -> RunDir | None:
        """Return the run that this torchrun job created before its processes were restarted, or `None`."""
        made = (folder for folder in self.run_dirs() if folder.job_file.is_file() and folder.exists)
        return next((folder for folder in made if folder.job_file.read_text(encoding="utf-8") == job), None)

    def create(
        self,
        settings: Settings,
        name: str,
        text: str | Iterable[str] | None = None,
        job: str = "",
        prepare: Callable[[RunDir], None] = lambda _: None,
    ) -> RunDir:
        """Create a run named `name`, with its own copy of `text` if it was pasted or uploaded.

        `find_by_job` finds it by `job`; `prepare` may add files before the run becomes visible.
        """
        folder = RunDir(self.root / _validate_name(name))
        try:
            if _is_recorded(name):
                raise FileExistsError
            folder.path.mkdir(parents=True)
        except FileExistsError:
            raise RunError(f"{name} exists already among the models and runs; choose another name.") from None
        except OSError as error:
            raise RunError(f"the folder of models can't hold a new run ({error.strerror}); check it.") from None
        try:
            folder.unprepared_file.touch()
            if text is not None:
                atomic_write_text(folder.corpus_file, text)
            if job:
                atomic_write_text(folder.job_file, job)
            prepare(folder)
            folder.save_settings(settings)
            folder.unprepared_file.unlink()
        except (OSError, UnicodeError) as error:
            shutil.rmtree(folder.path, ignore_errors=True)  # or it would block the name without being listed
            raise RunError(f"run {name} can't be prepared ({error}); check its folder.") from None
        except CharLSTMError:  # from the text, which may be an iterator over a file
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
        return folder

    def is_free(self, name: str) -> bool:
        """Return whether no run or model is called `name`; raise `RunError` for an invalid name."""
        return not ((self.root / _validate_name(name)).exists() or _is_recorded(name))

    def free_name(self, wish: str) -> str:
        """Return an unused name like `wish`: reduced to plain characters, with a number appended if needed."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", wish).strip("-_")[:48] or "run"
        plain = f"{plain}-run" if _RESERVED.fullmatch(plain) else plain
        name, number = plain, 1
        while (self.root / name).exists() or _is_recorded(name):
            number += 1
            name = f"{plain}-{number}"
        return name

    def run_dirs(self) -> list[RunDir]:
        """Return all runs, newest first."""
        runs = [RunDir(self.root / name) for name in self._names()]
        dated = [(run.creation_time(), run.name, run) for run in runs]
        return [run for begun_at, _, run in sorted(dated, key=lambda row: row[:2], reverse=True) if begun_at]

    def _names(self) -> list[str]:
        """Return the names of possible runs, with those invalid for a new run: a file manager makes `novel (copy)`."""
        if not self.root.exists():
            return []
        try:
            return [path.name for path in self.root.iterdir() if path.name[0] != "." and path.name.isprintable()]
        except OSError as error:
            raise RunError(f"the folder of models can't be listed ({error.strerror}); check it.") from None


def _is_recorded(name: str) -> bool:
    """Return whether the page knows a recorded run by this name, which it shows beside those of the store."""
    return (RECORDED_RUNS / name).exists()


def _validate_name(name: str) -> str:
    """Return a valid `name`; Windows forbids device names, whatever their ending, and a dot at the end."""
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name.split(".")[0]) or name.endswith("."):
        raise RunError(
            f"{name[:80]!r} is not a name for a run; use up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first, no dot last, and no name of a device (con, nul)."
        )
    return name
