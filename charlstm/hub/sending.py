"""Files on their way to a repository: all of them in one commit, with the bytes told while they travel."""

import io
from collections.abc import Iterable, Mapping

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from charlstm.hub.client import Report, Step

_REPORT_BYTES = 1 << 18  # between two reports


def send(
    api: HfApi,
    where: Mapping[str, str | None],
    files: Mapping[str, bytes],
    message: str,
    report: Report,
    removed: Iterable[str] = (),
) -> str:
    """Commit `files`, and the removal of `removed`, to the repository that `where` names; returns the commit's address.

    `where` holds `repo_id`, and `repo_type` and `revision` where they are not the usual ones.
    """
    additions = []
    for name, data in files.items():  # one after another and in this thread, so that each is told and heeded
        file = _Reported(name, data, report)
        additions.append(addition := CommitOperationAdd(name, file))
        file.is_travelling = bool(addition.upload_info.sha256)  # which has read all of it once
        api.preupload_lfs_files(**where, additions=[addition], free_memory=False)  # type: ignore[arg-type]
    report(Step("asking the Hub to put it in place"))
    deletions = [CommitOperationDelete(name) for name in removed]
    commit = api.create_commit(**where, operations=[*additions, *deletions], commit_message=message)  # type: ignore[call-overload]
    total = sum(map(len, files.values()))
    report(Step("done", total, total))
    return str(commit.commit_url)  # shown as text and, if it is the Hub's, as a link


class _Reported(io.BytesIO):
    """Bytes that tell how many of them have been read, once they are to travel."""

    is_travelling = False

    def __init__(self, name: str, data: bytes, report: Report) -> None:
        super().__init__(data)
        self._name, self._report, self._size = name, report, len(data)
        self._told = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        place = self.tell()
        if self.is_travelling and (abs(place - self._told) >= _REPORT_BYTES or place == self._size):
            self._told = place
            self._report(Step(f"sending {self._name}", place, self._size))
        return data
