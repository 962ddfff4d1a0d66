"""Files that visitors chose to learn from, so that a reload of the page, or of the app, finds them again.

Each lies under an id that cannot be guessed, which only its visitor's browser knows; the oldest go first.
"""

import contextlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from charlstm.hosting import limits
from charlstm.runs.retention import UPLOADS

_KEPT_HOURS = 30 * 24
_MOST_FILES, _MOST_BYTES = 20, 500_000_000
_ID = re.compile(r"[0-9a-f]{32}")


def served(file: Path) -> str:
    """A copy of a kept file where the page may fetch it, as it may any upload."""
    return str(save_file_to_cache(file, get_upload_folder()))


class Uploads:
    """The uploads beside the runs of one checkpoints folder."""

    def __init__(self, checkpoints_dir: Path) -> None:
        self._place = checkpoints_dir / UPLOADS

    def keep(self, file: str | None) -> str:
        """The id under which a file is found again; empty without a file, or where it can't be kept."""
        if not file:
            return ""
        upload_id = secrets.token_hex(16)
        kept = self._place / upload_id / Path(file).name
        try:
            kept.parent.mkdir(parents=True)
            try:
                os.link(file, kept)
            except OSError:  # on another disk
                shutil.copyfile(file, kept)
        except OSError:  # a full disk: training from it works all the same
            shutil.rmtree(kept.parent, ignore_errors=True)
            return ""
        with contextlib.suppress(OSError):  # somebody else sweeps at the same moment
            self._sweep()
        return upload_id

    def find(self, upload_id: Any) -> Path | None:
        """The file kept under an id, if it is still there; anybody may ask with anything."""
        if not isinstance(upload_id, str) or not _ID.fullmatch(upload_id):
            return None
        with contextlib.suppress(OSError):
            return next((self._place / upload_id).iterdir(), None)
        return None

    def _sweep(self) -> None:
        """Remove what is old, and the oldest of what is too much."""
        oldest = time.time() - 3600 * (limits().max_kept_hours or _KEPT_HOURS)
        num_bytes = 0
        newest_first = sorted(self._place.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for number, path in enumerate(newest_first):
            num_bytes += sum(file.stat().st_size for file in path.iterdir())
            is_newest = number == 0
            if not is_newest and (number >= _MOST_FILES or num_bytes > _MOST_BYTES or path.stat().st_mtime < oldest):
                shutil.rmtree(path, ignore_errors=True)
