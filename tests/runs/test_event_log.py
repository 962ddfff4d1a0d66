"""Records read while they are written: whole, once, in order, and without what a resumed run does anew."""

import json
from pathlib import Path

import pytest
from records import FINISHED, STARTED, append, lines, resumed, sampled

from charlstm.config import Settings
from charlstm.runs.event_log import EventTail
from charlstm.runs.history import RunHistory
from charlstm.runs.run_dir import RunDir
from charlstm.runs.store import RunStore


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunStore(tmp_path).create(Settings(), "run")


def read(tail: EventTail) -> list[tuple[str, int]]:
    return [(record.kind, record.step) for _, record in tail.read_new()]


class TestEventTail:
    def test_there_is_nothing_before_the_worker_writes(self, folder: RunDir):
        assert read(EventTail(folder.events_file)) == []

    def test_records_are_read_with_their_content_and_their_place(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(3, "ä🙂\n"), FINISHED))
        tail = EventTail(folder.events_file)
        found = list(tail.read_new())
        kept = [json.loads(record.model_dump_json(exclude_unset=True)) for _, record in found]
        assert kept == [STARTED, sampled(3, "ä🙂\n"), FINISHED]
        assert [tail.at(place) for place, _ in found] == [record for _, record in found]
        assert read(tail) == []

    def test_only_what_was_added_since_the_last_look_is_read(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(1)))
        tail = EventTail(folder.events_file)
        read(tail)
        folder.events_file.write_bytes(b"#" * len(lines(STARTED, sampled(1))) + lines(sampled(2)))
        assert read(tail) == [("sampled", 2)]

    def test_a_half_written_line_waits_for_its_end_wherever_it_is_cut(self, folder: RunDir):
        whole = lines(STARTED, sampled(1, "日本\r\n🙂"), resumed(1), FINISHED)
        expected = [("started", 0), ("sampled", 1), ("resumed", 1), ("finished", 10)]
        for cut in range(len(whole)):
            folder.events_file.write_bytes(whole[:cut])
            tail = EventTail(folder.events_file)
            before = read(tail)
            assert before == expected[: whole[:cut].count(b"\n")], cut
            append(folder, whole[cut:])
            assert before + read(tail) == expected, cut

    def test_unknown_kinds_and_damaged_lines_are_skipped(self, folder: RunDir):
        strange = {"kind": "telepathy", "step": 1}
        append(folder, lines(STARTED, strange) + b'{"kind": "progress", "step": 1}\nnonsense\n\n' + lines(sampled(2)))
        assert read(EventTail(folder.events_file)) == [("started", 0), ("sampled", 2)]


def polled(folder: RunDir, history: RunHistory | None = None) -> tuple[RunHistory, list[int]]:
    """A history with all that is there, and the steps of its samples."""
    history = history or RunHistory(folder)
    history.poll()
    samples = [history.sample(index) for index in range(history.num_samples)]
    return history, [sample.step for sample in samples if sample]


class TestRunHistory:
    def test_an_unknown_kind_alone_is_nothing_new(self, folder: RunDir):
        append(folder, lines({"kind": "telepathy", "step": 1}))
        assert RunHistory(folder).poll() is False

    def test_several_resumes_read_at_once_leave_every_step_once(self, folder: RunDir):
        append(folder, lines(STARTED, *(sampled(step) for step in (10, 20, 30))))
        append(folder, lines(resumed(10), sampled(20), sampled(30), resumed(20), sampled(30)))
        assert polled(folder)[1] == [10, 20, 30]

    def test_a_run_that_begins_anew_because_nothing_was_saved_leaves_nothing_of_the_first_try(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(0), sampled(10), STARTED, sampled(0)))
        assert polled(folder)[1] == [0]

    def test_a_shorter_file_is_another_run_and_read_from_its_start(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(1), sampled(2), sampled(3)))
        history, _ = polled(folder)
        folder.events_file.write_bytes(lines(STARTED, sampled(7)))
        assert polled(folder, history)[1] == [7]
