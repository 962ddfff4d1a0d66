"""A run's folder: names, settings and texts kept in it, records read while it grows, and the state derived from it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from records import FAILED, FINISHED, STARTED, STOPPED, append, lines, resumed, sampled

from charlstm.config import Settings
from charlstm.errors import RunError
from charlstm.runs.control import Control
from charlstm.runs.run_dir import ACTIVE, RunDir
from charlstm.runs.store import RunStore

SETTINGS = Settings.from_flat({"corpus": "pasted", "hidden_size": 8, "max_steps": 10, "sample_prompt": "é »"})
Hold = Callable[[RunDir], "subprocess.Popen[bytes]"]


def is_one_sentence(error: BaseException) -> bool:
    return "\n" not in str(error) and len(str(error)) < 400


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "checkpoints")


@pytest.fixture
def folder(store: RunStore) -> RunDir:
    return store.create(SETTINGS, "run")


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Lets another process hold a run's lock, as a worker does."""
    script = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print(flush=True); sys.stdin.read()"
    holders: list[subprocess.Popen[bytes]] = []

    def start(folder: RunDir) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", script, str(folder.path / "run.lock")]
        holders.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert holders[-1].stdout is not None
        assert holders[-1].stdout.readline() == b"\n", "the lock is held now"
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


class TestNames:
    @pytest.mark.parametrize("name", ["a", "7", "My_run-2.b", "x" * 64])
    def test_a_plain_name_of_up_to_64_characters_is_accepted(self, store: RunStore, name: str):
        assert store.create(SETTINGS, name).path == store.root / name
        assert store.get(name).name == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "../x",
            "..",
            ".hidden",
            "a/b",
            "/x",
            "a\\b",
            "-x",
            "_x",
            "a b",
            "a\n",
            "ü",
            "x" * 65,
            "a\0b",
            "con",
            "NUL.txt",
            "com1.b",
            "a.",
        ],
    )
    def test_any_other_name_is_refused_in_one_sentence_and_nothing_is_made(
        self, store: RunStore, tmp_path: Path, name: str
    ):
        for refuse in (lambda: store.create(SETTINGS, name), lambda: store.get(name)):
            with pytest.raises(RunError, match="not a name for a run") as caught:
                refuse()
            assert is_one_sentence(caught.value)
        assert list(tmp_path.rglob("*")) == []

    def test_an_endless_name_makes_no_endless_message(self, store: RunStore):
        with pytest.raises(RunError) as caught:
            store.get("x" * 100_000)
        assert is_one_sentence(caught.value)

    @pytest.mark.parametrize(
        ("wish", "name"),
        [
            ("my-run_2", "my-run_2"),
            ("War & Peace.txt", "War-Peace-txt"),
            ("../../etc", "etc"),
            ("", "run"),
            ("日本語", "run"),
            ("-_x_-", "x"),
            ("Aux", "Aux-run"),
            ("y" * 100, "y" * 48),
            ("shakespeare-quick", "shakespeare-quick-2"),  # the run that the page shows where there is none
        ],
    )
    def test_a_wish_is_made_plain(self, store: RunStore, wish: str, name: str):
        assert store.free_name(wish) == name

    @pytest.mark.parametrize("wish", ["a run", "..", "z" * 500])
    def test_a_free_name_can_always_be_used_again_and_again(self, store: RunStore, wish: str):
        names = [store.create(SETTINGS, store.free_name(wish)).name for _ in range(12)]
        assert len(set(names)) == 12
        assert names[1] == f"{names[0]}-2"
        assert names[11] == f"{names[0]}-12"


class TestCreating:
    def test_the_settings_are_kept_as_one_flat_readable_object(self, folder: RunDir):
        text = folder.settings_file.read_text(encoding="utf-8")
        values = json.loads(text)
        assert values["hidden_size"] == 8
        assert values["max_steps"] == 10
        assert not any(isinstance(value, dict) for value in values.values())
        assert "é »" in text
        assert folder.settings() == SETTINGS

    def test_a_given_text_is_copied_as_it_is(self, store: RunStore):
        text = "tabs\tand \u2028 🙂\n\nß\n"
        assert store.create(SETTINGS, "run", text).corpus_file.read_bytes() == text.encode("utf-8")

    def test_without_a_text_there_is_no_copy_of_one(self, folder: RunDir):
        assert [path.name for path in folder.path.iterdir()] == ["config.json"]

    def test_a_taken_name_is_refused_and_what_is_there_stays(self, store: RunStore, folder: RunDir):
        before = folder.settings_file.read_bytes()
        with pytest.raises(RunError, match="run exists already") as caught:
            store.create(Settings.preset("blog"), "run", "text")
        assert is_one_sentence(caught.value)
        assert folder.settings_file.read_bytes() == before
        assert not folder.corpus_file.exists()

    def test_a_place_that_can_hold_no_folder_is_named(self, tmp_path: Path):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(RunError, match="can't hold a new run") as caught:
            RunStore(tmp_path / "file").create(SETTINGS, "run")
        assert is_one_sentence(caught.value)

    def test_a_run_from_before_streams_were_reset_goes_on_without(self, folder: RunDir):
        flat = Settings.preset("minute").flat()
        assert flat.pop("state_reset") > 0
        folder.settings_file.write_text(json.dumps(flat), encoding="utf-8")
        assert folder.settings().flat() == {**flat, "state_reset": 0.0}

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b"[1]", b"null", b"5", b'{"hidden_size": 0}', b'{"stranger": 1}', b'"\xff"']
    )
    def test_damaged_settings_are_said_to_be_so_in_one_sentence(self, folder: RunDir, data: bytes):
        folder.settings_file.write_bytes(data)
        with pytest.raises(RunError, match="settings of run run can't be read") as caught:
            folder.settings()
        assert "\n" not in str(caught.value)


class TestListing:
    def test_runs_are_listed_the_newest_first_by_their_settings(self, store: RunStore):
        for name, age in (("b", 10), ("c", 30), ("a", 20), ("tie", 10)):
            made = store.create(SETTINGS, name).settings_file
            os.utime(made, (2_000_000_000 - age, 2_000_000_000 - age))
        assert [run.name for run in store.run_dirs()] == ["tie", "b", "a", "c"]

    def test_a_folder_that_does_not_exist_holds_no_runs(self, tmp_path: Path):
        assert RunStore(tmp_path / "nowhere").run_dirs() == []

    def test_a_models_folder_without_settings_is_no_run(self, store: RunStore, folder: RunDir):
        (store.root / "model").mkdir()
        (store.root / "model" / "model.safetensors").write_bytes(b"")
        (store.root / "notes.txt").write_text("a file")
        assert store.run_dirs() == [folder]
        with pytest.raises(RunError, match="no run named model"):
            store.get("model")

    def test_a_folder_whose_name_is_none_for_a_run_is_passed_over(self, store: RunStore, folder: RunDir):
        (store.root / ".hidden").mkdir()
        (store.root / ".hidden" / "config.json").write_text("{}")
        assert store.run_dirs() == [folder]

    @pytest.mark.parametrize("name", ["novel (copy)", "Roman été", "x" * 100, "con"])
    def test_a_run_that_was_renamed_in_a_file_manager_is_listed_and_found(
        self, store: RunStore, folder: RunDir, name: str
    ):
        folder.path.rename(store.root / name)
        assert [run.name for run in store.run_dirs()] == [name]
        assert store.get(name).settings() == SETTINGS
        for foreign in (f"../{store.root.name}/{name}", f"{name}/", f"{name}/../{name}", str(store.root / name)):
            with pytest.raises(RunError, match="not a name for a run"):
                store.get(foreign)

    def test_an_unknown_run_is_refused_in_one_sentence(self, store: RunStore):
        with pytest.raises(RunError, match="no run named other") as caught:
            store.get("other")
        assert is_one_sentence(caught.value)
        with pytest.raises(RunError, match="no run named other"):
            RunDir(store.root / "other").settings()


class TestControl:
    def test_a_fresh_run_is_asked_nothing(self, folder: RunDir):
        assert folder.control() == Control(stop=False)

    def test_the_last_request_is_the_one_that_counts_and_nothing_else_is_left(self, folder: RunDir):
        folder.request(Control(stop=True))
        assert folder.control().stop is True
        folder.request(Control())
        assert folder.control().stop is False
        assert {path.name for path in folder.path.iterdir()} == {"config.json", "control.json"}

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"stop": "perhaps"}', b"\xff\xfe"])
    def test_a_damaged_request_asks_nothing(self, folder: RunDir, data: bytes):
        (folder.path / "control.json").write_bytes(data)
        assert folder.control() == Control()

    def test_a_request_of_a_later_version_is_understood_as_far_as_it_is_known(self, folder: RunDir):
        (folder.path / "control.json").write_text('{"stop": true, "hurry": 3}')
        assert folder.control().stop is True


class TestStatus:
    def test_a_fresh_run_is_starting(self, folder: RunDir):
        assert folder.status() == "starting"

    def test_a_run_whose_worker_never_came_is_interrupted(self, folder: RunDir):
        an_hour_ago = folder.settings_file.stat().st_mtime - 3600
        os.utime(folder.settings_file, (an_hour_ago, an_hour_ago))
        assert folder.status() == "interrupted"

    def test_a_run_is_running_while_another_process_holds_its_lock_and_interrupted_when_that_dies(
        self, folder: RunDir, hold: Hold
    ):
        append(folder, lines(STARTED, sampled(5)))
        worker = hold(folder)
        assert folder.is_alive()
        assert folder.status() == "running"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        assert not folder.is_alive()
        assert folder.status() == "interrupted"

    def test_a_running_run_that_is_asked_to_stop_is_stopping(self, folder: RunDir, hold: Hold):
        hold(folder)
        folder.request(Control(stop=True))
        assert folder.status() == "stopping"

    def test_a_resumed_run_is_running_whatever_its_last_record_says(self, folder: RunDir, hold: Hold):
        append(folder, lines(STARTED, STOPPED))
        hold(folder)
        assert folder.status() == "running"

    @pytest.mark.parametrize(
        ("records", "status"),
        [
            ((STARTED, FINISHED), "completed"),
            ((STARTED, STOPPED), "stopped"),
            ((STARTED, STOPPED, resumed(10), FINISHED), "completed"),
            ((STARTED, FAILED), "failed"),
            ((FAILED,), "failed"),
            ((STARTED,), "interrupted"),
            ((STARTED, FINISHED, resumed(10)), "interrupted"),
        ],
    )
    def test_a_run_without_a_worker_is_what_its_last_record_says(
        self, folder: RunDir, records: tuple[dict[str, object], ...], status: str
    ):
        append(folder, lines(*records))
        assert folder.status() == status
        assert folder.is_completed() == (status == "completed")

    def test_a_request_to_stop_does_not_change_what_has_ended(self, folder: RunDir):
        append(folder, lines(STARTED, FINISHED))
        folder.request(Control(stop=True))
        assert folder.status() == "completed"

    @pytest.mark.parametrize("tail", [b'{"kind": "finished", "st', b"\n", b"\xff\xfe\n"])
    def test_a_broken_last_line_is_a_crash(self, folder: RunDir, tail: bytes):
        append(folder, lines(STARTED, sampled(5)) + tail)
        assert folder.status() == "interrupted"

    def test_an_empty_record_file_is_a_crash(self, folder: RunDir):
        append(folder, b"")
        assert folder.status() == "interrupted"

    def test_the_last_record_is_found_behind_many_long_ones(self, folder: RunDir):
        append(folder, lines(STARTED, *(sampled(step, "日本語" * 3000) for step in range(9)), FINISHED))
        assert folder.status() == "completed"

    def test_those_that_have_a_process_or_are_about_to_are_the_active_ones(self):
        assert set(ACTIVE) == {"starting", "running", "paused", "stopping", "measuring"}

    def test_looking_makes_no_file_in_a_folder_without_a_lock(self, folder: RunDir):
        before = sorted(folder.path.iterdir())
        assert not folder.is_alive()
        folder.status()
        assert sorted(folder.path.iterdir()) == before

    def test_looking_leaves_a_lock_that_can_be_taken(self, folder: RunDir):
        (folder.path / "run.lock").touch()
        assert not folder.is_alive()
        with FileLock(folder.path / "run.lock", timeout=0):
            assert folder.is_alive()
        assert not folder.is_alive()

    def test_somebody_else_who_only_looks_is_not_taken_for_a_worker(self, folder: RunDir, repository: Path):
        append(folder, lines(STARTED, FINISHED))
        (folder.path / "run.lock").touch()
        script = (
            "import sys, pathlib\nfrom charlstm.runs.run_dir import RunDir\nprint(flush=True)\n"
            "while True: RunDir(pathlib.Path(sys.argv[1])).is_alive()"
        )
        command = [sys.executable, "-c", script, str(folder.path)]
        with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) as looker:
            try:
                assert looker.stdout is not None
                assert looker.stdout.readline() == b"\n"
                assert {folder.status() for _ in range(500)} == {"completed"}
            finally:
                looker.kill()
