"""Backup of visitors' runs in a repository of the Space's owner, and removal of what is old.

The owner names a repository in CHARLSTM_BACKUP_REPO and gives the Space a secret HF_TOKEN that may write there. It acts
for the owner alone, here and nowhere else.
"""

import logging
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download

from charlstm.environment import BACKUP_REPO, HF_TOKEN, limits
from charlstm.errors import CharLSTMError, HubError
from charlstm.hub.client import commit_files, hub_call
from charlstm.hub.digests import discard, is_whole
from charlstm.hub.repo_names import validate_repo_id
from charlstm.model_paths import SNAPSHOTS
from charlstm.runs.retention import Trash, last_modified, remove_expired, visitor_runs
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore

_ROUND_SECONDS = 60.0
_BETWEEN_SECONDS = 300.0  # between two copies of a run that is still going
_PLACE = "runs"
_NOT_KEPT = ("run.lock", "run.lock.held", "control.json", "answer.json", "job")
_NOT_KEPT_FOLDERS = (SNAPSHOTS,)  # up to 40 MB a run, to look at only
_log = logging.getLogger(__name__)


class Backup:
    """The owner's repository of runs."""

    def __init__(self, repo_id: str, token: str, store: RunStore) -> None:
        self.repo_id, self._store = validate_repo_id(repo_id), store
        self._token = token
        self._kept: dict[str, float] = {}  # when what was kept of a run was last written
        self._sent: dict[str, float] = {}  # on this process's clock

    @classmethod
    def from_environment(cls, store: RunStore) -> "Backup | None":
        """Make the backup that the owner's variables ask for; raise `HubError` where it can't be had."""
        repo_id = BACKUP_REPO.text()
        if not repo_id:
            return None
        token = HF_TOKEN.text()
        if not token:
            raise HubError(
                f"{BACKUP_REPO.name} is set and HF_TOKEN is not; give the Space a token that may write there."
            )
        return cls(repo_id, token, store)

    def is_kept(self, folder: RunDir) -> bool:
        """Return whether everything in `folder` is in the repository."""
        return self._kept.get(folder.name, -1.0) >= last_modified(folder)

    def restore(self) -> list[str]:
        """Bring back the runs that are not here, but for deleted ones; returns their names. Raises `HubError`."""
        brought, deleted = [], self._find_deleted()
        with hub_call(self.repo_id):
            api = HfApi(constants.ENDPOINT, token=self._token)
            api.create_repo(self.repo_id, private=True, exist_ok=True)
            if not api.model_info(self.repo_id).private:
                raise HubError(f"{self.repo_id} is public, and visitors' texts are not; make it private.")
            paths = [Path(name).parts for name in api.list_repo_files(self.repo_id) if ".." not in Path(name).parts]
            for name in sorted({parts[1] for parts in paths if parts[0] == _PLACE and len(parts) > 2}):
                if name in deleted:
                    self._kept[name] = 0.0  # so that `keep` forgets it
                elif self._is_free(name):
                    self._bring(name, [Path(*parts[2:]) for parts in paths if parts[:2] == (_PLACE, name)])
                    brought.append(name)
        return brought

    def _is_free(self, name: str) -> bool:
        try:
            return self._store.is_free(name)
        except CharLSTMError:  # no name of a run: not ours
            return False

    def _bring(self, name: str, files: list[Path]) -> None:
        """Bring all of a run or nothing."""
        place = self._store.root / f".{uuid.uuid4().hex}"
        try:
            for file in files:
                remote = f"{_PLACE}/{name}/{file.as_posix()}"
                cached = self._download(remote)
                (place / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(cached, place / file)
            place.rename(self._store.root / name)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self._kept[name] = last_modified(RunDir(self._store.root / name))

    def _download(self, remote: str) -> Path:
        for _ in range(2):
            cached = Path(hf_hub_download(self.repo_id, remote, token=self._token, endpoint=constants.ENDPOINT))
            if is_whole(cached):
                return cached
            discard(cached)
        raise HubError(f"{remote} of {self.repo_id} arrives damaged; it is fetched again in the next round.")

    def upload_changed(self) -> list[str]:
        """Send what has changed since it was last sent; returns the runs' names. Raises `HubError`.

        What somebody has deleted goes from the repository too, and is sent again if it is brought back here.
        """
        sent = []
        for folder in visitor_runs(self._store):
            is_recent = time.monotonic() - self._sent.get(folder.name, -_BETWEEN_SECONDS) < _BETWEEN_SECONDS
            if self.is_kept(folder) or (folder.is_alive() and is_recent):
                continue
            written = last_modified(folder)
            files = {f"{_PLACE}/{folder.name}/{name}": data for name, data in _read_contents(folder).items()}
            with hub_call(self.repo_id):
                api = HfApi(constants.ENDPOINT, token=self._token)
                commit_files(api, {"repo_id": self.repo_id}, files, f"Keep {folder.name}", lambda _: None)
            self._kept[folder.name], self._sent[folder.name] = written, time.monotonic()
            sent.append(folder.name)
        for name in self._find_deleted() & self._kept.keys():
            with hub_call(self.repo_id):
                api = HfApi(constants.ENDPOINT, token=self._token)
                api.delete_folder(f"{_PLACE}/{name}", self.repo_id, commit_message=f"Forget {name}")
            del self._kept[name]
        return sent

    def _find_deleted(self) -> set[str]:
        """Return the names of runs that somebody has deleted, and that no other run has taken since."""
        return {each.name for each in Trash(self._store).runs() if self._is_free(each.name)}


def _read_contents(folder: RunDir) -> dict[str, bytes]:
    files = {}
    for path in sorted(folder.path.rglob("*")):
        name = path.relative_to(folder.path).as_posix()
        is_kept = path.name not in _NOT_KEPT and path.parent.name not in _NOT_KEPT_FOLDERS
        if path.is_file() and is_kept and not path.name.startswith("."):
            data = path.read_bytes()
            files[name] = data[: data.rfind(b"\n") + 1] if name == folder.events_file.name else data
    return files


class BackupThread:
    """Does its round once a minute, in a thread that ends with the app."""

    def __init__(self, store: RunStore, round_seconds: float = _ROUND_SECONDS) -> None:
        self._store, self._round_seconds = store, round_seconds
        self._over = threading.Event()
        self._backup: Backup | None = None
        self._has_begun = False

    def start(self) -> None:
        """Bring back what was kept, then go on in the background; without limits there is nothing to do."""
        bounds = limits()
        is_bounded = bounds.max_kept_hours or bounds.max_disk_mb or bounds.max_kept_runs
        if not (is_bounded or BACKUP_REPO.text()):
            return
        threading.Thread(target=self._through, name="housekeeper", daemon=True).start()

    def stop(self) -> None:
        """End the rounds."""
        self._over.set()

    def _through(self) -> None:
        while True:
            self._attempt(self._begin)
            self._attempt(self.round)
            if self._over.wait(self._round_seconds):
                return

    def _begin(self) -> None:
        """Restore runs, trying until it succeeds: the Hub may be away when the app starts."""
        if self._has_begun:
            return
        self._backup = self._backup or Backup.from_environment(self._store)
        if self._backup:
            self._backup.restore()
        self._has_begun = True

    def round(self) -> None:
        """Keep, then make room; what is not kept yet stays as long as it is meant to be kept.

        Nothing is kept before all is back that was: a new run must not replace one of the same name.
        """
        if self._backup and self._has_begun:
            self._backup.upload_changed()
        remove_expired(self._store, self._backup.is_kept if self._backup else lambda _: True)

    def _attempt(self, act: Callable[[], None]) -> None:
        """Run one step; log a Hub that is away, or a full disk, for the owner in place of ending the rounds."""
        try:
            act()
        except (CharLSTMError, OSError) as error:
            _log.warning("housekeeping: %s", error)
