"""What another visitor may not do, and what a visitor may hold: asked as anybody can ask, past the page."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from charlstm.config import ModelConfig, Settings
from charlstm.errors import CharLSTMError, ConfigError, HubError, RunError
from charlstm.events import Progress
from charlstm.model import CharLSTM
from charlstm.runs.access import token_hash
from charlstm.runs.limits import check_memory, estimate_bytes, num_parameters
from charlstm.runs.manager import RunManager
from charlstm.runs.retention import remove_abandoned, remove_expired, require_disk, visitor_runs
from charlstm.runs.run_dir import RunDir
from charlstm.runs.slot_time import TimeBudget
from charlstm.ui.hub_login import token_for
from charlstm.ui.models import ModelRegistry
from charlstm.ui.run_cache import RunCache
from charlstm.ui.run_endpoints import RunEndpoints
from charlstm.ui.run_start import start_run
from charlstm.ui.text_comparison import mark_copied
from charlstm.ui.training_api import _form_values

TINY = {"hidden_size": 8, "batch_size": 2, "seq_len": 16, "corpus": "mine"}
SECRET = "the password of the vault is 4711, and nobody else may read it here; " * 8


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunManager:
    """One whose runs wait: nothing is started."""
    monkeypatch.setattr(RunManager, "start_queued", lambda _: None)
    return RunManager(tmp_path)


def start(manager: RunManager, name: str, owner: str = "", text: str = SECRET) -> RunDir:
    return manager.start(Settings.preset("minute", **TINY), name, text, owner=token_hash(owner))


def ended(manager: RunManager, name: str, owner: str, minutes: float) -> RunDir:
    """A run at rest that has trained for so long, with a state to go on from."""
    folder = start(manager, name, owner)
    manager.stop(name)
    point = Progress(
        step=9, train_loss=1, smooth_loss=1, learning_rate=0.01, grad_norm=1, num_passes=1, chars_per_second=9,
        elapsed_seconds=60 * minutes, fraction=1,
    )  # fmt: skip
    folder.events_file.write_text(point.model_dump_json() + "\n", encoding="utf-8")
    facts = {"num_parts": 1, "corpus_sha256": hashlib.sha256(SECRET.encode()).hexdigest()}
    header = json.dumps({"__metadata__": {"training_state": json.dumps(facts)}}).encode()
    folder.state_file.parent.mkdir()
    folder.state_file.write_bytes(len(header).to_bytes(8, "little") + header)
    return folder


def act(manager: RunManager, **asked: Any) -> str:
    functions = {function.__name__: function for function in RunEndpoints(RunCache(manager)).functions()}
    return str(functions["act"](asked, None)["problem"])


class TestMinutes:
    @pytest.mark.parametrize("minutes", [100_000, 0.8, 1e308])
    def test_what_is_planned_and_what_is_added_are_bounded_together(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch, minutes: float
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "1")
        folder = ended(manager, "mine", "me", minutes=0.5)
        assert act(manager, action="extend", run="mine", minutes=minutes, visitor="me")
        assert folder.extensions() == ()
        assert act(manager, action="extend", run="mine", minutes=0.4, visitor="me") == ""
        assert [each.minutes for each in folder.extensions()] == [0.4]

    def test_passes_and_steps_are_added_within_the_minutes_that_are_left(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from charlstm.runs.run_dir import Extension

        monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "2")
        folder = ended(manager, "mine", "me", minutes=0.5)
        manager.extend("mine", Extension(steps=10**9))
        assert folder.extensions()[0].minutes == pytest.approx(1.5)

    def test_a_run_that_has_had_its_minutes_gets_no_more(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "1")
        ended(manager, "mine", "me", minutes=1)
        assert "has trained the 1 minutes" in act(manager, action="extend", run="mine", minutes=0.1, visitor="me")


class TestQueue:
    def test_one_visitor_has_few_places_and_all_together_have_some(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_QUEUE", "4")
        monkeypatch.setenv("CHARLSTM_MAX_QUEUE_EACH", "2")
        start(manager, "a", "me")
        start(manager, "b", "me")
        with pytest.raises(RunError, match="2 of your runs wait"):
            start(manager, "c", "me")
        start(manager, "c", "other")
        start(manager, "d", "third")
        with pytest.raises(RunError, match="4 runs wait"):
            start(manager, "e", "fourth")
        assert not (manager.store.root / "e").exists()
        manager.stop("a")
        start(manager, "e", "fourth")
        with pytest.raises(RunError, match="wait"):  # out of the queue and back into it is no way round
            manager.resume("a")


class TestDisk:
    def test_what_waits_or_was_taken_out_of_the_queue_counts_and_goes(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.03")
        text = "0123456789" * 1000
        for name in ("a", "b", "c"):
            start(manager, name, "", text)
            assert act(manager, action="unqueue", run=name, visitor="") != ""  # whoever has no token owns nothing
            manager.stop(name)
        assert len(visitor_runs(manager.store)) == 3
        with pytest.raises(RunError, match="disk"):
            start(manager, "d", "", text)
        assert len(remove_expired(manager.store)) == 1
        require_disk(manager.store)

    def test_a_run_that_waits_is_not_taken_from_its_visitor(
        self, manager: RunManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_DISK_MB", "0.000001")
        start(manager, "waits")
        assert remove_expired(manager.store) == []

    def test_no_more_runs_are_kept_than_may_be(self, manager: RunManager, monkeypatch: pytest.MonkeyPatch) -> None:
        for age, name in enumerate(("new", "middle", "old")):
            start(manager, name)
            manager.stop(name)
            for file in (manager.store.root / name).iterdir():
                os.utime(file, (time.time() - 100 * (age + 1),) * 2)
        monkeypatch.setenv("CHARLSTM_MAX_KEPT_RUNS", "1")
        assert remove_expired(manager.store) == ["old", "middle"]

    @pytest.mark.parametrize("left", [["corpus.txt", ".unprepared"], []])
    def test_what_a_killed_start_left_goes_after_an_hour_and_frees_its_name(
        self, manager: RunManager, left: list[str]
    ) -> None:
        place = manager.store.root / "killed"
        place.mkdir()
        for file in left:
            (place / file).write_text("x", encoding="utf-8")
        remove_abandoned(manager.store)
        assert place.exists()  # it may be on its way still
        for path in (*place.iterdir(), place):
            os.utime(path, (time.time() - 4000,) * 2)
        remove_abandoned(manager.store)
        assert manager.store.is_free("killed")
        start(manager, "killed")

    def test_what_somebody_put_there_by_hand_stays(self, manager: RunManager) -> None:
        for name in ("model", ".git", "notes"):
            (manager.store.root / name).mkdir()
            file = manager.store.root / name / "corpus.txt"
            file.write_text("x", encoding="utf-8")
            os.utime(file, (0, 0))
            os.utime(file.parent, (0, 0))
        remove_abandoned(manager.store)
        assert sorted(path.name for path in manager.store.root.iterdir()) == [".git", "model", "notes"]


class TestMemory:
    def test_a_run_that_needs_too_much_is_refused_with_the_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The case that took 14 GB within 65 s: 4.3 million parameters, and 1.2 million places of a window."""
        monkeypatch.setenv("CHARLSTM_MAX_MEMORY_MB", "4000")
        large = Settings.preset("minute", hidden_size=1024, num_layers=1, batch_size=300, seq_len=4096)
        with pytest.raises(ConfigError, match=r"would need about [\d,]+ MB .* at most 4,000 MB may"):
            check_memory(large, 65, 9_200_000)
        check_memory(Settings.preset("minute"), 65, 1_115_394)

    @pytest.mark.parametrize(
        ("preset", "begin_with", "at_most"), [("minute", "tiny-shakespeare", 2_700_000), ("auto", "", 50_000)]
    )
    def test_a_run_of_a_models_size_or_of_a_plan_is_refused_before_it_waits(
        self, manager: RunManager, repository: Path, monkeypatch: pytest.MonkeyPatch, preset: str, begin_with: str,
        at_most: int
    ) -> None:  # fmt: skip
        monkeypatch.setenv("CHARLSTM_MAX_PARAMETERS", str(at_most))
        (manager.store.root / "tiny-shakespeare").symlink_to(repository / "checkpoints" / "tiny-shakespeare")
        cache, registry = RunCache(manager), ModelRegistry(manager.store.root)
        few, many = ("".join(map(chr, range(0x4E00, 0x4E00 + number))) for number in (1, 300))
        begun = start_run(cache, registry, _form_values(few * 6000, "", preset, 0.1, begin_with, None), "me")
        with pytest.raises(ConfigError, match=f"at most {at_most:,} parameters"):  # its characters are new to the model
            start_run(cache, registry, _form_values(many * 20, "", preset, 0.1, begin_with, None), "me")
        assert {run.name for run in manager.runs()} == {begun.name, "tiny-shakespeare"}

    def test_what_there_is_bounds_a_run_where_no_limit_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_MEMORY_MB", "0")
        settings = Settings.preset("minute")
        needed = estimate_bytes(settings, 65, 10**6)
        check_memory(settings, 65, 10**6, there=2 * needed)
        with pytest.raises(ConfigError, match="MB are free"):
            check_memory(settings, 65, 10**6, there=needed)

    @pytest.mark.parametrize(
        ("vocab_size", "sizes"),
        [(65, {"hidden_size": 12, "num_layers": 3, "embedding_dim": 5}), (9, {"hidden_size": 7, "embedding_dim": 0})],
    )
    def test_parameters_are_counted_as_the_network_has_them(self, vocab_size: int, sizes: dict[str, int]) -> None:
        config = ModelConfig(**sizes)  # type: ignore[arg-type]
        assert num_parameters(config, vocab_size) == CharLSTM(vocab_size, config).num_parameters


class TestTime:
    @pytest.fixture
    def clock(self) -> list[float]:
        return [0.0]

    def held(self, clock: list[float], trained: list[float], stops: list[bool]) -> TimeBudget:
        return TimeBudget(lambda: trained[0], lambda: stops[0], lambda: clock[0])

    def test_pauses_are_bounded_in_all(self, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_PAUSED_MINUTES", "1")
        held = self.held(clock, [0.0], [False])
        assert not held.has_paused(59)
        held.paused_seconds = 40.0  # paused, continued, paused again
        assert not held.is_over()
        assert held.has_paused(21)
        assert held.is_over()

    def test_measuring_is_bounded_and_can_be_stopped(self, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "1")
        stops = [False]
        held = self.held(clock, [60.0], stops)
        held.begin_measuring()
        clock[0] = 14.9  # a quarter of the minutes at most
        assert held.may_measure()
        clock[0] = 15.1
        assert not held.may_measure()
        clock[0] = 1.0
        stops[0] = True
        assert not held.may_measure()

    def test_a_report_that_takes_longer_than_the_minutes_ends(
        self, monkeypatch: pytest.MonkeyPatch, clock: list[float]
    ) -> None:
        monkeypatch.setenv("CHARLSTM_MAX_MINUTES", "1")
        held = self.held(clock, [30.0], [False])
        assert not held.is_over_amid_reports()
        clock[0] = 44.0
        assert not held.is_over_amid_reports()
        clock[0] = 46.0
        assert held.is_over_amid_reports()


class TestSecrets:
    @pytest.fixture
    def registry(self, manager: RunManager, repository: Path) -> ModelRegistry:
        """A visitor's run with a text of its own, and a model that learned from it."""
        from dataclasses import replace

        from charlstm import LanguageModel
        from charlstm.corpus import Corpus

        folder = start(manager, "private", "me")
        bundled = LanguageModel.load(repository / "checkpoints" / "tiny-shakespeare")
        assert bundled.provenance is not None
        corpus = Corpus("mine", SECRET)
        origin = bundled.provenance.model_copy(
            update={"corpus": "mine", "corpus_sha256": corpus.sha256, "beginnings": ("the ",)}
        )
        replace(bundled, provenance=origin).save(folder.path)
        bundled.save(manager.store.root / "tiny-shakespeare")
        return ModelRegistry(manager.store.root)

    def page(self, text: str) -> dict[str, Any]:
        grown = {"text": [text], "surprise": ["!" * len(text)], "likeliest": [""], "odds": [""]}
        return {"id": "x", "given": "", "texts": [grown], "width": 0}

    @pytest.mark.parametrize("visitor", ["", "other", "None", token_hash("me")])
    def test_nobody_compares_with_anothers_text(self, registry: ModelRegistry, visitor: str) -> None:
        with pytest.raises(CharLSTMError, match="somebody's own text"):
            mark_copied(registry, "private", self.page("the password of the vault is 4"), visitor)

    def test_whoever_started_the_run_does_and_named_texts_are_open(
        self, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert (
            "has 30 characters"
            in mark_copied(registry, "private", self.page("the password of the vault is 4"), "me")[1]
        )
        assert registry.may_read("tiny-shakespeare", "other")
        monkeypatch.delenv("CHARLSTM_PUBLIC")
        assert "has 30 characters" in mark_copied(registry, "private", self.page("the password of the vault is 4"))[1]

    def test_how_its_lines_begin_is_told_nobody(self, registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        assert registry.default_prompt("private") == ""
        assert registry.prompts("private") == ()
        monkeypatch.delenv("CHARLSTM_PUBLIC")
        assert registry.default_prompt("private") == "the "

    def test_a_model_of_it_does_not_carry_how_its_lines_begin(self, manager: RunManager) -> None:
        from charlstm.runs.training_inputs import RunPlan

        assert RunPlan.load(start(manager, "private", "me")).provenance_fields({})["beginnings"] == ()


class TestLogins:
    @staticmethod
    def request(host: str = "127.0.0.1", http: str = "1.1", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in {"host": "127.0.0.1:7860", **headers}.items()}
        raw = type("Raw", (), {"scope": {"http_version": http}})
        return type("Request", (), {"client": type("C", (), {"host": host}), "headers": named, "request": raw})

    def test_among_strangers_the_login_of_the_machine_acts_for_nobody(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_owner")
        signed_in = gr.OAuthToken(token="hf_owner", scope="", expires_at=4_000_000_000)
        for login in (None, signed_in):
            with pytest.raises(HubError, match="acts for no visitor"):
                token_for(self.request(), login)

    @pytest.mark.parametrize(
        "told",
        [
            {"x_forwarded_for": "203.0.113.9"}, {"forwarded": "for=203.0.113.9"}, {"via": "1.1 proxy"},
            {"x_real_ip": "203.0.113.9"}, {"host": "models.example"}, {"http": "1.0"},
        ],
    )  # fmt: skip
    def test_at_home_it_acts_for_nobody_behind_a_proxy(
        self, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
    ) -> None:
        monkeypatch.delenv("CHARLSTM_PUBLIC")
        monkeypatch.setattr("charlstm.ui.hub_login.write_token", lambda _: "hf_owner")
        assert token_for(self.request(), None) == "hf_owner"
        headers = {name: value for name, value in told.items() if name != "http"}
        with pytest.raises(HubError, match="whoever sits at it"):
            token_for(self.request(http=told.get("http", "1.1"), **headers), None)
