"""Training by programs: what docs/api.md shows, by those who have only the address; owners, limits and bad requests."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from forked import Fork
from page_app import App, end_workers
from test_api import API, answer
from test_mcp import called

from charlstm import LanguageModel, SampleConfig
from charlstm.runs.access import token_hash
from charlstm.runs.store import RunStore
from charlstm.ui import training_api
from charlstm.ui.training_api import ServedFiles

TEXT = "a lazy dog and a quick fox.\n" * 100
TINY = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 2, "seq_len": 16, "max_steps": 20, "sample_chars": 40}


@pytest.fixture
def idle(app: App) -> Iterator[App]:
    """The app; nothing that the test began trains on after it."""
    yield app
    end_workers(app.checkpoints_dir)


def test_the_documented_client_trains_follows_and_fetches_a_model(idle: App, fork: Fork) -> None:
    _, code = re.findall(r"```py\n(.*?)```", API, re.DOTALL)
    code = code.replace("http://127.0.0.1:7860", idle.url.rstrip("/"))
    before = {folder.name for folder in RunStore(idle.checkpoints_dir).run_dirs()}
    client = fork(code)
    printed, complaint = client.communicate(timeout=100)
    assert client.returncode == 0, complaint
    lines = printed.splitlines()
    assert any(line.startswith("completed 40 ") for line in lines)
    (name,) = {folder.name for folder in RunStore(idle.checkpoints_dir).run_dirs()} - before
    written = LanguageModel.load(idle.checkpoints_dir / name).generate("12 ", SampleConfig(num_chars=80))
    assert written in printed
    page = Path(lines[-1]).read_text(encoding="utf-8")
    assert "<title>Bottles" in page
    assert "</html>" in page


def test_an_assistant_with_only_the_address_does_the_same(idle: App) -> None:
    """Over MCP, whose clients wait for one answer; and nobody else stops its run."""
    run = called(idle, "train", {"text": TEXT, "settings": TINY})
    folder = RunStore(idle.checkpoints_dir).get(run["run"])
    assert folder.owner == token_hash(run["token"])
    assert folder.settings().model.hidden_size == 8
    said = called(idle, "steer", {"run": run["run"], "action": "stop", "token": "x" * 20})
    assert "was started by somebody else" in said

    state = called(idle, "watch", {"run": run["run"], "seconds": 60})
    assert (state["status"], state["is_over"], state["step"], state["fraction"]) == ("completed", True, 20, 1.0)
    assert state["model"] == run["run"]
    own = called(idle, "watch", {"run": run["run"], "seconds": 0, "token": run["token"]})
    prompted = own["sample"].removesuffix(state["sample"])
    assert len(prompted) > 0  # what the samples continue is of the text, which is its owner's
    assert prompted in TEXT

    exported = called(idle, "export", {"model": run["run"], "kind": "weights"})
    with urllib.request.urlopen(exported["file"]["url"], timeout=60) as file:
        data = file.read()
        assert "attachment" in file.headers["Content-Disposition"]
    assert data == (idle.checkpoints_dir / run["run"] / "model.safetensors").read_bytes()
    assert len(data) == exported["num_bytes"]
    done = called(idle, "steer", {"run": run["run"], "action": "delete", "token": run["token"]})
    assert done == {"run": run["run"], "done": "delete"}
    assert "no longer there" in called(idle, "watch", {"run": run["run"]})


def test_who_watches_leaves_the_place_sooner_while_many_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Running(training_api._Functions):
        def _state(self, name: str, token: str) -> dict[str, Any]:
            return {"run": name, "is_over": bool(token)}

    monkeypatch.setattr(training_api, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    functions = Running(None, None)  # type: ignore[arg-type]
    watching = [functions.watch("mine", 600) for _ in range(9)]
    for each in watching:
        assert next(each) == {"run": "mine", "is_over": False}
    assert ([*watching.pop()], now) == ([], 20.0)
    assert ([*watching.pop()], now) == ([], 600.0)


def test_a_fault_while_watching_is_not_taken_for_a_wrong_number_of_seconds() -> None:
    class Broken(training_api._Functions):
        def _state(self, name: str, token: str) -> dict[str, Any]:
            raise TypeError(name, token)

    with pytest.raises(TypeError, match="mine"):
        next(Broken(None, None).watch("mine"))  # type: ignore[arg-type]


def test_served_files_have_room_for_so_many_bytes_and_the_oldest_goes(tmp_path: Path) -> None:
    served, paths = ServedFiles(most_bytes=10), []
    for text in ("one", "two", "three"):
        (tmp_path / text).write_text(text, encoding="utf-8")
        paths.append(Path(served.add(tmp_path / text)))
    assert [path.exists() for path in paths] == [False, True, True]
    assert served.add(tmp_path / "two") == str(paths[1])  # the same again: now it is the newest
    (tmp_path / "seven").write_text("seven", encoding="utf-8")
    served.add(tmp_path / "seven")
    assert [path.exists() for path in paths] == [False, True, False]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("train", {"text": TEXT, "corpus": "python-stdlib"}, "not both"),
        ("train", {"corpus": "/etc/passwd"}, "give an address"),
        ("train", {"text": TEXT, "preset": "huge"}, "no preset"),
        ("train", {"text": TEXT, "minutes": 11}, "at most 10 minutes here"),
        ("train", {"text": TEXT, "settings": {"corpus": "x"}}, "no setting named 'corpus'"),
        ("train", {"text": TEXT, "settings": {"hidden_size": 4096, "num_layers": 8}}, "at most 5,000,000"),
        ("train", {"text": TEXT, "begin_with": "../tiny-shakespeare"}, "no model named"),
        ("train", {"text": TEXT, "token": "short"}, "not a token"),
        ("train", {"text": ["x"]}, "must be texts"),
        ("watch", {"run": "nobodys"}, "no longer there"),
        ("watch", {"run": "tiny-shakespeare", "seconds": 1e9}, "from 0 to 600"),
        ("watch", {"run": "tiny-shakespeare", "seconds": "long"}, "must be a number"),
        ("steer", {"run": "tiny-shakespeare", "action": "delete"}, "by somebody else"),
        ("steer", {"run": "tiny-shakespeare", "action": "rename"}, "must be one of"),
        ("export", {"model": "../tiny-shakespeare"}, "no longer there"),
        ("export", {"model": "tiny-shakespeare", "kind": "zip"}, "must be one of"),
        ("export", {"model": ["tiny-shakespeare"]}, "must be texts"),
        ("export", {"model": "tiny-shakespeare", "kind": ["page"]}, "must be one of"),
    ],
)
def test_a_bad_request_gets_a_sentence_and_starts_nothing(
    app: App, name: str, values: dict[str, Any], said: str
) -> None:
    before = {folder.name for folder in RunStore(app.checkpoints_dir).run_dirs()}
    last = answer(app, name, values)
    error = json.loads(last.removeprefix("data: "))["error"]
    assert said.lower() in error.lower()
    assert "Traceback" not in last
    assert {folder.name for folder in RunStore(app.checkpoints_dir).run_dirs()} == before
