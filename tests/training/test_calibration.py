"""The scale of the output layer at which the validation loss is lowest."""

import copy
import math

import pytest
import torch
from torch.nn import functional
from training_runs import CONTRARY, RHYME, assert_same_weights, config, of, run_until, timeless, trainer_of, weights

from charlstm.config import ModelConfig
from charlstm.corpus import Corpus
from charlstm.errors import CheckpointError
from charlstm.evaluation import Loss, evaluate_batched, evaluate_quickly, evaluate_stateful
from charlstm.events import Evaluated, Event
from charlstm.training import Trainer, train
from charlstm.training.validation import Calibration

OWN = ModelConfig(hidden_size=24)


def learned_by_heart(**values: object) -> Trainer:
    """A run whose validation text misleads it: by the end it is far too sure there."""
    settings = {"max_steps": 60, "eval_every": 5, "learning_rate": 0.02, "weight_average": 0.9, **values}
    return trainer_of(config(**settings), OWN, CONTRARY)


def best_scale(trainer: Trainer) -> tuple[float, float]:
    """By trying every scale from 0.2 to 2 on one pass over the validation text; and the loss there."""
    model = copy.deepcopy(trainer._average or trainer._model).eval()
    tokens = torch.from_numpy(trainer.validator.tokens.astype("int64"))
    with torch.no_grad():
        logits = model(tokens[None, :-1])[0][0]
        found = [
            (functional.cross_entropy(logits * scale / 1000, tokens[1:]).item(), scale / 1000)
            for scale in range(200, 2001)
        ]
    loss, scale = min(found)
    return scale, loss


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_saved_model_has_the_scale_at_which_validation_is_lowest(average: float) -> None:
    trainer = learned_by_heart(calibrate="on", weight_average=average)
    last = of(Evaluated, list(trainer.run()))[-1]
    scale, loss = best_scale(trainer)
    assert scale < 0.9, "the text is meant to mislead"
    assert trainer.validator.calibration.scale == pytest.approx(scale, abs=0.01)
    exact = evaluate_stateful(trainer.language_model.model, trainer.validator.tokens).nats
    assert exact == pytest.approx(loss, abs=1e-4)
    assert isinstance(last, Evaluated)
    assert last.val_loss == pytest.approx(exact, abs=1e-4)
    learned = trainer._average or trainer._model
    head = trainer.language_model.model.head
    torch.testing.assert_close(head.weight, learned.head.weight * trainer.validator.calibration.scale)
    torch.testing.assert_close(head.bias, learned.head.bias * trainer.validator.calibration.scale)
    assert torch.equal(trainer.language_model.model.lstm.weight_hh_l0, learned.lstm.weight_hh_l0)


def test_calibrating_changes_nothing_of_what_is_learned() -> None:
    ends = []
    for calibrate in ("off", "on"):
        trainer = learned_by_heart(calibrate=calibrate)
        list(trainer.run())
        ends.append(dict(trainer._model.named_parameters()))
    assert_same_weights(*ends)


def test_an_uncalibrated_run_saves_what_it_has_learned_as_it_is() -> None:
    trainer = learned_by_heart()
    list(trainer.run())
    assert trainer.validator.calibration.scale == 1
    assert trainer.language_model.model is trainer._average


def test_an_untrained_model_is_not_scaled() -> None:
    trainer = learned_by_heart(calibrate="on")
    run_until(trainer, 1)
    assert trainer.validator.calibration.scale == 1


@pytest.mark.parametrize("num_steps", [7, 10])
def test_a_resumed_run_is_scaled_as_the_whole_one_is(num_steps: int) -> None:
    whole = learned_by_heart(calibrate="on", sample_every=3)
    expected = [timeless(event) for event in whole.run()]
    first = learned_by_heart(calibrate="on", sample_every=3)
    before = run_until(first, num_steps)
    second = learned_by_heart(calibrate="on", sample_every=3)
    second.load_state_dict(*first.state_dict())
    assert second.validator.calibration.scale == first.validator.calibration.scale != 1
    assert_same_weights(weights(first), weights(second))
    assert [timeless(event) for event in [*before, *second.run()]] == expected
    assert_same_weights(weights(whole), weights(second))


@pytest.mark.parametrize("num_validations", [1, 12])
def test_one_validation_finds_the_scale_as_many_do(num_validations: int) -> None:
    trainer = learned_by_heart(calibrate="on", eval_every=60 // num_validations)
    list(trainer.run())
    assert trainer.validator.calibration.scale == pytest.approx(best_scale(trainer)[0], abs=0.01)


def test_a_quick_estimate_is_of_the_model_with_the_new_scale() -> None:
    trainer = learned_by_heart(calibrate="on", sample_every=60, eval_every=60)
    last = of(Evaluated, list(trainer.run()))[-1]
    expected = evaluate_quickly(trainer.language_model.model, trainer.validator.tokens).nats
    assert last.quick_loss == expected  # type: ignore[attr-defined]


def test_training_in_this_process_returns_the_scaled_model_and_records_the_scale() -> None:
    events: list[Event] = []
    quiet = {"max_steps": 60, "eval_every": 5, "learning_rate": 0.02, "weight_average": 0.9, "calibrate": "on"}
    corpus = Corpus("text", CONTRARY)
    best = train(corpus, config(**quiet), OWN, events.append)
    assert best.provenance is not None
    assert best.provenance.logit_scale != 1
    validation = corpus.split(OWN, config(**quiet)).validation
    assert best.provenance.val_loss == pytest.approx(evaluate_stateful(best.model, validation).nats, abs=1e-4)
    assert best.provenance.val_loss == min(event.val_loss for event in events if isinstance(event, Evaluated))


def test_weights_that_are_no_numbers_leave_the_scale_alone() -> None:
    trainer = trainer_of(config(max_steps=1), OWN, RHYME)
    model = trainer.language_model.model
    calibration = Calibration()
    calibration.scale = 0.8
    with torch.no_grad():
        model.head.bias.fill_(math.nan)
    loss, _ = calibration.evaluate(model, trainer.validator.tokens, None, lambda: None)
    assert math.isnan(loss.nats)
    assert calibration.scale == 0.8


@pytest.mark.parametrize("scale", [0.2, 5.0, "x"])
def test_a_state_with_a_scale_beyond_all_sense_is_refused(scale: object) -> None:
    trainer = learned_by_heart(calibrate="on")
    tensors, facts = trainer.state_dict()
    with pytest.raises(CheckpointError, match="logit_scale"):
        trainer.load_state_dict(tensors, {**facts, "logit_scale": scale})
    del facts["logit_scale"]  # of an earlier version
    trainer.load_state_dict(tensors, facts)
    assert trainer.validator.calibration.scale == 1


def test_a_scale_beyond_all_sense_is_not_taken() -> None:
    """A network that is as wrong as it is sure would be best with no logits at all."""
    trainer = trainer_of(config(max_steps=1), OWN, RHYME)
    model = trainer.language_model.model
    with torch.no_grad():
        model.head.bias.copy_(torch.linspace(-50, 50, len(model.head.bias)))
    calibration = Calibration()
    for _ in range(40):
        loss, _ = calibration.evaluate(model, trainer.validator.tokens, None, lambda: None)
        assert 0.25 <= calibration.scale <= 1
        assert loss.nats == pytest.approx(
            evaluate_batched(calibration.apply(model), trainer.validator.tokens)[0].nats, rel=1e-2
        )
    assert calibration.scale < 0.3


def test_no_loss_below_zero_is_read_off_where_a_text_is_known_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lowest point of a parabola through 0.003, 0.000001 and 0.00001 is below zero, which no run may save."""

    def evaluated(_model: object, _tokens: object, tried: list[float], *_: object) -> tuple[list[Loss], str]:
        losses = [1.0] * len(tried)
        losses[1:4] = 0.003, 0.000001, 0.00001
        return [Loss(nats, 100) for nats in losses], "by hand"

    monkeypatch.setattr("charlstm.training.validation.evaluate_scaled", evaluated)
    trainer = learned_by_heart()
    calibration = Calibration()
    loss, _ = calibration.evaluate(trainer._model, trainer.validator.tokens, None, lambda: None)
    assert loss.nats == 0
    assert calibration.scale != 1
