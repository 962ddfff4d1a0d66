"""Whatever the Hub does, a person gets one sentence soon, nothing here is lost, and trying again completes."""

import errno
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from commands import sentence_of
from huggingface_hub import HfApi, close_session
from loopback import OWNER, READER, Fault, LoopbackHub

from charlstm.cli import main
from charlstm.hub import client, error_messages
from charlstm.hub.client import BackgroundCall, Progress, hub_call
from charlstm.hub.pull import fetch, pull
from charlstm.hub.push import ModelFiles, push
from charlstm.runs.store import RunStore


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's waits between two attempts, and ours: noted, not made."""
    seconds: list[float] = []
    waits = SimpleNamespace(sleep=seconds.append, time=time.time)
    monkeypatch.setattr(client, "time", waits)
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", waits)
    return seconds


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/api/repos/create", 429, "try again in a few minutes"),
        ("/preupload/", 404, "no owner/tiny on the Hub"),
        ("/preupload/", 500, "has a problem"),
        ("/api/validate-yaml", 500, "has a problem"),
        ("/objects/batch", 403, "may not write to owner/tiny"),
        ("/objects/batch", 507, "no storage left"),
        ("/put/", 413, "larger than the Hub takes"),
        ("/put/", 503, "storage has a problem"),
        ("/put/", 403, "storage has a problem"),
        ("/put/", 400, "storage has a problem"),
        ("/put/", 0, "connection broke"),
        ("/verify", 404, "no owner/tiny on the Hub"),
        ("/commit/", 409, "changed by somebody else"),
        ("/commit/", 413, "larger than the Hub takes"),
        ("/commit/", 400, "does not accept"),
        ("/commit/", 0, "connection broke"),
    ],
)
def test_a_push_that_fails_is_told_changes_nothing_and_completes_the_next_time(
    hub: LoopbackHub, published: ModelFiles, slept: list[float], path: str, status: int, expected: str
) -> None:
    hub.faults.append(Fault(path, status))
    assert expected in sentence_of(lambda: push(published, OWNER))
    assert hub.model("owner/tiny").files() == {"README.md": b"before"}
    hub.faults.clear()
    push(published, OWNER)
    assert hub.model("owner/tiny").files() == published.files
    assert sum(slept) <= 5 * 8


def test_a_connection_that_breaks_once_is_taken_up_again(
    hub: LoopbackHub, published: ModelFiles, slept: list[float]
) -> None:
    hub.faults.append(Fault("/put/", 0, times=1))
    push(published, OWNER)
    assert len(slept) == 1
    assert hub.model("owner/tiny").files() == published.files


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(
    "path",
    [
        "/api/repos/create",
        "/api/models/owner/tiny",
        "/api/validate-yaml",
        "/preupload/",
        "/objects/batch",
        "/put/",
        "/verify",
        "/commit/",
    ],
)
def test_a_hub_that_is_busy_once_is_asked_again_and_says_so(
    hub: LoopbackHub, published: ModelFiles, slept: list[float], path: str, status: int
) -> None:
    steps: list[Progress] = []
    hub.faults.append(Fault(path, status, headers={"Retry-After": "3"} if status == 429 else {}, times=1))
    push(published, OWNER, report=steps.append)
    assert hub.model("owner/tiny").files() == published.files
    assert [step.words for step in steps if "trying again" in step.words] == [
        f"the Hub{chr(39) + 's storage' if path == '/put/' else ''} is busy (it answers {status}); trying again"
    ]
    assert len(slept) == 1
    assert slept[0] >= (3 if status == 429 else 1)


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("path", ["/api/repos/create", "/preupload/", "/put/", "/commit/"])
def test_trying_again_is_said_only_when_it_is_done(hub: LoopbackHub, published: ModelFiles, path: str) -> None:
    steps: list[Progress] = []
    hub.faults.append(Fault(path, 503))
    sentence_of(lambda: push(published, OWNER, report=steps.append))
    asked = len([each for each in hub.requests if path in each.path])
    assert len([step for step in steps if "trying again" in step.words]) == asked - 1


def test_two_repositories_that_are_made_at_once_are_not_asked_for_without_end(
    hub: LoopbackHub, published: ModelFiles, slept: list[float]
) -> None:
    body = b'{"error": "Cannot create repo: another conflicting operation is in progress"}'
    hub.faults.append(Fault("/api/repos/create", 409, body=body))
    assert "another conflicting operation" in sentence_of(lambda: push(published, OWNER))
    assert len(slept) == 2


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_pull_asks_a_busy_hub_again(hub: LoopbackHub, published: ModelFiles, tmp_path: Path, method: str) -> None:
    push(published, OWNER)
    hub.faults += [Fault("/resolve/", 503, method=method, times=1), Fault("/get/", 500, times=1)]
    assert pull("owner/tiny", RunStore(tmp_path / "checkpoints")) == "tiny"


def test_a_busy_hub_is_told_while_it_is_asked_again(
    hub: LoopbackHub, published: ModelFiles, slept: list[float]
) -> None:
    steps: list[Progress] = []
    hub.faults.append(Fault("/put/", 503, times=2))
    push(published, OWNER, report=steps.append)
    assert len([step for step in steps if "503" in step.words]) == 2
    assert len(slept) == 2


@pytest.mark.parametrize("path", ["/preupload/", "/api/repos/create", "/put/"])
@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "130"}, {"Retry-After": "Thu, 01 Jan 1970 00:02:10 GMT"}, {"RateLimit": '"api";r=0;t=130'}],
    ids=["retry-after", "a date", "ratelimit"],
)
def test_a_long_wait_that_the_hub_asks_for_is_told_and_not_slept_through(
    hub: LoopbackHub,
    published: ModelFiles,
    slept: list[float],
    path: str,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(error_messages, "time", SimpleNamespace(time=lambda: 0.0))
    hub.faults.append(Fault(path, 429, headers=headers))
    assert "try again in 2 min 10 s" in sentence_of(lambda: push(published, OWNER))
    assert slept == []


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize("path", ["/api/repos/create", "/put/", "/commit/"])
def test_a_hub_that_does_not_answer_is_given_up_and_waiting_is_shown(
    hub: LoopbackHub, published: ModelFiles, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT_SECONDS", 0.25)
    monkeypatch.setattr(client, "_HEARTBEAT_SECONDS", 0.05)
    hub.faults.append(Fault(path, until=threading.Event()))
    steps: list[Progress] = []
    told = sentence_of(lambda: steps.extend(BackgroundCall(lambda report: push(published, OWNER, report=report))))
    assert "has not answered" in told
    assert any(step.words.endswith(" s)") for step in steps)


@pytest.mark.parametrize("given", ["9" * 99, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_beyond_reason_is_told_in_few_words(hub: LoopbackHub, published: ModelFiles, given: str) -> None:
    hub.faults.append(Fault("/preupload/", 429, headers={"Retry-After": given}))
    assert sentence_of(lambda: push(published, OWNER)).endswith("try again another day.")


def test_a_client_made_anew_after_a_refused_connection_waits_no_longer_than_the_first(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT_SECONDS", 0.25)
    hub.faults.append(Fault("/api/whoami", until=threading.Event()))

    def ask() -> None:
        with hub_call("owner/tiny"):
            close_session()  # as the library does then
            HfApi(hub.address(), token=OWNER).whoami()

    assert "has not answered" in sentence_of(ask)


def test_a_hub_that_is_down_is_told_at_once(hub: LoopbackHub, published: ModelFiles, slept: list[float]) -> None:
    hub.close()
    assert "can't be reached" in sentence_of(lambda: push(published, OWNER))
    assert slept == []
    assert "can't be reached" in sentence_of(lambda: fetch("owner/tiny"))


def test_a_login_that_is_no_longer_valid_is_told(published: ModelFiles) -> None:
    assert "does not know this login" in sentence_of(lambda: push(published, "hf_revoked"))


@pytest.mark.parametrize(("status", "expected"), [(401, "asks for a login"), (403, "may not write to owner/tiny")])
def test_a_repository_that_may_not_be_made_is_told(
    hub: LoopbackHub, packed: ModelFiles, status: int, expected: str
) -> None:
    hub.faults.append(Fault("/api/repos/create", status))
    assert expected in sentence_of(lambda: push(packed, OWNER))


def test_a_name_that_belongs_to_another_is_told(published: ModelFiles) -> None:
    assert "owner/tiny" in sentence_of(lambda: push(published, READER))


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/resolve/", 401, "log in"),
        ("/resolve/", 403, "may not read owner/tiny"),
        ("/resolve/", 429, "try again"),
        ("/resolve/", 500, "has a problem"),
        ("/get/", 403, "storage"),
        ("/get/", 0, "connection broke"),
    ],
)
def test_a_pull_that_fails_leaves_nothing_behind_and_completes_the_next_time(
    hub: LoopbackHub, published: ModelFiles, tmp_path: Path, path: str, status: int, expected: str
) -> None:
    push(published, OWNER)
    hub.faults.append(Fault(path, status))
    store = RunStore(tmp_path / "checkpoints")
    assert expected in sentence_of(lambda: pull("owner/tiny", store))
    assert not store.root.exists()
    hub.faults.clear()
    assert pull("owner/tiny", store) == "tiny"


def test_a_model_whose_owner_admits_readers_one_by_one_is_told(hub: LoopbackHub, published: ModelFiles) -> None:
    push(published, OWNER)
    hub.faults.append(Fault("/resolve/", 403, headers={"X-Error-Code": "GatedRepo"}))
    assert "owner admits" in sentence_of(lambda: fetch("owner/tiny"))


def test_an_answer_that_is_none_of_the_hubs_is_told(hub: LoopbackHub, published: ModelFiles) -> None:
    hub.faults.append(Fault("/preupload/", 200))
    assert "can't be understood" in sentence_of(lambda: push(published, OWNER))


class TestTheCache:
    def test_that_is_full_is_told(
        self, hub: LoopbackHub, published: ModelFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        push(published, OWNER)

        def full(**_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("huggingface_hub.file_download._download_to_tmp_and_move", full)
        assert "no space left" in sentence_of(lambda: fetch("owner/tiny"))
        assert hub.model("owner/tiny").files() == published.files

    def test_and_a_full_disk_behind_it_leave_no_half_of_a_model(
        self, published: ModelFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        push(published, OWNER)
        store = RunStore(tmp_path / "checkpoints")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as disk:
            disk.setattr(Path, "write_bytes", full)
            assert "make room" in sentence_of(lambda: pull("owner/tiny", store))
        assert list(store.root.iterdir()) == []
        assert pull("owner/tiny", store) == "tiny"

    def test_that_can_not_be_written_is_told(
        self, published: ModelFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        push(published, OWNER)
        (tmp_path / "a-file").write_bytes(b"")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "a-file" / "cache"))
        told = sentence_of(lambda: fetch("owner/tiny"))
        assert "HF_HOME" in told
        assert str(tmp_path) not in told


def test_offline_mode_serves_what_is_cached_and_tells_the_rest(
    hub: LoopbackHub, published: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(published, OWNER)
    cached = fetch("owner/tiny")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert fetch("owner/tiny") == cached
    assert "offline mode" in sentence_of(lambda: fetch("owner/other"))
    assert "offline mode" in sentence_of(lambda: push(published, OWNER))
    assert hub.requests == []


def test_the_command_tells_the_sentence_and_ends_with_1(
    hub: LoopbackHub, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults.append(Fault("/api/repos/create", 403))
    assert main(["push", str(trained), "owner/tiny"]) == 1
    err = capsys.readouterr().err
    assert err == "this login may not write to owner/tiny: the Hub says “as the test wants it”.\n"


def test_mistakes_of_this_program_are_not_dressed_up_as_the_hubs() -> None:
    with pytest.raises(AssertionError), hub_call("owner/tiny"):
        raise AssertionError("an invariant")
