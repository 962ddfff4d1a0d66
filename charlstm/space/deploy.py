"""Deployment of the app as a Space: its files, chosen models, front matter and variables, as one commit."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, SpaceCard, constants
from huggingface_hub.errors import HfHubHTTPError

from charlstm.checkpoint import load_model
from charlstm.environment import BACKUP_REPO, SPACE_LIMITS, VARIABLES, Limits, env_name, with_overrides
from charlstm.errors import ConfigError, HubError
from charlstm.hub.client import OnProgress, Progress, commit_files, hub_call
from charlstm.hub.repo_names import validate_repo_id
from charlstm.insight.learning_film import FILM_FILE
from charlstm.insight.report import INSIGHT_FILE
from charlstm.json_text import parse_json, read_small
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.retention import ORIGIN_FILE

_HOME = Path(__file__).resolve().parents[2]
_TOP_FILES = ("app.py", "requirements.txt", "pre-requirements.txt")
_PICTURE = "page.png"
_EXTRAS = {"docs/page.png": _PICTURE, "LICENSE": "LICENSE"}  # sent where they are there
_SOURCES = (".py", ".c", ".h", ".js", ".css", ".html", ".wasm", ".md", ".json", ".jsonl", ".txt")
_LONGEST_TITLE = 60
_ZERO_GPU = "zero-a10g"
_PAID_PLAN = 402
_NEEDED_THERE = {"torch": "torch>=2.8,<=2.11.0", "gradio": "gradio[mcp,oauth]"}  # ZeroGPU takes no newer torch


@dataclass(frozen=True)
class SpacePlan:
    """Contents of a Space: ready to be shown, written to a folder, or sent."""

    repo_id: str
    files: dict[str, bytes]
    variables: dict[str, str]
    hardware: str | None

    @property
    def front_matter(self) -> str:
        """The README's front matter, which the Hub reads."""
        return self.files["README.md"].decode().split("---\n")[1]


def plan_space(
    repo_id: str, models: Sequence[Path], variables: Mapping[str, str] | None = None, hardware: str | None = None
) -> SpacePlan:
    """Plan the Space `repo_id` with `models` (folders); raise `HubError`, `CheckpointError` and `ConfigError`."""
    repo_id, variables = validate_repo_id(repo_id, "space"), dict(variables or {})
    kept = check_variables(variables)
    if not all((_HOME / name).is_file() for name in (*_TOP_FILES, "README.md")):
        raise HubError("deploy sends the app's own files, which lie beside its README; run it from a clone of it.")
    files = {name: (_HOME / name).read_bytes() for name in _TOP_FILES}
    files["requirements.txt"] = _for_spaces(files["requirements.txt"])
    files |= {there: (_HOME / here).read_bytes() for here, there in _EXTRAS.items() if (_HOME / here).is_file()}
    for source in sorted((_HOME / "charlstm").rglob("*")):
        if source.suffix in _SOURCES:
            files[source.relative_to(_HOME).as_posix()] = source.read_bytes()
    for model in models:
        files |= {f"checkpoints/{model.resolve().name}/{name}": data for name, data in _model_files(model).items()}
    files["README.md"] = _readme(repo_id, models, kept, _PICTURE in files).encode()
    return SpacePlan(repo_id, files, variables, hardware)


def deploy(plan: SpacePlan, token: str, private: bool = False, report: OnProgress | None = None) -> str:
    """Create or update the Space and return its address. Raises `HubError`.

    Files of an earlier version of the app that are no longer part of it are removed; all else there is left alone.
    """
    report = report or (lambda _: None)
    with hub_call(plan.repo_id, report):
        api = HfApi(constants.ENDPOINT, token=token, library_name="charlstm")
        report(Progress(f"looking for {plan.repo_id}"))
        hardware = _create(api, plan, private, report)
        if private and not api.repo_info(plan.repo_id, repo_type="space").private:
            raise HubError(f"{plan.repo_id} is there already and public; leave --private out, or choose another name.")
        for name, value in plan.variables.items():  # before the files, which start it
            api.add_space_variable(plan.repo_id, name, value)
        if hardware:
            api.request_space_hardware(plan.repo_id, hardware)  # type: ignore[arg-type]
        there = api.list_repo_files(plan.repo_id, repo_type="space")
        stale = [name for name in there if name.startswith("charlstm/") and name not in plan.files]
        where = {"repo_id": plan.repo_id, "repo_type": "space"}
        commit_files(api, where, plan.files, "Deploy charlstm", report, removed=stale)
    return f"{constants.ENDPOINT}/spaces/{plan.repo_id}"


def _create(api: HfApi, plan: SpacePlan, private: bool, report: OnProgress) -> str | None:
    """Make the Space if there is none, on its hardware from the first: an account may have no right to any other.

    Returns the hardware that is to be asked for; where none is wished for and the account may not have what is usual,
    that is ZeroGPU, which free accounts may have.
    """

    def create(hardware: str | None) -> str | None:
        api.create_repo(
            plan.repo_id,
            repo_type="space",
            space_sdk="gradio",
            space_hardware=hardware,  # type: ignore[arg-type]
            private=private,
            exist_ok=True,
        )
        return hardware

    try:
        return create(plan.hardware)
    except HfHubHTTPError as error:
        if plan.hardware or error.response.status_code != _PAID_PLAN:
            raise
        report(Progress(f"the account may have no Space on the usual hardware; asking for {_ZERO_GPU}"))
        return create(_ZERO_GPU)


def check_variables(variables: Mapping[str, str]) -> Limits:
    """Return the limits of a Space with `variables`.

    Raises `ConfigError` for an unknown one, or a value that the app can't use.
    """
    known = [name for name, variable in VARIABLES.items() if variable.suits_a_space]
    for name, value in variables.items():
        if name not in known:
            raise ConfigError(f"there is no variable {name[:80]} to set on a Space; known are {', '.join(known)}.")
        VARIABLES[name].parse_text(value)
    backup = BACKUP_REPO.text(variables)
    if backup and backup != validate_repo_id(backup):
        raise ConfigError(f"{BACKUP_REPO.name} is an address; write it as {validate_repo_id(backup)}.")
    return with_overrides(SPACE_LIMITS, variables)


def _model_files(model: Path) -> dict[str, bytes]:
    """Read what the page shows of a model's folder: no text, no log, no state, and no path of this machine."""
    load_model(model / MODEL_FILE)
    files = {MODEL_FILE: (model / MODEL_FILE).read_bytes()}
    for name in ("events.jsonl", ORIGIN_FILE, INSIGHT_FILE, FILM_FILE):
        if (model / name).is_file():
            files[name] = (model / name).read_bytes()
    try:
        settings = parse_json(read_small(model / "config.json"))
        settings["corpus"] = Path(settings["corpus"]).name
        files["config.json"] = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a model without a run is shown all the same
    return files


def _for_spaces(requirements: bytes) -> bytes:
    """Change the requirements to what ZeroGPU takes, and the README to tell of the address for agents (MCP)."""
    needed = requirements.decode()
    needed = re.sub(r"^torch\b[^\n]*", _NEEDED_THERE["torch"], needed, flags=re.MULTILINE)
    return re.sub(r"^gradio\[[\w,]+\]", _NEEDED_THERE["gradio"], needed, flags=re.MULTILINE).encode()


def _readme(repo_id: str, models: Sequence[Path], kept: Limits, has_picture: bool) -> str:
    """Write the Space's README: this repository's front matter, a picture, what it does, and its limits."""
    data: Any = SpaceCard((_HOME / "README.md").read_text(encoding="utf-8")).data
    data.title = repo_id.rpartition("/")[2][:_LONGEST_TITLE]
    data.models = sorted({origin for model in models if (origin := _origin(model))}) or None
    home = f"{constants.ENDPOINT}/spaces/{repo_id}"
    if has_picture:
        data.thumbnail = f"{home}/resolve/main/{_PICTURE}"
    rows = [
        f"| {field.description} | {value:g} | `{env_name(name)}` |"
        for name, field in Limits.model_fields.items()
        if (value := getattr(kept, name))
    ]
    parts = [
        f"---\n{data.to_yaml().strip()}\n---",
        f"# {data.title}",
        *([f"![The page: a text that a model wrote]({_PICTURE})"] if has_picture else []),
        "A page where anyone trains a character-level LSTM in front of their eyes and writes text with it. Made with "
        f"charlstm; [all of its code]({home}/tree/main) is here, under the MIT licence.",
        "## Limits\n\nEach is set by a variable of the Space; runs are deleted when their time is over, so download "
        "what you want to keep.\n\n| what | at most | variable |\n|---|---|---|\n" + "\n".join(rows),
        "The models here know nothing but the letters of their texts: for learning and for fun, not where a mistake "
        "matters.",
    ]
    return "\n\n".join(parts) + "\n"


def _origin(model: Path) -> str | None:
    """Return the repository that a model was pulled from."""
    try:
        return validate_repo_id(str(parse_json(read_small(model / ORIGIN_FILE))["repo_id"]))
    except (OSError, ValueError, LookupError, TypeError, HubError):
        return None
