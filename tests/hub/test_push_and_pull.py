"""A model travels to the Hub and back: what is sent, what arrives, what is refused."""

import json
import platform
import re
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loopback import OWNER, READER, LoopbackHub

from charlstm import LanguageModel, SampleConfig
from charlstm.cli import main
from charlstm.errors import HubError
from charlstm.hub.client import Progress
from charlstm.hub.loss_plot import loss_plot_png
from charlstm.hub.pull import fetch, pull
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.runs.history import RunHistory
from charlstm.runs.store import RunStore

pytestmark = pytest.mark.usefixtures("hub")
_ONLY_SAFETENSORS_AND_JSON = """
import json, sys
from safetensors import safe_open
with safe_open(sys.argv[1], framework="numpy") as file:
    header = file.metadata()
    shapes = {name: file.get_tensor(name).shape for name in file.keys()}
forbidden = [name for name in ("torch", "charlstm", "huggingface_hub") if name in sys.modules]
print(json.dumps([json.loads(header["vocabulary"]), json.loads(header["config"]), shapes, forbidden]))
"""


def _weights_equal(first: LanguageModel, second: LanguageModel) -> bool:
    one, other = first.model.state_dict(), second.model.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_was_pushed_is_pulled_weight_for_weight(hub: LoopbackHub, trained: Path, packed: ModelFiles) -> None:
    address = push(packed, OWNER)
    assert address.startswith(f"{hub.address()}/owner/tiny/commit/")
    pulled = LanguageModel.from_pretrained("owner/tiny")
    mine = LanguageModel.load(trained)
    assert _weights_equal(pulled, mine)
    config = SampleConfig(num_chars=50, seed=3)
    assert pulled.generate("the ", config) == mine.generate("the ", config)
    assert pulled.provenance == mine.provenance


def test_the_uploaded_file_is_read_with_safetensors_and_json_alone(
    hub: LoopbackHub, packed: ModelFiles, pangrams: str, tmp_path: Path
) -> None:
    push(packed, OWNER)
    (tmp_path / "fetched").write_bytes(hub.model("owner/tiny").files()["model.safetensors"])
    command = [sys.executable, "-c", _ONLY_SAFETENSORS_AND_JSON, str(tmp_path / "fetched")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    vocabulary, config, shapes, forbidden = json.loads(told)
    assert forbidden == []
    assert sorted(vocabulary) == sorted(set(pangrams))
    assert config["hidden_size"] == 8
    assert [32, 8] in shapes.values()  # four gates of 8 units, from 8 units


def test_exactly_four_files_are_sent_and_nothing_of_the_machine(
    hub: LoopbackHub, trained: Path, history: RunHistory, pangrams: str
) -> None:
    push(build_files(trained, "owner/tiny", loss_plot_png(history.series())), OWNER)
    files = hub.model("owner/tiny").files()
    assert set(files) - {".gitattributes"} == {"model.safetensors", "config.json", "README.md", "loss.png"}
    for name, data in files.items():
        for private in (str(Path.home()), str(trained.parent), "a-secret-place", OWNER):
            assert private.encode() not in data, (name, private)
        if name.endswith((".md", ".json")):
            assert not re.search(rf"\b{re.escape(platform.node())}\b", data.decode())
        assert pangrams[:200].encode() not in data
    origin = json.loads(files["config.json"])["provenance"]
    assert origin["corpus"] == "secret.txt"


def test_config_json_repeats_what_the_model_file_says(trained: Path, packed: ModelFiles) -> None:
    facts = json.loads(packed.files["config.json"])
    data = (trained / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
    assert facts["config"] == json.loads(header["config"])
    assert facts["vocabulary"] == json.loads(header["vocabulary"])
    assert facts["provenance"] == json.loads(header["provenance"])


@pytest.mark.parametrize("private", [True, False])
def test_a_repository_is_made_as_visible_as_was_chosen(hub: LoopbackHub, packed: ModelFiles, private: bool) -> None:
    push(packed, OWNER, private=private)
    assert hub.model("owner/tiny").private is private


def test_a_model_meant_to_be_private_does_not_go_into_a_public_repository(hub: LoopbackHub, packed: ModelFiles) -> None:
    repo = hub.add("owner/tiny", {"README.md": b"---\n---\n"})
    with pytest.raises(HubError, match="there already and public"):
        push(packed, OWNER)
    assert "model.safetensors" not in repo.files()
    push(packed, OWNER, private=False)
    assert "model.safetensors" in repo.files()


def test_what_lies_in_the_repository_already_stays_there(hub: LoopbackHub, packed: ModelFiles) -> None:
    repo = hub.add("owner/tiny", {"notes.txt": b"mine"}, private=True)
    push(packed, OWNER)
    assert repo.files()["notes.txt"] == b"mine"
    assert len(repo.trees) == 2  # what was there, and one commit


def test_a_revision_is_a_branch_of_its_own(hub: LoopbackHub, packed: ModelFiles) -> None:
    push(packed, OWNER, revision="second")
    repo = hub.model("owner/tiny")
    assert "model.safetensors" in repo.files("second")
    assert "model.safetensors" not in repo.files("main")
    assert fetch("owner/tiny", "second").is_file()
    with pytest.raises(HubError, match=r"holds no model\.safetensors"):
        fetch("owner/tiny")
    with pytest.raises(HubError, match="no such revision"):
        fetch("owner/tiny", "third")


def test_the_bytes_are_told_while_they_travel(repository: Path) -> None:
    steps: list[Progress] = []
    model = repository / "checkpoints" / "tiny-shakespeare"
    push(build_files(model, "owner/big"), OWNER, report=steps.append)
    size = (model / "model.safetensors").stat().st_size
    sent = [step.num_bytes for step in steps if step.words == "sending model.safetensors"]
    assert len(sent) > 10
    assert sent == sorted(sent)
    assert sent[-1] == size
    steps.clear()
    fetch("owner/big", report=steps.append)
    fetched = [step.num_bytes for step in steps if step.words.startswith("fetching")]
    assert fetched[-1] == size
    assert fetched == sorted(fetched)


def test_the_commands_push_and_pull(
    hub: LoopbackHub, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "owner/tiny"]) == 0
    out = capsys.readouterr().out
    shown = [line.split()[-1] for line in out.splitlines() if " bytes " in line]
    assert sorted(shown) == sorted(name for name in hub.model("owner/tiny").files() if name != ".gitattributes")
    assert out.splitlines()[-1].startswith(f"{hub.address()}/owner/tiny/commit/")
    assert hub.model("owner/tiny").private
    assert main(["pull", "owner/tiny", "--checkpoints-dir", str(tmp_path)]) == 0
    told = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert _weights_equal(LanguageModel.load(told[-1]), LanguageModel.load(trained))


def test_a_dry_run_shows_the_card_and_asks_the_hub_nothing(
    hub: LoopbackHub, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "owner/tiny", "--dry-run"]) == 0
    assert "library_name: charlstm" in capsys.readouterr().out
    assert hub.requests == []


def test_pulling_twice_leaves_one_copy_and_another_model_gets_another_name(
    trained: Path, packed: ModelFiles, tmp_path: Path
) -> None:
    push(packed, OWNER)
    store = RunStore(tmp_path)
    assert [pull("owner/tiny", store), pull("owner/tiny", store)] == ["tiny", "tiny"]
    LanguageModel.create(LanguageModel.load(trained).vocabulary, LanguageModel.load(trained).model.config, 7).save(
        tmp_path / "tiny"
    )
    before = (tmp_path / "tiny" / "model.safetensors").read_bytes()
    assert pull("owner/tiny", store) == "tiny-2"
    assert (tmp_path / "tiny" / "model.safetensors").read_bytes() == before
    with pytest.raises(HubError, match="choose another name"):
        pull("owner/tiny", store, name="tiny")
    assert store.run_dirs() == []  # a pulled model is no run


def test_what_was_fetched_serves_when_the_hub_is_gone(hub: LoopbackHub, trained: Path, packed: ModelFiles) -> None:
    push(packed, OWNER)
    LanguageModel.from_pretrained("owner/tiny")
    hub.close()
    assert _weights_equal(LanguageModel.from_pretrained("owner/tiny"), LanguageModel.load(trained))
    with pytest.raises(HubError, match="can't be reached"):
        LanguageModel.from_pretrained("owner/other")


def test_a_new_version_is_fetched_when_the_hub_has_one(trained: Path, packed: ModelFiles) -> None:
    push(packed, OWNER)
    first = LanguageModel.from_pretrained("owner/tiny")
    other = LanguageModel.create(first.vocabulary, first.model.config, seed=99)
    other.save(trained.parent / "other")
    push(build_files(trained.parent / "other", "owner/tiny"), OWNER)
    assert _weights_equal(LanguageModel.from_pretrained("owner/tiny"), other)
    shutil.rmtree(trained.parent / "other")


class TestForeignRepositories:
    """One sentence each, and nothing of them is opened."""

    @pytest.mark.parametrize(
        ("files", "sentence"),
        [
            ({"pytorch_model.bin": b"\x80\x04K\x01."}, "can run code when it is opened"),
            ({"model-00001-of-00002.safetensors": b"x"}, "another library"),
            ({"README.md": b"nothing"}, "holds no model.safetensors"),
            ({"model.safetensors": b"no such thing"}, "can't be read"),
            ({"model.safetensors": struct.pack("<Q", 2) + b"{}"}, "not written by charlstm"),
        ],
        ids=["pickle", "other-library", "empty", "damaged", "no-header"],
    )
    def test_are_refused(self, hub: LoopbackHub, files: dict[str, bytes], sentence: str) -> None:
        hub.add("other/model", files)
        with pytest.raises(HubError, match=sentence) as raised:
            LanguageModel.from_pretrained("other/model")
        assert "other/model" in str(raised.value)
        assert str(raised.value).count("\n") == 0
        assert not [request for request in hub.requests if ".bin" in request.path]

    def test_that_are_too_large_are_not_fetched(self, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_DOWNLOAD_MB", "0.001")
        hub.add("other/model", {"model.safetensors": bytes(2000)})
        with pytest.raises(HubError, match="at most 0 MB"):
            LanguageModel.from_pretrained("other/model")
        assert not [request for request in hub.requests if request.host == "storage"]

    def test_that_hold_weights_of_another_size_than_they_say_are_refused(self, hub: LoopbackHub, trained: Path) -> None:
        data = (trained / "model.safetensors").read_bytes()
        hub.add("other/model", {"model.safetensors": data[:-16]})
        with pytest.raises(HubError, match=r"other/model: model\.safetensors can't be read"):
            LanguageModel.from_pretrained("other/model")


@pytest.mark.parametrize(
    "name", ["", "model", "a/b/c", "../x", "a/..", "a b/c", "a/b--c", "a/b.git", "é/b", "a/" + "b" * 99]
)
def test_a_name_that_is_none_is_refused_before_anything_is_asked(hub: LoopbackHub, trained: Path, name: str) -> None:
    for act in (lambda: fetch(name), lambda: build_files(trained, name)):
        with pytest.raises(HubError, match="not a repository name"):
            act()
    assert hub.requests == []


def test_a_private_model_of_somebody_else_looks_as_if_it_were_not_there(
    packed: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(packed, OWNER)
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(HubError, match="no owner/tiny on the Hub that this login may see"):
        fetch("owner/tiny")
