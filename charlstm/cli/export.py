"""The command `export`: a model leaves as something that needs nothing of this package."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from charlstm.cli.flags import Flat
from charlstm.errors import ConfigError


@dataclasses.dataclass(kw_only=True)
class Export:
    """Flags of `export`."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]
    output: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(help="What to write: a file such as page.html; with --onnx model.onnx; with --plain a folder"),
    ]
    title: Annotated[str, tyro.conf.arg(help="Heading of the page; by default what the model learned")] = ""
    float16: Annotated[bool, tyro.conf.arg(help="Keep 16 bits of each weight, in place of 8")] = False
    onnx: Annotated[bool, tyro.conf.arg(help="Write one step of the network as ONNX, in place of a page")] = False
    plain: Annotated[
        bool, tyro.conf.arg(help="Write the weights, and ten lines of PyTorch that use them, in place of a page")
    ] = False


def export(flags: Flat[Export]) -> None:
    """Write a model as one web page that needs no network, as ONNX, or for PyTorch alone."""
    from charlstm.language_model import LanguageModel
    from charlstm.model_paths import MODEL_FILE

    if flags.onnx + flags.plain + bool(flags.float16 or flags.title) > 1:
        raise ConfigError("--onnx and --plain exclude each other, and --float16 and --title are of a page; choose one.")
    own = flags.model / MODEL_FILE if flags.model.is_dir() else flags.model
    if own.exists() and (flags.output / MODEL_FILE if flags.plain else flags.output).resolve() == own.resolve():
        raise ConfigError(f"{flags.output} is where the model itself is kept; choose another place.")
    language_model = LanguageModel.load(flags.model)
    if flags.onnx:
        from charlstm.export.onnx import write_onnx

        write_onnx(language_model, flags.output)
        print(f"{_describe_file(flags.output)}; docs/elsewhere.md says what goes in and comes out")
    elif flags.plain:
        from charlstm.export.pytorch import write_plain

        program = write_plain(language_model, flags.output)
        print(f"{program.parent}: python {program.name} there writes with PyTorch alone")
    else:
        path = language_model.export_html(flags.output, is_float16=flags.float16, title=flags.title)
        print(f"{_describe_file(path)}; open it in a browser, or send it to somebody")


def _describe_file(path: Path) -> str:
    return f"{path}: {path.stat().st_size / 1e6:,.1f} MB"
