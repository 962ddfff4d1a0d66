"""An app that can be asked how many write: it prints its address, then their number for each line that it gets."""

import sys
from pathlib import Path
from typing import Any

from charlstm.ui import api, generate_tab
from charlstm.ui.app import build, launch_options
from charlstm.ui.generation import ActiveRequests

_made: list[ActiveRequests] = []


class Counted(ActiveRequests):
    """Writers that are found again."""

    def __init__(self) -> None:
        super().__init__()
        _made.append(self)


def main(checkpoints_dir: Path) -> None:
    """Serve until nobody asks any more."""
    changed: Any = generate_tab
    changed.ActiveRequests = Counted
    api._MOST_CHARS = 1_000_000  # which take a minute, so that nothing ends by itself
    page = build(checkpoints_dir)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **{**launch_options(), "mcp_server": False})
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(f"{_made[0].number}\n")
        sys.stdout.flush()
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
