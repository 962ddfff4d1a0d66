"""The app as a Space: its own files, the chosen models, front matter and variables, sent as one commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, SpaceCard, constants

from charlstm.checkpoint import MODEL_FILE, load_model
from charlstm.errors import ConfigError, HubError
from charlstm.files import publish
from charlstm.hosting import BACKUP_REPO, Limits, variable
from charlstm.hub.client import Report, Step, talking
from charlstm.hub.names import checked_repo
from charlstm.hub.sending import send
from charlstm.runs.cleaning import ORIGIN_FILE

_HOME = Path(__file__).resolve().parents[2]
_TOP_FILES = ("app.py", "requirements.txt")
_SOURCES = (".py", ".c", ".h", ".js", ".css")
_LONGEST_TITLE = 60
_ZERO_GPU = "zero-a10g"
_TORCH_OF_ZERO_GPU = "torch>=2.8,<=2.11.0"  # what that hardware takes
KNOWN_VARIABLES = (*map(variable, Limits.model_fields), BACKUP_REPO, "CHARLSTM_KERNEL")


@dataclass(frozen=True)
class SpacePlan:
    """What a Space is made of: ready to be shown, written to a folder, or sent."""

    repo_id: str
    files: dict[str, bytes]
    variables: dict[str, str]
    hardware: str | None

    @property
    def front_matter(self) -> str:
        """What the Hub reads of the README."""
        return self.files["README.md"].decode().split("---\n")[1]

    def write(self, folder: Path) -> None:
        """Lay the files out in `folder`, as the Space would have them."""
        for name, data in self.files.items():
            with publish(folder / name, is_durable=False) as temporary:
                temporary.write_bytes(data)


def plan_space(
    repo_id: str, models: Sequence[Path], variables: Mapping[str, str] | None = None, hardware: str | None = None
) -> SpacePlan:
    """The Space `repo_id` with `models` (folders); raises `HubError`, `CheckpointError` and `ConfigError`."""
    repo_id, variables = checked_repo(repo_id), dict(variables or {})
    if unknown := next((name for name in variables if name not in KNOWN_VARIABLES), None):
        raise ConfigError(f"there is no variable {unknown[:80]}; known are {', '.join(KNOWN_VARIABLES)}.")
    if not all((_HOME / name).is_file() for name in (*_TOP_FILES, "README.md")):
        raise HubError("deploy sends the app's own files, which lie beside its README; run it from a clone of it.")
    files = {name: (_HOME / name).read_bytes() for name in _TOP_FILES}
    if hardware == _ZERO_GPU:
        files["requirements.txt"] = _for_zero_gpu(files["requirements.txt"])
    for source in sorted((_HOME / "charlstm").rglob("*")):
        if source.suffix in _SOURCES:
            files[source.relative_to(_HOME).as_posix()] = source.read_bytes()
    for model in models:
        files |= {f"checkpoints/{model.resolve().name}/{name}": data for name, data in _model_files(model).items()}
    files["README.md"] = _readme(repo_id, models).encode()
    return SpacePlan(repo_id, files, variables, hardware)


def deploy(plan: SpacePlan, token: str, private: bool = False, report: Report | None = None) -> str:
    """Create or update the Space and return the commit's address. Raises `HubError`.

    Files of an earlier version of the app that are no longer part of it are removed; all else there is left alone.
    """
    report = report or (lambda _: None)
    with talking(plan.repo_id, report):
        api = HfApi(constants.ENDPOINT, token=token, library_name="charlstm")
        report(Step(f"looking for {plan.repo_id}"))
        api.create_repo(  # on its hardware from the first: an account may have no right to any other
            plan.repo_id,
            repo_type="space",
            space_sdk="gradio",
            space_hardware=plan.hardware,  # type: ignore[arg-type]
            private=private,
            exist_ok=True,
        )
        if private and not api.repo_info(plan.repo_id, repo_type="space").private:
            raise HubError(f"{plan.repo_id} is there already and public; leave --private out, or choose another name.")
        for name, value in plan.variables.items():  # before the files, which start it
            api.add_space_variable(plan.repo_id, name, value)
        if plan.hardware:
            api.request_space_hardware(plan.repo_id, plan.hardware)  # type: ignore[arg-type]
        there = api.list_repo_files(plan.repo_id, repo_type="space")
        stale = [name for name in there if name.startswith("charlstm/") and name not in plan.files]
        where = {"repo_id": plan.repo_id, "repo_type": "space"}
        return send(api, where, plan.files, "Deploy charlstm", report, removed=stale)


def _model_files(model: Path) -> dict[str, bytes]:
    """Of a model's folder what the page shows; no text, no log, no state, and no path of this machine."""
    load_model(model / MODEL_FILE)
    files = {MODEL_FILE: (model / MODEL_FILE).read_bytes()}
    for name in ("events.jsonl", ORIGIN_FILE):
        if (model / name).is_file():
            files[name] = (model / name).read_bytes()
    try:
        settings = json.loads((model / "config.json").read_text(encoding="utf-8"))
        settings["corpus"] = Path(settings["corpus"]).name
        files["config.json"] = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a model without a run is shown all the same
    return files


def _for_zero_gpu(requirements: bytes) -> bytes:
    lines = requirements.decode().splitlines(keepends=True)
    return "".join(f"{_TORCH_OF_ZERO_GPU}\n" if line.startswith("torch>") else line for line in lines).encode()


def _readme(repo_id: str, models: Sequence[Path]) -> str:
    """The front matter of this repository's README, named for the Space, and a few words."""
    data: Any = SpaceCard((_HOME / "README.md").read_text(encoding="utf-8")).data
    data.title = repo_id.rpartition("/")[2][:_LONGEST_TITLE]
    data.models = sorted({origin for model in models if (origin := _origin(model))}) or None
    return (
        f"---\n{data.to_yaml().strip()}\n---\n\n# {data.title}\n\nA page where anyone trains a character-level LSTM in "
        "front of their eyes and writes text with it.\nMade with charlstm; what its variables (`CHARLSTM_...`) set is "
        "said in `charlstm/hosting.py`.\n"
    )


def _origin(model: Path) -> str | None:
    """The repository that a model was pulled from."""
    try:
        return checked_repo(str(json.loads((model / ORIGIN_FILE).read_text(encoding="utf-8"))["repo_id"]))
    except (OSError, ValueError, LookupError, TypeError, HubError):
        return None
