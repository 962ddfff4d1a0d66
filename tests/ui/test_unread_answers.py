"""Answers that nobody fetches, without a server."""

from types import SimpleNamespace
from typing import cast

import pytest
from gradio.queueing import Queue
from gradio.server_messages import ProcessCompletedMessage
from waiting import run_async

from charlstm.ui import unread_answers
from charlstm.ui.unread_answers import UnreadAnswers


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
    monkeypatch.setattr(unread_answers, "_MOST_PENDING", 3)
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
