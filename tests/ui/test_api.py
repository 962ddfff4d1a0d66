"""The page's public functions: pinned, used as docs/api.md says, by many at once; and everything else, called raw."""

import asyncio
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from forked import Fork
from page_app import App

from charlstm import LanguageModel, SampleConfig
from charlstm.generation.holds import Hold

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "integration"))
from crowd import crowd  # noqa: E402

API = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
MODEL = "tiny-shakespeare"
PARAMETERS = {
    "/generate": [
        ("model", "string", None),
        ("prompt", "string", ""),
        ("num_chars", "integer", 500),
        ("temperature", "number", 0.8),
        ("top_k", "integer", 0),
        ("top_p", "number", 1.0),
        ("no_repeat", "integer", 0),
        ("stop", "string", ""),
        ("num_samples", "integer", 1),
        ("seed", "integer", 1),
        ("hold", "string", ""),
        ("mix", "string", ""),
        ("mix_weight", "number", 0.5),
        ("read", "string", ""),
        ("read_weight", "number", 1.0),
        ("learn", "boolean", False),
    ],
    "/score": [("model", "string", None), ("text", "string", None)],
    "/models": [],
    "/units": [("model", "string", None)],
    "/trace": [("model", "string", None), ("text", "string", None), ("units", "string", None)],
    "/explain": [("model", "string", None), ("text", "string", None), ("place", "integer", None)],
    "/similar": [("model", "string", None), ("text", "string", None), ("place", "integer", None)],
    "/train": [
        ("text", "string", ""),
        ("corpus", "string", ""),
        ("preset", "string", "minute"),
        ("minutes", "number", 0),
        ("begin_with", "string", ""),
        ("settings", None, None),
        ("token", "string", ""),
    ],
    "/watch": [("run", "string", None), ("seconds", "number", 20), ("token", "string", "")],
    "/steer": [("run", "string", None), ("action", "string", None), ("token", "string", "")],
    "/export": [("model", "string", None), ("kind", "string", "page"), ("title", "string", "")],
}


@pytest.fixture(scope="module")
def known() -> LanguageModel:
    return LanguageModel.load(REPOSITORY / "checkpoints" / MODEL)


def fetched(url: str, values: dict[str, Any] | None = None) -> Any:
    data = None if values is None else json.dumps(values).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_public_functions_are_these_and_tell_what_they_do(app: App) -> None:
    api = fetched(f"{app.url}gradio_api/info")
    assert api["unnamed_endpoints"] == {}
    found = {
        name: [
            (each["parameter_name"], each["type"].get("type"), each["parameter_default"])
            for each in about["parameters"]
        ]
        for name, about in api["named_endpoints"].items()
    }
    assert found == PARAMETERS
    assert all(about["description"] for about in api["named_endpoints"].values())


def test_the_documented_python_client_works_as_it_stands(app: App, known: LanguageModel, fork: Fork) -> None:
    code, _ = re.findall(r"```py\n(.*?)```", API, re.DOTALL)
    assert "http://127.0.0.1:7860" in code
    client = fork(code.replace("http://127.0.0.1:7860", app.url.rstrip("/")))
    printed, complaint = client.communicate(timeout=100)
    assert client.returncode == 0, complaint
    assert known.generate("ROMEO:", SampleConfig(num_chars=200, seed=7)) in printed
    assert float(printed.splitlines()[-1]) == pytest.approx(known.score("To be, or not to be").bpc)
    assert MODEL in printed


def test_the_documented_curl_works_as_it_stands(app: App, known: LanguageModel) -> None:
    (script,) = re.findall(r"```bash\n(URL=.*?)```", API, re.DOTALL)
    done = subprocess.run(
        ["bash", "-euc", script.replace("http://127.0.0.1:7860", app.url.rstrip("/"))],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("data: ")
    (message,) = json.loads(last.removeprefix("data: "))
    assert message == {
        "opening": "",
        "texts": [known.generate("ROMEO:", SampleConfig(num_chars=200, seed=7))],
        "seed": 7,
        "is_done": True,
    }


def test_a_held_unit_is_held(app: App, known: LanguageModel) -> None:
    asked = {"model": MODEL, "prompt": "ROMEO:", "num_chars": 60, "hold": "710=3.1"}
    held = known.generate("ROMEO:", SampleConfig(num_chars=60), (Hold(710, 3.1),))
    assert json.loads(answer(app, "generate", asked).removeprefix("data: "))[0]["texts"] == [held]
    assert held != known.generate("ROMEO:", SampleConfig(num_chars=60))


def test_a_text_is_read_first_for_who_sent_it_alone(app: App, known: LanguageModel) -> None:
    song = "ZORBLAX:\nThe silver lantern burns for Fenwick.\n\n" * 8
    asked, config = {"model": MODEL, "prompt": "ZORB", "num_chars": 50}, SampleConfig(num_chars=50)
    for more in ({"read": song}, {"read": song, "read_weight": 0.5}, {"read": song, "learn": True}, {}):
        told = json.loads(answer(app, "generate", asked | more).removeprefix("data: "))[0]["texts"][0]
        weight = more.get("read_weight", 1.0)
        reading = known.read(song, is_learning="learn" in more) if more else ""
        assert told == known.generate("ZORB", config, read=reading, read_weight=weight)


def test_of_many_visitors_at_once_each_gets_its_own_text(app: App, known: LanguageModel) -> None:
    """The same to the character as alone; how long it takes is measured by tests/integration/crowd.py."""
    asked = {"model": MODEL, "prompt": "ROMEO:", "num_chars": 120}
    with ThreadPoolExecutor(1) as aside:  # where no browser's event loop runs
        visits = aside.submit(lambda: asyncio.run(crowd(app.url, 24, asked))).result()
    alone = [known.generate("ROMEO:", SampleConfig(num_chars=120, seed=seed)) for seed in range(24)]
    assert [each.text for each in visits] == alone


def answer(app: App, name: str, values: dict[str, Any]) -> str:
    """The last line that function `name` answers, an error or a result."""
    event = fetched(f"{app.url}gradio_api/call/v2/{name}", values)["event_id"]
    with urllib.request.urlopen(f"{app.url}gradio_api/call/{name}/{event}", timeout=60) as lines:
        return lines.read().decode().strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("generate", {"model": "../tiny-shakespeare"}, "no longer there"),
        ("generate", {"model": MODEL, "prompt": "漢"}, "U+6F22"),
        ("generate", {"model": MODEL, "prompt": "x" * 1_000_000}, "at most 100,000"),
        ("generate", {"model": MODEL, "num_chars": -1}, "num_chars is -1"),
        ("generate", {"model": MODEL, "num_chars": 0}, "from 1 to 100,000"),
        ("generate", {"model": MODEL, "num_chars": 10**40}, "num_chars is"),
        ("generate", {"model": MODEL, "temperature": 1e300}, "emperature is 1e+300"),
        ("generate", {"model": MODEL, "num_samples": "many"}, "num_samples is 'many'"),
        ("generate", {"model": {"a": 1}}, "must be texts"),
        ("generate", {"model": MODEL, "hold": "1"}, "710=3.1"),
        ("generate", {"model": MODEL, "hold": "768=1"}, "0 to 767"),
        ("generate", {"model": MODEL, "read": "a" * 100_001}, "100,001 characters; at most 100,000 are remembered"),
        ("generate", {"model": MODEL, "read": "a" * 20_001, "learn": True}, "at most 20,000 are learned"),
        ("generate", {"model": MODEL, "read": "漢"}, "no text to read"),
        ("generate", {"model": MODEL, "read": "a", "read_weight": 3}, "from 0 to 2"),
        ("generate", {"model": MODEL, "read": "a", "mix": "python-stdlib"}, "read by one model"),
        ("score", {"model": MODEL, "text": ""}, "no text"),
        ("score", {"model": MODEL, "text": "x" * 20_001}, "at most 20,000"),
        ("score", {"model": None, "text": [1]}, "must be texts"),
    ],
)
def test_a_bad_request_gets_a_sentence_and_the_app_goes_on(
    app: App, name: str, values: dict[str, Any], said: str
) -> None:
    last = answer(app, name, values)
    assert said in json.loads(last.removeprefix("data: "))["error"]
    assert "Traceback" not in last
    assert "complete" not in last


def test_a_damaged_model_is_said_and_the_others_write_on(app: App) -> None:
    folder = app.checkpoints_dir / "damaged"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\x80\x02nonsense" * 9)
    try:
        assert "damaged/model.safetensors" in answer(app, "generate", {"model": "damaged"})
        listed = json.loads(answer(app, "models", {}).removeprefix("data: "))[0]
        assert {each["name"] for each in listed} >= {"damaged", MODEL}
        assert str(app.checkpoints_dir) not in json.dumps(listed)
        assert '"is_done": true' in answer(app, "generate", {"model": MODEL, "num_chars": 5})
    finally:
        (folder / "model.safetensors").unlink()
        folder.rmdir()
    assert "no longer there" in answer(app, "generate", {"model": "damaged"})


def test_a_page_that_was_open_before_the_app_was_started_anew_is_served(app: App, known: LanguageModel) -> None:
    """As such a page asks: with a model from a list that this process never sent it."""
    config = fetched(f"{app.url}config")
    function = next(each for each in config["dependencies"] if each["api_name"] == "write")
    props = {each["id"]: each["props"] for each in config["components"]}
    given = {"Model": MODEL, "Prompt": "ROMEO:", "Length": 80}
    values = [given.get(props[number].get("label"), props[number].get("value")) for number in function["inputs"]]
    values[0] = False  # the seed that is given, not a new one
    said = _said(app, function["id"], values, "as-before")
    assert "process_completed" in said
    assert json.dumps(known.generate("ROMEO:", SampleConfig(num_chars=80)))[-12:-1] in said


def _said(app: App, function: int, values: list[Any], session: str) -> str:
    """All that the page's own function says to a session."""
    fetched(f"{app.url}gradio_api/queue/join", {"data": values, "fn_index": function, "session_hash": session})
    with urllib.request.urlopen(f"{app.url}gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        return "".join(line.decode() for line in iter(stream.readline, b"") if _tells(line))


def test_private_functions_called_raw_do_no_harm(app: App) -> None:
    """Every one of them, with nonsense: the app answers afterwards, and no message shows a path or a traceback."""
    functions = fetched(f"{app.url}config")["dependencies"]
    nonsense: list[Any] = ["../../etc/passwd", -(10**30), {"texts": [{"text": "x"}]}, None]
    harmless = [each for each in functions if not each["js"] and "start" not in str(each["api_name"])]
    assert len(harmless) > 10
    for number, function in enumerate(harmless):
        values = [nonsense[(number + place) % len(nonsense)] for place in range(len(function["inputs"]))]
        session = f"raw{number}"
        try:
            said = _said(app, function["id"], values, session)
        except urllib.error.HTTPError as refused:
            refused.close()
            continue
        assert "Traceback" not in said
        assert str(app.checkpoints_dir) not in said
    assert '"is_done": true' in answer(app, "generate", {"model": MODEL, "num_chars": 5})


def _tells(line: bytes) -> bool:
    return line.startswith(b"data:")
