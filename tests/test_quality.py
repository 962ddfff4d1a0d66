"""The house rules, held by tools and by a look at the source itself."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
PACKAGE = Path(__file__).resolve().parents[1] / "charlstm"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
NAMES = [module.relative_to(PACKAGE).as_posix() for module in MODULES]


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def dotted(node: ast.AST) -> str:
    """`torch.load` for the expression of that name; empty for anything that is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@cache
def names_used(module: Path) -> set[str]:
    """Everything that `module` imports or refers to, with dots."""
    used: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            used |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            used.add(dotted(node))
    return used


def users_of(*names: str) -> dict[str, set[str]]:
    """Modules that use one of `names`, or something in it, and what they use."""
    found = {
        module.relative_to(PACKAGE).as_posix(): {
            used for used in names_used(module) if any(used == name or used.startswith(f"{name}.") for name in names)
        }
        for module in MODULES
    }
    return {name: used for name, used in found.items() if used}


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


def test_the_import_contracts_name_every_module_that_they_are_about(repository: Path):
    """Each top-level name, and each module that promises in its docstring to need no torch."""
    contracts = (repository / "pyproject.toml").read_text(encoding="utf-8").split("[[tool.importlinter.contracts]]")[2:]
    without_gradio, without_hub, without_torch = (set(re.findall(r'"charlstm\.([\w.]+)"', each)) for each in contracts)
    top_level = {name.removesuffix(".py").partition("/")[0] for name in NAMES} - {"__init__"}
    assert top_level - without_gradio == {"ui"}
    assert top_level - without_hub == {"hub", "space"}
    promise = re.compile(r"(imports?|needs?|starts?) (no|without) torch", re.IGNORECASE)
    promised = {
        name.removesuffix(".py").replace("/", ".")
        for name, module in zip(NAMES, MODULES, strict=True)
        if promise.search(ast.get_docstring(tree(module)) or "")
    }
    assert len(promised) > 10
    assert promised <= without_torch


def test_there_are_modules_to_look_at():
    assert len(MODULES) > 15
    assert {"config.py", "runs/worker.py", "training/trainer.py"} <= set(NAMES)


def test_a_module_can_be_read_in_one_sitting():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (*MODULES, *TESTS)}
    assert {path.name: length for path, length in lengths.items() if length > MAX_MODULE_LINES} == {}


def test_tests_wait_for_conditions_and_not_for_seconds():
    tests = [test for test in TESTS if test.name.startswith("test_")]
    assert [test.name for test in tests if re.search(r"(?<!def )\bsleep[(]", test.read_text(encoding="utf-8"))] == []


def test_a_function_fits_on_a_screen():
    lengths = {
        f"{module.name}, {node.name}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_nothing_is_pickled():
    """`torch.load` and `torch.save` are pickles in disguise."""
    pickles = ("torch.load", "torch.save", "pickle", "cPickle", "_pickle", "dill", "joblib", "shelve", "marshal")
    assert users_of(*pickles) == {}


def test_only_the_command_line_prints():
    users = users_of("print", "sys.stdout", "sys.stderr", "builtins.print")
    assert {name for name in users if not name.startswith("cli/")} == set()


def test_only_one_module_knows_of_groups_of_processes():
    assert set(users_of("torch.distributed")) == {"training/distributed.py"}


def test_what_looks_for_forbidden_names_finds_them(tmp_path: Path):
    source = tmp_path / "bad.py"
    source.write_text("import pickle\nfrom torch import load\nimport torch\ntorch.save({}, 'x')\nprint('!')\n")
    assert {"pickle", "torch.load", "torch.save", "print"} <= names_used(source)
