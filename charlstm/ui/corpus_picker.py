"""The text that a visitor chooses to learn from, and what there is to say of it before anything starts."""

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
_SHARE_KEPT = 0.1  # for validation, as long as nobody asks for another one


def selected_corpus(kind: str, file: str | None, pasted: str | None, encoding: Encoding, report: Any = None) -> Corpus:
    """The text of the form. Only a name of the list, upload, pasted text or address: never a typed path."""
    if kind in DATASETS:
        return open_corpus(kind, report=report)
    if kind == UPLOAD:
        if not file:
            raise CorpusError("no file is chosen yet; drop a text file into the box.")
        return open_file(Path(file), encoding, name=Path(file).name[-_LONGEST_NAME:], report=report)
    if kind == ADDRESS:
        return _at_address((pasted or "").strip(), encoding, report)
    if not (pasted and pasted.strip()):
        raise CorpusError("the text is empty; paste some text into the box.")
    name = "pasted text"
    try:
        return Corpus(name, *decode(pasted.encode("utf-8"), name, "utf-8"))
    except UnicodeEncodeError:
        raise CorpusError(f"{name} holds half a character (a lone surrogate); paste it again without it.") from None


def _at_address(address: str, encoding: Encoding, report: Any) -> Corpus:
    if not is_address(address):  # a path of this machine is nobody's business
        raise CorpusError("give an address such as https://host/text.txt or hf://datasets/user/name/file.txt.")
    return open_corpus(address, encoding, report)


def corpus_summary(kind: str, file: str | None, pasted: str | None, encoding: Encoding) -> str:
    """The chosen text as HTML: length, alphabet, rarest characters, split, first lines; or what is wrong with it."""
    if kind in DATASETS:
        return dataset_summary(kind)
    if (kind == UPLOAD and not file) or (kind == PASTE and not pasted):
        return ""
    if kind == ADDRESS:
        return "<p>The text is fetched when you press Start training.</p>"
    try:
        return _shown("", selected_corpus(kind, file, pasted, encoding))
    except CharLSTMError as error:
        return f"<p>{escape_html(error_text(error))}</p>"


def dataset_summary(name: str) -> str:
    """Description of a named corpus, and its statistics unless it would have to be fetched for them."""
    description = capitalize(DATASETS[name])
    return _facts_of_named(name, description) if is_available_offline(name) else f"<p>{escape_html(description)}.</p>"


@lru_cache
def _facts_of_named(name: str, description: str) -> str:
    return _shown(f"{description}: ", open_corpus(name))


def _shown(description: str, corpus: Corpus) -> str:
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
    """A copy of a kept file where the page may fetch it, as it may any upload."""
    return str(save_file_to_cache(file, get_upload_folder()))


class Uploads:
    """The uploads beside the runs of one checkpoints folder."""

    def __init__(self, checkpoints_dir: Path) -> None:
        self._place = checkpoints_dir / UPLOADS

    def keep(self, file: str | None) -> str:
        """The id under which a file is found again; empty without a file, or where it can't be kept."""
        if not file:
            return ""
        upload_id = secrets.token_hex(16)
        kept = self._place / upload_id / Path(file).name
        try:
            kept.parent.mkdir(parents=True)
            try:
                os.link(file, kept)
            except OSError:  # on another disk
                shutil.copyfile(file, kept)
        except OSError:  # a full disk: training from it works all the same
            shutil.rmtree(kept.parent, ignore_errors=True)
            return ""
        with contextlib.suppress(OSError):  # somebody else sweeps at the same moment
            self._sweep()
        return upload_id

    def find(self, upload_id: Any) -> Path | None:
        """The file kept under an id, if it is still there; anybody may ask with anything."""
        if not isinstance(upload_id, str) or not _ID.fullmatch(upload_id):
            return None
        with contextlib.suppress(OSError):
            return next((self._place / upload_id).iterdir(), None)
        return None

    def _sweep(self) -> None:
        """Remove what is old, and the oldest of what is too much."""
        oldest = time.time() - 3600 * (limits().max_kept_hours or _KEPT_HOURS)
        num_bytes = 0
        newest_first = sorted(self._place.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for number, path in enumerate(newest_first):
            num_bytes += sum(file.stat().st_size for file in path.iterdir())
            is_newest = number == 0
            if not is_newest and (number >= _MOST_FILES or num_bytes > _MOST_BYTES or path.stat().st_mtime < oldest):
                shutil.rmtree(path, ignore_errors=True)
