"""How many threads a process may use, from what the kernel says of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked import Fork

from charlstm.cpus import available_cpus
from charlstm.process_setup import limit_spinning

SEEN = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores(place: Path, groups: str, files: dict[str, str]) -> int:
    """What is usable where the kernel shows these files below its groups' folder."""
    (place / "cgroup").write_text(groups)
    for name, content in files.items():
        (place / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "mounted" / name).write_text(content)
    return available_cpus(place / "cgroup", place / "mounted")


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}),  # version 2, in a container
        ("0::/a/b\n", {"a/cpu.max": "199999 100000\n", "a/b/cpu.max": "max 100000\n"}),  # a limit above; rounded down
        ("0::/a\n", {"a/cpu.max": "50000 100000\n"}),  # less than one
        ("0::/outer/name\n", {"cpu.max": "100000 100000\n"}),  # only the container's own is mounted
        (
            "2:cpu,cpuacct:/\n1:memory:/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "150000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
        ),
        ("3:cpu:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "10000\n", "cpu/a/cpu.cfs_period_us": "10000\n"}),
    ],
)
def test_a_container_with_the_time_of_one_core_uses_one(tmp_path: Path, groups: str, files: dict[str, str]) -> None:
    assert cores(tmp_path, groups, files) == 1


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}),
        ("0::/\n", {}),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}),
        ("0::/a\n", {"a/cpu.max": f"{100000 * (SEEN + 1)} 100000\n", "b/cpu.max": "100000 100000\n"}),
        ("0::/\n1:memory:/\n", {"cpu.max": "broken\n", "memory/cpu.max": "100000 100000\n"}),
    ],
)
def test_without_a_limit_all_cores_that_the_process_may_run_on_are_used(
    tmp_path: Path, groups: str, files: dict[str, str]
) -> None:
    assert cores(tmp_path, groups, files) == SEEN


def test_a_system_without_control_groups_uses_what_it_sees(tmp_path: Path) -> None:
    assert available_cpus(tmp_path / "none", tmp_path) == SEEN


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no system to keep a process to one core")
@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("2", 2)])
def test_a_process_kept_to_one_core_uses_one_thread_unless_told_otherwise(
    asked: str | None, threads: int, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where PyTorch would use two: as it is told to, or as it sees as many cores and knows of no limit."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from charlstm.kernel.job_layout import limit_torch_threads\n"
        "import torch; torch.set_num_threads(2); limit_torch_threads()\n"
        "print(torch.get_num_threads())"
    )
    monkeypatch.delenv("OMP_NUM_THREADS")
    process = fork(code, **({"OMP_NUM_THREADS": asked} if asked else {}))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert int(out) == threads


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PyTorch brings another OpenMP library elsewhere")
@pytest.mark.parametrize(
    "program",
    [
        "from charlstm.cli import main; main(['generate', 'checkpoints/tiny-shakespeare', '--num-chars', '1'])",
        "from charlstm.cli.standby import wait; wait()",
    ],
)
def test_threads_of_training_processes_soon_sleep(repository: Path, program: str) -> None:
    """By what OpenMP says of itself when PyTorch is imported."""
    variables = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    variables["OMP_DISPLAY_ENV"] = "verbose"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=repository, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert "GOMP_SPINCOUNT = '3000'" in done.stderr


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "passive"), ("GOMP_SPINCOUNT", "77")])
def test_how_threads_wait_is_left_to_whoever_chose_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(each, "")  # so that what the call sets is taken back
        monkeypatch.delenv(each)
    monkeypatch.setenv(name, value)
    limit_spinning()
    assert {each: os.environ.get(each) for each in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} == {
        "GOMP_SPINCOUNT": None, "OMP_WAIT_POLICY": None, name: value
    }  # fmt: skip
