"""Records read while they are written: whole, once, in order, and without what a resumed run does anew."""

import json
from pathlib import Path

import pytest
from records import FINISHED, STARTED, append, lines, resumed, sampled

from charlstm.config import Settings
from charlstm.runs.history import History
from charlstm.runs.store import RunDir, RunStore


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunStore(tmp_path).create(Settings(), "run")


def seen(history: History) -> list[tuple[str, int]]:
    return [(record.kind, record.step) for record in history.records]


class TestHistory:
    def test_there_is_nothing_before_the_worker_writes(self, folder: RunDir):
        history = History(folder)
        assert history.poll() is False
        assert history.records == []

    def test_records_are_read_with_their_content(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(3, "ä🙂\n"), FINISHED))
        history = History(folder)
        assert history.poll() is True
        assert [json.loads(record.model_dump_json(exclude_unset=True)) for record in history.records] == [
            STARTED,
            sampled(3, "ä🙂\n"),
            FINISHED,
        ]
        assert history.poll() is False

    def test_only_what_was_added_since_the_last_look_is_read(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(1)))
        history = History(folder)
        history.poll()
        folder.events_file.write_bytes(b"#" * len(lines(STARTED, sampled(1))) + lines(sampled(2)))
        assert history.poll() is True
        assert seen(history) == [("started", 0), ("sampled", 1), ("sampled", 2)]

    def test_a_half_written_line_waits_for_its_end_wherever_it_is_cut(self, folder: RunDir):
        whole = lines(STARTED, sampled(1, "日本\r\n🙂"), resumed(1), FINISHED)
        expected = [("started", 0), ("sampled", 1), ("resumed", 1), ("finished", 10)]
        for cut in range(len(whole)):
            folder.events_file.write_bytes(whole[:cut])
            history = History(folder)
            history.poll()
            assert seen(history) == expected[: whole[:cut].count(b"\n")], cut
            append(folder, whole[cut:])
            history.poll()
            assert seen(history) == expected, cut

    def test_unknown_kinds_and_damaged_lines_are_skipped(self, folder: RunDir):
        strange = {"kind": "telepathy", "step": 1}
        append(folder, lines(STARTED, strange) + b'{"kind": "progress", "step": 1}\nnonsense\n\n' + lines(sampled(2)))
        history = History(folder)
        assert history.poll() is True
        assert seen(history) == [("started", 0), ("sampled", 2)]

    def test_an_unknown_kind_alone_is_nothing_new(self, folder: RunDir):
        append(folder, lines({"kind": "telepathy", "step": 1}))
        assert History(folder).poll() is False

    def test_a_resume_drops_what_came_after_the_step_it_goes_on_from(self, folder: RunDir):
        append(folder, lines(STARTED, *(sampled(step) for step in (10, 20, 30, 40))))
        history = History(folder)
        history.poll()
        append(folder, lines(resumed(20), sampled(30)))
        history.poll()
        assert seen(history) == [("started", 0), ("sampled", 10), ("sampled", 20), ("resumed", 20), ("sampled", 30)]

    def test_going_back_after_a_divergence_drops_what_came_after_that_step_too(self, folder: RunDir):
        rewound = {"kind": "rewound", "step": 20, "diverged_step": 45, "rate_factor": 0.5}
        append(folder, lines(STARTED, *(sampled(step) for step in (10, 20, 30, 40)), rewound, sampled(30)))
        history = History(folder)
        history.poll()
        assert seen(history) == [("started", 0), ("sampled", 10), ("sampled", 20), ("rewound", 20), ("sampled", 30)]

    def test_several_resumes_read_at_once_leave_every_step_once(self, folder: RunDir):
        append(folder, lines(STARTED, *(sampled(step) for step in (10, 20, 30))))
        append(folder, lines(resumed(10), sampled(20), sampled(30), resumed(20), sampled(30)))
        history = History(folder)
        history.poll()
        assert [step for kind, step in seen(history) if kind == "sampled"] == [10, 20, 30]

    def test_a_run_that_begins_anew_because_nothing_was_saved_leaves_nothing_of_the_first_try(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(0), sampled(10), STARTED, sampled(0)))
        history = History(folder)
        history.poll()
        assert seen(history) == [("started", 0), ("sampled", 0)]

    def test_a_shorter_file_is_another_run_and_read_from_its_start(self, folder: RunDir):
        append(folder, lines(STARTED, sampled(1), sampled(2), sampled(3)))
        history = History(folder)
        history.poll()
        folder.events_file.write_bytes(lines(STARTED, sampled(7)))
        assert history.poll() is True
        assert seen(history) == [("started", 0), ("sampled", 7)]
