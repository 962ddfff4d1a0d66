"""The command line's part about the Hub: `python -m charlstm push | pull | deploy`.

`charlstm.cli` offers these commands beside its own; torch and the Hub's library are loaded only when one of them runs.
"""

import dataclasses
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro

from charlstm.cli.flags import Flat
from charlstm.cli.progress import StepBar
from charlstm.data_folders import BUNDLED, default_checkpoints_dir, find_model
from charlstm.files import atomic_write
from charlstm.formatting import own_command
from charlstm.runs.history import read_history
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

if TYPE_CHECKING:
    from charlstm.hub.client import BackgroundCall

_T = TypeVar("_T")


@dataclasses.dataclass(kw_only=True)
class Push:
    """Flags of `push`."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="A model's folder or .safetensors file")]
    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="Where to publish it: USER/REPO")]
    public: Annotated[bool, tyro.conf.arg(help="Let everyone see a repository that is made now")] = False
    private: Annotated[bool, tyro.conf.arg(help="Keep a repository that is made now to yourself (the default)")] = False
    revision: Annotated[str | None, tyro.conf.arg(help="Branch to send it to; made if there is none")] = None
    language: Annotated[str | None, tyro.conf.arg(help="Code of the text's language, such as en")] = None
    licence: Annotated[str, tyro.conf.arg(help="Licence of the weights, as the Hub names it")] = "mit"
    page: Annotated[
        bool, tyro.conf.arg(help="Also make or update a free static Space, where anyone writes with it in a browser")
    ] = False
    space: Annotated[
        str | None, tyro.conf.arg(help="Name of that Space: USER/SPACE (the repository's, if left out; implies --page)")
    ] = None
    dry_run: Annotated[bool, tyro.conf.arg(help="Only show what would be sent, and lay a page out in a new folder")] = (
        False
    )


@dataclasses.dataclass(kw_only=True)
class Pull:
    """Flags of `pull`."""

    repo: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="The model on the Hub: USER/REPO")]
    revision: Annotated[str | None, tyro.conf.arg(help="Branch, tag or commit")] = None
    name: Annotated[str | None, tyro.conf.arg(help="Name among your models; by default the repository's")] = None
    checkpoints_dir: Path = dataclasses.field(default_factory=default_checkpoints_dir)
    """Folder of models and runs."""


@dataclasses.dataclass(kw_only=True)
class Deploy:
    """Flags of `deploy`."""

    space: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="The Space: USER/SPACE")]
    models: Annotated[
        tuple[Path, ...], tyro.conf.arg(help="Folders of the models it offers; by default those that are bundled")
    ] = ()
    private: Annotated[bool, tyro.conf.arg(help="Keep a Space that is made now to yourself")] = False
    hardware: Annotated[str | None, tyro.conf.arg(help="Hardware to ask for, such as cpu-basic or zero-a10g")] = None
    variables: Annotated[
        tuple[str, ...], tyro.conf.arg(help="Variables of the Space, such as CHARLSTM_MAX_MINUTES=5")
    ] = ()
    dry_run: Annotated[
        bool, tyro.conf.arg(help="Only list files, front matter and variables, and lay the files out in a new folder")
    ] = False
    checkpoints_dir: Path = dataclasses.field(default_factory=default_checkpoints_dir)
    """Folder of models and runs."""


def push(flags: Flat[Push]) -> None:
    """Publish a model on the Hugging Face Hub, privately unless told otherwise; with a page of its own if wished."""
    from charlstm.errors import ConfigError
    from charlstm.hub.client import BackgroundCall, write_token
    from charlstm.hub.loss_plot import MAX_POINTS, loss_plot_png
    from charlstm.hub.push import build_files
    from charlstm.hub.push import push as send
    from charlstm.hub.repo_names import validate_repo_id

    if flags.private and flags.public:
        raise ConfigError("--private and --public exclude each other; choose one.")
    model = find_model(flags.model)
    with read_history(RunDir(model.parent if model.suffix == ".safetensors" else model)) as history:
        curve = loss_plot_png(history.series(MAX_POINTS))
    space = flags.space or (validate_repo_id(flags.repo) if flags.page else None)
    parcel = build_files(model, flags.repo, curve, flags.language, flags.licence, space)
    visibility = f"{'public' if flags.public else 'private'} if it is made now"
    print(f"to {parcel.repo_id} ({visibility}), and nothing else:\n{_listing(parcel.files)}")
    if parcel.page:
        print(f"to the static Space {parcel.page.repo_id} ({visibility}), and nothing else:")
        print(_listing(parcel.page.files))
    if flags.dry_run:
        print(f"\n{parcel.card}")
        if parcel.page:
            folder = _write_files("charlstm-page-", parcel.page.files)
            print(f"nothing was sent; the Space's files lie in {folder}")
        return
    token = write_token()
    followed = BackgroundCall(lambda report: send(parcel, token, not flags.public, flags.revision, report))
    print(_wait_with_progress(followed))
    if parcel.page:
        print(f"its page: {parcel.page.address}")


def _listing(files: dict[str, bytes]) -> str:
    return "\n".join(f"  {len(data):>12,} bytes  {name}" for name, data in files.items())


def pull(flags: Flat[Pull]) -> None:
    """Fetch a model from the Hugging Face Hub."""
    from charlstm.hub.client import BackgroundCall
    from charlstm.hub.pull import pull as fetch

    store = RunStore(flags.checkpoints_dir)
    name = _wait_with_progress(
        BackgroundCall(lambda report: fetch(flags.repo, store, flags.name, flags.revision, report))
    )
    print(f"write with it: {own_command()} generate {shlex.quote(str(flags.checkpoints_dir / name))}")


def deploy(flags: Flat[Deploy]) -> None:
    """Create or update a Space on the Hugging Face Hub that runs this app."""
    from charlstm.errors import ConfigError
    from charlstm.hub.client import BackgroundCall, write_token
    from charlstm.space.deploy import deploy as send
    from charlstm.space.deploy import plan_space

    if wrong := next((each for each in flags.variables if not each.partition("=")[2]), None):
        raise ConfigError(f"{wrong[:80]!r} is not a variable; write it as NAME=VALUE.")
    models = flags.models or [flags.checkpoints_dir / name for name in BUNDLED]
    variables = dict(each.split("=", 1) for each in flags.variables)
    plan = plan_space(flags.space, models, variables, flags.hardware)
    for name, data in plan.files.items():
        print(f"{len(data):>12,} bytes  {name}")
    print(f"\nfront matter of README.md:\n{plan.front_matter}")
    print("variables:", ", ".join(flags.variables) or "none (the limits of charlstm/environment.py hold)")
    print("hardware:", flags.hardware or "as it is, or cpu-basic, or zero-a10g where the account may have no other")
    if flags.dry_run:
        folder = _write_files("charlstm-space-", plan.files)
        print(f"nothing was sent; the files lie in {folder}")
        return
    token = write_token()
    print(_wait_with_progress(BackgroundCall(lambda report: send(plan, token, flags.private, report))))


def _write_files(prefix: str, files: dict[str, bytes]) -> Path:
    """Lay the files of a Space out in a new folder, as the Space would have them; return it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    for name, data in files.items():
        with atomic_write(folder / name, is_durable=False) as temporary:
            temporary.write_bytes(data)
    return folder


def _wait_with_progress(followed: "BackgroundCall[_T]") -> _T:
    with StepBar() as bar:
        for step in followed:
            bar.show(step.words, step.num_bytes, step.total_bytes)
    return followed.result


COMMANDS: dict[str, Callable[..., None]] = {"push": push, "pull": pull, "deploy": deploy}
