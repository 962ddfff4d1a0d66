"""The app becomes a Space: what is sent, with which front matter and variables, and that it starts there."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import OWNER, Fault, LoopbackHub
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from waiting import wait_until

from charlstm.cli import main
from charlstm.environment import VARIABLES, Limits, env_name
from charlstm.errors import ConfigError, HubError
from charlstm.hub.client import Progress
from charlstm.space.deploy import SpacePlan, deploy, plan_space

REPOSITORY = Path(__file__).resolve().parents[2]
MODEL = REPOSITORY / "checkpoints" / "tiny-shakespeare"
_COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # all that the Hub knows


def front_matter(readme: str) -> dict[str, Any]:
    return dict(yaml.safe_load(readme.split("---\n")[1]))


def requirements(text: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    return {each.name: each for each in found}


@pytest.fixture(scope="module")
def plan() -> SpacePlan:
    return plan_space("owner/my-space", [MODEL], {"CHARLSTM_MAX_MINUTES": "5"})


@pytest.mark.parametrize("which", ["this repository", "a deployed Space"])
def test_front_matter_and_requirements_agree(which: str, plan: SpacePlan) -> None:
    files = plan.files if which == "a deployed Space" else {
        name: (REPOSITORY / name).read_bytes() for name in ("README.md", "requirements.txt", "app.py")
    }  # fmt: skip
    front = front_matter(files["README.md"].decode())
    needed = requirements(files["requirements.txt"].decode())
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == version("gradio")
    assert needed["gradio"].specifier.contains(front["sdk_version"])
    assert needed["gradio"].extras == {"oauth", "mcp"}  # without the first a Space can't sign anybody in
    assert front["license"] == "mit"
    assert front["suggested_hardware"] == "zero-a10g"
    assert "mcp-server" in front["tags"]
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert SpecifierSet(re.search(r'requires-python = "(.+)"', project)[1]).contains(f"{front['python_version']}.0")
    assert front["python_version"] in ("3.10", "3.12")  # what ZeroGPU offers
    assert front["app_file"] in files
    assert front["colorFrom"] in _COLORS
    assert front["colorTo"] in _COLORS
    assert front["title"]
    assert len(front["short_description"]) <= 60
    assert front["hf_oauth"] is True
    assert front["hf_oauth_scopes"] == ["contribute-repos"]
    assert {"lstm", "character-level"} <= set(front["tags"])
    assert which != "a deployed Space" or "mcp" in needed["gradio"].extras
    for tested in ("huggingface_hub", "safetensors", "pydantic", "pillow"):
        assert needed[tested].specifier.contains(version(tested).partition("+")[0]), tested


def test_the_emoji_is_one() -> None:
    assert not front_matter((REPOSITORY / "README.md").read_text(encoding="utf-8"))["emoji"].isascii()


@pytest.mark.parametrize("which", ["this repository, uploaded as it is", "a deployed Space"])
def test_a_space_gets_a_torch_that_runs_on_zero_gpu_too(which: str, plan: SpacePlan) -> None:
    """Spaces install what pre-requirements.txt says first; then requirements.txt is content with that."""
    files = plan.files if which == "a deployed Space" else {
        name: (REPOSITORY / name).read_bytes() for name in ("pre-requirements.txt", "requirements.txt")
    }  # fmt: skip
    first, then = (requirements(files[name].decode()) for name in ("pre-requirements.txt", "requirements.txt"))
    for offered in ("2.8.0", "2.9.1", "2.10.0", "2.11.0"):
        assert first["torch"].specifier.contains(offered)
        assert then["torch"].specifier.contains(offered)
    assert not first["torch"].specifier.contains("2.12.0")


def test_the_readme_of_a_space_shows_the_page_its_limits_and_where_the_code_is(plan: SpacePlan) -> None:
    readme = plan.files["README.md"].decode()
    assert front_matter(readme)["thumbnail"].endswith("/spaces/owner/my-space/resolve/main/page.png")
    assert "](page.png)" in readme
    assert plan.files["page.png"].startswith(b"\x89PNG")
    assert "/spaces/owner/my-space/tree/main" in readme
    assert "| Training time of a run in all, in minutes | 5 | `CHARLSTM_MAX_MINUTES` |" in readme
    assert "`CHARLSTM_MAX_CORPUS_MB`" in readme


def test_the_hub_is_asked_once_how_many_files_travel(hub: LoopbackHub, plan: SpacePlan) -> None:
    assert len(plan.files) > 100
    assert deploy(plan, OWNER) == f"{hub.address()}/spaces/owner/my-space"
    asked = [each for each in hub.requests if "/preupload/" in each.path]
    assert len(asked) == math.ceil(len(plan.files) / 256)  # the client asks for so many at a time
    assert len(hub.requests) <= 8 + 3 * len(hub.blobs)  # of each large one an address, its bytes, and whether they came
    hub.requests.clear()
    deploy(plan, OWNER)  # again: nothing travels, and nothing changes
    assert len(hub.requests) <= 8 + len(hub.blobs)
    assert len(hub.repos["space/owner/my-space"].trees) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARLSTM_MAX_MINUTES", "abc"),
        ("CHARLSTM_MAX_MINUTES", "-1"),
        ("CHARLSTM_MAX_RUNS", "0"),
        ("CHARLSTM_MAX_RUNS", "1.5"),
        ("CHARLSTM_MAX_PARAMETERS", "1e3.5"),
        ("CHARLSTM_TRASH_DAYS", "soon"),
        ("CHARLSTM_TRASH_DAYS", "nan"),
        ("CHARLSTM_PUBLIC", "yes"),
        ("CHARLSTM_ALLOWED_HOSTS", "https://"),
        ("OMP_NUM_THREADS", "0"),
    ],
)
def test_a_value_that_would_end_the_space_at_its_start_is_not_sent(hub: LoopbackHub, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is '{value}'; it must be"):
        plan_space("owner/s", [], {name: value})
    assert main(["deploy", "owner/s", "--variables", f"{name}={value}"]) == 2
    assert hub.requests == []


def test_every_variable_that_suits_a_space_is_sent() -> None:
    given = {**{env_name(name): "2" for name in Limits.model_fields}, "CHARLSTM_TRASH_DAYS": "0.5",
             "CHARLSTM_PUBLIC": "1", "CHARLSTM_BACKUP_REPO": "owner/runs", "CHARLSTM_CORPUS_DIR": "/data/texts",
             "CHARLSTM_KERNEL": "off", "CHARLSTM_ALLOWED_HOSTS": "letters.example https://blog.example:8443",
             "CC": "clang", "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "9",
             "XDG_CACHE_HOME": "/data/cache", "XDG_DATA_HOME": "/data",
             "HF_HOME": "/data/hub", "HF_ENDPOINT": "https://hub.example", "HF_HUB_OFFLINE": "1",
             "GRADIO_TEMP_DIR": "/data/uploads", "FORWARDED_ALLOW_IPS": "10.0.0.0/8"}  # fmt: skip
    assert plan_space("owner/s", [], given).variables == given
    assert set(given) == {name for name, variable in VARIABLES.items() if variable.suits_a_space}


def test_a_documented_command_is_understood(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # the folder is left for whoever wants to look into it
    given = ["CHARLSTM_TRASH_DAYS=7", "CHARLSTM_ALLOWED_HOSTS=letters.example"]
    assert main(["deploy", "owner/s", "--dry-run", "--models", str(MODEL), "--variables", *given]) == 0
    out = capsys.readouterr().out
    assert "variables: CHARLSTM_TRASH_DAYS=7, CHARLSTM_ALLOWED_HOSTS=letters.example" in out
    assert Path(out.splitlines()[-1].rpartition(" ")[2]).parent == tmp_path
    assert hub.requests == []


@pytest.mark.parametrize("name", ["HF_TOKEN", "SPACE_ID", "GRADIO_SERVER_PORT", "RANK"])
def test_no_secret_and_nothing_of_the_platforms_is_sent(hub: LoopbackHub, name: str) -> None:
    with pytest.raises(ConfigError, match=f"no variable {name} to set on a Space; known are"):
        plan_space("owner/s", [], {name: "1"})
    assert hub.requests == []


def test_the_app_and_the_chosen_models_are_sent_and_nothing_of_the_machine(plan: SpacePlan, trained: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "charlstm"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {name for name in plan.files if name.startswith("charlstm/")} >= set(tracked)
    assert {"app.py", "requirements.txt", "README.md", "checkpoints/tiny-shakespeare/model.safetensors"} <= set(
        plan.files
    )
    (trained / "worker.log").write_text("log", encoding="utf-8")
    (trained / "insight.json").write_text(
        "{}", encoding="utf-8"
    )  # what was found inside a model needs no second search
    mine = plan_space("owner/s", [trained]).files
    model = sorted(name for name in mine if name.startswith("checkpoints/"))
    assert model == [
        f"checkpoints/tiny/{name}" for name in ("config.json", "events.jsonl", "insight.json", "model.safetensors")
    ]
    for name, data in mine.items():
        assert str(trained.parent).encode() not in data, name
        assert str(REPOSITORY).encode() not in data, name
    for name in ("worker.log", "insight.json"):
        (trained / name).unlink()


def test_a_space_is_created_with_files_variables_and_hardware(hub: LoopbackHub, plan: SpacePlan) -> None:
    small = SpacePlan("owner/my-space", {"app.py": b"x", "charlstm/new.py": b"y", "README.md": b"---\na: 1\n---\n"},
                      plan.variables, "cpu-basic")  # fmt: skip
    address = deploy(small, OWNER, private=True)
    space = hub.repos["space/owner/my-space"]
    assert address == f"{hub.address()}/spaces/owner/my-space"
    assert space.private
    assert space.variables == {"CHARLSTM_MAX_MINUTES": "5"}
    assert space.created_with["sdk"] == "gradio"
    assert space.created_with["hardware"] == "cpu-basic"
    assert set(space.files()) - {".gitattributes"} == set(small.files)
    assert hub.authorizations() - {None} == {f"Bearer {OWNER}"}


def test_a_space_is_made_on_its_hardware_for_accounts_that_have_a_right_to_no_other(hub: LoopbackHub) -> None:
    hub.faults.append(Fault("/hardware", 402))
    with pytest.raises(HubError, match="paid plan"):
        deploy(SpacePlan("owner/my-space", {"README.md": b"x"}, {}, "zero-a10g"), OWNER)
    assert hub.repos["space/owner/my-space"].created_with["hardware"] == "zero-a10g"


def test_a_free_account_gets_the_space_that_it_may_have(hub: LoopbackHub) -> None:
    steps: list[Progress] = []
    hub.faults.append(Fault("/api/repos/create", 402, times=1))
    deploy(SpacePlan("owner/my-space", {"README.md": b"---\na: 1\n---\n"}, {}, None), OWNER, report=steps.append)
    assert hub.repos["space/owner/my-space"].created_with["hardware"] == "zero-a10g"
    assert any("zero-a10g" in step.words for step in steps)


def test_an_account_that_may_have_no_space_is_told_the_hubs_reason(hub: LoopbackHub) -> None:
    hub.faults.append(Fault("/api/repos/create", 402, body=b'{"error": "You have 2 Spaces already"}'))
    with pytest.raises(HubError, match="You have 2 Spaces already"):
        deploy(SpacePlan("owner/my-space", {"README.md": b"x"}, {}, None), OWNER)


def test_an_update_replaces_the_app_and_leaves_what_others_put_there(hub: LoopbackHub) -> None:
    readme = b"---\ntitle: x\n---\n"
    before = {"README.md": b"old", "charlstm/gone.py": b"old", "charlstm/kept.py": b"old", "notes.md": b"mine"}
    space = hub.add("owner/my-space", before, private=True, kind="space")
    deploy(SpacePlan("owner/my-space", {"README.md": readme, "charlstm/kept.py": b"new"}, {}, None), OWNER)
    assert space.files() == {"README.md": readme, "charlstm/kept.py": b"new", "notes.md": b"mine"}
    assert len(space.trees) == 2


def test_what_is_wrong_with_a_deployment_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no variable CHARLSTM_MAX_MINUTE to set on a Space; known are"):
        plan_space("owner/s", [], {"CHARLSTM_MAX_MINUTE": "5"})
    with pytest.raises(HubError, match="not a repository name"):
        plan_space("space", [])
    assert main(["deploy", "owner/s", "--models", str(tmp_path), "--dry-run"]) == 1
    assert "there is no model file" in capsys.readouterr().err


def test_a_dry_run_lists_everything_and_asks_the_hub_nothing(
    hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the folder it makes starts as a Space would start it: with `SPACE_ID`, and a home that can't be written."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command = ["deploy", "owner/my-space", "--dry-run", "--models", str(MODEL), "--variables", "CHARLSTM_MAX_MINUTES=5"]
    assert main(command) == 0
    out = capsys.readouterr().out
    folder = Path(out.splitlines()[-1].rpartition(" ")[2])
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(re.findall(r"^ *[\d,]+ bytes  (.+)$", out, re.MULTILINE)) == files
    assert "hf_oauth_scopes:\n- contribute-repos" in out
    assert "variables: CHARLSTM_MAX_MINUTES=5" in out
    assert hub.requests == []
    (tmp_path / "no-folder").write_bytes(b"")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "PYTHONPATH"))}
    environment = {
        **kept,
        "HOME": str(tmp_path / "no-folder" / "home"),
        "SPACE_ID": "owner/my-space",
        "HF_TOKEN": OWNER,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "PYTHONWARNINGS": "error",
        "PYTHONPROFILEIMPORTTIME": "1",
        "CHARLSTM_KERNEL": "off",
    }  # fmt: skip  it would compile, and its compiler would outlive it
    log = tmp_path / "app.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with log.open("wb") as output:
        app = subprocess.Popen([sys.executable, "app.py", "--port", port], cwd=folder, env=environment, stdout=output,
                               stderr=output)  # fmt: skip
    try:
        address = wait_until(lambda: _address(log, app), timeout=60)
        with urllib.request.urlopen(address) as answer:
            assert b"charlstm" in answer.read()
    finally:
        app.send_signal(signal.SIGKILL)
        app.wait()
    said = log.read_text(encoding="utf-8")
    assert OWNER not in said
    imported = re.findall(r"\| +(spaces|torch)\b", said)
    assert imported[0] == "spaces", "the platform demands it before torch"
    assert "torch" in imported


def _address(log: Path, app: "subprocess.Popen[bytes]") -> str | None:
    text = log.read_text(encoding="utf-8")
    assert app.poll() is None, text
    found = re.search(r"http://127\.0\.0\.1:\d+", text)
    return found.group() if found else None
