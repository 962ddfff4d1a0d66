"""Whose login acts: every Authorization header that leaves this process is recorded by the servers and looked at."""

import json
import logging
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub import close_session, get_session
from loopback import OWNER, VISITOR, LoopbackHub

from charlstm import LanguageModel
from charlstm.cli import main
from charlstm.errors import HubError
from charlstm.hub.client import hub_call, read_token, write_token
from charlstm.hub.pull import fetch, pull
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.runs.store import RunStore


@pytest.fixture
def space(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A Space whose own token lies where the client looks for one: in the environment and in a file."""
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setenv("HF_TOKEN", OWNER)
    return hub


def bearer(token: str) -> str:
    return f"Bearer {token}"


def test_at_home_the_login_of_the_machine_acts(hub: LoopbackHub, packed: ModelFiles) -> None:
    push(packed, write_token())
    fetch("owner/tiny")
    assert hub.authorizations() - {None} == {bearer(OWNER)}


def test_large_files_travel_to_another_host_without_the_login(hub: LoopbackHub, packed: ModelFiles) -> None:
    push(packed, write_token())
    fetch("owner/tiny")
    methods = [request.method for request in hub.requests if request.host == "storage"]
    assert methods == ["PUT", "GET"]
    assert hub.authorizations("storage") == {None}


def test_an_answer_that_names_another_host_does_not_get_the_login_there(hub: LoopbackHub, packed: ModelFiles) -> None:
    hub.verifies_at = "storage"  # the client would send its headers along
    push(packed, write_token())
    assert "/verify" in [request.path for request in hub.requests if request.host == "storage"]
    assert hub.authorizations("storage") == {None}


def test_a_client_made_anew_after_a_refused_connection_keeps_the_login_too(hub: LoopbackHub) -> None:
    with hub_call("owner/tiny"):
        close_session()  # as the library does then
        for host in ("hub", "storage"):
            get_session().post(
                f"{hub.address(host)}/verify", headers={"Authorization": bearer(OWNER)}, json={"oid": ""}
            )
    assert hub.authorizations() == {bearer(OWNER)}
    assert hub.authorizations("storage") == {None}


def test_without_a_login_nothing_is_asked_of_the_hub(
    hub: LoopbackHub, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(huggingface_hub.constants.HF_TOKEN_PATH).unlink()
    assert main(["push", str(trained), "owner/tiny"]) == 1
    assert "hf auth login" in capsys.readouterr().err
    assert hub.requests == []


def test_on_a_space_the_visitor_acts_and_nobody_else(space: LoopbackHub, trained: Path) -> None:
    push(build_files(trained, "visitor/tiny"), write_token(VISITOR))
    assert space.authorizations() - {None} == {bearer(VISITOR)}
    assert space.model("visitor/tiny").owner == "visitor"


def test_on_a_space_nobody_acts_who_is_not_signed_in(space: LoopbackHub) -> None:
    for nobody in (None, ""):
        with pytest.raises(HubError, match="nobody is signed in"):
            write_token(nobody)
    assert space.requests == []


def test_on_a_space_models_are_read_without_any_login(space: LoopbackHub, trained: Path, tmp_path: Path) -> None:
    space.add("visitor/tiny", {"model.safetensors": (trained / "model.safetensors").read_bytes()})
    assert read_token() is False
    assert pull("visitor/tiny", RunStore(tmp_path)) == "tiny"
    assert space.authorizations() == {None}
    assert space.authorizations("storage") == {None}
    assert not (tmp_path / "hub-cache").exists()  # which would fill the disk with what nobody asks for again


def test_on_a_space_a_private_model_is_not_taken_from_the_cache_of_another(
    hub: LoopbackHub, packed: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(packed, OWNER)
    fetch("owner/tiny")  # it lies in the cache now
    monkeypatch.setenv("SPACE_ID", "owner/space")
    for is_up in (True, False):
        if not is_up:
            hub.close()
        with pytest.raises(HubError):
            LanguageModel.from_pretrained("owner/tiny")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 429, 500])
def test_no_login_and_no_address_is_told_when_something_fails(
    hub: LoopbackHub, packed: ModelFiles, status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loopback import Fault

    for waits in ("huggingface_hub.utils._http.time", "charlstm.hub.client.time"):
        monkeypatch.setattr(waits, type("Time", (), {"sleep": lambda *_: None}))
    hub.faults.append(Fault("/", status))
    caplog.set_level(logging.DEBUG, logger="charlstm")
    for act in (lambda: push(packed, OWNER), lambda: fetch("owner/tiny")):
        with pytest.raises(HubError) as raised:
            act()
        told = str(raised.value)
        assert OWNER not in told + caplog.text
        assert "http" not in told
        assert "127.0.0.1" not in told + caplog.text


def test_no_login_is_left_in_what_is_sent_or_kept(
    hub: LoopbackHub, trained: Path, packed: ModelFiles, tmp_path: Path
) -> None:
    push(packed, OWNER)
    pull("owner/tiny", RunStore(tmp_path / "checkpoints"))
    kept = [*trained.rglob("*"), *(tmp_path / "checkpoints").rglob("*"), *(tmp_path / "hub-cache").rglob("*")]
    for file in kept:
        if file.is_file():
            assert OWNER.encode() not in file.read_bytes(), file
    for name, data in hub.model("owner/tiny").files().items():
        assert OWNER.encode() not in data, name
    assert json.loads((tmp_path / "checkpoints" / "tiny" / "pulled.json").read_text()) == {
        "repo_id": "owner/tiny",
        "revision": None,
    }
