"""The README is true: its commands run, its code runs, its tables are those of the program."""

import ast
import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from forked import Fork

from charlstm import __version__
from charlstm.cli import main
from charlstm.config import PRESETS, ModelConfig, SampleConfig, TrainConfig, help_text
from charlstm.hosting import Limits, variable

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(?:\.venv/bin/)?python -m charlstm (.+)$", README, re.MULTILINE)


def _block(name: str) -> str:
    """What stands between the markers of a block that follows from the program."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README.md has no block {name}"
    return found.group(1)


def settings_table() -> str:
    """The table of all settings, as README.md must hold it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for config in (ModelConfig, TrainConfig, SampleConfig):
        rows.append(f"| **{config.__name__}** | | {(config.__doc__ or '').strip()} |")
        rows += [
            f"| `{name}` | `{json.dumps(field.default)}` | {help_text(field)} |"
            for name, field in config.model_fields.items()
        ]
    return "\n".join(rows) + "\n"


def test_the_table_of_settings_is_that_of_the_program() -> None:
    assert _block("settings") == settings_table(), f"put this into README.md between the markers:\n{settings_table()}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_readme_is_understood(command: str) -> None:
    """Its name and every flag appear in the help of that command."""
    name, *rest = shlex.split(command, comments=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    for flag in (word for word in rest if word.startswith("--")):
        assert re.search(rf"{flag}\b", printed.getvalue()), flag


def test_every_command_has_an_example_in_the_readme() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"• (\w+)", printed.getvalue()))
    assert known
    assert known == {shlex.split(command)[0] for command in COMMANDS} & known


def test_the_readme_generates_with_the_bundled_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    command = next(command for command in COMMANDS if command.startswith("generate"))
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out.startswith("ROMEO:")


def test_the_python_of_the_readme_runs_as_it_stands(fork: Fork) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
        process = fork(f"import warnings\nwarnings.simplefilter('error')\n{block}")
        _, complaint = process.communicate(timeout=100)
        assert process.returncode == 0, complaint


def test_every_preset_has_a_row_with_its_result() -> None:
    for preset in PRESETS:
        assert re.search(rf"^\| `{preset}` \|.*\d\.\d\d", README, re.MULTILINE), preset


def test_the_recorded_figure_of_the_bundled_model_stands_in_the_readme() -> None:
    from charlstm import LanguageModel

    origin = LanguageModel.load(REPOSITORY / "checkpoints" / "tiny-shakespeare").provenance
    assert origin is not None
    assert origin.val_stateful is not None
    assert origin.val_windows is not None
    assert f"{origin.val_stateful:.4f}" in README
    assert f"{origin.val_windows:.4f}" in README


def test_every_room_is_in_the_readmes_tour() -> None:
    rooms = {
        path.name.removesuffix(".py") for path in (REPOSITORY / "charlstm").iterdir() if not path.name.startswith("_")
    }
    tour = README[README.index("## Dive into the code") :]
    assert not {room for room in rooms if f"`{room}" not in tour}


def test_the_front_matter_names_the_gradio_that_is_installed_here() -> None:
    from importlib.metadata import version

    front = README.split("---")[1]
    found = re.search(r"^sdk_version: (.+)$", front, re.MULTILINE)
    assert found
    assert version("gradio").split(".")[:2] == found.group(1).split(".")[:2]
    assert re.search(r"^app_file: app.py$", front, re.MULTILINE)


def test_the_changelog_has_an_unreleased_part_on_top() -> None:
    headings = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_the_bundled_model_is_small_and_tells_where_it_comes_from() -> None:
    from charlstm import LanguageModel

    file = REPOSITORY / "checkpoints" / "tiny-shakespeare" / "model.safetensors"
    assert file.stat().st_size <= 16_000_000
    origin = LanguageModel.load(file).provenance
    assert origin is not None
    assert origin.corpus == "tiny-shakespeare"
    assert origin.corpus_sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert origin.versions["charlstm"] <= __version__


def test_every_environment_variable_stands_in_the_docs() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "charlstm").rglob("*.py"))
    used = set(re.findall(r"CHARLSTM_[A-Z_]*[A-Z]", source)) | {variable(name) for name in Limits.model_fields}
    documents = (REPOSITORY / "docs" / "variables.md").read_text(encoding="utf-8") + README
    assert used >= {"CHARLSTM_KERNEL", "CHARLSTM_MAX_MINUTES"}
    assert not {name for name in used if f"`{name}`" not in documents}


def test_every_link_between_the_documents_leads_to_a_file() -> None:
    for document in (REPOSITORY / "README.md", REPOSITORY / "SECURITY.md", *(REPOSITORY / "docs").glob("*.md")):
        links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
        assert not [link for link in links if not (document.parent / link).exists()], document
