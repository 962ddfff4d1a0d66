"""The text that a visitor chooses to learn from, and what there is to say of it before anything starts."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from charlstm.config import Encoding
from charlstm.corpus import DATASETS, Corpus, decode, is_address, is_available_offline, open_corpus, open_file
from charlstm.errors import CharLSTMError, CorpusError
from charlstm.ui.views import capitalised, plain, sentence

UPLOAD, PASTE, ADDRESS = "file", "pasted", "address"
_LONGEST_NAME = 80
_RAREST_SHOWN = 8
_LINES_SHOWN, _CHARS_SHOWN = 3, 200
_SHARE_KEPT = 0.1  # for validation, as long as nobody asks for another one


def chosen(kind: str, file: str | None, pasted: str | None, encoding: Encoding, report: Any = None) -> Corpus:
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


def described(kind: str, file: str | None, pasted: str | None, encoding: Encoding) -> str:
    """The chosen text as HTML: length, alphabet, rarest characters, split, first lines; or what is wrong with it."""
    if kind in DATASETS:
        return named(kind)
    if (kind == UPLOAD and not file) or (kind == PASTE and not pasted):
        return ""
    if kind == ADDRESS:
        return "<p>The text is fetched when you press Start training.</p>"
    try:
        return _shown("", chosen(kind, file, pasted, encoding))
    except CharLSTMError as error:
        return f"<p>{plain(sentence(error))}</p>"


def named(name: str) -> str:
    """Description of a named corpus, and its statistics unless it would have to be fetched for them."""
    description = capitalised(DATASETS[name])
    return _facts_of_named(name, description) if is_available_offline(name) else f"<p>{plain(description)}.</p>"


@lru_cache
def _facts_of_named(name: str, description: str) -> str:
    return _shown(f"{description}: ", open_corpus(name))


def _shown(description: str, corpus: Corpus) -> str:
    return f"<p>{plain(description + _statistics(corpus))}</p>{_first_lines(corpus)}"


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
    return f'<pre class="first-lines" tabindex="0" role="group" aria-label="The first lines">{plain(lines)}</pre>'
