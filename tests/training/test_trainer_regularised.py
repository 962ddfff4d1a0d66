"""Averaged weights, dropped weights and bfloat16 in the training loop, against arithmetic done by hand here."""

import copy
import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor
from training_runs import (
    NEVER,
    RHYME,
    SMALL,
    assert_same_weights,
    config,
    loss_of_streams,
    of,
    split_of,
    timeless,
    trainer_of,
    weights,
)

from charlstm.config import ModelConfig, SampleConfig, Settings
from charlstm.corpus.batches import Batch
from charlstm.events import Evaluated, Event, Progress, Sampled, StepDone
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State
from charlstm.training import Trainer, train
from charlstm.training.optim import AdamW, reset_streams
from charlstm.training.samples import find_opening

# All that adds noise or rounds at once; 16 units are for the compiled recurrence, in bfloat16 where there is one.
EVERYTHING = ModelConfig(hidden_size=16, num_layers=2, dropout=0.3, weight_dropout=0.2)
has_bfloat16 = kernel.is_available(torch.bfloat16, 16)
AVERAGED = {"weight_average": 0.8, "learning_rate": 0.05, "lr_schedule": "constant"}


def learned(trainer: Trainer) -> dict[str, Tensor]:
    """The weights that are trained, of which `weights` gives the average."""
    return {name: each.detach().clone() for name, each in trainer._model.named_parameters()}


# The average ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.5, 0.8, 0.999])
def test_the_average_is_the_plain_mean_at_first_and_exponential_from_then_on(kept: float) -> None:
    """Of the first weights and all after them, until a step's share of that mean has come down to 1 - kept."""
    trainer = trainer_of(config(max_steps=20, **{**AVERAGED, "weight_average": kept}))
    history, by_hand = [learned(trainer)], {name: each.double() for name, each in learned(trainer).items()}
    assert_same_weights(weights(trainer), history[0])
    for event in trainer.run():
        if isinstance(event, StepDone):
            history.append(learned(trainer))
            for name, mean in by_hand.items():
                if len(history) <= 1 / (1 - kept):
                    by_hand[name] = torch.stack([each[name].double() for each in history]).mean(dim=0)
                else:
                    by_hand[name] = kept * mean + (1 - kept) * history[-1][name].double()
            for name, found in weights(trainer).items():
                torch.testing.assert_close(found.double(), by_hand[name], rtol=1e-5, atol=1e-6, msg=name)
    assert len(history) == 21
    assert any((weights(trainer)[name] - history[-1][name]).abs().max() > 0.01 for name in by_hand)


def test_averaging_changes_nothing_of_what_is_learned() -> None:
    plain, averaged = (trainer_of(config(max_steps=20, weight_average=kept), EVERYTHING) for kept in (0.0, 0.9))
    losses = [[event.train_loss for event in of(Progress, list(each.run()))] for each in (plain, averaged)]
    assert losses[0] == losses[1]
    assert_same_weights(learned(plain), learned(averaged))


def test_what_is_validated_sampled_and_given_away_is_the_average() -> None:
    settings = config(max_steps=25, eval_every=25, sample_every=25, sample_chars=40, sample_temperature=0.7, **AVERAGED)
    trainer = trainer_of(settings)
    events = list(trainer.run())
    raw = copy.deepcopy(trainer.language_model)
    raw.model.load_state_dict(trainer._model.state_dict())
    validation = RHYME[-58:]
    validated = of(Evaluated, events)[-1].val_loss
    assert validated == pytest.approx(loss_of_streams(trainer.language_model, validation, 1), abs=1e-5)
    assert abs(validated - loss_of_streams(raw, validation, 1)) > 0.01, "the average makes no difference here"
    how = SampleConfig(num_chars=40, temperature=0.7, seed=3)
    prompt = find_opening(split_of(settings))
    written = of(Sampled, events)[-1].text.removeprefix(prompt)
    assert written == trainer.language_model.generate(prompt, how) != raw.generate(prompt, how)
    given = train(RHYME, settings, SMALL)
    for name, tensor in given.model.named_parameters():
        assert torch.equal(tensor, weights(trainer)[name]), name


# Streams that start from zero -----------------------------------------------------------------------------------------


def starting_states(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Cell states (steps, B, H) that each window but the last ended with, and that the next one started from."""
    left, started = [], []
    real = trainer._compute_gradient

    def listening(batch: Batch, state: State | None) -> tuple[Tensor, State]:
        if state is not None:
            started.append(state[1][-1].clone())
        nats, after = real(batch, state)
        left.append(after[1][-1].clone())
        return nats, after

    monkeypatch.setattr(trainer, "_compute_gradient", listening)
    list(trainer.run())
    return torch.stack(left[:-1]), torch.stack(started)


@pytest.mark.parametrize("model", [SMALL, EVERYTHING], ids=["PyTorch", "compiled"])
def test_a_window_starts_from_zero_or_from_what_its_stream_was_left_with(
    model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 streams x 50 windows half start from zero, to 5 standard deviations (once in 10^6)."""
    settings = config(batch_size=8, seq_len=1, max_steps=51, state_reset=0.5)
    left, started = starting_states(trainer_of(settings, model), monkeypatch)
    is_zero = (started == 0).all(dim=-1)
    assert torch.equal(started[~is_zero], left[~is_zero])
    assert not (left == 0).all(dim=-1).any(), "zeros would be carried, so this proves nothing"
    assert is_zero.double().mean().item() == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / is_zero.numel()))
    assert is_zero.any(dim=0).all(), "a stream is never reset"
    assert len(is_zero.unique(dim=0)) > 2, "the same streams are reset at every step"


def test_reset_at_every_window_each_loss_is_that_of_cold_windows() -> None:
    """With weights that stay as they are; a naive loop over characters, from zero for each window, is the yardstick."""
    trainer = trainer_of(config(batch_size=1, seq_len=10, max_passes=1, learning_rate=1e-30, state_reset=1.0))
    model = copy.deepcopy(trainer.language_model)
    last = of(Progress, list(trainer.run()))[-1]
    text = RHYME[: len(RHYME) - round(0.1 * len(RHYME))]
    windows = [text[begin : begin + 11] for begin in range(0, len(text) - 1, 10)]
    nats = sum(loss_of_streams(model, window, 1) * (len(window) - 1) for window in windows)
    assert last.train_loss == pytest.approx(nats / (len(text) - 1), abs=1e-5)
    assert abs(last.train_loss - loss_of_streams(model, text, 1)) > 1e-3, "carrying makes no difference here"


def test_the_first_windows_of_a_run_are_reset_more_often_than_the_later_ones() -> None:
    """To 5 standard deviations, over 4,096 streams: half, a fifth at step 99, and the share from step 999 on."""
    settings = config(batch_size=4096, state_reset=0.02)
    carried = torch.ones(1, 4096, 1), torch.ones(1, 4096, 1)
    for step, share in ((0, 0.5), (39, 0.5), (99, 0.2), (999, 0.02), (10**6, 0.02)):
        after = reset_streams(carried, settings, step, slice(None))
        assert after is not None
        found = float((after[0] == 0).double().mean())
        assert found == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / 4096)), step


def test_processes_that_share_the_streams_reset_those_that_one_alone_would() -> None:
    settings = config(batch_size=7, state_reset=0.5)
    carried = (torch.ones(2, 7, 3), torch.ones(2, 7, 3))
    for step in range(20):
        whole = reset_streams(carried, settings, step, slice(0, 7))
        parts = [
            reset_streams((carried[0][:, share], carried[1][:, share]), settings, step, share)
            for share in (slice(0, 4), slice(4, 7))
        ]
        for index in range(2):
            assert torch.equal(torch.cat([part[index] for part in parts if part], dim=1), (whole or carried)[index])


def test_the_post_s_loop_always_carries() -> None:
    assert Settings.preset("blog").train.state_reset == 0


# Dropped weights -----------------------------------------------------------------------------------------------------


def masks(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Tensor]]:
    """Which recurrent weights were dropped at each step, layer by layer, and never outside of a step."""
    dropped: dict[int, list[Tensor]] = defaultdict(list)
    real = kernel.drop_weights

    def listening(source: Tensor, target: Tensor, share: float, seed: int) -> Tensor:
        before = source.clone()
        thinned = real(source, target, share, seed)
        if source is not target or bool((before == 1).all()):  # else it is a gradient, whose same numbers are dropped
            dropped[trainer.step].append((thinned == 0) & (before != 0))
        return thinned

    monkeypatch.setattr(kernel, "drop_weights", listening)
    list(trainer.run())
    monkeypatch.undo()
    return dropped


def test_every_step_drops_other_recurrent_weights_and_the_same_seed_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 20 steps x 2 layers x 1,024 weights the share is right to 5.5 standard deviations (once in 10^7)."""
    settings = config(max_steps=20, eval_every=3, sample_every=4)
    found = masks(trainer_of(settings, EVERYTHING), monkeypatch)
    assert sorted(found) == list(range(20))
    share, every = 51 / 256, torch.stack([torch.stack(layers) for layers in found.values()])
    assert every.shape == (20, 2, 64, 16)
    sigma = math.sqrt(share * (1 - share) / every.numel())
    assert every.double().mean().item() == pytest.approx(share, abs=5.5 * sigma)
    both = [every[one] & every[other] for one in range(20) for other in range(one)]
    sigma = math.sqrt(share**2 * (1 - share**2) / 2048)
    assert max(abs(each.double().mean().item() - share**2) for each in both) < 6 * sigma, "two steps drop alike"
    again = masks(trainer_of(settings, EVERYTHING), monkeypatch)
    assert all(
        torch.equal(one, other) for step in range(20) for one, other in zip(found[step], again[step], strict=True)
    )
    other = masks(trainer_of(settings.model_copy(update={"seed": 4}), EVERYTHING), monkeypatch)
    assert not any(torch.equal(found[step][0], other[step][0]) for step in range(20))


# Reports and rounding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periods", [{"eval_every": 1}, {"eval_every": 0}, {"eval_every": 7, "sample_every": 2}])
def test_validating_leaves_every_weight_and_loss_to_the_bit(periods: dict[str, int]) -> None:
    settings = config(max_steps=30, log_every=1, weight_average=0.9, learning_rate=0.02)
    quiet, busy = trainer_of(settings, EVERYTHING), trainer_of(settings.model_copy(update=periods), EVERYTHING)
    events: list[Event] = list(busy.run())
    expected = [timeless(event) for event in quiet.run() if isinstance(event, Progress)]
    assert [timeless(event) for event in of(Progress, events)] == expected
    assert len(of(Evaluated, events)) >= 3
    assert_same_weights(weights(busy), weights(quiet))
    assert_same_weights(learned(busy), learned(quiet))


def test_left_to_itself_a_run_validates_by_the_size_of_its_texts() -> None:
    """58 characters to validate at 20 a step: every 20/3 x 58/20 steps, rounded up."""
    events = list(trainer_of(config(max_steps=60, eval_every=0)).run())
    assert [event.step for event in of(Evaluated, events)] == [0, 20, 40, 60]


def test_a_long_validation_text_is_cut_during_the_run_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.training.validation._VALIDATED_AT_MOST", 40)
    trainer = trainer_of(config(max_steps=1))
    event = trainer.evaluate()
    assert event.method == "stateful, first 40 characters"
    assert event.val_loss == pytest.approx(loss_of_streams(trainer.language_model, RHYME[-58:-18], 1), abs=1e-5)


def test_an_untrained_model_is_validated_on_a_small_part_but_not_one_that_knows_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charlstm.training.validation._UNTRAINED_CHARS", 30)
    trainer = trainer_of(config(max_steps=60, learning_rate=0.05))
    first, last = of(Evaluated, list(trainer.run()))
    assert isinstance(first, Evaluated)
    assert isinstance(last, Evaluated)
    assert (first.method, last.method) == ("stateful, first 30 characters", "stateful")
    trainer.step, trainer.validator._quick = 0, None  # as if it had been begun from these weights
    assert trainer.evaluate().method == "stateful"


@pytest.mark.skipif(not has_bfloat16, reason="this processor has no AVX512-BF16")
def test_bfloat16_learns_what_float32_learns(pangrams: str) -> None:
    """300 equal steps; *measured*, on five seeds, at most 0.001 nats apart where 3.4 are there to be learned."""
    losses, first = {}, {}
    for precision in ("float32", "bfloat16", "auto"):
        settings = config(
            max_steps=300, batch_size=8, seq_len=32, learning_rate=0.01, precision=precision, lr_schedule="cosine"
        )
        trainer = trainer_of(settings, ModelConfig(hidden_size=32), pangrams)
        assert trainer.dtype == (torch.float32 if precision == "float32" else torch.bfloat16)
        validated = of(Evaluated, list(trainer.run()))
        first[precision], losses[precision] = validated[0].val_loss, validated[-1].val_loss
        assert validated[-1].method.endswith(", bfloat16") == (precision != "float32")
        assert all(each.dtype == torch.float32 for each in weights(trainer).values()), "what is learned stays exact"
    assert losses["auto"] == losses["bfloat16"] != losses["float32"]
    assert first["bfloat16"] == pytest.approx(first["float32"], abs=0.001)
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.005)
    assert losses["float32"] < first["float32"] - 3


def test_auto_is_float32_where_the_kernel_is_not_for_bfloat16() -> None:
    assert trainer_of(config(max_steps=1, precision="auto"), ModelConfig(hidden_size=17)).dtype == torch.float32
    assert trainer_of(config(max_steps=1, precision="bfloat16"), ModelConfig(hidden_size=17)).dtype == torch.bfloat16


def test_auto_rounds_recurrent_weights_where_that_is_faster_and_float32_never_does(pangrams: str) -> None:
    losses = {}
    for precision in ("auto", "float32"):
        settings = config(max_steps=40, log_every=10, batch_size=8, seq_len=32, precision=precision)
        events = list(trainer_of(settings, ModelConfig(hidden_size=32), pangrams).run())
        losses[precision] = [each.train_loss for each in of(Progress, events)]
    is_rounded = kernel.fastest_weight_dtype() == torch.bfloat16 or kernel.is_available(torch.bfloat16, 32)
    assert (losses["auto"] != losses["float32"]) == is_rounded
    assert losses["auto"] == pytest.approx(losses["float32"], abs=0.01)


@pytest.mark.parametrize("beta2", [0.0, 0.9, 0.999])
def test_the_second_beta_is_the_share_kept_of_the_squared_gradients_mean(beta2: float) -> None:
    """After one step the running mean is 1 - beta2 of the squared gradient."""
    trainer = trainer_of(config(max_steps=1, adam_beta2=beta2, max_grad_norm=0, log_every=NEVER))
    list(trainer.run())
    for parameter in trainer._model.parameters():
        assert parameter.grad is not None
        found = trainer._optimizer.state[parameter]["exp_avg_sq"]
        torch.testing.assert_close(found, (1 - beta2) * parameter.grad**2, rtol=1e-4, atol=1e-12)


def assert_same_updates(ours: CharLSTM, found: AdamW, theirs: CharLSTM, expected: torch.optim.AdamW) -> None:
    """Three updates by the same random gradients end at the same bits."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            own.grad = torch.randn(own.shape, generator=generator)
            other.grad = own.grad.clone()
        found.step(0.01)
        expected.step()
    assert all(torch.equal(*pair) for pair in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_an_update_is_that_of_pytorchs_own_adamw_to_the_bit(weight_decay: float) -> None:
    ours, theirs = (CharLSTM(5, ModelConfig(hidden_size=8)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    matrices, vectors = ([each for each in theirs.parameters() if (each.dim() > 1) is of] for of in (True, False))
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    expected = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), fused=True)
    found = AdamW(ours, weight_decay, (0.9, 0.95))
    assert_same_updates(ours, found, theirs, expected)


def test_tuned_rates_are_pytorchs_adamw_with_a_rate_for_each_kind_of_weights_which_decay_alike() -> None:
    config = ModelConfig(hidden_size=8, embedding_dim=4, num_layers=2)
    ours, theirs = (CharLSTM(5, config) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    multiples = {
        "embedding.weight": 1.0,
        **{f"lstm.{name}": rate for name, rate in (("weight_ih_l0", 0.5), ("weight_ih_l1", 1.4))},
        **{f"lstm.weight_hh_l{layer}": 1.4 for layer in (0, 1)},
        **{f"lstm.bias_{side}_l{layer}": 2.0 for side in ("ih", "hh") for layer in (0, 1)},
        "head.weight": 4.0,
        "head.bias": 2.0,
    }
    groups = [
        {"params": [each], "lr": 0.01 * multiples[name], "weight_decay": 0.1 / multiples[name] if each.dim() > 1 else 0}
        for name, each in theirs.named_parameters()
    ]
    expected = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    found = AdamW(ours, 0.1, (0.9, 0.95), "tuned")
    assert_same_updates(ours, found, theirs, expected)
