"""Training in bursts: on hardware that is lent for a call at a time, a long run is a chain of calls.

The call (`burst`) may run in a process of its own that forgets everything: it is given all it needs, reports events as
the trainer does, and hands the training state back, from which the next call continues exactly.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from safetensors.torch import load, save

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Split
from charlstm.distributed import ALONE, World
from charlstm.errors import CharLSTMError, RunError
from charlstm.events import Evaluated, Event, Rewound, StepDone
from charlstm.language_model import LanguageModel
from charlstm.training.trainer import Trainer
from charlstm.vocabulary import Tokens, Vocabulary

BURST_SECONDS = 40.0  # of the 60 that a call may take: the rest is for its start, a validation and the way back


@dataclass(frozen=True)
class Saved:
    """A trainer's state as bytes, which any process can read."""

    tensors: bytes
    facts: dict[str, Any]

    @classmethod
    def of(cls, trainer: Trainer) -> "Saved":
        """The state of `trainer` now."""
        tensors, facts = trainer.state()
        return cls(save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}), facts)

    def into(self, trainer: Trainer) -> None:
        """Let `trainer` continue from here."""
        trainer.load_state(load(self.tensors), self.facts)


@dataclass(frozen=True)
class Order:
    """All that a burst needs to know."""

    characters: tuple[str, ...]
    train_tokens: Any  # (N,) integers
    validation_tokens: Any
    model: ModelConfig
    train: TrainConfig
    seconds: float
    saved: Saved | None = None  # none: from the beginning, with fresh weights


Lend = Callable[[Order], Iterator[Event | Saved | CharLSTMError]]


def burst(order: Order) -> Iterator[Event | Saved | CharLSTMError]:
    """Train for `order.seconds`, or to the planned end: events, the state before those about weights, and at last.

    An error of the tree is handed back too, since not every call can raise it where it is awaited.
    """
    began = time.monotonic()
    vocabulary = Vocabulary(order.characters, order.model.level)
    language_model = LanguageModel.create(vocabulary, order.model, order.train.seed)
    trainer = Trainer(language_model, Split(vocabulary, order.train_tokens, order.validation_tokens), order.train)
    if order.saved:
        order.saved.into(trainer)
    try:
        for event in trainer.run():
            if isinstance(event, StepDone):
                if time.monotonic() - began > order.seconds:
                    break
                continue
            if isinstance(event, Evaluated | Rewound):
                yield Saved.of(trainer)
            yield event
    except CharLSTMError as error:
        yield error
        return
    yield Saved.of(trainer)


class BurstTrainer(Trainer):
    """A trainer that lets `lend` do the work, burst by burst, and holds what came of it.

    It reports as any trainer does, but `StepDone` only at the end of a burst, where there is a state to save.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        split: Split,
        config: TrainConfig,
        world: World = ALONE,
        *,
        lend: Lend = burst,
        seconds: float = BURST_SECONDS,
    ) -> None:
        super().__init__(language_model, split, config.model_copy(update={"device": "cpu"}), world=world)
        self._lend = lend
        self._order = Order(
            language_model.vocabulary.characters,
            _in_memory(split.train),
            _in_memory(split.validation),
            language_model.model.config,
            config,
            seconds,
        )

    def run(self) -> Iterator[Event]:
        """Train to the planned end; raises what a burst hands back, and `RunError` for one that comes to nothing."""
        saved = Saved.of(self)  # at the beginning too: the weights may be those of a model that the run begins from
        while self.fraction < 1:
            before = self.step
            for item in self._lend(replace(self._order, saved=saved)):
                if isinstance(item, Saved):
                    item.into(self)
                    saved = item
                elif isinstance(item, CharLSTMError):
                    raise item
                else:
                    yield item
            if self.step == before:
                raise RunError("the GPU was lent for too short a time to learn anything; try again later.")
            yield StepDone(self.step)


def _in_memory(tokens: Tokens) -> Any:
    return np.asarray(tokens[0 : len(tokens)])
