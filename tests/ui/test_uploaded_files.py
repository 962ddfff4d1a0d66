"""The account of uploaded files, without a server."""

import json
from pathlib import Path

import pytest

from charlstm.ui import uploaded_files
from charlstm.ui.request_body import RequestRefused
from charlstm.ui.uploaded_files import UploadedFiles


@pytest.fixture(autouse=True)
def one_megabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "1")
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")


def keep(uploads: UploadedFiles, path: Path, visitor: str, num_bytes: int) -> Path:
    path.parent.mkdir()
    path.write_bytes(b"x" * num_bytes)
    uploads.add(visitor, json.dumps([str(path)]).encode())
    return path


def test_the_share_of_a_visitor_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploads = UploadedFiles(set())
    others = keep(uploads, tmp_path / "a" / "a", "other", 200_000)
    mine = keep(uploads, tmp_path / "b" / "b", "mine", 400_000)
    with pytest.raises(RequestRefused), uploads.expecting("mine", 200_000, is_exact=True):
        pass
    monkeypatch.setattr(uploaded_files, "_FRESH_SECONDS", -1)
    with uploads.expecting("mine", 200_000, is_exact=True):
        assert not mine.exists()
        assert others.exists()


def test_an_upload_of_unknown_size_gets_the_room_that_there_is(tmp_path: Path) -> None:
    uploads = UploadedFiles(set())
    with uploads.expecting("mine", 200_000_000, is_exact=False) as room:
        assert room == 500_000
    keep(uploads, tmp_path / "a" / "a", "mine", 300_000)
    with uploads.expecting("mine", 200_000_000, is_exact=False) as room:
        assert room == 200_000
        with pytest.raises(RequestRefused), uploads.expecting("mine", 200_000_000, is_exact=False):
            pass


def test_nothing_is_kept_account_of_where_there_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0")
    uploads = UploadedFiles(set())
    keep(uploads, tmp_path / "a" / "a", "mine", 2_000_000)
    with uploads.expecting("mine", 2_000_000, is_exact=True) as room:
        assert room == 2_000_000
    assert not uploads._uploads
