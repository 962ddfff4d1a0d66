"""Whoever leaves while a text is written costs nothing any more: the server notices, and the writing ends."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from charlstm.config import SampleConfig
from charlstm.ui.generation import SETTINGS

MODEL = "tiny-shakespeare"


@dataclass
class Served:
    """An app in a process of its own that tells how many write."""

    process: subprocess.Popen[str]
    url: str

    def num_writing(self) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def function(self, name: str) -> int:
        """The number by which the page calls one of its functions."""
        with urllib.request.urlopen(f"{self.url}config", timeout=60) as answer:
            (number,) = [each["id"] for each in json.load(answer)["dependencies"] if each["api_name"] == name]
        return int(number)

    def posted(self, path: str, values: dict[str, Any]) -> Any:
        address, headers = f"{self.url}gradio_api/{path}", {"Content-Type": "application/json"}
        request = urllib.request.Request(address, json.dumps(values).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stream(self, path: str) -> Any:
        return urllib.request.urlopen(f"{self.url}gradio_api/{path}", timeout=60)


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("models")
    (root / MODEL).symlink_to(repository / "checkpoints" / MODEL)
    paths = {"GRADIO_TEMP_DIR": str(root / "gradio"), "PYTHONPATH": str(repository)}
    program = [sys.executable, str(repository / "tests" / "ui" / "counted_app.py"), str(root)]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **paths}
    ) as process:
        assert process.stdout is not None
        yield Served(process, process.stdout.readline().strip())
        process.kill()


def read_texts(stream: HTTPResponse, number: int) -> None:
    """Until so many messages have come with more of the text."""
    while number:
        line = stream.readline()
        assert line, "the stream ended"
        number -= b"texts" in line


def test_a_page_that_is_closed_ends_its_writing(served: Served) -> None:
    settings = SampleConfig(num_chars=0).model_dump()  # without an end
    asked = [False, None, "ROMEO:", "", "", "", *(settings[name] for name in SETTINGS)]  # as on a new page
    served.posted("queue/join", {"data": asked, "fn_index": served.function("write"), "session_hash": "left"})
    with served.stream("queue/data?session_hash=left") as stream:
        read_texts(stream, 2)
        assert served.num_writing() == 1
    wait_until(lambda: served.num_writing() == 0, timeout=30)


def test_a_program_that_hangs_up_ends_its_writing(served: Served) -> None:
    event = served.posted("call/v2/generate", {"model": MODEL, "num_chars": 1_000_000})["event_id"]
    with served.stream(f"call/generate/{event}") as stream:
        read_texts(stream, 2)
        assert served.num_writing() == 1
    wait_until(lambda: served.num_writing() == 0, timeout=30)
