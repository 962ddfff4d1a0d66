"""Answers that nobody fetches, without a server."""

from contextlib import ExitStack
from types import SimpleNamespace
from typing import cast

import pytest
from gradio.queueing import Queue
from gradio.server_messages import ProcessCompletedMessage
from waiting import run_async

from charlstm.ui import unread_answer_limits
from charlstm.ui.unread_answer_limits import UnreadAnswers


@pytest.fixture
def queue() -> Queue:
    return cast("Queue", SimpleNamespace(pending_event_ids_session={}, event_ids_to_events={}))


def put(unread: UnreadAnswers, session: str, event_id: str) -> None:
    unread[session].put_nowait(ProcessCompletedMessage(output={}, success=True, event_id=event_id))


def test_sentences_that_are_too_large_themselves_go_with_their_session(queue: Queue) -> None:
    unread = UnreadAnswers(queue, most_bytes=1000)
    unread["mine"] = None
    queue.pending_event_ids_session["mine"] = {"a", "b"}
    for event_id in ("a", "b"):
        put(unread, "mine", event_id)
    put_and_kept = unread.num_bytes, list(unread), list(queue.pending_event_ids_session)
    assert put_and_kept == (1000, ["mine"], ["mine"])
    unread["other"] = None
    queue.pending_event_ids_session["other"] = {"c"}
    put(unread, "other", "c")  # as a cancelled call does, past the queue's own function
    assert unread.num_bytes == 500
    assert list(unread) == ["other"]
    assert list(queue.pending_event_ids_session) == ["other"]


def test_a_session_has_few_answers_to_fetch_and_lost_ones_do_not_count(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread_answer_limits, "_MOST_PENDING", 3)
    unread = UnreadAnswers(queue)
    unread["mine"] = None
    queue.pending_event_ids_session["mine"] = {"a", "b", "lost"}
    put(unread, "mine", "a")
    put(unread, "mine", "b")
    assert unread.has_room("mine")
    assert queue.pending_event_ids_session["mine"] == {"a", "b"}
    queue.pending_event_ids_session["mine"].add("c")
    put(unread, "mine", "c")
    assert not unread.has_room("mine")
    run_async(unread["mine"].get())
    assert unread.has_room("mine")


def test_those_whom_nobody_fetches_go_first_then_those_of_whoever_has_most_the_longest_idle_first(queue: Queue) -> None:
    unread = UnreadAnswers(queue, most_sessions=5)
    owners = {"slow": "a", "early": "b", "late": "b", "single": "c", "new": "c"}
    with unread.reading(()), ExitStack() as streams:
        for session, visitor in owners.items():
            unread[session] = None
            unread[session].visitor = visitor
            put(unread, session, session)
            if session == "slow":  # it came first, and takes long to be fetched
                streams.enter_context(unread.reading(["slow"]))
        put(unread, "early", "more")
        run_async(unread["early"].get())  # a sign of life
        left = []
        for number in range(4):
            unread[f"flood{number}"] = None
            unread[f"flood{number}"].visitor = "d"
            put(unread, f"flood{number}", "x")
            left.append([each for each in unread if each in owners])
    assert left[0] == ["slow", "early", "single", "new"]  # `late` was idle for longer than `early`
    assert all("slow" in each for each in left)
    unread["last"] = None
    assert "slow" not in unread or unread["slow"].num_streams == 0
