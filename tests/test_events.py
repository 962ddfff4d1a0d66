"""Records: one JSON line each, read back exactly, and unknown or damaged lines skipped."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from charlstm.events import (
    Baselines,
    Continued,
    Evaluated,
    Extended,
    Failed,
    Finished,
    LearningRateChanged,
    Paused,
    Progress,
    Record,
    Resumed,
    RolledBack,
    Sampled,
    Saved,
    Started,
    StepDone,
    parse_record,
)

EXAMPLES = [
    Started(
        step=0,
        started_at="2024-02-29T12:00:00+00:00",
        num_chars=1000,
        num_distinct=65,
        num_train_chars=900,
        num_val_chars=100,
        num_parameters=12345,
        hardware="a processor",
        notes=("one", "two"),
    ),
    Resumed(step=40, started_at="2024-02-29T13:00:00+00:00"),
    Progress(
        step=20,
        train_loss=0.1 + 0.2,  # no short decimal: a rounding on the way would show
        smooth_loss=1e-300,
        learning_rate=5e-3,
        grad_norm=1.5,
        num_passes=0.25,
        chars_per_second=123456.75,
        elapsed_seconds=3.5,
        fraction=1.0,
    ),
    Evaluated(step=20, val_loss=1.75, method="stateful", is_best=True, elapsed_seconds=4.0),
    Sampled(step=20, text='To "be",\nor\tnot\\ – 日本 👩‍👩‍👧 \u2028\x85 end', temperature=0.5, seed=7),
    Finished(step=99, reason="stopped", elapsed_seconds=60.0, val_stateful=1.5, val_windows=1.625),
    Failed(step=99, message="the disk is full."),
    RolledBack(step=20, diverged_step=35, rate_factor=0.5),
    Saved(step=30, elapsed_seconds=4.5, num_passes=0.375, cause="asked"),
    Paused(step=30, elapsed_seconds=4.5, num_passes=0.375),
    Continued(step=30, elapsed_seconds=4.5, num_passes=0.375, paused_seconds=12.25),
    LearningRateChanged(step=30, elapsed_seconds=4.5, num_passes=0.375, rate_factor=0.5, learning_rate=2.5e-3),
    Extended(
        step=99,
        elapsed_seconds=60.0,
        num_passes=1.0,
        minutes=2.0,
        passes=0.0,
        steps=0,
        learning_rate=2.5e-3,
        lr_schedule="cosine",
        command="python -m charlstm resume run --more-minutes 2",
        note="Trains 2 min longer.",
    ),
    Baselines(
        step=0,
        uniform=4.125,
        frequencies=3.5,
        fivegram=2.125,
        method="all of the text",
        num_train_chars=900,
        num_val_chars=99,
        seconds=0.5,
    ),
]
each_kind = pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: record.kind)


def line_of(record, **changes):
    """The record's JSON line, built by the standard library, with fields changed or added."""
    return json.dumps({**record.model_dump(), **changes})


def test_there_is_an_example_of_every_kind():
    kinds = get_args(get_args(Record)[0])
    assert {type(record) for record in EXAMPLES} == set(kinds)
    assert {record.kind for record in EXAMPLES} == KINDS


# As they stand in files of runs: they never change, whatever the classes are called.
KINDS = {
    *("started", "resumed", "progress", "evaluated", "sampled", "saved", "rewound", "paused", "continued"),
    *("ratechanged", "extended", "references", "finished", "failed"),
}


@each_kind
def test_a_record_is_one_line_of_plain_json_with_every_field(record):
    line = record.model_dump_json()
    assert "\n" not in line
    assert "\r" not in line
    fields = json.loads(line)
    assert fields.pop("kind") == record.kind
    assert set(fields) == set(type(record).model_fields) - {"kind"}
    for name, value in fields.items():
        expected = getattr(record, name)
        assert value == (list(expected) if isinstance(expected, tuple) else expected)


@each_kind
def test_a_record_comes_back_equal_from_text_and_from_bytes(record):
    for line in (record.model_dump_json(), record.model_dump_json().encode() + b"\n"):
        read = parse_record(line)
        assert type(read) is type(record)
        assert read == record


@each_kind
def test_a_record_is_read_from_another_writers_json(record):
    assert parse_record(json.dumps(record.model_dump(), ensure_ascii=True, indent=1)) == record


def test_a_line_written_by_hand_is_read():
    line = '{"kind": "evaluated", "step": 500, "val_loss": 1.5, "method": "x", "is_best": false, "elapsed_seconds": 9}'
    assert parse_record(line) == Evaluated(step=500, val_loss=1.5, method="x", is_best=False, elapsed_seconds=9.0)


def test_what_a_line_may_leave_out_has_its_default():
    read = parse_record('{"kind": "finished", "step": 1, "reason": "completed", "elapsed_seconds": 2}')
    assert read == Finished(step=1, reason="completed", elapsed_seconds=2.0, val_stateful=None, val_windows=None)


@settings(deadline=None)
@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_number_comes_back_exactly_in_one_line(text, number):
    line = Sampled(step=1, text=text, temperature=number, seed=1).model_dump_json().encode()
    assert b"\n" not in line
    read = parse_record(line)
    assert isinstance(read, Sampled)
    assert read.text == text
    assert read.temperature == number


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_gradient_norm_beyond_all_numbers_is_not_lost_and_the_line_stays_plain_json(value):
    line = EXAMPLES[2].model_copy(update={"grad_norm": value}).model_dump_json()
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = parse_record(line)
    assert isinstance(read, Progress)
    assert str(read.grad_norm) == str(value)
    assert read.train_loss == EXAMPLES[2].train_loss


@each_kind
def test_fields_of_a_later_version_are_ignored(record):
    assert parse_record(line_of(record, colour="blue", nested={"step": 3})) == record


@each_kind
def test_a_kind_of_a_later_version_is_skipped(record):
    assert parse_record(line_of(record)) is not None
    assert parse_record(line_of(record, kind="celebrated")) is None


@each_kind
def test_a_line_cut_off_anywhere_is_skipped(record):
    line = record.model_dump_json().encode()
    assert all(parse_record(line[:length]) is None for length in range(len(line)))


@each_kind
def test_a_record_without_its_step_is_skipped(record):
    fields = record.model_dump()
    del fields["step"]
    assert parse_record(json.dumps(fields)) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "null",
        "[]",
        '"started"',
        "{}",
        "not json",
        b"\xff\xfe\x00",
        b"\0" * 64,
        '{"kind": "failed", "step": 1, "message": "m"}{"kind": "failed", "step": 2, "message": "n"}',
        '{"kind": "failed", "step": "soon", "message": "m"}',
        '{"kind": "failed", "step": 1, "message": ["m"]}',
        '{"kind": ["failed"], "step": 1, "message": "m"}',
        '{"kind": "finished", "step": 1, "reason": "bored", "elapsed_seconds": 2}',
        b'{"kind": "failed", "step": 1, "message": "\xff"}',
        "[" * 10_000,
    ],
)
def test_a_damaged_line_is_skipped(line):
    assert parse_record(line) is None


@each_kind
def test_a_record_can_not_be_changed_afterwards(record):
    with pytest.raises(ValidationError, match="frozen"):
        record.step = 5


def test_step_done_holds_its_step_and_is_no_record():
    assert StepDone(3).step == 3
    assert StepDone._fields == ("step",)
    assert parse_record(json.dumps(StepDone(3)._asdict())) is None
