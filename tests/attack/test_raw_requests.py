"""What a visitor's raw requests may hold, and what mistakes in them cost: on a small page behind the app's server."""

import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from page_app import free_port
from small_page import LARGE, MARK
from waiting import wait_until

from charlstm.ui import hub_tab, visitor_address

PROGRAM = Path(__file__).with_name("small_page.py")
DISK_MB = 1
PATIENCE_SECONDS = 60


def next_line(process: subprocess.Popen[str]) -> str:
    """What the page's process says next; one that says nothing is ended."""
    assert process.stdout is not None
    timer = threading.Timer(PATIENCE_SECONDS, process.kill)
    timer.start()
    try:
        return process.stdout.readline()
    finally:
        timer.cancel()


@dataclass
class Small:
    """The page in its process, and whoever talks to it."""

    process: subprocess.Popen[str]
    client: httpx.Client
    uploads: Path
    log: Path

    def told(self, expression: str) -> Any:
        """The value of an expression in the page's process."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()
        return json.loads(next_line(self.process))

    @contextmanager
    def bounds(self, of: str = "bounds", **values: int) -> Iterator[None]:
        """Other bounds, of the event queue unless told `of` what."""
        before = {name: self.told(f"{of}.{name}") for name in values}
        try:
            for name, value in values.items():
                self.told(f"setattr({of}, {name!r}, {value})")
            yield
        finally:
            for name, value in before.items():
                self.told(f"setattr({of}, {name!r}, {value})")

    @contextmanager
    def no_log(self) -> Iterator[None]:
        """Nothing is logged meanwhile."""
        before = self.log.stat().st_size
        yield
        assert not self.log.read_bytes()[before:]

    def post(self, path: str, body: Any, visitor: str = "203.0.113.1") -> httpx.Response:
        return self.client.post(f"/gradio_api/{path}", json=body, headers={"X-Forwarded-For": visitor})

    def begin(self, name: str, values: list[Any], visitor: str = "203.0.113.1") -> str:
        """Call a function and return the id of its answer."""
        answer = self.post(f"call/{name}", {"data": values}, visitor)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["event_id"])

    def answer(self, name: str, event: str) -> str:
        return self.client.get(f"/gradio_api/call/{name}/{event}").text

    def is_idle(self) -> bool:
        return not self.told("len(queue.event_ids_to_events)")

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.uploads.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    place = tmp_path_factory.mktemp("small")
    paths = {"GRADIO_TEMP_DIR": str(place / "uploads"), "PYTHONPATH": str(repository)}
    settings = {"GRADIO_SERVER_PORT": str(free_port()), "CHARLSTM_MAX_DISK_MB": str(DISK_MB), "CHARLSTM_PUBLIC": "1"}
    with (
        (place / "log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **paths, **settings},
        ) as process,
    ):
        address = json.loads(next_line(process))
        with httpx.Client(base_url=address, timeout=60) as client:
            yield Small(process, client, place / "uploads", place / "log")
        process.kill()


@pytest.fixture
def small(served: Small) -> Iterator[Small]:
    """The page, at rest before and afterwards."""
    served.told("goes_on.clear()")
    yield served
    served.told("goes_on.set()")
    wait_until(served.is_idle)


def is_sentence(answer: httpx.Response, status: int) -> bool:
    said = answer.json()["detail"] if answer.headers["content-type"] == "application/json" else answer.text
    return answer.status_code == status and isinstance(said, str) and said.strip().endswith(".")


class TestMemory:
    def test_nothing_that_was_sent_or_answered_is_kept_of_a_session(self, small: Small) -> None:
        for session in (None, "mine"):
            call = {"data": [MARK * LARGE, 1], "session_hash": session}
            small.answer("score", small.post("call/score", call).json()["event_id"])
        number = small.told("next(key for key, each in queue.blocks.fns.items() if each.api_name == 'echo')")
        small.post("queue/join", {"data": [MARK * LARGE], "fn_index": number, "session_hash": "mine"})
        small.client.get("/gradio_api/queue/data", params={"session_hash": "mine"})
        wait_until(small.is_idle)
        kept = small.told("{name: len(repr(each.config_values)) for name, each in sessions.items()}")
        assert "mine" in kept
        assert len(kept) >= 2
        assert max(kept.values()) < LARGE

    @pytest.mark.parametrize("session", ["x" * 101, 5, ["x"]])
    def test_a_session_has_a_name_of_few_characters(self, small: Small, session: Any) -> None:
        assert is_sentence(small.post("call/score", {"data": ["a", 1], "session_hash": session}), 400)

    def test_a_page_keeps_no_more_of_a_chosen_model_than_a_name(self) -> None:
        assert hub_tab._limit_name("tiny-shakespeare") == "tiny-shakespeare"
        for sent in (MARK * LARGE, [MARK] * 1000, {"a": MARK}, None):
            assert hub_tab._limit_name(sent) is None

    def test_answers_that_nobody_fetches_make_room_and_say_so(self, small: Small) -> None:
        with small.bounds("unread", _most_bytes=3 * LARGE):
            events = [small.begin("write", [1]) for _ in range(5)]
            wait_until(small.is_idle)
            assert small.told("unread.num_bytes") <= 3 * LARGE
            assert "is gone: ask again." in small.answer("write", events[0])
            assert MARK in small.answer("write", events[-1])
            long = small.begin("write", [10_000_000])  # what nobody fetches is not worked out to its end
            wait_until(small.is_idle)
            assert small.told("unread.num_bytes") <= 3 * LARGE
            assert "is gone: ask again." in small.answer("write", long)

    def test_sessions_of_unfetched_answers_are_few_and_one_that_waits_stays(self, small: Small) -> None:
        with small.bounds("unread", _most_sessions=5):
            waits = small.begin("wait", ["mine"])
            for number in range(20):
                event = small.begin("score", ["a", number])
                if number % 2:
                    small.answer("score", event)
                else:
                    wait_until(lambda: small.told("len(queue.event_ids_to_events)") == 1)
            assert small.told("len(unread)") <= 5
            assert small.told("len(queue.pending_event_ids_session)") <= 5
            small.told("goes_on.set()")
            assert '"mine"' in small.answer("wait", waits)

    def test_the_bodies_of_one_visitor_leave_room_for_those_of_others(self, small: Small) -> None:
        number = small.told("next(key for key, each in page.blocks.items() if each.elem_id == 'asked')")
        large = {"component_id": number, "fn_name": "wait", "session_hash": "mine", "data": "x" * 2_000_000}
        with small.bounds("bodies", _MAX_VISITOR_BYTES=5_000_000), ThreadPoolExecutor(3) as at_once:
            mine = [at_once.submit(small.post, "component_server", large) for _ in range(3)]
            assert is_sentence(next(as_completed(mine)).result(), 429)
            with small.bounds("bodies", _MAX_TOTAL_BYTES=1_000_000):  # all of it is taken
                assert is_sentence(small.post("component_server", large, visitor="203.0.113.3"), 429)
                assert small.begin("score", ["a", 1], visitor="203.0.113.3")
            theirs = at_once.submit(small.post, "component_server", large, visitor="203.0.113.2")
            small.told("goes_on.set()")
            assert theirs.result().status_code == 200


class TestQueue:
    def test_one_visitor_leaves_places_to_others(self, small: Small) -> None:
        with small.bounds(_MOST_OF_VISITOR_FOR_FUNCTION=2, _MOST_OF_VISITOR=3, _MOST_OF_FUNCTION=5):
            small.begin("wait", ["is worked on"])
            wait_until(lambda: not small.told("len(queue)"))
            for _ in range(2):
                small.begin("wait", ["waits"])
            refused = small.post("call/wait", {"data": ["too many"]})
            assert is_sentence(refused, 429)
            assert "2 requests of this kind from your address" in refused.text
            assert "1" in small.answer("score", small.begin("score", ["a", 1]))  # the same visitor's, elsewhere
            for _ in range(2):
                small.begin("wait", ["of another"], visitor="203.0.113.2")
            small.begin("wait", ["of a third"], visitor="2001:db8::1")
            assert is_sentence(small.post("call/wait", {"data": ["a fourth"]}, visitor="203.0.113.4"), 429)
            assert "1" in small.answer("score", small.begin("score", ["a", 1], visitor="203.0.113.4"))

    def test_one_visitor_takes_a_quarter_of_the_places_of_a_function(self, small: Small) -> None:
        mine = [small.begin("wait_together", [str(number)]) for number in range(6)]
        wait_until(lambda: small.told("len(queue)") == 4)
        theirs = [small.begin("wait_together", ["another's"], visitor="203.0.113.2") for _ in range(2)]
        wait_until(lambda: small.told("len(queue)") == 4)
        with small.bounds(_MOST_OF_VISITOR_FOR_FUNCTION=4):
            refused = small.post("call/wait_together", {"data": ["a seventh"]})
            assert is_sentence(refused, 429)
            assert "4 requests of this kind" in refused.text
        small.told("goes_on.set()")
        for event in (*mine, *theirs):
            assert "event: complete" in small.answer("wait_together", event)

    def test_bodies_that_wait_are_bounded_together(self, small: Small) -> None:
        with small.bounds(_MOST_BYTES=3_000_000):
            small.begin("wait", ["x" * 1_000_000])
            assert is_sentence(small.post("call/wait", {"data": ["x" * 1_000_000]}), 429)
            assert is_sentence(small.post("call/score", {"data": ["x" * 500_000 + "😀", 1]}), 429)  # 4 bytes each
            small.begin("wait", ["x" * 100_000])
            small.told("goes_on.set()")
            wait_until(small.is_idle)
            small.begin("score", ["x" * 1_000_000, 1])

    def test_no_call_goes_past_the_queue(self, small: Small) -> None:
        number = small.told("next(key for key, each in queue.blocks.fns.items() if each.api_name == 'score')")
        answer = small.post("run/predict", {"data": ["a", 1], "fn_index": number})
        assert answer.status_code == 404

    def test_few_calls_of_one_visitor_past_the_queue_are_worked_on_at_once(self, small: Small) -> None:
        number = small.told("next(key for key, each in page.blocks.items() if each.elem_id == 'asked')")
        call = {"component_id": number, "fn_name": "wait", "session_hash": "mine"}
        with small.bounds("direct", _MOST_WAITING=1), ThreadPoolExecutor(8) as at_once:
            mine = [at_once.submit(small.post, "component_server", {**call, "data": "mine"}) for _ in range(8)]
            refused = [each.result() for each in itertools.islice(as_completed(mine), 3)]  # 4 are at work, one waits
            assert all(is_sentence(each, 429) and "from your address" in each.text for each in refused)
            assert small.client.get("/gradio_api/app_id", headers={"X-Forwarded-For": "203.0.113.1"}).is_success
            theirs = at_once.submit(
                small.post, "component_server", {**call, "data": "another's"}, visitor="203.0.113.2"
            )
            number = small.told("next(key for key, each in queue.blocks.fns.items() if each.api_name == 'past_it')")
            past_it = {"fn_index": number, "session_hash": "mine", "data": [1]}
            assert is_sentence(small.post("run/predict", past_it), 429)
            assert is_sentence(small.client.get("/config", headers={"X-Forwarded-For": "203.0.113.1"}), 429)
            assert not theirs.done()
            small.told("goes_on.set()")
            assert theirs.result().json() == "another's"
            assert sorted(each.result().status_code for each in mine) == [200] * 5 + [429] * 3

    @pytest.mark.parametrize(
        ("address", "visitor"),
        [
            ("203.0.113.1", "203.0.113.1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8::ffff:1", "2001:db8::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("testclient", "testclient"),
        ],
    )
    def test_a_visitor_is_an_address_or_the_network_of_one(self, address: str, visitor: str) -> None:
        assert visitor_address.visitor_of({"client": (address, 1)}) == visitor


class TestDisk:
    @staticmethod
    def upload(
        small: Small, content: bytes, visitor: str = "203.0.113.6", name: str = "files", end: bytes = b"--x--\r\n"
    ) -> httpx.Response:
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.txt"\r\n\r\n'.encode()
        headers = {"Content-Type": "multipart/form-data; boundary=x", "X-Forwarded-For": visitor}
        return small.client.post("/gradio_api/upload", content=head + content + b"\r\n" + end, headers=headers)

    def test_uploads_are_bounded_and_old_ones_make_room(self, small: Small) -> None:
        before = small.on_disk()
        said = [self.upload(small, bytes([65 + number]) * 300_000) for number in range(3)]
        assert [each.status_code for each in said] == [200, 503, 503]  # half of it for one visitor
        assert is_sentence(said[1], 503)
        assert self.upload(small, b"Z" * 300_000, "203.0.113.7").status_code == 200
        assert self.upload(small, b"Y" * 450_000, "203.0.113.8").status_code == 503
        assert small.on_disk() - before == 600_000
        assert is_sentence(small.client.get("/gradio_api/deep_link?session_hash=mine"), 404)
        with small.bounds("uploads", _FRESH_SECONDS=-1):
            assert self.upload(small, b"Y" * 450_000, "203.0.113.8").status_code == 200
        assert small.on_disk() - before == 750_000  # the oldest has gone
        assert not Path(said[0].json()[0]).exists()

    def test_small_files_count_too(self, small: Small) -> None:
        said = [self.upload(small, b"s%d" % number, "203.0.113.9").status_code for number in range(9)]
        assert said[0] == 200
        assert said[-1] == 503

    @pytest.mark.parametrize(("name", "end"), [("other", b"--x--\r\n"), ("files", b"")])
    def test_parts_of_an_upload_that_are_not_asked_for_leave_nothing(self, small: Small, name: str, end: bytes) -> None:
        with small.bounds("uploads", _FRESH_SECONDS=-1):  # or those of the tests before would fill the room
            before = {path for path in small.uploads.rglob("*") if path.is_file()}
            answer = self.upload(small, b"x" * 50_000, name=name, end=end)
            assert (answer.status_code, answer.json()) == (200, [])
            assert {path for path in small.uploads.rglob("*") if path.is_file()} <= before


class TestMistakes:
    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("call/v2/score", {"text": "a", "nope": 1}, 400),
            ("call/v2/score", {"times": 1}, 400),
            ("call/v2/score", [], 400),
            ("call/v2/nope", {}, 404),
            ("call/nope", {"data": []}, 404),
            ("call/echo", {"data": ["a"]}, 404),  # the page's own
            ("call/score", {"data": ["a"]}, 400),
            ("call/score", {"data": ["a", 1, 2]}, 400),
            ("call/score", {"data": "a"}, 400),
            ("call/score", {}, 400),
            ("api/predict", {"data": []}, 404),
            ("run/predict", {"data": []}, 404),
            ("run/score", {"data": ["a", 1]}, 404),
            ("queue/join", {"data": [], "fn_index": 99999, "session_hash": "a"}, 404),
            ("queue/join", {"data": [], "fn_index": "0", "session_hash": "a"}, 404),
            ("queue/join", {"data": [], "fn_index": 0, "session_hash": "a"}, 400),
            ("queue/join", {"data": ["a", 1], "fn_index": 0, "session_hash": "a", "batched": True}, 400),
            ("component_server", {"data": {}, "component_id": "3", "fn_name": "f", "session_hash": "a"}, 404),
        ],
    )
    def test_a_call_of_another_form_gets_one_sentence_and_no_traceback(
        self, small: Small, path: str, body: Any, status: int
    ) -> None:
        with small.no_log():
            assert is_sentence(small.post(path, body), status)

    @pytest.mark.parametrize("value", ["x", [], {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}])
    def test_values_that_no_component_takes_get_one_sentence_and_no_traceback(self, small: Small, value: Any) -> None:
        number = small.told("next(key for key, each in queue.blocks.fns.items() if each.api_name == 'past_it')")
        call = {"fn_index": number, "session_hash": "mine"}
        with small.no_log():
            answer = small.post("run/predict", {**call, "data": [value]})
        assert answer.status_code == 400
        assert answer.json()["error"] == "This function takes other values; load the page again."
        assert small.post("run/predict", {**call, "data": [3]}).json()["data"] == [3]

    def test_an_answer_that_is_not_there_is_told(self, small: Small) -> None:
        with small.no_log():
            fetched = small.begin("score", ["abc", 2])
            assert "6" in small.answer("score", fetched)
            for event in ("abc", fetched):
                for path in ("call/score", "call/v2/score"):
                    assert is_sentence(small.client.get(f"/gradio_api/{path}/{event}"), 404)
            for session in ("nobody", ""):  # as a page that was open before the app was started anew asks
                told = small.client.get("/gradio_api/queue/data", params={"session_hash": session})
                assert json.loads(told.text.removeprefix("data: "))["session_not_found"] is True

    def test_values_may_be_left_out_by_name(self, small: Small) -> None:
        event = small.post("call/v2/score", {"text": "abc"}).json()["event_id"]
        assert "3" in small.answer("score", event)
