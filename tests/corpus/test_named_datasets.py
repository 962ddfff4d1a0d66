"""The named corpora: fetched once, checked, and never replaced by something else that answers to the name."""

import argparse
import gc
import hashlib
import os
import socket
import struct
import threading
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from charlstm.corpus import DATASETS, datasets, decode, default_corpus, is_available_offline, open_corpus
from charlstm.errors import CorpusError

TEXT = "".join(f"line {number}: to be or not to be\n" for number in range(6000)).encode()  # several network reads
SHA256 = hashlib.sha256(TEXT).hexdigest()
# Where whoever runs the tests has the real text; the tests' own environment begins without it.
SHAKESPEARE_FOLDER = os.environ.get("CHARLSTM_CORPUS_DIR")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextmanager
def serving(answer):
    """A server on this machine that answers every request by `answer(handler)`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *arguments):
            """Nothing is written."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/input.txt"
        finally:
            server.shutdown()
            thread.join()


def sends(body, length=None):
    """An answer of status 200 with `body`, of which the header says that it has `length` bytes."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def remote_at(url):
    return datasets.RemoteFile(file_name="sample.txt", url=url, sha256=SHA256, num_bytes=len(TEXT))


def refusal(remote, folder):
    """The one sentence with which a download into `folder` fails, which leaves the folder as it was."""
    (folder / "other.txt").write_text("somebody's")
    (folder / "sample.txt").write_text("an older one")
    with pytest.raises(CorpusError) as caught:
        datasets.download(remote, folder / "sample.txt")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "other.txt": "somebody's",
        "sample.txt": "an older one",
    }
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert message.startswith("sample.txt ")
    assert "CHARLSTM_CORPUS_DIR" in message
    assert "python-reference" in message
    return message


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "texts"
    path.mkdir()
    return path


# --- downloading ---


def test_a_download_is_the_served_file_in_a_folder_made_for_it(tmp_path):
    with serving(sends(TEXT)) as url:
        datasets.download(remote_at(url), tmp_path / "new" / "cache" / "sample.txt")
    assert [path.name for path in (tmp_path / "new" / "cache").iterdir()] == ["sample.txt"]
    assert (tmp_path / "new" / "cache" / "sample.txt").read_bytes() == TEXT


def test_progress_rises_to_the_whole_size(folder):
    reports = []
    with serving(sends(TEXT)) as url:
        datasets.download(remote_at(url), folder / "sample.txt", lambda *report: reports.append(report))
    so_far = [num_bytes for num_bytes, _ in reports]
    assert len(so_far) > 2
    assert so_far == sorted(set(so_far))
    assert {total for _, total in reports} == {len(TEXT)}
    assert so_far[-1] == len(TEXT)


@pytest.mark.parametrize(
    "answer",
    [
        sends(TEXT.replace(b"5999", b"5998")),
        sends(TEXT[:-1]),
        sends(TEXT + b"\n"),
        sends(b""),
        sends(TEXT[: len(TEXT) // 2], length=len(TEXT)),
    ],
    ids=["another text", "a shorter text", "a longer text", "nothing", "cut off"],
)
def test_an_answer_that_is_not_the_known_text_is_refused(folder, answer):
    with serving(answer) as url:
        message = refusal(remote_at(url), folder)
    assert "did not arrive whole or is not the known text" in message or "can't be downloaded" in message


def test_an_endless_answer_is_not_read_to_the_end(folder):
    sent = []

    def answer(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(TEXT)
                sent.append(len(TEXT))
        except ConnectionError:
            handler.close_connection = True

    with serving(answer) as url:
        assert "not the known text" in refusal(remote_at(url), folder)
    assert len(sent) < 1000


def test_an_answer_of_404_is_refused_with_its_reason(folder):
    with serving(lambda handler: handler.send_error(404)) as url:
        assert "can't be downloaded (Not Found)" in refusal(remote_at(url), folder)


def test_a_failed_download_leaves_no_connection_open(folder):
    with serving(lambda handler: handler.send_error(404)) as url, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refusal(remote_at(url), folder)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_a_redirect_is_followed_and_its_end_checked(folder):
    def answer(handler):
        if handler.path == "/moved":
            return sends(TEXT)(handler)
        handler.send_response(302)
        handler.send_header("Location", "/moved")
        handler.send_header("Content-Length", "0")
        return handler.end_headers()

    with serving(answer) as url:
        datasets.download(remote_at(url), folder / "sample.txt")
    assert (folder / "sample.txt").read_bytes() == TEXT


def test_an_answer_that_is_no_http_is_refused(folder):
    with serving(lambda handler: handler.wfile.write(b"220 mail.example.org ready\r\n")) as url:
        assert "can't be downloaded" in refusal(remote_at(url), folder)


def test_a_connection_closed_without_an_answer_is_refused(folder):
    with serving(lambda _: None) as url:
        assert "can't be downloaded" in refusal(remote_at(url), folder)


def test_a_connection_reset_in_the_middle_is_refused_with_its_reason(folder):
    def answer(handler):
        sends(TEXT[: len(TEXT) // 2], length=len(TEXT))(handler)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.rfile.close()
        handler.connection.close()  # without lingering: a reset, not an end

    with serving(answer) as url:
        assert "reset" in refusal(remote_at(url), folder).lower()


def test_a_refused_connection_is_refused_with_its_reason(folder):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/input.txt"
        assert "refused" in refusal(remote_at(url), folder).lower()


def test_a_place_where_nothing_can_be_kept_is_named(folder):
    (folder / "file").write_text("in the way")
    with serving(sends(TEXT)) as url, pytest.raises(CorpusError) as caught:
        datasets.download(remote_at(url), folder / "file" / "sample.txt")
    assert "can't be kept in the user's cache folder" in str(caught.value)
    assert str(folder) not in str(caught.value), "a visitor of a page may read this"
    assert "\n" not in str(caught.value)
    assert (folder / "file").read_text() == "in the way"


# --- copies on this machine ---


@pytest.mark.parametrize(
    ("content", "is_used"),
    [(TEXT, True), (TEXT[::-1], False), (TEXT + b"\n", False), (TEXT[:-1], False), (None, False)],
    ids=["the text", "another of its size", "longer", "shorter", "none"],
)
def test_a_copy_in_the_named_folder_is_used_only_if_size_and_hash_agree(folder, monkeypatch, content, is_used):
    monkeypatch.setenv("CHARLSTM_CORPUS_DIR", str(folder))
    if content is not None:
        (folder / "sample.txt").write_bytes(content)
    requests = []

    def answer(handler):
        requests.append(handler.path)
        sends(TEXT)(handler)

    with serving(answer) as url:
        path = datasets.fetch(remote_at(url))
    assert (path == folder / "sample.txt") == is_used
    assert requests == ([] if is_used else ["/input.txt"])
    assert path.read_bytes() == TEXT
    if content is not None:
        assert (folder / "sample.txt").read_bytes() == content, "the person's folder is only read"


def test_what_was_fetched_once_is_found_again_without_the_network():
    with serving(sends(TEXT)) as url:
        first = datasets.fetch(remote_at(url))
    assert datasets.fetch(remote_at(url)) == first
    assert first.read_bytes() == TEXT
    assert Path(os.environ["XDG_CACHE_HOME"]) in first.parents, "in the user cache of this test"


def test_a_damaged_copy_in_the_cache_is_fetched_again():
    with serving(sends(TEXT)) as url:
        path = datasets.fetch(remote_at(url))
        path.write_bytes(TEXT[::-1])
        assert datasets.fetch(remote_at(url)) == path
    assert path.read_bytes() == TEXT


def test_the_named_folder_wins_over_the_cache(folder, monkeypatch):
    with serving(sends(TEXT)) as url:
        cached = datasets.fetch(remote_at(url))
    (folder / "sample.txt").write_bytes(TEXT)
    monkeypatch.setenv("CHARLSTM_CORPUS_DIR", str(folder))
    assert datasets.fetch(remote_at(url)) == folder / "sample.txt" != cached


# --- tiny-shakespeare ---


def test_shakespeare_is_the_known_text_over_https():
    remote = datasets.TINY_SHAKESPEARE
    assert remote.sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert remote.num_bytes == 1_115_394
    assert remote.url.startswith("https://")
    assert remote.url.endswith("/char-rnn/master/data/tinyshakespeare/input.txt")


def test_without_a_copy_of_shakespeare_the_default_needs_no_network():
    assert not is_available_offline("tiny-shakespeare")
    assert default_corpus() == "python-reference"


def test_another_file_of_shakespeares_name_and_size_is_not_taken_for_him(folder, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CORPUS_DIR", str(folder))
    (folder / "tiny-shakespeare.txt").write_bytes(b"x" * 1_115_394)
    assert not is_available_offline("tiny-shakespeare")
    assert default_corpus() == "python-reference"


def test_shakespeare_is_fetched_at_first_use_and_the_default_from_then_on(monkeypatch):
    reports = []
    with serving(sends(TEXT)) as url:
        stand_in = datasets.RemoteFile("tiny-shakespeare.txt", url, SHA256, len(TEXT))
        monkeypatch.setattr(datasets, "TINY_SHAKESPEARE", stand_in)  # the real one is on another machine
        assert not is_available_offline("tiny-shakespeare")
        corpus = open_corpus("tiny-shakespeare", report=lambda *report: reports.append(report))
    assert (corpus.name, corpus.text, corpus.notes) == ("tiny-shakespeare", TEXT.decode(), ())
    assert reports[-1] == (len(TEXT), len(TEXT))
    assert is_available_offline("tiny-shakespeare")
    assert default_corpus() == "tiny-shakespeare"
    assert open_corpus("tiny-shakespeare") == corpus


@pytest.mark.skipif(not SHAKESPEARE_FOLDER, reason="needs the text in a folder that CHARLSTM_CORPUS_DIR names")
def test_the_real_shakespeare_has_the_known_facts(monkeypatch):
    monkeypatch.setenv("CHARLSTM_CORPUS_DIR", SHAKESPEARE_FOLDER)
    assert default_corpus() == "tiny-shakespeare"
    corpus = open_corpus("tiny-shakespeare")
    assert len(corpus.text) == 1_115_394
    assert len(corpus.frequencies) == 65
    assert corpus.sha256 == datasets.TINY_SHAKESPEARE.sha256
    assert corpus.text.startswith("First Citizen:\nBefore we proceed any further")


# --- what every Python brings along ---


def test_every_named_corpus_is_described():
    assert set(DATASETS) == {"tiny-shakespeare", "python-reference", "python-stdlib"}


@pytest.mark.parametrize("name", ["python-reference", "python-stdlib"])
def test_what_python_brings_along_is_at_hand_the_same_each_time_and_clean_text(name):
    assert is_available_offline(name)
    data = datasets.corpus_bytes(name)
    assert datasets.corpus_bytes(name) == data
    text, notes = decode(data, name)
    assert notes == ()
    assert open_corpus(name).text == text
    assert open_corpus(name).name == name


def test_the_reference_holds_the_grammar_of_python():
    text = open_corpus("python-reference").text
    assert len(text) > 300_000
    assert "lambda_expr" in text
    assert "while_stmt" in text
    assert len(set(text)) > 80


def test_the_library_is_all_of_its_top_level_source_in_order_but_for_what_its_building_wrote():
    text = datasets.corpus_bytes("python-stdlib")
    source = (path for path in Path(os.__file__).parent.iterdir() if path.suffix == ".py")
    files = sorted(path for path in source if "sysconfigdata" not in path.name)
    assert len(text) > 2_000_000
    assert len(text) == sum(file.stat().st_size for file in files) + len(files) - 1, "one newline between two"
    assert text.startswith(files[0].read_bytes())
    assert text.endswith(files[-1].read_bytes())
    assert Path(argparse.__file__).read_bytes() in text
    assert b"build_time_vars = {" not in text, "what tells of the machine that built this Python"


def test_the_library_is_the_same_text_where_its_lines_end_as_on_windows(tmp_path, monkeypatch):
    for name, source in (("b.py", b"two = 2\r\n"), ("_a.py", b"one = 1\r\n\r\n"), ("C.py", b"three = 3\n")):
        (tmp_path / name).write_bytes(source)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(tmp_path)})
    assert datasets.corpus_bytes("python-stdlib") == b"three = 3\n\none = 1\n\n\ntwo = 2\n"
