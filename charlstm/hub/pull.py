"""Fetching a model: safetensors only, checked before it is used, kept in the Hub's cache and usable offline."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
)
from tqdm import tqdm

from charlstm.checkpoint import MODEL_FILE, load_model
from charlstm.errors import CheckpointError, HubError
from charlstm.files import publish, publish_text
from charlstm.hosting import is_public, limits
from charlstm.hub.client import Report, Step, checked_repo, httpx, reading_token, talking
from charlstm.runs.cleaning import ORIGIN_FILE, require_disk
from charlstm.runs.store import RunStore

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".th", ".h5", ".joblib")
_METADATA_SECONDS = 10.0


def fetch(repo_id: str, revision: str | None = None, report: Report | None = None, cache: Path | None = None) -> Path:
    """Path, in the Hub's cache or in `cache`, of the checked model file of `repo_id` at `revision`; raises `HubError`.

    The newest is fetched if the Hub answers; if it does not, what was fetched before serves.
    """
    repo_id = checked_repo(repo_id)
    with talking(repo_id, report):
        path = _downloaded(repo_id, revision, report or (lambda _: None), cache)
    try:
        load_model(path)
    except CheckpointError as error:
        raise HubError(f"{repo_id}: {str(error).replace(str(path), MODEL_FILE)}") from None
    return path


def pull(
    repo_id: str, store: RunStore, name: str | None = None, revision: str | None = None, report: Report | None = None
) -> str:
    """Put the model of `repo_id` among the models of `store` and return its name there; raises `HubError`.

    Without a `name` it is made from the repository's. The same model is not put there twice.
    """
    if is_public():  # where a cache would only fill the disk, and may hold what only its owner may see
        require_disk(store)
        with tempfile.TemporaryDirectory() as cache:
            return _placed(fetch(repo_id, revision, report, Path(cache)), repo_id, store, name, revision)
    return _placed(fetch(repo_id, revision, report), repo_id, store, name, revision)


def _placed(cached: Path, repo_id: str, store: RunStore, name: str | None, revision: str | None) -> str:
    wish = name or checked_repo(repo_id).rpartition("/")[2]
    if store.is_free(wish):
        chosen = wish
    elif _digest(store.root / wish / MODEL_FILE) == _digest(cached):
        return wish
    elif name:
        raise HubError(f"{name} exists already among the models and is another one; choose another name.")
    else:
        chosen = store.free_name(wish)
    folder = store.root / chosen
    try:
        with publish(folder / MODEL_FILE) as temporary:
            temporary.write_bytes(cached.read_bytes())
        publish_text(folder / ORIGIN_FILE, json.dumps({"repo_id": checked_repo(repo_id), "revision": revision}) + "\n")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # which was not there before
        raise HubError(
            f"{chosen} can't be written among the models ({error.strerror}); make room, try again."
        ) from None
    return chosen


def _downloaded(repo_id: str, revision: str | None, report: Report, cache: Path | None) -> Path:
    """Among strangers the cache answers only whom the Hub has answered: it may hold what another visitor may see."""
    token, most = reading_token(), int(limits().max_download_mb * 1e6)
    report(Step(f"looking for {repo_id}"))
    try:
        url = hf_hub_url(repo_id, MODEL_FILE, revision=revision, endpoint=constants.ENDPOINT)
        size = get_hf_file_metadata(url, token=token, timeout=_METADATA_SECONDS).size
    except EntryNotFoundError:
        raise HubError(_what_is_missing(repo_id, revision, token)) from None
    except (httpx.ConnectError, httpx.TimeoutException, OfflineModeIsEnabled, HfHubHTTPError) as error:
        is_away = not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
        if is_public() or not is_away:
            raise
        try:
            return Path(hf_hub_download(repo_id, MODEL_FILE, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            raise error from None
    if size is not None and most and size > most:
        raise HubError(_too_large(repo_id, size, most))

    class Bar(_Bar):
        subject, at_most, tell = repo_id, most, staticmethod(report)

    return Path(
        hf_hub_download(
            repo_id,
            MODEL_FILE,
            revision=revision,
            token=token,
            endpoint=constants.ENDPOINT,
            cache_dir=cache,
            tqdm_class=Bar,
        )
    )


def _too_large(repo_id: str, size: int, most: int) -> str:
    return (
        f"the model file of {repo_id} has {size / 1e6:,.1f} MB; at most {most / 1e6:,.0f} MB are fetched here "
        "(CHARLSTM_MAX_DOWNLOAD_MB)."
    )


def _what_is_missing(repo_id: str, revision: str | None, token: str | bool) -> str:
    names = HfApi(constants.ENDPOINT, token=token).list_repo_files(repo_id, revision=revision)
    if any(name.endswith(_PICKLES) for name in names):
        return (
            f"{repo_id} holds no {MODEL_FILE}, only weights in a format that can run code when it is opened; such "
            "files are never read, choose another model."
        )
    if any(name.endswith(".safetensors") for name in names):
        return f"{repo_id} belongs to another library (it holds no {MODEL_FILE}); choose a model made by charlstm."
    return f"{repo_id} holds no {MODEL_FILE}; choose a model made by charlstm."


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


class _Bar(tqdm):  # type: ignore[misc]
    """Where the client would draw a bar: tells the bytes instead, and ends a file longer than it was said to be."""

    subject: str
    at_most: int
    tell: Report

    def __init__(self, *args: Any, **options: Any) -> None:
        options.pop("name", None)
        super().__init__(*args, **{**options, "disable": True})
        self._num_bytes, self._total = int(options.get("initial") or 0), int(options.get("total") or 0)

    def update(self, n: float | None = 1) -> None:
        self._num_bytes += int(n or 0)
        if self.at_most and self._num_bytes > self.at_most:
            raise HubError(_too_large(self.subject, self._num_bytes, self.at_most))
        self.tell(Step(f"fetching {self.subject}", self._num_bytes, self._total))
