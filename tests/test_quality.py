"""The house rules, held by tools and by a look at the source itself."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
PACKAGE = Path(__file__).resolve().parents[1] / "charlstm"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
NAMES = [module.relative_to(PACKAGE).as_posix() for module in MODULES]


def nodes(module: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(module.read_text(encoding="utf-8")))


def dotted(node: ast.AST) -> str:
    """`torch.load` for the expression of that name; empty for anything that is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def names_used(module: Path) -> set[str]:
    """Everything that `module` imports or refers to, with dots."""
    used: set[str] = set()
    for node in nodes(module):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            used.add(dotted(node))
    return used


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        ["-c", "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"],
    ],
    ids=["ruff-check", "ruff-format", "mypy", "import-linter"],
)
def test_the_tools_have_nothing_to_say(command: list[str], repository: Path):
    said = subprocess.run([sys.executable, *command], cwd=repository, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 15
    assert {"config.py", "runs/worker.py", "training/trainer.py"} <= set(NAMES)


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_module_can_be_read_in_one_sitting(module: Path):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


def test_so_can_a_module_of_tests():
    lengths = {test.name: len(test.read_text(encoding="utf-8").splitlines()) for test in TESTS}
    assert {name: length for name, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_tests_wait_for_conditions_and_not_for_seconds():
    tests = [test for test in TESTS if test.name.startswith("test_")]
    assert [test.name for test in tests if re.search(r"(?<!def )\bsleep[(]", test.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_function_fits_on_a_screen(module: Path):
    lengths = {
        f"{node.name}, line {node.lineno}": node.end_lineno - node.lineno + 1
        for node in nodes(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_a_module_says_what_it_is_for(module: Path):
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_nothing_is_pickled(module: Path):
    """`torch.load` and `torch.save` are pickles in disguise."""
    forbidden = {"torch.load", "torch.save", "pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal"}
    assert names_used(module) & forbidden == set()


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_only_the_command_line_prints(module: Path):
    prints = names_used(module) & {"print", "sys.stdout", "sys.stderr", "builtins.print"}
    assert not prints or module.parent.name == "cli"


@pytest.mark.parametrize("module", MODULES, ids=NAMES)
def test_only_one_module_knows_of_groups_of_processes(module: Path):
    known = {name for name in names_used(module) if name.startswith("torch.distributed")}
    assert not known or module.name == "distributed.py"


def test_what_looks_for_forbidden_names_finds_them(tmp_path: Path):
    source = tmp_path / "bad.py"
    source.write_text("import pickle\nfrom torch import load\nimport torch\ntorch.save({}, 'x')\nprint('!')\n")
    assert {"pickle", "torch.load", "torch.save", "print"} <= names_used(source)
