"""Publishing a model: four files that are shown first, then sent as one commit."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants

from charlstm.checkpoint import MODEL_FILE
from charlstm.errors import HubError
from charlstm.events import Record
from charlstm.hub.card import CURVE_FILE, CardFacts, card_text, config_json
from charlstm.hub.client import Report, Step, checked_repo, talking
from charlstm.hub.picture import curve_png
from charlstm.hub.sending import send
from charlstm.language_model import LanguageModel


@dataclass(frozen=True)
class Parcel:
    """What is sent, and nothing else: names in the repository and contents, ready to be shown."""

    repo_id: str
    files: dict[str, bytes]

    @property
    def card(self) -> str:
        """The model card."""
        return self.files["README.md"].decode()

    @property
    def digest(self) -> str:
        """What tells this parcel from any other."""
        digest = hashlib.sha256(self.repo_id.encode())
        for name, data in sorted(self.files.items()):
            digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
        return digest.hexdigest()


def pack(model: Path, repo_id: str, records: Sequence[Record] = (), language: str | None = None) -> Parcel:
    """Make the files for the model in folder or file `model`; `records` are of the run that trained it.

    Raises `CheckpointError` for a damaged model and `HubError` for a name that is none.
    """
    repo_id = checked_repo(repo_id)
    if language is not None and not re.fullmatch(r"[a-z]{2,3}|code|multilingual", language):
        raise HubError(
            f"{language[:40]!r} is no code of a language; use two or three small letters such as en, or code, or "
            "multilingual."
        )
    file = model if model.suffix == ".safetensors" else model / MODEL_FILE
    language_model = LanguageModel.load(file)
    picture = curve_png(records)
    facts = CardFacts(repo_id, language_model, picture is not None, language)
    files = {
        MODEL_FILE: file.read_bytes(),
        "config.json": config_json(language_model).encode(),
        "README.md": card_text(facts).encode(),
    }
    return Parcel(repo_id, files | ({CURVE_FILE: picture} if picture else {}))


def push(
    parcel: Parcel, token: str, private: bool = True, revision: str | None = None, report: Report | None = None
) -> str:
    """Send `parcel` as one commit and return its address; the repository is made, `private` or not, if there is none.

    One that is there keeps its visibility, so a public one is refused to whom `private` is asked for. Either all of it
    arrives or nothing does, and pushing again completes. Raises `HubError`.
    """
    report = report or (lambda _: None)
    with talking(parcel.repo_id, report):
        api = HfApi(constants.ENDPOINT, token=token, library_name="charlstm")
        report(Step(f"looking for {parcel.repo_id}"))
        api.create_repo(parcel.repo_id, private=private, exist_ok=True)
        if private and not api.repo_info(parcel.repo_id).private:
            raise HubError(f"{parcel.repo_id} is there already and public; choose public, or another name.")
        if revision:
            api.create_branch(parcel.repo_id, branch=revision, exist_ok=True)
        where = {"repo_id": parcel.repo_id, "revision": revision}
        return send(api, where, parcel.files, "Publish with charlstm", report)
