"""Variables that end an import or a start in other programs of this kind, each in a process of its own or before it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from charlstm import process_setup
from charlstm.environment import GRADIO_SERVER_PORT, TRASH_DAYS
from charlstm.errors import ConfigError
from charlstm.formatting import without_places
from charlstm.proxy_cleanup import prepare_proxies
from charlstm.ui.gradio_import import prepare_for_gradio

PROXIES = [each for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for each in (name, name.upper())]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "GRADIO_TEMP_DIR", "GRADIO_SERVER_PORT", "GRADIO_NUM_PORTS", "CHARLSTM_TRASH_DAYS"):
        monkeypatch.setenv(name, "")  # so that what a test leaves behind is taken back as well
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARLSTM_MAX_RUNS", "0"),
        ("GRADIO_NUM_PORTS", "x"),
        ("HF_HUB_ETAG_TIMEOUT", "abc"),
        ("CHARLSTM_ALLOWED_HOSTS", "*.example.org"),
        ("TQDM_MININTERVAL", "abc"),
        ("GRADIO_NODE_NUM_PORTS", "x"),
        ("WEB_CONCURRENCY", "1.5"),
    ],
)
def test_no_variable_is_left_for_gradio_to_stumble_over(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=rf"{name} is '{re.escape(value)}'; it must be"):
        prepare_for_gradio()


def test_the_app_says_so_in_one_sentence(repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "app.py"], cwd=repository, env={**os.environ, "GRADIO_SERVER_PORT": "abc"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert (
        done.stderr == "the environment variable GRADIO_SERVER_PORT is 'abc'; it must be a whole number up to 65535.\n"
    )


@pytest.mark.parametrize(("name", "reason"), [("missing", "No such file or directory"), ("words", "no certificates")])
def test_certificates_that_can_not_be_read_are_told_before_anything_is_asked(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words").write_text("none", encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
    with pytest.raises(ConfigError, match=rf"SSL_CERT_FILE='.*{name}' can't be read \({reason}\); name others or none"):
        process_setup.check_certificates()
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path / 'missing'}{os.pathsep}{tmp_path}")
    process_setup.check_certificates()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="SSL_CERT_DIR"):
        process_setup.check_certificates()


@pytest.mark.parametrize("value", ["", "abc"])
def test_no_command_ends_over_a_number_of_a_library(value: str, repository: Path) -> None:
    command = [sys.executable, "-m", "charlstm", "generate", "checkpoints/tiny-shakespeare", "--num-chars", "5"]
    done = subprocess.run(
        command, cwd=repository, env={**os.environ, "TQDM_NCOLS": value},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    said = "the environment variable TQDM_NCOLS is 'abc'; it must be a whole number.\n"
    assert (done.returncode, done.stderr) == ((2, said) if value else (0, ""))


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", " ")
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "")
    monkeypatch.setenv("CHARLSTM_TRASH_DAYS", "")
    prepare_for_gradio()
    assert not {"GRADIO_SERVER_PORT", "HF_HUB_ETAG_TIMEOUT"} & set(os.environ)
    assert TRASH_DAYS.read() == 30


ODD = [
    ({"http_proxy": "http://127.0.0.1:9"}, {"http_proxy"}),
    ({"HTTP_PROXY": "127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}, {"HTTP_PROXY", "https_proxy"}),
    ({"ALL_PROXY": "socks5://127.0.0.1:9"}, set()),
    ({"all_proxy": "socks://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}, {"http_proxy"}),
    ({"http_proxy": "http://127.0.0.1:notaport"}, set()),
    ({"http_proxy": "ftp://127.0.0.1"}, set()),
    ({"http_proxy": "http://127.0.0.1:9", "no_proxy": "[::1], ,example.org:x,*.corp,10.0.0.0/8"}, {"http_proxy"}),
    ({"no_proxy": "http://[bad"}, set()),
    ({"http_proxy": "http://127.0.0.1:9", "NO_PROXY": "*"}, {"http_proxy"}),
]


@pytest.mark.parametrize(("given", "kept"), ODD)
def test_whatever_proxies_are_set_requests_can_be_made_and_this_machine_is_asked_directly(
    given: dict[str, str], kept: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import urllib.request

    import httpx

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    prepare_proxies()
    assert {name for name in PROXIES if name in os.environ and "no_proxy" not in name.lower()} == kept
    dropped = {name for name in given if "no_proxy" not in name.lower()} - kept
    said = [record.getMessage() for record in caplog.records if record.name == "charlstm.proxy_cleanup"]
    assert len(said) == len(dropped)
    assert all(any(each.startswith(f"{name} names") for each in said) for name in dropped)
    with httpx.Client(verify=False) as client:
        for host in ("127.0.0.1", "localhost", "[::1]"):
            url = httpx.URL(f"http://{host}:7860/")
            assert client._transport_for_url(url) is client._transport
            assert urllib.request.proxy_bypass(host.strip("[]")) or "*" in os.environ["no_proxy"] or not kept


def test_where_no_proxy_is_set_nothing_changes() -> None:
    prepare_proxies()
    assert not any(name in os.environ for name in PROXIES)


def test_uploads_go_to_a_folder_that_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prepare_for_gradio()
    assert "GRADIO_TEMP_DIR" not in os.environ  # Gradio's own name for it
    assert (tmp_path / "gradio").stat().st_mode & 0o077 == 0
    (tmp_path / "gradio").chmod(0o777)
    prepare_for_gradio()
    chosen = Path(os.environ["GRADIO_TEMP_DIR"])
    assert chosen.parent == tmp_path
    assert chosen.stat().st_mode & 0o777 == 0o700
    (tmp_path / "gradio").rmdir()
    (tmp_path / "gradio").symlink_to(chosen)
    monkeypatch.delenv("GRADIO_TEMP_DIR")
    prepare_for_gradio()
    assert Path(os.environ["GRADIO_TEMP_DIR"]) != chosen


def test_a_named_folder_that_can_not_be_written_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "folder"))
    with pytest.raises(ConfigError, match="GRADIO_TEMP_DIR"):
        prepare_for_gradio()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('  File "/opt/my python/lib/x.py", line 3, in f', '  File ".../x.py", line 3, in f'),
        ("no such file: '/home/u/my texts/a.txt'", "no such file: '.../a.txt'"),
        ("run x, in /srv/data/runs/x", "run x, in .../x"),
        (r"C:\Users\Me\a.txt is gone", ".../a.txt is gone"),
        (r"'C:\Users\Me Too\a.txt'", "'.../a.txt'"),
        ("--corpus=/data/x/y.txt (/srv/a/b)", "--corpus=.../y.txt (.../b)"),
        ("see https://huggingface.co/a/b and http://127.0.0.1:7860/x", None),
        ("user/model, a/b/c and/or 1/2 nats", None),
    ],
)
def test_a_text_for_a_page_names_files_and_not_where_they_lie(text: str, shown: str | None) -> None:
    assert without_places(text) == (text if shown is None else shown)


def test_a_traceback_of_this_package_shows_no_folder(repository: Path) -> None:
    import traceback

    try:
        GRADIO_SERVER_PORT.parse_text("x")
    except ConfigError:
        said = without_places(traceback.format_exc())
    assert "environment.py" in said
    for place in (repository, Path(sys.prefix), Path.home()):
        assert len(str(place)) < 2 or str(place) not in said


def _environment_after_preparing(repository: Path, **environment: str) -> dict[str, str]:
    program = (
        "import json, os; from charlstm.process_setup import prepare_environment; prepare_environment(); "
        "print(json.dumps(dict(os.environ)))"
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "HF_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True,
        env={**kept, **environment},
    )  # fmt: skip
    return dict(json.loads(done.stdout))


def test_caches_find_a_place_where_the_home_can_not_be_written(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_bytes(b"")
    home = str(tmp_path / "no-folder" / "home")
    found = _environment_after_preparing(repository, HOME=home, TMPDIR=str(tmp_path))
    assert Path(found["XDG_CACHE_HOME"]).is_relative_to(tmp_path)
    assert Path(found["HF_HOME"]).is_relative_to(tmp_path)


def test_a_home_that_can_be_written_stays_the_place_of_caches(repository: Path, tmp_path: Path) -> None:
    found = _environment_after_preparing(repository, HOME=str(tmp_path))
    assert "XDG_CACHE_HOME" not in found
    assert "HF_HOME" not in found
    assert "HF_HUB_DISABLE_IMPLICIT_TOKEN" not in found


def test_on_a_space_no_login_is_used_that_nobody_named(repository: Path, tmp_path: Path) -> None:
    found = _environment_after_preparing(repository, HOME=str(tmp_path), SPACE_ID="owner/space")
    assert found["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
