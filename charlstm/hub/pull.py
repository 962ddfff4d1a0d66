"""Pulling a model: safetensors only, checked before it is used, cached and usable offline."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from tqdm import tqdm

from charlstm.checkpoint import load_model
from charlstm.environment import is_public, limits
from charlstm.errors import CheckpointError, HubError
from charlstm.files import atomic_write, atomic_write_text, file_sha256
from charlstm.hub.client import OnProgress, Progress, hub_call, read_token
from charlstm.hub.digests import discard, is_whole
from charlstm.hub.error_messages import HubAway, httpx
from charlstm.hub.repo_names import describe_kind, parse_repo
from charlstm.model_paths import MODEL_FILE
from charlstm.runs.retention import ORIGIN_FILE, require_disk
from charlstm.runs.store import RunStore

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".th", ".h5", ".joblib")
_METADATA_SECONDS = 10.0
_BETWEEN_SECONDS = 0.1  # two reports of the bytes


def fetch(
    repo_id: str, revision: str | None = None, report: OnProgress | None = None, cache: Path | None = None
) -> Path:
    """Fetch the model file of `repo_id` into the Hub's cache, or `cache`; return its path; raise `HubError`.

    The newest is fetched if the Hub answers; if it does not, what was fetched before serves. What differs from what the
    Hub names is removed and fetched once more.
    """
    name = parse_repo(repo_id)
    wish = _Wanted(name.repo_id, revision or name.revision, report or (lambda _: None), cache)
    with hub_call(wish.repo_id, report):
        path = _fetch_whole(wish)
    try:
        load_model(path)
    except CheckpointError as error:
        told = str(error).replace(str(path), MODEL_FILE)
        advice = "it is so on the Hub, choose another model"  # for what arrived is what its owner sent there
        raise HubError(f"{wish.repo_id}: {told.replace('fetch or train the model again', advice)}") from None
    return path


def pull(
    repo_id: str,
    store: RunStore,
    name: str | None = None,
    revision: str | None = None,
    report: OnProgress | None = None,
) -> str:
    """Put the model of `repo_id` among the models of `store` and return its name there; raises `HubError`.

    Without a `name` it is made from the repository's. The same model is not put there twice.
    """
    if is_public():  # where a cache would only fill the disk, and may hold what only its owner may see
        require_disk(store)
        with tempfile.TemporaryDirectory() as cache:
            return _install(fetch(repo_id, revision, report, Path(cache)), repo_id, store, name, revision)
    return _install(fetch(repo_id, revision, report), repo_id, store, name, revision)


def _install(cached: Path, repo_id: str, store: RunStore, name: str | None, revision: str | None) -> str:
    source = parse_repo(repo_id)
    wish = name or source.repo_id.rpartition("/")[2]
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
        with atomic_write(folder / MODEL_FILE) as temporary:
            temporary.write_bytes(cached.read_bytes())
        origin = {"repo_id": source.repo_id, "revision": revision or source.revision}
        atomic_write_text(folder / ORIGIN_FILE, json.dumps(origin) + "\n")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # which was not there before
        raise HubError(
            f"{chosen} can't be written among the models ({error.strerror}); make room, try again."
        ) from None
    return chosen


@dataclass(frozen=True)
class _Wanted:
    """A model file, and who is told of its way here."""

    repo_id: str
    revision: str | None
    report: OnProgress
    cache: Path | None


def _fetch_whole(wish: _Wanted) -> Path:
    for _ in range(2):
        path, digest = _fetch_once(wish)
        if is_whole(path, digest):
            return path
        discard(path)
        wish.report(Progress(f"what is here of {wish.repo_id} is damaged; fetching it again"))
    raise HubError(
        f"the model file of {wish.repo_id} arrives damaged (it is not the one whose SHA-256 the Hub names); nothing of "
        "it is kept, try again later or on another network."
    )


def _fetch_once(wish: _Wanted) -> tuple[Path, str | None]:
    """Return the file, and the digest that the Hub has of it, if the Hub answers.

    Among strangers the cache answers only whom the Hub has answered: it may hold what another visitor may see.
    """
    token, most = read_token(), int(limits().max_download_mb * 1e6)
    wish.report(Progress(f"looking for {wish.repo_id}"))
    try:
        found = _fetch_metadata(wish, MODEL_FILE, token)
    except EntryNotFoundError:
        raise HubError(_what_is_missing(wish, token)) from None
    except RepositoryNotFoundError as error:
        raise _find_other_kind(wish.repo_id, token) or error from None
    except (httpx.ConnectError, httpx.TimeoutException, OfflineModeIsEnabled, HfHubHTTPError, HubAway) as error:
        is_away = not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
        if is_public() or not is_away:
            raise
        return _find_cached(wish, error)
    if found.size is not None and most and found.size > most:
        raise HubError(_too_large(wish.repo_id, found.size, most))
    was_here = _in_cache(wish, found.commit_hash)
    if not was_here:
        wish.report(Progress(f"fetching {wish.repo_id}", 0, found.size or 0))
    path = _download(wish, MODEL_FILE, token, most)
    if not was_here:
        _count_download(wish, token)
    return path, found.etag


def _fetch_metadata(wish: _Wanted, file: str, token: str | bool) -> HfFileMetadata:
    url = hf_hub_url(wish.repo_id, file, revision=wish.revision, endpoint=constants.ENDPOINT)
    return get_hf_file_metadata(url, token=token, timeout=_METADATA_SECONDS)


def _find_cached(wish: _Wanted, error: Exception) -> tuple[Path, str | None]:
    """Return what was fetched before; raise `error` where nothing was."""
    try:
        return Path(hf_hub_download(wish.repo_id, MODEL_FILE, revision=wish.revision, local_files_only=True)), None
    except LocalEntryNotFoundError:
        raise error from None


def _in_cache(wish: _Wanted, commit: str | None) -> bool:
    return isinstance(try_to_load_from_cache(wish.repo_id, MODEL_FILE, cache_dir=wish.cache, revision=commit), str)


def _download(wish: _Wanted, file: str, token: str | bool, most: int) -> Path:
    class Bar(DownloadBar):
        at_most = most
        tell = staticmethod(lambda done, total: wish.report(Progress(f"fetching {wish.repo_id}", done, total)))
        refuse = staticmethod(lambda size: HubError(_too_large(wish.repo_id, size, most)))

    return Path(
        hf_hub_download(
            wish.repo_id,
            file,
            revision=wish.revision,
            token=token,
            endpoint=constants.ENDPOINT,
            cache_dir=wish.cache,
            tqdm_class=Bar,
        )
    )


def _count_download(wish: _Wanted, token: str | bool) -> None:
    """Ask for the file whose requests the Hub counts as downloads of a model; whether it is there does not matter."""
    with contextlib.suppress(HfHubHTTPError, httpx.HTTPError, HubError, OSError, ValueError):
        _fetch_metadata(wish, "config.json", token)


def _find_other_kind(repo_id: str, token: str | bool) -> HubError | None:
    """Make the error for a name that no model has and something else does."""
    api = HfApi(constants.ENDPOINT, token=token)
    for kind in ("dataset", "space"):
        if api.repo_exists(repo_id, repo_type=kind):
            return HubError(f"{repo_id} is {describe_kind(kind)} on the Hub, no model; choose a model.")
    return None


def _too_large(repo_id: str, size: int, most: int) -> str:
    return (
        f"the model file of {repo_id} has {size / 1e6:,.1f} MB; at most {most / 1e6:,.0f} MB are fetched here "
        "(CHARLSTM_MAX_DOWNLOAD_MB)."
    )


def _what_is_missing(wish: _Wanted, token: str | bool) -> str:
    repo_id = wish.repo_id
    names = HfApi(constants.ENDPOINT, token=token).list_repo_files(repo_id, revision=wish.revision)
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
        return file_sha256(file)
    except OSError:
        return None


class DownloadBar(tqdm):  # type: ignore[misc]
    """A progress bar that reports bytes in place of drawing, and ends a file longer than announced."""

    at_most: int  # bytes; 0 for no limit
    tell: Callable[[int, int], None]  # bytes so far, bytes in all
    refuse: Callable[[int], Exception]  # what to raise for a file of so many bytes

    def __init__(self, *args: Any, **options: Any) -> None:
        options.pop("name", None)
        super().__init__(*args, **{**options, "disable": True})
        self._num_bytes, self._total = int(options.get("initial") or 0), int(options.get("total") or 0)
        self._told = 0.0

    def update(self, n: float | None = 1) -> None:
        """Tell of `n` more bytes; raises what `refuse` makes."""
        self._num_bytes += int(n or 0)
        if self.at_most and self._num_bytes > self.at_most:
            raise self.refuse(self._num_bytes)
        now = time.monotonic()
        if now - self._told >= _BETWEEN_SECONDS or self._num_bytes == self._total:
            self._told = now
            self.tell(self._num_bytes, self._total)
