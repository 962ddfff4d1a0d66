"""A loopback Hub for each test, and the real client pointed at it with nothing of this machine in reach."""

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from loopback import OWNER, LoopbackHub, loopback_hub

from charlstm.cli import main
from charlstm.hub.push import ModelFiles, build_files
from charlstm.runs.history import RunHistory
from charlstm.runs.run_dir import RunDir


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """This machine is logged in, as `hf auth login` leaves it.

    The client reads the environment when it is imported, so what it read is replaced.
    """
    with loopback_hub() as server:
        for name, value in {
            "ENDPOINT": server.address(),
            "HUGGINGFACE_CO_URL_TEMPLATE": server.address() + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_CACHE": str(tmp_path / "hub-cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        (tmp_path / "token").write_text(OWNER, encoding="utf-8")
        monkeypatch.setenv("HF_TOKEN", "")
        monkeypatch.delenv("SPACE_ID", raising=False)
        yield server


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> Path:
    """The folder of a short run on a text of one's own, as `train` leaves it; `secret.txt` lies beside it."""
    place = tmp_path_factory.mktemp("a-secret-place")
    (place / "secret.txt").write_text(pangrams, encoding="utf-8")
    flags = (
        "--hidden-size 8 --embedding-dim 0 --batch-size 2 --seq-len 16 --max-steps 40 --max-minutes 0 --log-every 10 "
    )
    flags += "--eval-every 20 --sample-every 40 --sample-chars 25 --precision float32"
    command = ["train", "--corpus", str(place / "secret.txt"), "--name", "tiny", "--checkpoints-dir", str(place)]
    assert main([*command, *flags.split()]) == 0
    return place / "tiny"


@pytest.fixture(scope="session")
def history(trained: Path) -> RunHistory:
    history = RunHistory(RunDir(trained))
    history.poll()
    return history


@pytest.fixture(scope="session")
def packed(trained: Path) -> ModelFiles:
    return build_files(trained, "owner/tiny")


@pytest.fixture
def published(hub: LoopbackHub, packed: ModelFiles) -> ModelFiles:
    """What is to be sent to a repository that is there already."""
    hub.add("owner/tiny", {"README.md": b"before"}, private=True)
    return packed
