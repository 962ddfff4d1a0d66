"""Compiling the recurrence at first use: whatever stands in the way, nobody gets an error, and nobody waits twice."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forked import Fork, Forked

from charlstm.kernel import build
from charlstm.kernel import lstm as kernel

pytestmark = pytest.mark.skipif(build.load_library() is None, reason="there is no C compiler here")

# Whether it is there, and a hidden state after one step from zeros, all gates at 0 but g at 1: tanh(tanh(1) / 2) / 2
ASK = """
import math, torch, warnings
from charlstm.kernel import lstm as kernel
from charlstm.config import ModelConfig, TrainConfig
from charlstm.training.optim import resolve_dtype
from charlstm.model import CharLSTM
warnings.simplefilter("error")
available = kernel.is_available(torch.float32, 16)
if available:
    inputs = torch.zeros(1, 64)
    inputs[:, 32:48] = 1.0
    zeros = torch.zeros(1, 16)
    hidden, _ = kernel.lstm_layer(inputs, torch.zeros(1, 1, dtype=torch.int64), torch.zeros(64, 16), zeros, zeros)
    assert abs(hidden[0, 0, 0].item() - math.tanh(math.tanh(1) / 2) / 2) < 1e-6
else:
    assert resolve_dtype("auto", torch.device("cpu"), 16) == torch.float32
    logits, _ = CharLSTM(5, ModelConfig(hidden_size=16))(torch.zeros(9, 2, dtype=torch.int64))
    assert logits.shape == (9, 2, 5)
print(available)
"""

Ask = Callable[..., Forked]


@pytest.fixture
def compiled(_kernels: Path) -> Path:
    """What the compiler of this machine made of the sources as this session began."""
    return _kernels / f"lstm-{build._fingerprint(build._compiler() or ())}.so"


@pytest.fixture
def stand_in(compiled: Path, tmp_path: Path) -> Path:
    """A compiler that takes no time: it notes what it was asked for, and hands out what a real one has made."""
    script = tmp_path / "stand-in"
    lines = (
        f"echo \"$@\" >> '{tmp_path / 'asked'}'",
        'while [ "$1" != -o ]; do shift; done',
        f"cp '{compiled}' \"$2\"",
    )
    script.write_text("\n".join(("#!/bin/sh", *lines, "")))
    script.chmod(0o755)
    return script


@pytest.fixture
def ask(fork: Fork, tmp_path: Path, stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Starts a process that looks for the kernel, in an environment of its own."""
    for name in ("CC", "CHARLSTM_KERNEL"):
        monkeypatch.delenv(name, raising=False)

    def start(**environment: str) -> Forked:
        private = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
        (tmp_path / "tmp").mkdir(exist_ok=True)
        if not {"PATH", "CC"} & environment.keys():
            private["CC"] = str(stand_in)
        return fork(ASK, **{**private, **environment})

    return start


def answer(process: Forked) -> bool:
    """Whether it had the kernel; it had nothing else to say."""
    out, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    return {"True\n": True, "False\n": False}[out]


def kernels(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*.so"))


def asked(tmp_path: Path) -> list[str]:
    """What the stand-in was called with, call by call."""
    return (tmp_path / "asked").read_text(encoding="utf-8").splitlines()


def test_what_the_compiler_of_this_machine_makes_is_loaded_and_computes(fork: Fork, compiled: Path):
    before = compiled.stat()
    assert before.st_size > 0
    assert answer(fork(ASK, XDG_CACHE_HOME=str(compiled.parents[2])))
    assert compiled.stat().st_mtime_ns == before.st_mtime_ns


def test_it_is_compiled_once_and_then_only_loaded(ask: Ask, tmp_path: Path):
    assert answer(ask())
    (call,) = asked(tmp_path)
    assert call.startswith(" ".join(build._FLAGS))
    assert call.endswith("kernel.c -lm")
    (compiled,) = kernels(tmp_path)
    os.utime(compiled, (1, 1))
    before = compiled.stat()
    assert answer(ask())
    after = compiled.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert kernels(tmp_path) == [compiled]
    assert {path.name for path in compiled.parent.iterdir()} == {compiled.name, f"{compiled.name}.sha256"}
    assert asked(tmp_path) == [call]


def test_two_processes_that_compile_at_once_both_work(ask: Ask, tmp_path: Path):
    both = [ask(), ask()]
    assert [answer(each) for each in both] == [True, True]
    assert len(kernels(tmp_path)) == 1


def test_a_cache_that_cannot_be_written_to_is_done_without(ask: Ask, tmp_path: Path):
    """A file where its folder should be holds off even a superuser."""
    (tmp_path / "file").write_text("")
    assert answer(ask(XDG_CACHE_HOME=str(tmp_path / "file")))
    assert len(asked(tmp_path)) == 1
    assert list((tmp_path / "tmp").iterdir()) == [], "what it compiled for itself alone was left behind"


def test_a_damaged_file_in_the_cache_is_passed_over(ask: Ask, tmp_path: Path):
    assert answer(ask())
    (compiled,) = kernels(tmp_path)
    compiled.write_bytes(b"")
    assert answer(ask())
    assert compiled.stat().st_size > 0
    assert len(asked(tmp_path)) == 2


@pytest.mark.parametrize(
    "environment",
    [{"PATH": ""}, {"CHARLSTM_KERNEL": "off"}, {"CHARLSTM_KERNEL": "OFF"}, {"CC": "false"}],
    ids=["no compiler", "off", "OFF", "a compiler that fails"],
)
def test_without_a_kernel_pytorch_does_the_work_and_nothing_is_left_behind(
    ask: Ask, tmp_path: Path, environment: dict[str, str]
):
    assert not answer(ask(**environment))
    assert kernels(tmp_path) == []
    assert [path for path in (tmp_path / "tmp").iterdir() if path.name.startswith("charlstm")] == []
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_neither_cache_nor_folder_for_temporary_files_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", refused)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert build.load_library.__wrapped__() is None


def test_a_compiler_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(build, "_compiler", lambda: ("/bin/sh", "-c", f"sleep 30; touch {tmp_path / 'its end'}"))
    assert build.load_library.__wrapped__() is None
    assert not (tmp_path / "its end").exists()


def test_another_source_another_processor_another_file(monkeypatch: pytest.MonkeyPatch):
    """What was compiled from other sources, by another compiler or for other instructions is never loaded."""
    names = {build._fingerprint(("cc",)), build._fingerprint(("clang",))}
    monkeypatch.setattr(build, "_features", lambda: "another processor")
    names.add(build._fingerprint(("cc",)))
    monkeypatch.setattr(build, "_SOURCES", build._SOURCES[:2])
    names.add(build._fingerprint(("cc",)))
    assert len(names) == 4


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 40), (torch.bfloat16, 250), (torch.float64, 16)])
def test_nothing_is_compiled_for_what_it_is_not_for(
    dtype: torch.dtype, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "load_library", lambda: pytest.fail("compiled for nothing"))
    assert not kernel.is_available(dtype, size)


@pytest.mark.parametrize(("has_tools", "found"), [(True, True), (False, False)])
def test_apples_compiler_is_called_only_where_its_tools_are_installed(
    has_tools: bool, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them the call would open a dialog that asks the person to install them."""
    asked: list[list[str]] = []

    def answered(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0 if has_tools else 2)

    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build.sys, "platform", "darwin")
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(build.subprocess, "run", answered)
    monkeypatch.setitem(sys.modules, "ziglang", None)
    assert build._compiler() == (("/usr/bin/cc",) if found else None)
    assert {tuple(each) for each in asked} == {("/usr/bin/xcode-select", "-p")}
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/opt/homebrew/bin/{name}")
    assert build._compiler() == ("/opt/homebrew/bin/cc",)


def test_a_missing_compiler_is_said_with_what_brings_one_but_not_where_none_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CHARLSTM_KERNEL", raising=False)
    assert build.compiler_note() == "", "there is one here"
    monkeypatch.setattr(build, "_compiler", lambda: None)
    assert "pip install ziglang" in build.compiler_note()
    monkeypatch.setenv("CHARLSTM_KERNEL", "off")
    assert build.compiler_note() == ""
