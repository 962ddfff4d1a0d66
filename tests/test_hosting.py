"""Where the app lives: limits of a Space, each with its variable, and a machine whose home can't be written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm.errors import ConfigError
from charlstm.hosting import HERE, ON_A_SPACE, Limits, limits, place_of_runs, variable


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SPACE_ID", *map(variable, Limits.model_fields)):
        monkeypatch.delenv(name, raising=False)


def test_a_person_at_home_has_no_limits_but_one_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits() == HERE
    assert (HERE.max_parameters, HERE.max_minutes, HERE.max_corpus_mb, HERE.max_disk_mb) == (0, 0, 0, 0)
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert limits() == ON_A_SPACE
    assert all(ON_A_SPACE.model_dump().values())


@pytest.mark.parametrize("name", list(Limits.model_fields))
@pytest.mark.parametrize("on_a_space", [False, True])
def test_every_limit_is_overridden_by_its_variable(
    name: str, on_a_space: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_a_space:
        monkeypatch.setenv("SPACE_ID", "owner/space")
    before = limits().model_dump()
    monkeypatch.setenv(f"CHARLSTM_{name.upper()}", "7")
    assert limits().model_dump() == {**before, name: 7}


@pytest.mark.parametrize("value", ["many", "-1", "1e999x"])
def test_a_variable_that_is_no_number_is_told(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLSTM_MAX_MINUTES", value)
    with pytest.raises(ConfigError, match="CHARLSTM_MAX_MINUTES"):
        limits()


def test_every_limit_stands_in_the_documents_with_its_values(repository: Path) -> None:
    table = (repository / "docs" / "variables.md").read_text(encoding="utf-8")
    for name, field in Limits.model_fields.items():
        here = f"{field.default:,.12g}" if field.default else "none"
        public = f"{getattr(ON_A_SPACE, name):,.12g}"
        assert f"| `{variable(name)}` | {field.description} | {here}; {public} in a public place |" in table


def _environment_after_preparing(repository: Path, **environment: str) -> dict[str, str]:
    program = (
        "import json, os; from charlstm.hosting import prepare_environment; prepare_environment(); "
        "print(json.dumps(dict(os.environ)))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "HF_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True,
        env={**kept, **environment},
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_caches_find_a_place_where_the_home_can_not_be_written(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    home = str(tmp_path / "no-folder" / "home")
    found = _environment_after_preparing(repository, HOME=home, TMPDIR=str(tmp_path))
    assert Path(found["XDG_CACHE_HOME"]).is_relative_to(tmp_path)
    assert Path(found["HF_HOME"]).is_relative_to(tmp_path)


def test_a_home_that_can_be_written_stays_the_place_of_caches(repository: Path, tmp_path: Path) -> None:
    found = _environment_after_preparing(repository, HOME=str(tmp_path))
    assert "XDG_CACHE_HOME" not in found
    assert "HF_HOME" not in found
    assert "HF_HUB_DISABLE_IMPLICIT_TOKEN" not in found


def test_on_a_space_no_login_is_used_that_nobody_named(repository: Path, tmp_path: Path) -> None:
    found = _environment_after_preparing(repository, HOME=str(tmp_path), SPACE_ID="owner/space")
    assert found["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"


def test_runs_go_elsewhere_with_what_is_bundled_where_the_folder_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place_of_runs(tmp_path / "checkpoints") == tmp_path / "checkpoints"
    bundled = tmp_path / "checkpoints" / "model"
    bundled.mkdir()
    (bundled / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("charlstm.hosting._is_writable", lambda folder: folder != bundled.parent)  # root may write all
    place = place_of_runs(bundled.parent)
    assert place.is_relative_to(tmp_path / "elsewhere")
    assert (place / "model" / "model.safetensors").read_bytes() == b"weights"
