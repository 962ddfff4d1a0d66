"""A run made of bursts is the run it would have been in one piece, also where each burst is a process that forgets."""

import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from training_runs import assert_same_weights, config, of, run_until, split_of, timeless, trainer_of, weights

from charlstm.config import Settings
from charlstm.errors import CharLSTMError, RunError
from charlstm.events import Evaluated, Progress, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.runs.history import History
from charlstm.runs.manager import RunManager
from charlstm.runs.ownership import token_hash
from charlstm.runs.store import RunFolder, RunStore
from charlstm.runs.worker import work
from charlstm.training import Trainer
from charlstm.training.bursts import BURST_SECONDS, BurstTrainer, Order, Saved, burst
from charlstm.ui.zero import lent_gpu, train_on_gpu

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
_TRAIN = config(max_steps=12, log_every=3, eval_every=4, sample_every=5)


def forked(order: Order) -> Iterator[Any]:
    """As the platform calls it: in a forked process, arguments and results pickled, globals lost."""
    context = multiprocessing.get_context("fork")
    orders, results = context.SimpleQueue(), context.SimpleQueue()
    orders.put(order)

    def serve() -> None:
        for item in burst(orders.get()):
            results.put(item)
        results.put(None)

    process = context.Process(target=serve, daemon=True)
    process.start()
    while (item := results.get()) is not None:
        yield item
    process.join()


def burst_trainer(**options: Any) -> BurstTrainer:
    plain = trainer_of(_TRAIN)
    fresh = LanguageModel.create(plain.language_model.vocabulary, plain.language_model.model.config, _TRAIN.seed)
    return BurstTrainer(fresh, split_of(_TRAIN), _TRAIN, **options)


@pytest.mark.parametrize("lend", [burst, forked], ids=["in this process", "forked and pickled"])
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["one step a burst", "one burst"])
def test_a_chain_of_bursts_ends_where_one_piece_does(lend: Any, seconds: float) -> None:
    whole, chained = trainer_of(_TRAIN), burst_trainer(lend=lend, seconds=seconds)
    expected, events = list(whole.run()), list(chained.run())
    assert_same_weights(weights(whole), weights(chained))
    for kind in (Progress, Evaluated, Sampled):
        assert [timeless(event) for event in of(kind, events)] == [timeless(event) for event in of(kind, expected)]
    assert len(of(StepDone, events)) == (12 if seconds == 0 else 1)
    assert chained.fraction >= 1


def test_the_weights_are_there_when_a_validation_is_reported() -> None:
    """So that whoever keeps the best keeps what was validated, and not what came before."""
    whole, chained = trainer_of(_TRAIN), burst_trainer(seconds=1e9)
    expected = {event.step: weights(whole) for event in whole.run() if isinstance(event, Evaluated)}
    found = {event.step: weights(chained) for event in chained.run() if isinstance(event, Evaluated)}
    assert found.keys() == expected.keys() == {0, 4, 8, 12}
    for step, each in expected.items():
        assert_same_weights(each, found[step])


def test_bursts_go_on_from_a_state_that_was_saved() -> None:
    whole, first = trainer_of(_TRAIN), trainer_of(_TRAIN)
    list(whole.run())
    run_until(first, 7)
    second = burst_trainer(seconds=0.0)
    Saved.of(first).into(second)
    list(second.run())
    assert_same_weights(weights(whole), weights(second))


def test_bursts_begin_from_the_weights_they_are_given() -> None:
    """As a run does that begins from a model: other weights than the seed alone would draw."""
    begun = trainer_of(_TRAIN)
    vocabulary, model = begun.language_model.vocabulary, begun.language_model.model.config
    whole = Trainer(LanguageModel.create(vocabulary, model, seed=77), split_of(_TRAIN), _TRAIN)
    chained = BurstTrainer(LanguageModel.create(vocabulary, model, seed=77), split_of(_TRAIN), _TRAIN, seconds=0.0)
    assert len([*of(Progress, list(whole.run()))]) == len([*of(Progress, list(chained.run()))])
    assert_same_weights(weights(whole), weights(chained))


def test_an_error_in_a_burst_arrives_where_the_run_is_awaited() -> None:
    def fails(_: Order) -> Iterator[Any]:
        yield CharLSTMError("what went wrong.")

    def comes_to_nothing(_: Order) -> Iterator[Any]:
        return iter(())

    with pytest.raises(CharLSTMError, match=r"what went wrong\."):
        list(burst_trainer(lend=fails).run())
    with pytest.raises(RunError, match="too short a time"):
        list(burst_trainer(lend=comes_to_nothing).run())


def test_a_runs_folder_is_the_same_with_bursts(tmp_path: Path, pangrams: str) -> None:
    settings = Settings.from_flat({**_TRAIN.model_dump(), "hidden_size": 8, "corpus": "mine"})
    folders = [RunStore(tmp_path).create(settings, name, pangrams) for name in ("whole", "bursts")]
    work(folders[0])

    def make(*arguments: Any, **options: Any) -> BurstTrainer:
        return BurstTrainer(*arguments, **options, lend=forked, seconds=0.0)

    work(folders[1], make_trainer=make)
    for file in ("model.safetensors", "last/model.safetensors"):
        first, second = (LanguageModel.load(folder.path / file) for folder in folders)
        assert_same_weights(dict(first.model.named_parameters()), dict(second.model.named_parameters()))
    assert [_counted(folder) for folder in folders[1:]] == [_counted(folders[0])]


def _counted(folder: RunFolder) -> list[Any]:
    history = History(folder)
    history.poll()
    return [timeless(each) for each in history.records if isinstance(each, Progress | Evaluated | Sampled)]


def _stopped_run(place: Path, text: str) -> RunManager:
    settings = Settings.from_flat({**_TRAIN.model_dump(), "hidden_size": 8, "corpus": "mine"})
    RunStore(place).create(settings, "mine", text)
    return RunManager(place)


def test_the_page_continues_a_run_on_the_lent_gpu_outside_the_main_thread(tmp_path: Path, pangrams: str) -> None:
    manager, said = _stopped_run(tmp_path, pangrams), []
    visitor = threading.Thread(target=lambda: said.append(train_on_gpu(manager, "mine", forked)))
    visitor.start()
    visitor.join(60)
    assert said == ["mine completed at step 12."]
    assert manager.store.get("mine").status() == "completed"


def test_a_gpu_that_can_not_be_had_is_told_and_the_run_is_as_before(tmp_path: Path, pangrams: str) -> None:
    def taken(_: Order) -> Iterator[Any]:
        raise gr.Error("You have exceeded your GPU quota")

    manager = _stopped_run(tmp_path, pangrams)
    with pytest.raises(RunError, match="exceeded your GPU quota"):
        train_on_gpu(manager, "mine", taken)
    assert train_on_gpu(manager, "mine", burst) == "mine completed at step 12."


def test_among_strangers_only_who_started_a_run_continues_it_on_the_gpu(
    tmp_path: Path, pangrams: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = _stopped_run(tmp_path, pangrams)
    (manager.store.get("mine").path / "owner").write_text(token_hash("theirs"))
    monkeypatch.setenv("CHARLSTM_PUBLIC", "1")
    for token in ("", "another"):
        with pytest.raises(RunError, match="started by somebody else"):
            train_on_gpu(manager, "mine", burst, token)
    assert train_on_gpu(manager, "mine", burst, "theirs") == "mine completed at step 12."


def test_the_platform_is_asked_for_calls_of_at_most_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def gpu(duration: int) -> Any:
        asked.append(duration)
        return lambda function: function

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    assert lent_gpu() is burst
    assert asked == [60]
    assert BURST_SECONDS < 60


def test_without_the_platform_nothing_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    assert lent_gpu() is None


_STARTED = """
import json, sys, runpy
order = []
class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name in ("spaces", "torch", "gradio"):
            order.append(name)
sys.meta_path.insert(0, Watcher())
runpy.run_path("app.py", run_name="imported")
from charlstm.hosting import prepare_environment
from charlstm.ui.environment import prepare_for_gradio
prepare_for_gradio()  # as `charlstm app` begins
prepare_environment()
from pathlib import Path
import gradio
import charlstm.ui.app as page
from charlstm.ui.zero import lent_gpu
page.is_zero_gpu = lambda: True
tabs = [each.label for each in page.build(Path("no-such-folder")).blocks.values() if isinstance(each, gradio.Tab)]
print(json.dumps([order, lent_gpu() is not None, "spaces" in sys.modules, "GPU" in tabs]))
"""


_HIDDEN = """
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "spaces" else found(name, *rest)
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_the_platforms_package_is_imported_first_and_the_gpu_has_a_tab_only_where_it_is(
    is_there: bool, repository: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STARTED if is_there else _HIDDEN + _STARTED],
        cwd=repository, capture_output=True, text=True, check=True,
    )  # fmt: skip
    order, lent, imported, has_tab = json.loads(done.stdout.splitlines()[-1])
    assert (lent, imported, has_tab) == (is_there, is_there, is_there)
    if is_there:
        assert order.index("spaces") < order.index("torch")
