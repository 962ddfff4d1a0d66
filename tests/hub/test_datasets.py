"""Texts in datasets on the Hub, against a loopback Hub."""

from pathlib import Path

import pytest
from loopback import OWNER, LoopbackHub

from charlstm.corpus import open_corpus
from charlstm.errors import CharLSTMError, HubError

TEXT = "the quick brown fox jumps over the lazy dog\n" * 5000  # large: it comes from the storage host


@pytest.fixture(autouse=True)
def dataset(hub: LoopbackHub, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CHARLSTM_PUBLIC", raising=False)
    hub.add("owner/texts", {"data/fox.txt": TEXT.encode(), "small.txt": b"small"}, kind="dataset")
    hub.add("owner/hidden", {"a.txt": b"hidden"}, private=True, kind="dataset")


def test_a_file_of_a_dataset_is_a_text_and_the_login_stays_with_the_hub(hub: LoopbackHub) -> None:
    reports: list[tuple[int, int]] = []
    corpus = open_corpus("hf://datasets/owner/texts/data/fox.txt", report=lambda *each: reports.append(each))
    assert corpus.text == TEXT
    assert corpus.name == "hf://datasets/owner/texts/data/fox.txt"
    assert reports[-1][0] == len(TEXT)
    assert hub.authorizations("storage") <= {None}
    assert open_corpus("https://huggingface.co/datasets/owner/texts/blob/main/small.txt").text == "small"
    assert open_corpus("hf://datasets/owner/hidden/a.txt").text == "hidden"
    assert f"Bearer {OWNER}" in hub.authorizations()


def test_it_serves_offline_once_it_was_fetched(hub: LoopbackHub) -> None:
    assert open_corpus("hf://datasets/owner/texts/small.txt").notes == ()
    hub.close()
    corpus = open_corpus("hf://datasets/owner/texts/small.txt")
    assert corpus.text == "small"
    assert "can't be reached" in corpus.notes[0]


def test_among_strangers_no_login_acts_and_the_size_is_bounded(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    monkeypatch.setenv("CHARLSTM_MAX_CORPUS_MB", "0.1")
    assert open_corpus("hf://datasets/owner/texts/small.txt").text == "small"
    for address, words in {
        "hf://datasets/owner/hidden/a.txt": "no dataset owner/hidden",
        "hf://datasets/owner/texts/data/fox.txt": "longer than",
        "hf://datasets/owner/texts/none.txt": "file",
        "hf://datasets/owner": "names no file of a dataset",
        "hf://models/owner/x/y": "names no file of a dataset",
    }.items():
        with pytest.raises(CharLSTMError, match=words):
            open_corpus(address)
    assert hub.authorizations() == {None}


@pytest.mark.parametrize("is_public", [False, True])
def test_what_is_damaged_is_fetched_again_and_never_kept(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_public: bool
) -> None:
    if is_public:
        monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    address, times = "hf://datasets/owner/texts/data/fox.txt", []

    def damage(data: bytes) -> bytes:
        times.append(1)
        return b"T" + data[1:] if len(times) != 3 else data

    hub.damage = damage
    with pytest.raises(HubError, match="arrives damaged"):
        open_corpus(address)
    assert len(times) == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size == len(TEXT)]
    assert open_corpus(address).text == TEXT
