"""What runs may be called: nothing invisible, and nothing that reads like the name of another one."""

import errno
import unicodedata
from pathlib import Path
from typing import Literal
from unittest.mock import Mock

import pytest

from charlstm.config import Settings
from charlstm.errors import RunError
from charlstm.events import Finished
from charlstm.runs.label_check import validate_label, validate_note
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import RunDir

INVISIBLE = [
    *(0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x200B, 0x200D, 0x2060, 0xFEFF, 0xAD, 0x34F, 0x17B4, 0x180B, 0xFE0F),
]


@pytest.mark.parametrize("code", INVISIBLE)
def test_a_label_holds_nothing_invisible(code: int) -> None:
    for label in (chr(code), chr(code) * 5, f"my{chr(code)}run"):
        with pytest.raises(RunError, match="name"):
            validate_label(label, [])


@pytest.mark.parametrize("label", ["\u0301", " \u20dd ", "\u00a0", "", "   ", "a\nb", "a\u202eb", "x" * 81])
def test_a_label_is_one_visible_line(label: str) -> None:
    with pytest.raises(RunError):
        validate_label(label, [])


@pytest.mark.parametrize(
    "label",
    [
        "tiny-shakespeare",
        "TINY-Shakespeare",
        "ｔiny-shakespeare",  # full width
        "tiny\u2010shakespeare",  # another hyphen
        "tiny\u2212shakespeare",
        "tiny_shakespeare",
        "tiny-shаkespeаre",  # Cyrillic
        "tιny-shakespeare",  # Greek
        "t1ny-shakespeare",
        "tíny-shakespeare",
        "𝐭𝐢𝐧𝐲-𝐬𝐡𝐚𝐤𝐞𝐬𝐩𝐞𝐚𝐫𝐞",
        " tiny-shakespeare ",
    ],
)
def test_a_label_that_looks_like_a_bundled_model_is_refused_wherever_that_model_is(tmp_path: Path, label: str) -> None:
    manager = RunManager(tmp_path)
    manager.store.create(Settings.preset("minute"), "mine")
    with pytest.raises(RunError, match="looks so"):
        manager.rename("mine", label)


@pytest.mark.parametrize("label", ["Über alles", "莎士比亚", "Шекспир", "run 12", "🎭", "q̃", "हिन्दी"])
def test_names_in_any_script_are_kept_as_they_are(tmp_path: Path, label: str) -> None:
    manager = RunManager(tmp_path)
    folder = manager.store.create(Settings.preset("minute"), "mine")
    manager.store.create(Settings.preset("minute"), "another")
    manager.rename("mine", label)
    assert folder.label == unicodedata.normalize("NFC", label)
    with pytest.raises(RunError, match="looks so"):
        manager.rename("another", label)
    manager.rename("mine", label)  # its own name is free for itself


@pytest.mark.parametrize(
    "note", ["👩\u200d💻 learns", "می\u200cخواهم", "❤\ufe0f\u200d🔥", "क\u094d\u200dष", "", "😀" * 100]
)
def test_a_note_holds_what_joins_visible_characters(note: str) -> None:
    assert validate_note(f" {note}\n") == note


@pytest.mark.parametrize(
    "note", [*map(chr, INVISIBLE), "\u0301", "\u202e", "ä\x1b", "a \u200d b", "a\u200d\u200db", "\u200ca"]
)
def test_a_note_with_what_cannot_be_seen_is_refused_as_such(note: str) -> None:
    with pytest.raises(RunError, match="can't be seen"):
        validate_note(note)


@pytest.mark.parametrize("note", ["x" * 101, " " * 1000 + "end"])
def test_a_long_note_is_refused_and_never_cut(note: str) -> None:
    with pytest.raises(RunError, match="up to 100 characters"):
        validate_note(note)


def _ended(reason: Literal["completed", "stopped"]) -> str:
    return Finished(step=1, reason=reason, elapsed_seconds=1.0).model_dump_json() + "\n"


def test_a_file_that_can_not_be_read_for_a_moment_is_read_again_and_its_changes_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunDir(tmp_path / "run")
    folder.path.mkdir()
    (folder.path / "label.txt").write_text("first", encoding="utf-8")
    folder.events_file.write_text(_ended("completed"), encoding="utf-8")
    with monkeypatch.context() as change:
        change.setattr(Path, "open", Mock(side_effect=OSError(errno.EMFILE, "too many open files")))
        assert (folder.label, folder.is_completed()) == ("run", False)
    assert (folder.label, folder.is_completed()) == ("first", True)
    (folder.path / "label.txt").write_text("another", encoding="utf-8")
    folder.events_file.write_text(_ended("stopped"), encoding="utf-8")
    assert (folder.label, folder.is_completed()) == ("another", False)
