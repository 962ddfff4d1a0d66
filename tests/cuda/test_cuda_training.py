"""Training on a GPU: resumed bit for bit, the processor's losses, and no step that waits for the device."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function
from training_runs import (
    NEVER,
    RHYME,
    assert_same_weights,
    config,
    of,
    run_until,
    split_of,
    timeless,
    trainer_of,
    weights,
)

from charlstm.checkpoint import load_training_state, save_training_state
from charlstm.config import ModelConfig, Settings
from charlstm.events import Progress
from charlstm.kernel import lstm as kernel
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

EVERYTHING = ModelConfig(hidden_size=32, num_layers=2, embedding_dim=8, dropout=0.2, weight_dropout=0.2)
PLAIN = {
    "one-hot": ModelConfig(hidden_size=32),
    "embedding": ModelConfig(hidden_size=48, num_layers=2, embedding_dim=8),
}
_WAITING = {
    *("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"),
    *("cuStreamSynchronize", "cuCtxSynchronize", "cuEventSynchronize"),
}


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_run_that_is_saved_and_resumed_halfway_is_the_run_that_was_not_bit_for_bit(
    device: str, precision: str, tmp_path: Path
) -> None:
    """8 + 8 steps and 16, with dropout and averaged weights: the same losses recorded, the same weights.

    Where the device is a GPU, cuDNN and cuBLAS are held to what they promise to repeat: deterministic algorithms and
    `CUBLAS_WORKSPACE_CONFIG=:16:8`, which PyTorch's documentation of nn.LSTM asks for. The dtype does not matter for
    that, and "auto" is bfloat16 on most cards.
    """
    settings = config(
        max_steps=16, log_every=1, eval_every=4, device=device, precision=precision, batch_size=8, weight_average=0.9
    )
    whole = trainer_of(settings, EVERYTHING)
    recorded = [timeless(event) for event in run_until(whole, 16)]
    first = trainer_of(settings, EVERYTHING)
    before = [timeless(event) for event in run_until(first, 8)]
    save_training_state(tmp_path / "state.safetensors", *first.state_dict())
    second = trainer_of(settings.model_copy(), EVERYTHING)
    second.load_state_dict(*load_training_state(tmp_path / "state.safetensors"))
    after = [timeless(event) for event in run_until(second, 16)]
    assert [*before, *after] == recorded
    assert len(of(Progress, recorded)) == 17
    assert_same_weights(weights(second), weights(whole))
    assert {each.device.type for each in weights(whole).values()} == {device}


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("model", PLAIN.values(), ids=PLAIN.keys())
def test_losses_and_gradients_are_those_of_the_processor_within_rounding(
    device: str, model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20 steps in float32 without dropout, against PyTorch's own layers on the processor.

    Before the first update only the order of sums and the last bits of exponentials differ: numbers by a few units of
    the last of 24 bits, 1e-7 each, the mean loss by no more than 1e-5, the length of the gradient, which went through
    10 characters, by 1e-4. From then on each update carries such differences along, and Adam, which divides a gradient
    by its own size, may enlarge those of the smallest: 1e-3, of a loss that falls by a tenth. *Measured* on a processor
    between the compiled layers and PyTorch's: 2.3e-7 of a loss and 1.0e-6 of a length at most.
    """
    settings = config(max_steps=20, log_every=1, device=device, precision="float32", batch_size=8)
    found = of(Progress, run_until(trainer_of(settings, model), 20))
    monkeypatch.setattr(kernel, "is_available", lambda *_: False)
    expected = of(Progress, run_until(trainer_of(settings.model_copy(update={"device": "cpu"}), model), 20))
    assert len(found) == len(expected) == 21
    assert found[1].train_loss == pytest.approx(expected[1].train_loss, rel=1e-5)
    assert found[1].grad_norm == pytest.approx(expected[1].grad_norm, rel=1e-4)
    assert [each.train_loss for each in found] == pytest.approx([each.train_loss for each in expected], rel=1e-3)
    assert found[-1].train_loss < 0.95 * found[0].train_loss, "something was learned"


def preset_trainer(preset: str, device: str) -> Trainer:
    """A small network that does all that the preset's does; its streams differ in length, its last window is short."""
    small = {"hidden_size": 32, "embedding_dim": 8, "batch_size": 5, "seq_len": 16, "warmup_steps": 2}
    endless = {"max_passes": 0.0, "max_minutes": 0.0, "max_steps": NEVER, "sample_chars": 5}
    settings = Settings.preset(preset, **small, **endless, device=device)
    split = split_of(settings.train, settings.model, RHYME)
    return Trainer(LanguageModel.create(split.vocabulary, settings.model, 1), split, settings.train)


@contextlib.contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """PyTorch raises an error for what would wait for the GPU."""
    if device != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits_in(seen: profile, span: str) -> list[str]:
    """Calls that wait for the GPU, and copies from it, that began in `span` (the profiler itself waits at its end)."""
    events = list(seen.events())
    within = next(each.time_range for each in events if each.name == span and each.device_type.name == "CPU")
    return [
        each.name
        for each in events
        if within.start <= each.time_range.start <= within.end and (each.name in _WAITING or "DtoH" in each.name)
    ]


@pytest.mark.parametrize("preset", ["minute", "best", "blog"])
def test_no_update_of_a_pass_waits_for_the_device(device: str, preset: str) -> None:
    """Neither by PyTorch's own account nor by the profiler's, over all windows, after a pass that warms up."""
    trainer = preset_trainer(preset, device)
    num_windows = trainer._batches.windows_per_pass
    run_until(trainer, num_windows + 1)
    with no_waiting(device):
        for _ in range(num_windows):
            trainer._update(trainer._batches[trainer.step])
    assert trainer.step == 2 * num_windows + 1
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the profiler's own
        with profile(activities=activities) as seen:
            with record_function("updates"):
                for _ in range(num_windows):
                    trainer._update(trainer._batches[trainer.step])
            with record_function("reading"):
                assert trainer.is_finite()
        assert waits_in(seen, "updates") == []
        assert bool(waits_in(seen, "reading")) == (device == "cuda"), "the profile shows where a value is read"


@pytest.mark.parametrize("preset", ["minute", "best", "blog"])
def test_nothing_in_training_makes_pytorch_warn(device: str, preset: str) -> None:
    """Such as cuDNN's of weights that do not lie together: steps, validations and samples."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trainer = preset_trainer(preset, device)
        run_until(trainer, 3)
        trainer.evaluate()
        trainer.sample()
    assert [str(each.message) for each in warned] == []
