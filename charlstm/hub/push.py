"""Pushing a model: four files that are shown first, then sent as one commit."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants

from charlstm.checkpoint import Provenance
from charlstm.errors import HubError
from charlstm.hub.card import CURVE_FILE, LICENSE, CardFacts, card_text, config_json
from charlstm.hub.client import Progress, Report, commit_files, hub_call
from charlstm.hub.loss_plot import loss_plot_png
from charlstm.hub.repo_names import parse_repo, validate_repo_id
from charlstm.language_model import LanguageModel
from charlstm.model_files import MODEL_FILE, model_file
from charlstm.runs.history import RunHistory
from charlstm.runs.retention import ORIGIN_FILE


@dataclass(frozen=True)
class ModelFiles:
    """Files to send, and nothing else: names in the repository and contents, ready to be shown."""

    repo_id: str
    files: dict[str, bytes]
    revision: str | None = None  # the branch, if the name that was given holds one

    @property
    def card(self) -> str:
        """The model card."""
        return self.files["README.md"].decode()

    @property
    def digest(self) -> str:
        """A digest that tells these files from any others."""
        digest = hashlib.sha256(f"{self.repo_id}@{self.revision}".encode())
        for name, data in sorted(self.files.items()):
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
        return digest.hexdigest()


def build_files(
    model: Path, repo_id: str, history: RunHistory | None = None, language: str | None = None, licence: str = LICENSE
) -> ModelFiles:
    """Make the files for the model in folder or file `model`; `history` is of the run that trained it.

    Raises `CheckpointError` for a damaged model and `HubError` for a name that is none.
    """
    name = parse_repo(repo_id)
    if language is not None and not re.fullmatch(r"[a-z]{2,3}|code|multilingual", language):
        raise HubError(
            f"{language[:40]!r} is no code of a language; use two or three small letters such as en, or code, or "
            "multilingual."
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,49}", licence):
        raise HubError(f"{licence[:40]!r} is no licence as the Hub names them; use one such as mit or cc-by-4.0.")
    file = model_file(model)
    language_model = LanguageModel.load(file)
    picture = loss_plot_png(history) if history else None
    base = _base_model(file.parent.parent, language_model.provenance)
    facts = CardFacts(name.repo_id, language_model, picture is not None, language, licence, base)
    files = {
        MODEL_FILE: file.read_bytes(),
        "config.json": config_json(language_model).encode(),
        "README.md": card_text(facts).encode(),
    }
    return ModelFiles(name.repo_id, files | ({CURVE_FILE: picture} if picture else {}), name.revision)


def _base_model(models: Path, origin: Provenance | None) -> str | None:
    """Return the repository of the parent model, if it was pulled into folder `models` and is the same file still."""
    if origin is None or not origin.parent or Path(origin.parent).name != origin.parent:
        return None
    try:
        folder = models / origin.parent
        repo_id = validate_repo_id(str(json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))["repo_id"]))
        digest = hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()
    except (OSError, ValueError, LookupError, TypeError, HubError):
        return None
    return repo_id if digest == origin.parent_sha256 else None


def push(
    parcel: ModelFiles, token: str, private: bool = True, revision: str | None = None, report: Report | None = None
) -> str:
    """Send `parcel` as one commit and return its address; the repository is made, `private` or not, if there is none.

    One that is there keeps its visibility, so a public one is refused to whom `private` is asked for. Either all of it
    arrives or nothing does, and pushing again completes. Raises `HubError`.
    """
    report, revision = report or (lambda _: None), revision or parcel.revision
    with hub_call(parcel.repo_id, report):
        api = HfApi(constants.ENDPOINT, token=token, library_name="charlstm")
        report(Progress(f"looking for {parcel.repo_id}"))
        api.create_repo(parcel.repo_id, private=private, exist_ok=True)
        if private and not api.repo_info(parcel.repo_id).private:
            raise HubError(f"{parcel.repo_id} is there already and public; choose public, or another name.")
        if revision:
            api.create_branch(parcel.repo_id, branch=revision, exist_ok=True)
        where = {"repo_id": parcel.repo_id, "revision": revision}
        return commit_files(api, where, parcel.files, "Publish with charlstm", report)
