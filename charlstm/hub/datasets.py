"""Texts in datasets on the Hub: found, bounded and fetched as models are."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from tqdm import tqdm

from charlstm.corpus.web import DatasetFile, Report, too_long
from charlstm.files import publish
from charlstm.hosting import is_public
from charlstm.hub.client import reading_token, talking
from charlstm.hub.failures import HubAway, httpx
from charlstm.hub.names import checked_repo

_METADATA_SECONDS = 10.0


def fetch_dataset_file(wanted: DatasetFile, most: int, report: Report, kept: Path) -> tuple[Path, tuple[str, ...]]:
    """Path of the file, of at most `most` bytes, and notes on it; raises `HubError` or `CorpusError`.

    On one's own machine it stays in the Hub's cache, which serves where the Hub is away; among strangers nobody's login
    acts, and the file is left at `kept`.
    """
    checked_repo(wanted.repo_id, "dataset")
    name = wanted.address

    class Bar(_Bar):
        subject, at_most, tell = name, most, staticmethod(report)

    def download(**options: Any) -> Path:
        place: dict[str, Any] = {"repo_type": "dataset", "revision": wanted.revision, "endpoint": constants.ENDPOINT}
        return Path(hf_hub_download(wanted.repo_id, wanted.file, **place, **options))

    url = hf_hub_url(wanted.repo_id, wanted.file, repo_type="dataset", revision=wanted.revision,
                     endpoint=constants.ENDPOINT)  # fmt: skip
    with talking(f"dataset {wanted.repo_id}"):
        try:
            size = get_hf_file_metadata(url, token=reading_token(), timeout=_METADATA_SECONDS).size
        except (httpx.ConnectError, httpx.TimeoutException, OfflineModeIsEnabled, HfHubHTTPError, HubAway) as error:
            is_away = not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
            if is_public() or not is_away:
                raise
            try:
                return download(local_files_only=True), ("The Hub can't be reached: the copy in its cache is used.",)
            except LocalEntryNotFoundError:
                raise error from None
        if size is not None and size > most:
            raise too_long(name)
        if not is_public():
            return download(token=reading_token(), tqdm_class=Bar), ()
        with tempfile.TemporaryDirectory() as cache, publish(kept, is_durable=False) as temporary:
            shutil.copyfile(download(token=False, tqdm_class=Bar, cache_dir=cache), temporary)
        return kept, ()


class _Bar(tqdm):  # type: ignore[misc]
    """Where the client would draw a bar: tells the bytes, and ends a file longer than it was said to be."""

    subject: str
    at_most: int
    tell: Report

    def __init__(self, *args: Any, **options: Any) -> None:
        options.pop("name", None)
        super().__init__(*args, **{**options, "disable": True})
        self._num_bytes, self._total = int(options.get("initial") or 0), int(options.get("total") or 0)

    def update(self, n: float | None = 1) -> None:
        self._num_bytes += int(n or 0)
        if self._num_bytes > self.at_most:
            raise too_long(self.subject)
        self.tell(self._num_bytes, self._total)
