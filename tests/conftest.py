"""What many tests share: the repository's place, small texts, and an environment that touches nothing outside."""

import os
from pathlib import Path

import pytest

# Before gradio or huggingface_hub is imported anywhere: no telemetry, no network.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
# One thread, here and in every process a test starts: threads that wait for each other on a busy machine cost minutes.
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).resolve().parents[1]


_LONGEST = ("tests/ui/test_training.py", "tests/test_distributed.py", "tests/ui/", "tests/integration/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first, so that both processes have something to do until the end."""

    def place(item: pytest.Item) -> int:
        return next((place for place, start in enumerate(_LONGEST) if item.nodeid.startswith(start)), len(_LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def _kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session compiles the recurrence, once for all the processes that its tests start."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    _kernels: Path,
) -> None:
    """A user cache of the test's own, so that nothing is found in or written to the person's."""
    monkeypatch.delenv("CHARLSTM_CORPUS_DIR", raising=False)
    if request.module.__name__ == "test_kernel_build":  # whose subject is that cache
        monkeypatch.setenv("XDG_CACHE_HOME", str(request.getfixturevalue("tmp_path") / "cache"))
        return
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    if os.name == "posix":
        (cache / "charlstm").mkdir()
        (cache / "charlstm" / "kernels").symlink_to(_kernels)


@pytest.fixture(scope="session")
def pangrams() -> str:
    """A few thousand characters with plain structure, that a tiny model learns something from in seconds."""
    lines = ("the quick brown fox jumps over the lazy dog.", "pack my box with five dozen liquor jugs!")
    return "".join(f"{lines[number % 2]}\n" for number in range(100))
