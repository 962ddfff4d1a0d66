"""The command `export`: a model leaves as one file that needs nothing of this package."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from charlstm.cli.flags import Flat


@dataclasses.dataclass(kw_only=True)
class Export:
    """Flags of `export`."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]
    page: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="The HTML file to write, such as page.html")]
    title: Annotated[str, tyro.conf.arg(help="Heading of the page; by default what the model learned")] = ""
    float16: Annotated[bool, tyro.conf.arg(help="Keep 16 bits of each weight, in place of 8")] = False


def export(flags: Flat[Export]) -> None:
    """Write a model as one web page that needs no network: it writes in the browser of whoever opens it."""
    from charlstm.language_model import LanguageModel

    path = LanguageModel.load(flags.model).export_html(flags.page, is_float16=flags.float16, title=flags.title)
    print(f"{path}: {path.stat().st_size / 1e6:,.1f} MB; open it in a browser, or send it to somebody")
