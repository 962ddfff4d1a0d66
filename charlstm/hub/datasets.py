"""Texts in datasets on the Hub: found, bounded and fetched as models are."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from charlstm.corpus.datasets import OnBytes
from charlstm.corpus.download import DatasetFile, too_long
from charlstm.environment import is_public
from charlstm.errors import HubError
from charlstm.files import atomic_write
from charlstm.hub.client import hub_call, read_token
from charlstm.hub.digests import discard, is_whole
from charlstm.hub.error_messages import HubAway, httpx
from charlstm.hub.pull import DownloadBar
from charlstm.hub.repo_names import validate_repo_id

_METADATA_SECONDS = 10.0


def fetch_dataset_file(wanted: DatasetFile, most: int, report: OnBytes, kept: Path) -> tuple[Path, tuple[str, ...]]:
    """Fetch a file of at most `most` bytes; return its path and notes; raise `HubError` or `CorpusError`.

    On one's own machine it stays in the Hub's cache, which serves where the Hub is away; among strangers nobody's login
    acts, and the file is left at `kept`.
    """
    validate_repo_id(wanted.repo_id, "dataset")
    name = wanted.address

    class Bar(DownloadBar):
        at_most, tell = most, staticmethod(report)
        refuse = staticmethod(lambda _: too_long(name))

    def download(**options: Any) -> Path:
        place: dict[str, Any] = {"repo_type": "dataset", "revision": wanted.revision, "endpoint": constants.ENDPOINT}
        return Path(hf_hub_download(wanted.repo_id, wanted.file, **place, **options))

    def download_whole(digest: str | None, **options: Any) -> Path:
        """Download a file and check its digest: what is damaged is discarded and fetched once more."""
        for _ in range(2):
            if is_whole(path := download(tqdm_class=Bar, **options), digest):
                return path
            discard(path)
        raise HubError(f"{name} arrives damaged, and nothing of it is kept; try again later or on another network.")

    url = hf_hub_url(wanted.repo_id, wanted.file, repo_type="dataset", revision=wanted.revision,
                     endpoint=constants.ENDPOINT)  # fmt: skip
    with hub_call(f"dataset {wanted.repo_id}"):
        try:
            found = get_hf_file_metadata(url, token=read_token(), timeout=_METADATA_SECONDS)
        except (httpx.ConnectError, httpx.TimeoutException, OfflineModeIsEnabled, HfHubHTTPError, HubAway) as error:
            is_away = not isinstance(error, HfHubHTTPError) or error.response.status_code >= 500
            if is_public() or not is_away:
                raise
            try:
                return download(local_files_only=True), ("The Hub can't be reached: the copy in its cache is used.",)
            except LocalEntryNotFoundError:
                raise error from None
        if found.size is not None and found.size > most:
            raise too_long(name)
        if not is_public():
            return download_whole(found.etag, token=read_token()), ()
        with tempfile.TemporaryDirectory() as cache, atomic_write(kept, is_durable=False) as temporary:
            shutil.copyfile(download_whole(found.etag, token=False, cache_dir=cache), temporary)
        return kept, ()
