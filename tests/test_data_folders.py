"""Where models and runs are kept, in a clone and by an installed copy."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from charlstm import data_folders
from charlstm.corpus import open_corpus
from charlstm.formatting import own_command
from charlstm.language_model import LanguageModel


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder, of an installed copy that carries one model."""
    model = tmp_path / "site-packages" / "charlstm" / "checkpoints" / "shipped"
    model.mkdir(parents=True)
    (model / "model.safetensors").write_bytes(b"weights")
    model.chmod(0o555)
    monkeypatch.setattr(data_folders, "IS_INSTALLED", True)
    monkeypatch.setattr(data_folders, "BUNDLED_MODELS", model.parent)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "charlstm" / "checkpoints"


def test_commands_of_a_clone_work_on_the_folder_beside_them_and_the_page_on_that_of_the_clone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_folders.default_checkpoints_dir() == Path("checkpoints")
    assert data_folders.page_checkpoints_dir() == repository / "checkpoints"


def test_a_bundled_model_of_a_clone_is_found_by_name_from_any_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_folders.find_model(Path("tiny-shakespeare")) == repository / "checkpoints" / "tiny-shakespeare"
    assert LanguageModel.load("tiny-shakespeare").model.num_parameters > 1_000_000
    own = Path("checkpoints", "tiny-shakespeare")
    own.mkdir(parents=True)
    assert data_folders.find_model(Path("tiny-shakespeare")) == own
    assert data_folders.find_model(own) == own


@pytest.mark.parametrize("named", ["nonesuch", "checkpoints/nonesuch", "elsewhere/shipped", "../shipped"])
def test_what_is_not_there_keeps_its_name_for_the_sentence_that_says_so(installed: Path, named: str) -> None:  # noqa: ARG001
    assert data_folders.find_model(Path(named)) == Path(named)


def test_an_installed_copy_finds_its_users_models_before_its_own(installed: Path) -> None:
    shipped = data_folders.BUNDLED_MODELS / "shipped"
    assert data_folders.find_model(Path("shipped")) == data_folders.find_model(Path("checkpoints/shipped")) == shipped
    (installed / "shipped").mkdir(parents=True)
    assert data_folders.find_model(Path("shipped")) == installed / "shipped"


def test_the_page_of_an_installed_copy_has_the_models_in_the_users_folder_and_never_replaces_them(
    installed: Path,
) -> None:
    assert data_folders.page_checkpoints_dir() == data_folders.default_checkpoints_dir() == installed
    (installed / "shipped" / "model.safetensors").write_bytes(b"trained further")
    (installed / "shipped" / "own.txt").write_bytes(b"the folder can be written although the installed one can't")
    assert data_folders.page_checkpoints_dir() == installed
    assert (installed / "shipped" / "model.safetensors").read_bytes() == b"trained further"
    assert [path.name for path in installed.iterdir()] == ["shipped"], "nothing half copied is left"


def test_where_the_data_folder_can_not_be_written_the_page_works_in_a_temporary_one(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_bytes(b"a file in its place holds off even a superuser")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    place = data_folders.page_checkpoints_dir()
    assert place.is_relative_to(tmp_path / "elsewhere")
    assert (place / "shipped" / "model.safetensors").read_bytes() == b"weights"
    assert not installed.exists()


def test_nothing_is_made_in_a_folder_called_tilde_where_nobody_has_a_home(
    installed: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: Path("~/.local/share/charlstm"))
    assert data_folders.default_checkpoints_dir().is_absolute()


@pytest.mark.parametrize(
    ("started", "called"),
    [("/usr/bin/charlstm", "charlstm"), ("/site-packages/charlstm/__main__.py", "python -m charlstm"),
     ("charlstm.exe", "charlstm"), ("/clone/app.py", "python -m charlstm"), ("-c", "python -m charlstm")],
)  # fmt: skip
def test_hints_name_the_command_as_it_was_called(started: str, called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started])
    assert own_command() == called


def test_the_hubs_library_is_told_to_keep_quiet_about_links_before_it_is_imported(repository: Path) -> None:
    script = (
        "import charlstm.ui; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_SYMLINKS_WARNING)"
    )
    kept = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_SYMLINKS_WARNING"}
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, env=kept, capture_output=True, check=True)
    assert done.stdout.decode() == "True\n"


def test_runs_go_elsewhere_with_what_is_bundled_where_the_folder_can_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_folders.writable_checkpoints_dir(tmp_path / "checkpoints") == tmp_path / "checkpoints"
    bundled = tmp_path / "checkpoints" / "model"
    bundled.mkdir()
    (bundled / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "elsewhere"))
    refused = {bundled.parent: "Permission denied"}  # root may write all
    monkeypatch.setattr(data_folders, "why_not_writable", lambda folder: refused.get(folder, ""))
    place = data_folders.writable_checkpoints_dir(bundled.parent)
    assert place.is_relative_to(tmp_path / "elsewhere")
    assert (place / "model" / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_file_is_found_however_its_letters_are_composed(tmp_path: Path, forms: tuple[str, str]) -> None:
    """A keyboard gives é as one character, macOS names files with two; some file systems take both for one name."""
    named, typed = (
        tmp_path / unicodedata.normalize(form, "Bücher") / unicodedata.normalize(form, "é.txt") for form in forms
    )
    named.parent.mkdir()
    named.write_text("a text of one line\n" * 20, encoding="utf-8")
    assert open_corpus(str(typed)).sha256 == open_corpus(str(named)).sha256
    assert data_folders.find_model(typed).samefile(named)
    missing = typed.with_name("è.txt")
    assert data_folders.find_spelling(missing) == missing
