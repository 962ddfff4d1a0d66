"""The process that stands by for a run: everything imported, waiting for its command (see `charlstm.runs.launcher`)."""

import contextlib
import json
import os
import sys

from charlstm.cli.dispatch import main
from charlstm.process_setup import limit_spinning
from charlstm.runs.launcher import PREPARED

_BINARY = getattr(os, "O_BINARY", 0)  # on Windows: line ends as they are


def wait() -> None:
    """Import what training needs, wait for a command on the standard input, and run it; end without one."""
    limit_spinning()
    import charlstm.runs.worker  # noqa: F401
    from charlstm.kernel.build import load_library

    load_library()
    with contextlib.suppress(OSError):  # nobody need know
        os.write(1, PREPARED + b"\n")
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # whoever started this has ended
        return
    order = json.loads(line)
    opened = (
        os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | _BINARY, 0o666),
        os.open(os.devnull, os.O_RDONLY),
    )
    for source, targets in zip(opened, ((1, 2), (0,)), strict=True):
        for target in targets:
            os.dup2(source, target)
        os.close(source)
    sys.exit(main(order["arguments"]))
