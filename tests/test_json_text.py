"""JSON from anybody's hand: what is JSON is read in any encoding, what is none is told in a few words."""

from pathlib import Path

import pytest
from commands import TINY, assert_one_sentence, run

from charlstm.json_text import LARGEST_FILE, parse_json, read_small
from charlstm.runs.control import Control, Mailbox, WorkerStatus
from charlstm.runs.manager import RunManager
from charlstm.runs.store import RunStore

TEXT = '{"a": 1, "ü": [1.5, null]}\r\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_it_is_read_as_whichever_editor_saved_it(encoding: str) -> None:
    assert parse_json(TEXT.encode(encoding)) == {"a": 1, "ü": [1.5, None]}


def test_utf16_of_the_other_byte_order_is_read() -> None:
    assert parse_json(b"\xfe\xff" + TEXT.encode("utf-16-be")) == {"a": 1, "ü": [1.5, None]}


BROKEN = {
    "empty": b"",
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "a name twice": b'{"hidden_size": 8, "hidden_size": 9}',
    "a huge number": b'{"hidden_size": ' + b"9" * 10_000 + b"}",
    "not UTF-8": b'{"\xff": 1}',
    "half of UTF-16": b"\xff\xfe{",
    "zeros": bytes(500),
    "trailing": b"{} {}",
}
NO_SETTINGS = {
    "a list": b"[]",
    "a text": b'"x"',
    "a number": b"1",
    "null": b"null",
    "not a number": b'{"hidden_size": NaN}',
    "infinite": b'{"max_minutes": Infinity}',
    "as large as a float": b'{"max_minutes": 1e400}',
    "control characters": b'{"a\\u001b[31m\\nb": 1}',
    "a name of many characters": b'{"' + b"n" * 100_000 + b'": 1}',
    "large": b'{"corpus": "' + b"x" * LARGEST_FILE + b'"}',
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_none_is_told_in_a_few_words(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[ -~]{5,200}$"):
        parse_json(data)


def test_a_file_that_should_be_small_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 11)
    assert read_small(tmp_path / "file", 11) == b"x" * 11
    with pytest.raises(ValueError, match="more than 10 bytes"):
        read_small(tmp_path / "file", 10)


@pytest.mark.parametrize("data", [*BROKEN.values(), *NO_SETTINGS.values()], ids=[*BROKEN, *NO_SETTINGS])
def test_a_file_of_settings_that_is_none_is_refused_in_one_printable_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.json").write_bytes(data)
    outcome = run("train", "--config", tmp_path / "s.json", "--checkpoints-dir", tmp_path / "runs")
    assert outcome.code == 2
    assert_one_sentence(outcome.err)
    assert outcome.err.strip().isprintable()
    assert len(outcome.err) < 3000
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_settings_saved_by_notepad_and_by_powershell_are_read(tmp_path: Path, encoding: str, pangrams: str) -> None:
    (tmp_path / "s.json").write_bytes('{"max_steps": 3}\r\n'.encode(encoding))
    (tmp_path / "a.txt").write_text(pangrams, encoding="utf-8")
    command = ["train", "--config", tmp_path / "s.json", "--corpus", tmp_path / "a.txt", *TINY]
    outcome = run(*command, "--name", "a", "--checkpoints-dir", tmp_path / "runs")
    assert outcome.code == 0, outcome
    assert RunStore(tmp_path / "runs").get("a").settings().train.max_steps == 3


FILES = ("config.json", "control.json", "answer.json", "queued.json", "more.json", "parent.json", "label.txt", "owner")


@pytest.mark.parametrize("data", [*BROKEN.values(), *NO_SETTINGS.values()], ids=[*BROKEN, *NO_SETTINGS])
def test_one_damaged_file_of_a_run_never_takes_the_list_away(tmp_path: Path, data: bytes) -> None:
    """Whichever it is, the list has a row for every run, and what is asked of that one is answered or refused."""
    for file in FILES:
        for name in (file.partition(".")[0], f"{file.partition('.')[0]}-sound"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text('{"hidden_size": 8}')
        (tmp_path / file.partition(".")[0] / file).write_bytes(data)
    manager = RunManager(tmp_path)
    runs = {each.name: each for each in manager.runs()}
    assert len(runs) == 2 * len(FILES)
    assert all(len(each.label) < 500 and each.label.isprintable() for each in runs.values())
    assert {row.size for name, row in runs.items() if name.endswith("-sound")} == {"1 × 8"}
    outcome = run("runs", "--checkpoints-dir", tmp_path)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 2 * len(FILES)


@pytest.mark.parametrize(
    "request_",
    ['{"rate_factor": -5}', '{"rate_factor": 1e308}', '{"rate_factor": NaN}', '{"number": -1}', '{"save": 1e99}'],
)
def test_a_request_out_of_bounds_is_none(tmp_path: Path, request_: str) -> None:
    mailbox = Mailbox(tmp_path)
    mailbox.control_file.write_text(request_)
    mailbox.answer_file.write_text(request_)
    assert mailbox.control() == Control()
    if "save" not in request_:
        assert mailbox.worker_status() == WorkerStatus()
