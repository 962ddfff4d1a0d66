"""CPUs that this process may use: those of the machine, or what its container has time for."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def available_cpus(groups: Path = _GROUPS, mounted: Path = _MOUNTED) -> int:
    """Return how many CPUs this process may run on, or has time for by its control groups, at least 1.

    A fraction is rounded down: one thread more than there is time for holds up all that wait for it.
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([seen, *map(int, _shares(groups, mounted))]))


def _shares(groups: Path, mounted: Path) -> Iterator[float]:
    """Yield the limits, in CPUs, of this process's control group and of those above it."""
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mounted / controllers  # version 1 has a folder for its controllers, version 2 none
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            yield from _share(folder)
            if folder == top:  # in a container its own group is there, whatever it is called outside
                break


def _share(folder: Path) -> Iterator[float]:
    """Read a group's limit: `cpu.max` in version 2, a file for each number in version 1; `max` and -1 are no limit."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):
            quota, period = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
            if int(quota) > 0:
                yield int(quota) / int(period)
