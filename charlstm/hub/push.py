"""Pushing a model: four files that are shown first, then sent as one commit; if wished for, its page as another."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants

from charlstm.checkpoint import Provenance
from charlstm.errors import HubError
from charlstm.files import file_sha256
from charlstm.hub.card import CURVE_FILE, LICENSE, CardFacts, card_text, config_json
from charlstm.hub.client import OnProgress, Progress, commit_files, hub_call
from charlstm.hub.repo_names import parse_repo, validate_repo_id
from charlstm.hub.static_space import PageFiles, build_page_files, check_space, create_space, files_digest, send_page
from charlstm.language_model import LanguageModel
from charlstm.model_paths import MODEL_FILE, model_file
from charlstm.runs.retention import ORIGIN_FILE


@dataclass(frozen=True)
class ModelFiles:
    """Files to send, and nothing else: names in the repository and contents, ready to be shown."""

    repo_id: str
    files: dict[str, bytes]
    revision: str | None = None  # the branch, if the name that was given holds one
    page: PageFiles | None = None  # what a static Space is to hold, if one was wished for

    @property
    def card(self) -> str:
        """The model card."""
        return self.files["README.md"].decode()

    @property
    def digest(self) -> str:
        """A digest that tells these files from any others."""
        own = files_digest(f"{self.repo_id}@{self.revision}", self.files)
        return f"{own}{self.page.digest if self.page else ''}"


def build_files(
    model: Path,
    repo_id: str,
    curve: bytes | None = None,
    language: str | None = None,
    licence: str = LICENSE,
    space: str | None = None,
) -> ModelFiles:
    """Make the files for the model in folder or file `model`; `curve` is a picture of its training (PNG).

    With `space`, the name of a Space, they include its page. Raises `CheckpointError` for a damaged model and
    `HubError` for a name that is none, and whatever `build_page` raises for a model that fits no page.
    """
    name = parse_repo(repo_id)
    space = validate_repo_id(space, "space") if space is not None else None
    if language is not None and not re.fullmatch(r"[a-z]{2,3}|code|multilingual", language):
        raise HubError(
            f"{language[:40]!r} is not a language code; use two or three small letters such as en, or code, or "
            "multilingual."
        )
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,49}", licence):
        raise HubError(f"{licence[:40]!r} is not a licence id of the Hub; use one such as mit or cc-by-4.0.")
    file = model_file(model)
    language_model = LanguageModel.load(file)
    base = _base_model(file.parent.parent, language_model.provenance)
    facts = CardFacts(name.repo_id, language_model, curve is not None, language, licence, base, space)
    files = {
        MODEL_FILE: file.read_bytes(),
        "config.json": config_json(language_model).encode(),
        "README.md": card_text(facts).encode(),
    }
    page = build_page_files(facts, space) if space else None
    return ModelFiles(name.repo_id, files | ({CURVE_FILE: curve} if curve else {}), name.revision, page)


def _base_model(models: Path, origin: Provenance | None) -> str | None:
    """Return the repository of the parent model, if it was pulled into folder `models` and is the same file still."""
    if origin is None or not origin.parent or Path(origin.parent).name != origin.parent:
        return None
    try:
        folder = models / origin.parent
        repo_id = validate_repo_id(str(json.loads((folder / ORIGIN_FILE).read_text(encoding="utf-8"))["repo_id"]))
        digest = file_sha256(folder / MODEL_FILE)
    except (OSError, ValueError, LookupError, TypeError, HubError):
        return None
    return repo_id if digest == origin.parent_sha256 else None


def push(
    parcel: ModelFiles, token: str, private: bool = True, revision: str | None = None, report: OnProgress | None = None
) -> str:
    """Send `parcel` as one commit and return its address; the repository is made, `private` or not, if there is none.

    One that is there keeps its visibility, so a public one is refused to whom `private` is asked for. Either all of it
    arrives or nothing does, and pushing again completes. Its page, if it has one, follows as a commit to the Space;
    nothing is sent before both are known to be writable. Raises `HubError`.
    """
    report, revision = report or (lambda _: None), revision or parcel.revision
    if parcel.page:
        _refuse_branch(revision)
    api = HfApi(constants.ENDPOINT, token=token, library_name="charlstm")
    report(Progress(f"looking for {parcel.repo_id}"))
    is_update = parcel.page is not None and check_space(api, parcel.page, private, report)
    with hub_call(parcel.repo_id, report):
        api.create_repo(parcel.repo_id, private=private, exist_ok=True)
        _check_visibility(api, parcel, private)
        if parcel.page:
            create_space(api, parcel.page, private, report)
        if revision:
            api.create_branch(parcel.repo_id, branch=revision, exist_ok=True)
        where = {"repo_id": parcel.repo_id, "revision": revision}
        address = commit_files(api, where, parcel.files, "Publish with charlstm", report)
    if parcel.page:
        _send_page(api, parcel.page, is_update, report)
    return address


def _refuse_branch(revision: str | None) -> None:
    if revision:
        raise HubError(f"a page shows the main branch, not {revision[:80]!r}; leave out the branch, or the page.")


def _check_visibility(api: HfApi, parcel: ModelFiles, private: bool) -> None:
    """Raise `HubError` where more people than is asked for would see the model, or its weights inside a page."""
    if not private and not parcel.page:
        return
    is_private = api.repo_info(parcel.repo_id).private
    if private and not is_private:
        raise HubError(f"{parcel.repo_id} is there already and public; choose public, or another name.")
    if is_private and not private:
        raise HubError(
            f"{parcel.repo_id} is there already and private, and a page for everyone would hold all of it; make it "
            "public on the Hub first, or choose private."
        )


def _send_page(api: HfApi, page: PageFiles, is_update: bool, report: OnProgress) -> None:
    try:
        send_page(api, page, is_update, report)
    except HubError as error:
        raise HubError(f"the model is published, its page is not yet: {error}") from None
