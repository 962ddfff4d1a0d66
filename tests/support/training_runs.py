"""Short runs on a short text, for the tests of training."""

import torch
from torch import Tensor

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus, Split
from charlstm.events import Evaluated, Event, Progress, Sampled, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer

NEVER = 10**6
RHYME = "the cat sat on the mat,\nthe dog sat on the log.\n" * 12  # 576 characters, 15 of them distinct
SMALL = ModelConfig(hidden_size=8)
# Its validation text reads backwards: what is learned of frequencies helps there at first, what comes after misleads.
CONTRARY = RHYME[:-58] + RHYME[-58:][::-1]


def config(**values: object) -> TrainConfig:
    """A short, quiet run without a clock: reports only at its end, unless told otherwise."""
    quiet = {"log_every": NEVER, "eval_every": NEVER, "sample_every": NEVER, "sample_chars": 5}
    return TrainConfig(**{"max_minutes": 0.0, "batch_size": 2, "seq_len": 10, "seed": 3, **quiet, **values})


def trainer_of(train_config: TrainConfig, model: ModelConfig = SMALL, text: str = RHYME) -> Trainer:
    split = Corpus("text", text).split(model, train_config)
    return Trainer(LanguageModel.create(split.vocabulary, model, train_config.seed), split, train_config)


def split_of(train_config: TrainConfig, model: ModelConfig = SMALL, text: str = RHYME) -> Split:
    return Corpus("text", text).split(model, train_config)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in trainer.language_model.model.named_parameters()}


def assert_same_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def run_until(trainer: Trainer, step: int) -> list[Event]:
    events = []
    for event in trainer.run():
        events.append(event)
        if event == StepDone(step):
            break
    return events


def of(kind: type, events: list[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def timeless(event: Event) -> Event:
    """Without what the clock says."""
    if isinstance(event, Progress):
        return event.model_copy(update={"elapsed_seconds": 0.0, "chars_per_second": 0.0})
    if isinstance(event, Evaluated | Sampled):
        return event.model_copy(update={"elapsed_seconds": 0.0})
    return event


@torch.no_grad()
def loss_of_streams(model: LanguageModel, text: str, num_streams: int) -> float:
    """The untouched model's mean loss over `text` cut into streams, each read one character at a time from zero."""
    tokens = [model.vocabulary.characters.index(char) for char in text]
    num_targets = len(tokens) - 1
    lengths = [num_targets // num_streams + (index < num_targets % num_streams) for index in range(num_streams)]
    total, begin = 0.0, 0
    for length in lengths:
        state = model.model.initial_state(1)
        for place in range(begin, begin + length):
            logits, state = model.model(torch.tensor([[tokens[place]]]), state)
            total -= float(logits[0, 0].double().log_softmax(dim=0)[tokens[place + 1]])
        begin += length
    assert begin == num_targets
    return total / num_targets
