"""A model arrives as the Hub names it, or not at all: no damaged file is kept, wherever the damage was done."""

from pathlib import Path

import huggingface_hub.constants
import pytest
from loopback import OWNER, LoopbackHub

from charlstm import LanguageModel
from charlstm.errors import HubError
from charlstm.hub.client import Progress
from charlstm.hub.pull import fetch, pull
from charlstm.hub.push import ModelFiles, push
from charlstm.runs.store import RunStore


@pytest.fixture
def parcel(hub: LoopbackHub, packed: ModelFiles) -> ModelFiles:
    push(packed, OWNER)
    hub.requests.clear()
    return packed


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _kept(cache: Path) -> list[Path]:
    return [each for each in cache.rglob("*") if "safetensors" in each.name or each.parent.name == "blobs"]


@pytest.mark.parametrize("place", [20, -5], ids=["in the header", "in the weights"])
def test_what_is_damaged_once_is_fetched_again(hub: LoopbackHub, parcel: ModelFiles, place: int) -> None:
    fetched: list[int] = []

    def damage_once(data: bytes) -> bytes:
        fetched.append(1)
        return _flipped(data, place % len(data)) if len(fetched) == 1 else data

    hub.damage = damage_once
    steps: list[Progress] = []
    assert fetch("owner/tiny", report=steps.append).read_bytes() == parcel.files["model.safetensors"]
    assert len(fetched) == 2
    assert any("damaged" in step.words for step in steps)


@pytest.mark.parametrize("place", [20, -5], ids=["in the header", "in the weights"])
def test_what_is_always_damaged_is_told_and_not_kept(
    hub: LoopbackHub, parcel: ModelFiles, tmp_path: Path, place: int
) -> None:
    hub.damage = lambda data: _flipped(data, place % len(data))
    store = RunStore(tmp_path / "checkpoints")
    with pytest.raises(HubError, match="arrives damaged") as raised:
        pull("owner/tiny", store)
    assert str(tmp_path) not in str(raised.value)
    assert not store.root.exists()
    assert _kept(tmp_path / "hub-cache") == []
    hub.damage = None
    assert pull("owner/tiny", store) == "tiny"
    assert (store.root / "tiny" / "model.safetensors").read_bytes() == parcel.files["model.safetensors"]


@pytest.mark.usefixtures("parcel")
@pytest.mark.parametrize("damaged", [b"", b"no model at all", b"weights"])
def test_a_file_damaged_in_the_cache_heals_when_the_hub_answers(hub: LoopbackHub, damaged: bytes) -> None:
    cached = fetch("owner/tiny")
    whole = cached.read_bytes()
    cached.resolve().write_bytes(_flipped(whole, len(whole) - 5) if damaged == b"weights" else damaged)
    assert fetch("owner/tiny").read_bytes() == whole
    assert len([each for each in hub.requests if each.path.startswith("/get/")]) == 2


@pytest.mark.usefixtures("parcel")
def test_a_file_damaged_in_the_cache_does_not_serve_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = fetch("owner/tiny")
    whole = cached.read_bytes()
    cached.resolve().write_bytes(_flipped(whole, len(whole) - 5))
    with monkeypatch.context() as offline:
        offline.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(HubError, match="offline mode"):
            fetch("owner/tiny")
    assert fetch("owner/tiny").read_bytes() == whole


def test_a_model_that_is_damaged_on_the_hub_is_told_without_advice_to_fetch_it_again(hub: LoopbackHub) -> None:
    hub.add("other/model", {"model.safetensors": b"{" * 100})
    for _ in range(2):
        with pytest.raises(HubError, match="it is so on the Hub"):
            LanguageModel.from_pretrained("other/model")


@pytest.mark.usefixtures("parcel")
def test_a_download_counts_on_the_hub_and_a_cached_model_does_not(hub: LoopbackHub) -> None:
    def asked() -> int:
        return len([each for each in hub.requests if each.path.endswith("/config.json")])

    fetch("owner/tiny")
    assert asked() == 1
    fetch("owner/tiny")
    assert asked() == 1


def test_the_bytes_of_a_small_model_are_told_from_the_first_to_the_last(
    hub: LoopbackHub, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlstm.hub.pull._BETWEEN_SECONDS", 0.0)
    data = (repository / "checkpoints" / "tiny-shakespeare" / "model.safetensors").read_bytes()
    hub.add("owner/big", {"model.safetensors": data})
    steps: list[Progress] = []
    fetch("owner/big", report=steps.append)
    told = [step.num_bytes for step in steps if step.words == "fetching owner/big"]
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] == len(data)
    assert len(told) > 10
