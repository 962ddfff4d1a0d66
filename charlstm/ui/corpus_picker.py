"""The corpus picker: the text that a visitor chooses to learn from, uploads, and a summary of it."""

import contextlib
import os
import re
import secrets
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from charlstm.config_fields import Encoding
from charlstm.corpus import DATASETS, Corpus, decode, is_address, is_available_offline, open_corpus, open_file
from charlstm.environment import is_public, is_space, limits
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.formatting import capitalize, error_text, escape_html
from charlstm.runs.retention import UPLOADS

UPLOAD, PASTE, ADDRESS = "file", "pasted", "address"
_LONGEST_NAME = 80
_LINES_SHOWN, _CHARS_SHOWN = 3, 200
_LEAST_KEPT = 2  # to test a text, as training does
_MOST_COUNTED = 100  # characters kept, from which on their share is said


def select_corpus(
    kind: str | None, file: str | None, pasted: str | None, encoding: Encoding, report: Any = None
) -> Corpus:
    """Open the text chosen in the form: a named corpus, an upload, pasted text or an address, never a typed path.

    Raises `CorpusError`.
    """
    if kind in DATASETS:
        return open_corpus(kind, report=report)
    if kind is None:
        raise CorpusError("no text is chosen yet; choose one.")
    if kind == UPLOAD:
        if not file:
            raise CorpusError("no file is chosen yet; drop a text file into the box.")
        return open_file(Path(file), encoding, name=Path(file).name[-_LONGEST_NAME:], report=report)
    if kind == ADDRESS:
        return _open_address((pasted or "").strip(), encoding, report)
    if not (pasted and pasted.strip()):
        raise CorpusError("the text is empty; paste some text into the box.")
    name = "pasted text"
    try:
        return Corpus(name, *decode(pasted.encode("utf-8"), name, "utf-8"))
    except UnicodeEncodeError:
        raise CorpusError(f"{name} holds half a character (a lone surrogate); paste it again without it.") from None


def _open_address(address: str, encoding: Encoding, report: Any) -> Corpus:
    if not is_address(address):  # visitors must not learn which paths exist on this machine
        raise CorpusError("give an address such as https://host/text.txt or hf://datasets/user/name/file.txt.")
    return open_corpus(address, encoding, report)


class TextDescription(NamedTuple):
    """What the form says about the chosen text, as HTML, and what it knows of it."""

    html: str
    name: str = ""
    num_chars: int = 0  # 0 where it is not known
    is_unreadable: bool = False


def describe_text(
    kind: str | None, file: str | None, pasted: str | None, encoding: Encoding, val_fraction: Any = 0.1
) -> TextDescription:
    """Describe the chosen text: its length, alphabet and split, the first lines of an own one; or what is wrong."""
    share = val_fraction if isinstance(val_fraction, int | float) and 0 < val_fraction <= 1 else 0.1
    if kind in DATASETS:
        return _describe_dataset(kind, share)
    if (kind == UPLOAD and not file) or (kind == PASTE and not pasted) or kind is None:
        return TextDescription("")
    if kind == ADDRESS:
        return TextDescription("<p>The text is fetched when you press Start.</p>")
    try:
        corpus = select_corpus(kind, file, pasted, encoding)
        facts = f"<p>{escape_html(f'{_statistics(corpus, share)} {_who_reads()}')}</p>"
        facts += _first_lines(corpus) if kind == UPLOAD else ""
    except CharLSTMError as error:
        is_unreadable = kind == UPLOAD and bool(file) and Path(str(file)).stat().st_size > 0
        return TextDescription(f'<p class="problem">{escape_html(error_text(error))}</p>', is_unreadable=is_unreadable)
    return TextDescription(facts, "" if kind == PASTE else corpus.name, corpus.num_chars)


@lru_cache
def _describe_dataset(name: str, val_fraction: float) -> TextDescription:
    """Describe a named corpus, without its statistics if it would have to be fetched for them."""
    description = capitalize(DATASETS[name])
    if not is_available_offline(name):
        return TextDescription(f"<p>{escape_html(description)}.</p>", name)
    corpus = open_corpus(name)
    what = description.split(" (", 1)[0]
    return TextDescription(
        f"<p>{escape_html(f'{what}: {_statistics(corpus, val_fraction)}')}</p>", name, corpus.num_chars
    )


def _statistics(corpus: Corpus, val_fraction: float) -> str:
    number = corpus.num_chars
    length = f"{number / 1e6:.1f} million" if number >= 10**6 else f"{number:,}"
    kept = max(_LEAST_KEPT, round(number * val_fraction))
    share = f"{val_fraction:.0%}".replace("%", " %") if kept >= _MOST_COUNTED else f"{kept}"
    facts = f"{length} characters, {len(corpus.frequencies):,} different; the last {share} are kept to test it."
    return " ".join((facts, *corpus.notes))


def _who_reads() -> str:
    """Return where an own text goes; `runs.access` sees to it."""
    if is_public():
        owner = " (the owner of this Space can)" if is_space() else ""
        return (
            f"It stays with the run. Other visitors can't read it{owner}; "
            "they see what the network writes, may write with it and download it."
        )
    return "It stays with the run, on the machine of this app."


def _first_lines(corpus: Corpus) -> str:
    begin = next(corpus.pieces(), "").lstrip("\n")[:_CHARS_SHOWN]
    lines = "\n".join(begin.split("\n")[:_LINES_SHOWN])
    return f'<pre class="first-lines" tabindex="0" role="group" aria-label="The first lines">{escape_html(lines)}</pre>'


_KEPT_HOURS = 30 * 24
_MOST_FILES, _MOST_BYTES = 20, 500_000_000
_ID = re.compile(r"[0-9a-f]{32}")


def serve_copy(file: Path) -> str:
    """Copy a kept file to where the page may fetch it, as it may any upload; return the copy's path."""
    return str(save_file_to_cache(file, get_upload_folder()))


class Uploads:
    """Uploads kept beside the runs of one checkpoints folder."""

    def __init__(self, checkpoints_dir: Path) -> None:
        self._root = checkpoints_dir / UPLOADS

    def keep(self, file: str | None) -> str:
        """Keep a file; return the id under which `find` finds it, empty without a file or where it can't be kept."""
        if not file:
            return ""
        upload_id = secrets.token_hex(16)
        kept = self._root / upload_id / Path(file).name
        try:
            kept.parent.mkdir(parents=True)
            try:
                os.link(file, kept)
            except OSError:  # on another disk
                shutil.copyfile(file, kept)
        except OSError:  # a full disk: training on the upload works all the same
            shutil.rmtree(kept.parent, ignore_errors=True)
            return ""
        with contextlib.suppress(OSError):  # another request is removing files at the same moment
            self._remove_old()
        return upload_id

    def find(self, upload_id: Any) -> Path | None:
        """Return the file kept under an id, or `None`; the id is an untrusted value of any type."""
        if not isinstance(upload_id, str) or not _ID.fullmatch(upload_id):
            return None
        with contextlib.suppress(OSError):
            return next((self._root / upload_id).iterdir(), None)
        return None

    def _remove_old(self) -> None:
        """Remove expired uploads, and the oldest ones beyond the limits of number and size; never the newest."""
        oldest = time.time() - 3600 * (limits().max_kept_hours or _KEPT_HOURS)
        num_bytes = 0
        newest_first = sorted(self._root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for number, path in enumerate(newest_first):
            num_bytes += sum(file.stat().st_size for file in path.iterdir())
            is_newest = number == 0
            if not is_newest and (number >= _MOST_FILES or num_bytes > _MOST_BYTES or path.stat().st_mtime < oldest):
                shutil.rmtree(path, ignore_errors=True)
