"""A run that is steered: heard at once, heeded between two steps, and exact afterwards."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from training_runs import assert_same_weights, config, of, timeless, trainer_of, weights
from waiting import wait_until
from worked import TINY, last_weights, new_run, of_kind

from charlstm.config import Settings
from charlstm.errors import RunError
from charlstm.events import Evaluated, Event, Progress, Record, Sampled, StepDone
from charlstm.runs.control import Mailbox, RequestListener
from charlstm.runs.run_dir import RunDir
from charlstm.runs.worker import run_training
from charlstm.training import Trainer

pytestmark = pytest.mark.usefixtures("attentive")


def at(folder: RunDir, step: int, **asked: Any) -> Callable[[Record], None]:
    """Make a request when the point of the curve at `step` is recorded."""

    def on_record(record: Record) -> None:
        if (record.kind, record.step) == ("progress", step):
            folder.mailbox.request(**asked)

    return on_record


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, pangrams: str) -> dict[str, Tensor]:
    folder = new_run(tmp_path_factory.mktemp("undisturbed"), pangrams)
    run_training(folder)
    return last_weights(folder)


@pytest.fixture(scope="module")
def halved(pangrams: str) -> dict[str, Tensor]:
    """The weights of a trainer that is given a config of half the learning rate after step 20."""
    from charlstm.corpus import Corpus
    from charlstm.language_model import LanguageModel

    settings = Settings.from_flat(TINY)
    split = Corpus("pangrams", pangrams).split(settings.model, settings.train)

    def begun(rate: float) -> Trainer:
        model = LanguageModel.create(split.vocabulary, settings.model, settings.train.seed)
        return Trainer(model, split, settings.train.model_copy(update={"learning_rate": rate}))

    first, second = begun(0.02), begun(0.01)
    next(event for event in first.run() if event == StepDone(20))
    second.load_state_dict(*first.state_dict())
    list(second.run())
    return second.language_model.model.state_dict()


class TestRequests:
    def test_a_request_is_acknowledged_while_the_thread_that_trains_is_busy(self, tmp_path: Path):
        mailbox = Mailbox(tmp_path)
        with RequestListener(mailbox):
            number = mailbox.request(save=True)
            wait_until(lambda: mailbox.worker_status().number == number, 5)
            assert mailbox.worker_status().done == 0
        assert [path.name for path in tmp_path.glob("*.json")] == ["answer.json"], "nothing is asked any more"

    def test_whatever_several_ask_for_at_once_is_asked_for(self, tmp_path: Path):
        mailbox = Mailbox(tmp_path)
        numbers: list[int] = []
        asked = [{"pause": True}, {"rate_factor": 0.5}, {"save": True}, {"stop": True}] * 3
        threads = [threading.Thread(target=lambda each=each: numbers.append(mailbox.request(**each))) for each in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        control = mailbox.control()
        assert len(set(numbers)) == len(asked)
        assert control.number == max(numbers)
        assert (control.pause, control.rate_factor, control.stop) == (True, 0.5, True)
        assert control.save in numbers

    @pytest.mark.parametrize("factor", [0.0, 0.009, 10.5, float("nan"), float("inf"), -1.0])
    def test_a_factor_out_of_bounds_is_refused_with_the_bounds(self, tmp_path: Path, factor: float):
        with pytest.raises(RunError, match=r"must be from 0.01 to 10\.") as caught:
            Mailbox(tmp_path).request(rate_factor=factor)
        assert "\n" not in str(caught.value)
        assert not Mailbox(tmp_path).control_file.exists()


class TestRate:
    def test_a_factor_is_that_of_every_later_rate_is_recorded_and_outlives_a_stop(
        self, tmp_path: Path, pangrams: str, halved: dict[str, Tensor]
    ):
        folder = new_run(tmp_path, pangrams)
        steps = {20: {"rate_factor": 0.5}, 40: {"stop": True}}
        stopped = run_training(
            folder,
            on_record=lambda record: [at(folder, step, **asked)(record) for step, asked in steps.items()] and None,
        )
        assert (stopped.reason, stopped.step) == ("stopped", 40)
        (mark,) = of_kind(folder, "ratechanged")
        assert (mark["step"], mark["rate_factor"]) == (20, 0.5)
        assert mark["elapsed_seconds"] > 0
        assert mark["num_passes"] == pytest.approx(
            next(line["num_passes"] for line in of_kind(folder, "progress") if line["step"] == 20)
        )
        assert "rate" in [line["cause"] for line in of_kind(folder, "saved") if line["step"] == 20]
        assert run_training(folder).reason == "completed"
        assert_same_weights(last_weights(folder), halved)


class TestPause:
    def test_a_pause_loses_nothing_when_the_worker_is_killed_and_changes_nothing_when_it_is_not(
        self, tmp_path: Path, pangrams: str, undisturbed: dict[str, Tensor]
    ):
        folder, killed = new_run(tmp_path, pangrams), tmp_path / "killed"

        def on_record(record: Record) -> None:
            at(folder, 30, pause=True)(record)
            if record.kind == "paused":
                shutil.copytree(folder.path, killed, ignore=shutil.ignore_patterns("control.json"))
                continuing.start()

        def go_on() -> None:
            wait_until(lambda: folder.worker_status().is_paused)
            seen.append(folder.status())
            folder.mailbox.request(pause=False)

        seen: list[str] = []
        continuing = threading.Thread(target=go_on)
        assert run_training(folder, on_record=on_record).reason == "completed"
        continuing.join()
        assert seen == ["paused"]
        (paused,), (continued,) = of_kind(folder, "paused"), of_kind(folder, "continued")
        assert (paused["step"], continued["step"]) == (30, 30)
        assert continued["elapsed_seconds"] == paused["elapsed_seconds"]
        assert continued["paused_seconds"] > 0
        assert_same_weights(last_weights(folder), undisturbed)
        assert RunDir(killed).status() == "interrupted"
        run_training(RunDir(killed))
        assert [line["step"] for line in of_kind(RunDir(killed), "resumed")] == [30]
        assert_same_weights(last_weights(RunDir(killed)), undisturbed)

    def test_a_paused_run_can_be_stopped_and_resumed(
        self, tmp_path: Path, pangrams: str, undisturbed: dict[str, Tensor]
    ):
        folder = new_run(tmp_path, pangrams)

        def on_record(record: Record) -> None:
            at(folder, 30, pause=True)(record)
            if record.kind == "paused":
                folder.mailbox.request(stop=True)

        assert (run_training(folder, on_record=on_record).reason, folder.status()) == ("stopped", "stopped")
        assert of_kind(folder, "finished")[0]["step"] == 30
        run_training(folder)
        assert_same_weights(last_weights(folder), undisturbed)

    def test_time_spent_waiting_is_no_training_time(self):
        now = [0.0]
        trainer = trainer_of(config(max_steps=4, log_every=2))
        trainer.clock = lambda: now[0]
        points: list[Event] = []
        for event in trainer.run():
            points += [event] if isinstance(event, Progress) else []
            if isinstance(event, StepDone):
                now[0] += 1000.0
                trainer.exclude_pause(1000.0)
                now[0] += 1.0
        seconds = [(point.step, point.elapsed_seconds) for point in of(Progress, points)]
        assert seconds == [(0, 0.0), (2, 1.0), (4, 3.0)]
        assert of(Progress, points)[-1].chars_per_second == pytest.approx(2 * 20 / 2)


@pytest.mark.parametrize("kind", [Evaluated, Sampled])
def test_a_run_saved_amid_its_reports_goes_on_with_the_rest_of_them(kind: type):
    """As when it is paused, and then killed, during a validation or a sample."""
    settings = config(max_steps=12, log_every=3, eval_every=4, sample_chars=30)
    whole, first, second = (trainer_of(settings) for _ in range(3))
    expected, begun = list(whole.run()), []
    states: list[Any] = []

    def on_tick() -> None:
        is_amid = first.step == 8 and (kind is Sampled) == any(of(Evaluated, [e for e in begun if e.step == 8]))
        if is_amid and not states:
            states.append(first.state_dict())

    first.on_tick = on_tick
    for event in first.run():
        begun.append(event)  # noqa: PERF402  which `on_tick` looks at
    second.load_state_dict(*states[0])
    rest = list(second.run())
    place = next(place for place, event in enumerate(expected) if isinstance(event, kind) and event.step == 8)
    assert [timeless(event) for event in rest] == [timeless(event) for event in expected[place:]]
    assert_same_weights(weights(second), weights(whole))


def test_what_killed_workers_left_half_written_is_swept_and_requests_of_others_stay(tmp_path: Path, pangrams: str):
    folder = new_run(tmp_path, pangrams)
    (folder.path / "last").mkdir()
    left = [folder.path / ".model.safetensors.abc.tmp", folder.path / "last" / ".training_state.safetensors.abc.tmp"]
    other = folder.path / ".control.json.abc.tmp"
    for path in (*left, other):
        path.touch()
    folder.mailbox.request(stop=True)
    run_training(folder)
    assert [path.exists() for path in (*left, other)] == [False, False, True]
