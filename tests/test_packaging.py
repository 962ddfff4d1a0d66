"""The wheel and the source archive: what is in them, and that an installed copy works without the sources."""

import email
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest
from waiting import wait_until

from charlstm.data_folders import BUNDLED

_MODEL_FILES = {"config.json", "events.jsonl", "insight.json", "model.safetensors"}
_FILM = "birth.json"  # of two models, one of which is in the wheel
_TOP_FILES = {"LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md", "app.py", "requirements.txt", "pyproject.toml",
              "setup.py", "MANIFEST.in"}  # fmt: skip
_NO_RUBBISH = shutil.ignore_patterns("__pycache__", "*.egg-info", "last")


@dataclass(frozen=True)
class Archives:
    wheel: Path
    source: Path

    def metadata(self) -> tuple[Message, str]:
        """The fields of the wheel's metadata, and its description."""
        with zipfile.ZipFile(self.wheel) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            fields, _, description = wheel.read(name).decode().partition("\n\n")
        return email.message_from_string(fields), description


@pytest.fixture(scope="module")
def archives(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """Built from a copy of a clone in which somebody has trained a model of their own, without any network."""
    place = tmp_path_factory.mktemp("build")
    clone, built = place / "clone", place / "dist"
    for folder in ("charlstm", "docs", *(f"checkpoints/{model}" for model in BUNDLED)):
        shutil.copytree(repository / folder, clone / folder, ignore=_NO_RUBBISH)
    for name in _TOP_FILES:
        shutil.copy(repository / name, clone)
    for model in BUNDLED[1:]:
        (clone / "checkpoints" / model / "model.safetensors").write_bytes(b"quick to compress")
    for name in ("checkpoints/mine/model.safetensors", "checkpoints/tiny-shakespeare/last/model.safetensors",
                 "checkpoints/tiny-shakespeare/worker.log", "tests/test_own.py"):  # fmt: skip
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes(b"private")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built)],
        cwd=clone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Archives(next(built.glob("*.whl")), next(built.glob("*.tar.gz")))


def _files(folder: Path, below: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(below).as_posix() for path in found}


def test_the_wheel_holds_the_whole_package_one_model_and_nothing_else(archives: Archives, repository: Path) -> None:
    with zipfile.ZipFile(archives.wheel) as wheel:
        names = set(wheel.namelist())
        bundled = wheel.read("charlstm/checkpoints/tiny-shakespeare/model.safetensors")
    assert bundled == (repository / "checkpoints" / "tiny-shakespeare" / "model.safetensors").read_bytes()
    package = _files(repository / "charlstm", repository)
    assert {
        "charlstm/kernel/csrc/kernel.c",
        "charlstm/kernel/csrc/decoder.inc.c",
        "charlstm/ui/static/run_panel.js",
    } <= package
    model = {f"charlstm/checkpoints/tiny-shakespeare/{name}" for name in (*_MODEL_FILES, _FILM)}
    assert {name for name in names if ".dist-info/" not in name} == package | model
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_source_archive_is_a_clone_without_tests_and_without_anybodys_runs(
    archives: Archives, repository: Path
) -> None:
    with tarfile.open(archives.source) as source:
        names = {member.name.partition("/")[2] for member in source.getmembers() if member.isfile()}
    models = {f"checkpoints/{model}/{name}" for model in BUNDLED for name in _MODEL_FILES}
    expected = _files(repository / "charlstm", repository) | _files(repository / "docs", repository) | models
    expected |= {*_TOP_FILES, *(f"checkpoints/{model}/{_FILM}" for model in ("tiny-shakespeare", "python-stdlib"))}
    made = {name for name in names if ".egg-info/" in name} | {"PKG-INFO", "setup.cfg"}
    assert names - made == expected


def test_a_package_index_accepts_both_archives_and_can_show_the_readme(archives: Archives, repository: Path) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", str(archives.wheel), str(archives.source)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    _, described = archives.metadata()
    assert described.startswith("# charlstm\n"), "the Space's front matter would be a huge heading"
    assert not re.findall(r"\]\((?!https?:)", described), "an index has none of the files beside the README"
    assert "results (`docs/results.md`)" in described
    assert described.endswith((repository / "README.md").read_text(encoding="utf-8")[-100:])


def test_the_metadata_names_licence_authors_and_every_python_that_is_promised(archives: Archives) -> None:
    metadata, _ = archives.metadata()
    assert (metadata["License-Expression"], metadata["Author"]) == ("MIT", "the charlstm authors")
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Keywords"]
    promised = {f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)}
    assert promised <= set(metadata.get_all("Classifier") or [])
    needed = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert any(line.startswith("torch") for line in needed)


@dataclass(frozen=True)
class Installed:
    """A copy made by pip from the wheel alone, and somebody's home; commands run in a folder of their own."""

    site: Path
    home: Path

    def command(self, *arguments: str) -> list[str]:
        return [str(self.site / "bin" / "charlstm"), *arguments]

    def environment(self) -> dict[str, str]:
        hidden = ("PYTHONPATH", "SPACE_ID", "XDG_DATA_HOME", "CHARLSTM_PUBLIC")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        own = {"HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data"), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **own, "PYTHONPATH": str(self.site), "GRADIO_TEMP_DIR": str(self.home / "gradio")}

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            self.command(*arguments), cwd=self.home, env=self.environment(), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    @property
    def runs(self) -> Path:
        return self.home / "data" / "charlstm" / "checkpoints"


@pytest.fixture(scope="module")
def installed(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Nothing may be written beside it: it could be read-only, and goes with the next update."""
    place = tmp_path_factory.mktemp("installed")
    copy = Installed(place / "site", place / "home")
    copy.home.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile",
               "--disable-pip-version-check", "--target", str(copy.site), str(archives.wheel)]  # fmt: skip
    subprocess.run(command, check=True)
    before = _files(copy.site, copy.site)
    yield copy
    assert _files(copy.site, copy.site) == before


def test_an_installed_copy_writes_with_its_model_by_name_from_any_folder(installed: Installed) -> None:
    text = installed.run("generate", "tiny-shakespeare", "--prompt", "ROMEO:", "--num-chars", "20")
    assert text.startswith("ROMEO:")
    assert len(text) == len("ROMEO:") + 20 + 1


def test_an_installed_copy_keeps_runs_in_the_users_data_folder_and_hints_at_a_command_that_is_there(
    installed: Installed,
) -> None:
    assert installed.run("runs") == f"no runs in {installed.runs} yet; start one with: charlstm train\n"
    assert not (installed.home / "checkpoints").exists()


def test_an_installed_copy_serves_the_page_with_a_model_to_write_with(installed: Installed) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    log = installed.home / "app.log"
    with log.open("wb") as output:
        app = subprocess.Popen(installed.command("app", "--port", port), cwd=installed.home,
                               env=installed.environment(), stdout=output, stderr=output)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: address in log.read_text(encoding="utf-8") or app.poll() is not None)
        assert app.poll() is None, log.read_text(encoding="utf-8")
        with urllib.request.urlopen(address) as answer:
            assert b"tiny-shakespeare" in answer.read()
        model = installed.runs / "tiny-shakespeare"
        assert _files(model, model) == {*_MODEL_FILES, _FILM}
    finally:
        app.send_signal(signal.SIGKILL)
        app.wait()
