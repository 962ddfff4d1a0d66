"""The documents are true: commands and code run, links lead somewhere, tables are those of the program."""

import ast
import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import generate_docs
import pytest
from forked import Fork

from charlstm import __version__
from charlstm.cli import main
from charlstm.config import PRESETS
from charlstm.environment import VARIABLES

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
RESULTS = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "SECURITY.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = [document.name for document in DOCUMENTS]
FLAG = re.compile(r"(?<!\S)--[a-z][a-z-]*")
FLAGS_OF_OTHERS = {"--standalone", "--nproc-per-node", "--max-restarts", "--shutdown-timeout", "--strict", "--check"}


def _code(document: Path) -> Iterator[str]:
    """Yield each line of a code block, and each piece of code in a sentence as one line."""
    text = document.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in ("", "bash"):
            yield from block.replace("\\\n", " ").splitlines()
    for inline in re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        yield " ".join(inline.split())


def _commands(document: Path) -> list[str]:
    """Return what stands after `charlstm` in each command of a document."""
    found = (re.search(r"(?:-m |^)charlstm (\w.*)", line) for line in _code(document))
    return [match[1] for match in found if match]


@functools.cache
def _flags(command: str) -> frozenset[str]:
    """Return the flags that the help of a command names; fails if there is no such command."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0, command
    return frozenset(re.findall(r"--[a-z][a-z-]*", printed.getvalue()))


@functools.cache
def _known_commands() -> frozenset[str]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main(["--help"])
    return frozenset(re.findall(r"• (\w+)", printed.getvalue()))


def _slugs(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the Hub and other hosts make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("table", generate_docs.TABLES)
def test_a_generated_table_is_that_of_the_program(table: str) -> None:
    _, expected = generate_docs.TABLES[table]
    assert generate_docs.written_table(table) == expected(), "run python tests/generate_docs.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_is_there_with_its_flags(document: Path) -> None:
    for command in _commands(document):
        name, *rest = shlex.split(command, comments=True)
        unknown = {word.partition("=")[0] for word in rest if word.startswith("--")} - _flags(name)
        assert not unknown, command
    for program, rest in (match for line in _code(document) for match in re.findall(r"python (tests/\S+)(.*)", line)):
        source = (REPOSITORY / program).read_text(encoding="utf-8")
        assert not [flag for flag in FLAG.findall(rest) if f'"{flag}"' not in source], program
    tests = {each for line in _code(document) for each in re.findall(r"(?<!\S)tests/[\w/.]+", line)}
    assert not [each for each in tests if not (REPOSITORY / each).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_flag_in_a_sentence_is_one_of_a_command(document: Path) -> None:
    flags = {flag for line in _code(document) if line.startswith("--") for flag in FLAG.findall(line)}
    programs = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "integration").glob("*.py"))
    known = FLAGS_OF_OTHERS.union(*map(_flags, _known_commands()))
    assert not {flag for flag in flags - known if f'"{flag}"' not in programs}


def test_every_command_has_an_example() -> None:
    assert _known_commands()
    shown = {command.split()[0] for document in DOCUMENTS for command in _commands(document)}
    assert not _known_commands() - shown


def test_the_readme_generates_with_the_bundled_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    command = next(each for each in _commands(REPOSITORY / "README.md") if each.startswith("generate"))
    assert main(shlex.split(command)) == 0
    assert capsys.readouterr().out.startswith("ROMEO:")


def test_the_letter_of_the_document_is_explained_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    document = REPOSITORY / "docs" / "insight.md"
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    play, answer = (block for language, block in blocks if not language)
    (tmp_path / "play.txt").write_text(play, encoding="utf-8")
    monkeypatch.chdir(REPOSITORY)
    command = next(each for each in _commands(document) if "--place 53" in each)
    assert main(shlex.split(command.replace("play.txt", str(tmp_path / "play.txt")))) == 0
    assert answer.strip() in capsys.readouterr().out


def test_the_python_of_the_documents_runs_as_it_stands(fork: Fork) -> None:
    texts = (document.read_text(encoding="utf-8") for document in DOCUMENTS)
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
    assert blocks
    for block in blocks:
        ast.parse(block)
        process = fork(f"import warnings\nwarnings.simplefilter('error')\n{block}")
        _, complaint = process.communicate(timeout=100)
        assert process.returncode == 0, complaint


@pytest.mark.parametrize("document", [*DOCUMENTS, REPOSITORY / "CHANGELOG.md"], ids=[*NAMES, "CHANGELOG.md"])
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for place, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(#([^)]*))?\)", document.read_text(encoding="utf-8")):
        target = document.parent / place if place else document
        assert target.exists(), place
        assert not anchor or anchor in _slugs(target), f"{place}#{anchor}"


def test_every_document_that_is_named_in_the_sources_is_there() -> None:
    places = [
        *(REPOSITORY / "charlstm").rglob("*.*"),
        *(REPOSITORY / "tests").rglob("*.py"),
        REPOSITORY / ".ci" / "run",
    ]
    for path in (path for path in places if path.suffix in ("", ".py", ".c", ".h", ".js", ".css")):
        for name, heading in re.findall(r'docs/(\w+\.md)(?:, "([^"]+)")?', path.read_text(encoding="utf-8")):
            text = (REPOSITORY / "docs" / name).read_text(encoding="utf-8")
            assert re.search(rf"^#+ {re.escape(heading)}", text, re.MULTILINE), f"{path}: {name}, {heading}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    assert not [document.name for document in DOCUMENTS[2:] if f"(docs/{document.name})" not in README]


def test_every_module_in_the_walks_is_there() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8").partition("<!-- modules -->")[0]
    package = REPOSITORY / "charlstm"
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    dotted = [name for name in re.findall(r"`(\w+)\.(\w+)`", text) if name[0] in packages]
    assert len(dotted) > 10
    assert not [".".join(name) for name in dotted if not package.joinpath(*name).with_suffix(".py").exists()]


def test_the_readme_is_a_front_door() -> None:
    assert len(README.splitlines()) <= 160


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README.md", "results.md"])
def test_every_preset_has_a_row_with_its_result(text: str) -> None:
    for preset in PRESETS:
        assert re.search(rf"^\| `{preset}` \|.*\d\.\d\d", text, re.MULTILINE), preset


@pytest.mark.parametrize("text", [README, RESULTS], ids=["README.md", "results.md"])
def test_the_recorded_figure_of_the_bundled_model_stands_there(text: str) -> None:
    from charlstm import LanguageModel

    origin = LanguageModel.load(REPOSITORY / "checkpoints" / "tiny-shakespeare").provenance
    assert origin is not None
    assert origin.val_stateful is not None
    assert origin.val_windows is not None
    assert f"{origin.val_stateful:.4f}" in text
    assert f"{origin.val_windows:.4f}" in text


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


def test_every_environment_variable_stands_in_the_documents_and_no_other() -> None:
    used = {name for name in VARIABLES if name == name.lower() or name.lower() not in VARIABLES}  # proxies once
    for path in (REPOSITORY / "tests").rglob("*.py"):
        used.update(re.findall(r'environ(?:\.get\(|\[)"(CHARLSTM_\w+)"', path.read_text(encoding="utf-8")))
    table = (REPOSITORY / "docs" / "variables.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == used
