"""The corpus picker: the text that a visitor chooses to learn from, uploads, and a summary of it."""

import contextlib
import os
import re
import secrets
import shutil
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from charlstm.config import Encoding
from charlstm.corpus import DATASETS, Corpus, decode, is_address, is_available_offline, open_corpus, open_file
from charlstm.environment import limits
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.formatting import capitalize, error_text, escape_html
from charlstm.runs.retention import UPLOADS

UPLOAD, PASTE, ADDRESS = "file", "pasted", "address"
_LONGEST_NAME = 80
_RAREST_SHOWN = 8
_LINES_SHOWN, _CHARS_SHOWN = 3, 200
_SHARE_KEPT = 0.1  # for validation, by default


def select_corpus(kind: str, file: str | None, pasted: str | None, encoding: Encoding, report: Any = None) -> Corpus:
    """Open the text chosen in the form: a named corpus, an upload, pasted text or an address, never a typed path.

    Raises `CorpusError`.
    """
    if kind in DATASETS:
        return open_corpus(kind, report=report)
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


def corpus_summary(kind: str, file: str | None, pasted: str | None, encoding: Encoding) -> str:
    """Summarise the chosen text as HTML: length, alphabet, rarest characters, split, first lines; or its problem."""
    if kind in DATASETS:
        return dataset_summary(kind)
    if (kind == UPLOAD and not file) or (kind == PASTE and not pasted):
        return ""
    if kind == ADDRESS:
        return "<p>The text is fetched when you press Start training.</p>"
    try:
        return _summary_html("", select_corpus(kind, file, pasted, encoding))
    except CharLSTMError as error:
        return f"<p>{escape_html(error_text(error))}</p>"


def dataset_summary(name: str) -> str:
    """Describe a named corpus as HTML, with its statistics unless it would have to be fetched for them."""
    description = capitalize(DATASETS[name])
    return _dataset_facts(name, description) if is_available_offline(name) else f"<p>{escape_html(description)}.</p>"


@lru_cache
def _dataset_facts(name: str, description: str) -> str:
    return _summary_html(f"{description}: ", open_corpus(name))


def _summary_html(description: str, corpus: Corpus) -> str:
    return f"<p>{escape_html(description + _statistics(corpus))}</p>{_first_lines(corpus)}"


def _statistics(corpus: Corpus) -> str:
    rare = [char for char, _ in corpus.frequencies[::-1][:_RAREST_SHOWN]]
    rarest = " ".join(char if char.isprintable() else repr(char)[1:-1] for char in rare)
    facts = f"{corpus.num_chars:,} characters, {len(corpus.frequencies):,} distinct; the rarest: {rarest}."
    kept = round(corpus.num_chars * _SHARE_KEPT)
    split = f"The last {kept:,} are kept for validation."
    return " ".join((facts, split, *corpus.notes))


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
