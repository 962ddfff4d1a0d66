"""Generate the tables of the documents that follow from the program.

    python tests/generate_docs.py

Writes the table of all settings into docs/settings.md, that of all modules into docs/architecture.md and that of the
bundled models' units into docs/insight.md, each between its markers. `test_docs.py` compares them with the program.
"""

import ast
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))

from charlstm import cli  # noqa: E402
from charlstm.config import ModelConfig, SampleConfig, TrainConfig  # noqa: E402
from charlstm.config_fields import help_text  # noqa: E402
from charlstm.data_folders import BUNDLED  # noqa: E402
from charlstm.insight.report import Insight  # noqa: E402

_PACKAGE = REPOSITORY / "charlstm"
_SOURCES = (".c", ".h", ".js")


def settings_table() -> str:
    """Return the table of all settings."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for config in (ModelConfig, TrainConfig, SampleConfig):
        rows.append(f"| **{config.__name__}** | | {(config.__doc__ or '').strip()} |")
        rows += [
            f"| `{name}` | `{json.dumps(field.default)}` | {help_text(field)} |"
            for name, field in config.model_fields.items()
        ]
    return "\n".join(rows) + "\n"


def modules_table() -> str:
    """Return the table of all modules, each with the summary of its docstring or leading comment."""
    rows = ["| module | what it is for |", "|---|---|"]
    for folder in [_PACKAGE, *sorted({path.parent for path in _PACKAGE.rglob("__init__.py")} - {_PACKAGE})]:
        rows.append(f"| **{_dotted(folder)}** | {_summary(folder / '__init__.py')} |")
        modules = (path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py")
        sources = (path for path in sorted(folder.rglob("*")) if path.suffix in _SOURCES and _is_in(path, folder))
        rows += [f"| `{_dotted(path)}` | {_summary(path)} |" for path in modules]
        rows += [f"| `{path.relative_to(_PACKAGE).as_posix()}` | {_summary(path)} |" for path in sources]
    return "\n".join(rows) + "\n"


def _is_in(source: Path, package: Path) -> bool:
    """Return whether `package` is the innermost one around `source`, which may lie in a folder of its own."""
    return next(folder for folder in source.parents if (folder / "__init__.py").exists()) == package


def _dotted(path: Path) -> str:
    """Return the name of a module or package below `charlstm`, as it is imported."""
    return ".".join(path.relative_to(_PACKAGE).parts).removesuffix(".py") or "charlstm"


def _summary(path: Path) -> str:
    """Return the first paragraph of a docstring, or the first line of a leading comment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        summary = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    else:
        summary = text.partition("\n")[0].lstrip("/* ")
    return " ".join(summary.split()).replace("|", r"\|")


def units_table() -> str:
    """Return the table of the bundled models' units that remember something, from what is kept beside them."""
    rows = [
        "| model | unit | goes with | area | untrained | last four | held: moves the prediction by, in nats | turns it "
        "| then |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in BUNDLED:
        known = Insight.load(REPOSITORY / "checkpoints" / model)
        assert known, f"run python -m charlstm inspect checkpoints/{model} --anew --keep --places 65536"
        for unit in (each for each in known.units if each.remembers and each.effect):
            effect = unit.effect
            is_beyond = unit.acts and not effect.control_low <= effect.after <= effect.control_high
            comes = f"“{effect.measure}”" if len(effect.measure) == 1 else effect.measure
            change = f"{comes}: {effect.before:.3f} → {effect.after:.3f}" if is_beyond else ""
            moved, turned = (
                f"**{figure:.4f}** ({others:.4f})" if figure > others else f"{figure:.4f}"
                for figure, others in ((effect.kl, effect.control_kl), (effect.turn, effect.control_turn))
            )
            figures = f"{unit.score:.3f} | {unit.twin:.3f} | {unit.last4:.3f}"
            rows.append(f"| {model} | {unit.unit} | {unit.label} | {figures} | {moved} | {turned} | {change} |")
    return "\n".join(rows) + "\n"


TABLES: dict[str, tuple[Path, Callable[[], str]]] = {
    "settings": (REPOSITORY / "docs" / "settings.md", settings_table),
    "modules": (REPOSITORY / "docs" / "architecture.md", modules_table),
    "units": (REPOSITORY / "docs" / "insight.md", units_table),
}


def written_table(name: str) -> str:
    """Return what stands between the markers of a table now."""
    document, _ = TABLES[name]
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", document.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{document.name} has no markers {name}"
    return found[1]


def look_anew() -> None:
    """Name the units of the bundled models again, in their own texts, and keep that beside them."""
    for model in BUNDLED:
        if cli.main(["inspect", str(REPOSITORY / "checkpoints" / model), "--anew", "--keep"]):
            sys.exit(f"{model} could not be looked into.")


def main(arguments: list[str]) -> None:
    """Write every table; with `--look-anew` that of units from what is found now."""
    if arguments == ["--look-anew"]:
        look_anew()
    elif arguments:
        sys.exit("python tests/generate_docs.py [--look-anew]")
    for name, (document, table) in TABLES.items():
        text = document.read_text(encoding="utf-8")
        marked = f"<!-- {name} -->\n{{}}<!-- /{name} -->"
        text = text.replace(marked.format(written_table(name)), marked.format(table()))
        document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
