"""The file of a large text's ids: written once, found again, never trusted when damaged, and swept away."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from large_texts import BYTES, CHARS, cached, ids_of

from charlstm.config import TrainConfig
from charlstm.corpus import open_file, token_cache
from charlstm.errors import CorpusError
from charlstm.vocabulary import Vocabulary


def split_again(path, report=None):
    return open_file(path).split(CHARS, TrainConfig(), report=report)


def test_ids_are_written_once_and_found_again(novel):
    first = split_again(novel[0])
    (file,) = cached()
    written = file.stat()
    reports = []
    second = split_again(novel[0], lambda *report: reports.append(report))
    assert cached() == [file]
    assert (file.stat().st_ino, file.stat().st_size) == (written.st_ino, written.st_size)
    assert reports == [], "nothing was encoded"
    assert np.array_equal(first.train[:], second.train[:])


def test_another_text_level_or_vocabulary_has_ids_of_its_own(novel):
    path, text = novel
    corpus = open_file(path)
    corpus.split(CHARS, TrainConfig())
    corpus.split(BYTES, TrainConfig())
    corpus.split(CHARS, TrainConfig(), Vocabulary.from_text(text + "ж"))
    (path.parent / "other.txt").write_bytes(path.read_bytes() + b"!")
    split_again(path.parent / "other.txt")
    assert len(cached()) == 4
    corpus.split(CHARS, TrainConfig(val_fraction=0.3))
    assert len(cached()) == 4, "how the text is cut changes no id"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:0],
        lambda data: bytes(len(data)),
    ],
    ids=["a bit", "its checksum", "cut short", "longer", "empty", "zeros, as after a power cut"],
)
def test_a_damaged_file_is_written_anew(novel, damage):
    before = split_again(novel[0]).train.tolist()  # in memory: the file is about to be cut short under its mapping
    (file,) = cached()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert split_again(novel[0]).train.tolist() == before
    assert cached() == [file]
    assert file.read_bytes() == whole


def test_the_files_least_recently_used_go_when_together_they_take_too_much(novel, monkeypatch):
    path, text = novel
    corpus = open_file(path)
    monkeypatch.setattr(token_cache, "KEPT_BYTES", 3 * (len(text) + 4))

    def split_with(extra):
        """Split with a vocabulary of `extra` characters more; returns the file that it left as the latest."""
        corpus.split(CHARS, TrainConfig(), Vocabulary.from_text(text + extra))
        return max(cached(), key=lambda file: file.stat().st_mtime_ns)

    files = []
    for age, extra in enumerate("жбю"):
        files.append(split_with(extra))
        os.utime(files[-1], (1e9 + age, 1e9 + age))
    assert set(cached()) == set(files)
    assert split_with("ж") == files[0], "used again, and so the latest"
    added = split_with("я")
    assert set(cached()) == {files[0], files[2], added}
    monkeypatch.setattr(token_cache, "KEPT_BYTES", 1)
    alone = split_with("щ")
    assert cached() == [alone], "the latest stays, even if it takes more than all may"


def test_a_run_goes_on_when_its_file_was_swept_away(novel):
    split = split_again(novel[0])
    expected = split.train[:50].tolist()
    try:
        cached()[0].unlink()
    except PermissionError:
        pytest.skip("Windows keeps a file that is mapped")
    split_again(novel[0])
    os.truncate(cached()[0], 10)
    assert split.train[:50].tolist() == expected, "the one of that name is another file"


def test_what_killed_writers_left_is_cleared_away_and_what_others_are_writing_is_not(novel):
    split_again(novel[0])
    (file,) = cached()
    old, new = file.with_name(".old.ids.x.tmp"), file.with_name(".new.ids.x.tmp")
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 48 * 3600,) * 2)
    file.unlink()
    split_again(novel[0])
    assert (old.exists(), new.exists()) == (False, True)


def test_without_a_cache_the_ids_lie_among_the_temporary_files(tmp_path, novel, monkeypatch):
    (tmp_path / "in-the-way").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in-the-way"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    split = split_again(novel[0])
    (file,) = (tmp_path / "tmp").rglob("*.ids")
    assert split.train[:5].tolist() == ids_of(novel[1])[:5]
    if os.name == "posix":
        assert file.parent.stat().st_mode & 0o777 == 0o700
        somebody = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: somebody)
        file.parent.rename(file.parent.with_name(f"charlstm-{somebody}"))
        with pytest.raises(CorpusError, match="its place is taken by another user"):
            split_again(novel[0])


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files is POSIX's")
def test_a_disk_without_room_is_said_in_one_sentence_and_left_as_it_was(tmp_path, novel):
    import resource

    corpus = open_file(novel[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(CorpusError) as caught:
            corpus.split(CHARS, TrainConfig())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith("novel.txt needs 0 MB in the user's cache folder, which can't hold them (")
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value), "a visitor of a page may read this"
    left = [path for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*") if path.is_file()]
    assert [path for path in left if path.parent.name != "kernels"] == []
