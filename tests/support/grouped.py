"""What `test_distributed` has one process do, and several."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from charlstm.config import ModelConfig, TrainConfig
from charlstm.corpus import Corpus
from charlstm.events import StepDone
from charlstm.language_model import LanguageModel
from charlstm.training import Trainer
from charlstm.training.distributed import DistributedTrainer, World

TEXT = "".join(f"{number} times {number} is {number * number}.\n" for number in range(150))
MODEL = ModelConfig(hidden_size=16, num_layers=2, dropout=0.3, weight_dropout=0.2, embedding_dim=8)
TRAIN = TrainConfig(
    max_minutes=0.0,
    max_steps=60,
    batch_size=6,
    seq_len=12,
    log_every=1,
    eval_every=25,
    sample_every=1000,
    sample_chars=5,
    seed=3,
    precision="float32",
    weight_average=0.9,
)


def trainer_of(world: World, clock: Callable[[], float] = lambda: 0.0, **values: Any) -> Trainer:
    """A trainer for this process's share of the same small run."""
    train = TRAIN.model_copy(update=values)
    split = Corpus("squares", TEXT).split(MODEL, train)
    language_model = LanguageModel.create(split.vocabulary, MODEL, train.seed)
    return DistributedTrainer(language_model, split, train, clock, world)


def told(trainer: Trainer, events: list[Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a test wants to know of a run: its losses, its end, and its state."""
    tensors, facts = trainer.state_dict()
    losses = [event.train_loss for event in events if event.kind == "progress"]
    kinds = [event.kind for event in events]
    return {"losses": losses, "kinds": kinds, "facts": facts}, tensors


def learned(world: World, **values: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    trainer = trainer_of(world, **values)
    return told(trainer, [event for event in trainer.run() if not isinstance(event, StepDone)])


def timed(world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A run of five minutes on the first one's clock; the other's runs backwards, and from elsewhere."""
    ticks = iter(range(10**6))
    pace = 1.0 if world.is_rank_zero else -7.0
    return learned(world, clock=lambda: 1e6 + pace * next(ticks), max_minutes=5.0, max_steps=0, sample_every=0)


def spoiled(world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The second process's carried state becomes NaN, once."""
    trainer, events = trainer_of(world), []
    for event in trainer.run():
        if isinstance(event, StepDone):
            if event.step == 30 and world.rank == 1 and trainer._carried and trainer.course.rate_factor == 1:
                trainer._carried[0].fill_(float("nan"))
        else:
            events.append(event)
    return told(trainer, events)


def wished(world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The second process wishes to save after step 5 and to stop after step 9."""
    trainer, heard = trainer_of(world), []
    for event in trainer.run():
        if isinstance(event, StepDone):
            is_second = world.rank == 1
            answer = trainer.agree_on(is_second and event.step >= 9, is_second and event.step in (5, 6))
            heard.append([event.step, *answer])
            if answer[0]:
                break
    facts, tensors = told(trainer, [])
    return {**facts, "heard": heard}, tensors


def stated(world: World) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the first process gives arrives as it is."""
    given = trainer_of(world, seed=world.rank).state_dict() if world.is_rank_zero else (None, None)
    tensors, facts = world.broadcast_state(*given)
    return {"facts": facts, "text": world.broadcast_object("ä\n" if world.is_rank_zero else None)}, tensors


CASES: dict[str, Callable[[World], tuple[dict[str, Any], dict[str, Tensor]]]] = {
    "even": learned,
    "uneven": lambda world: learned(world, batch_size=5),
    "bfloat16": lambda world: learned(world, precision="bfloat16", batch_size=16),
    "fused": lambda world: learned(world, batch_size=16),
    "timed": timed,
    "spoiled": spoiled,
    "wished": wished,
    "stated": stated,
}


def differences(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, float]:
    """How far apart tensors of the same names are, in terms of their lengths."""
    assert ours.keys() == theirs.keys()
    return {name: float((ours[name] - theirs[name]).norm() / (theirs[name].norm() + 1e-9)) for name in ours}


def take_part(folder: str, *names: str) -> None:
    """As one process of several: leaves what it found of each case in `folder`."""
    with World.from_environment() as world:
        for name in names:
            facts, tensors = CASES[name](world)
            place = Path(folder) / f"{name}-{world.rank}"
            place.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, place.with_suffix(".safetensors"))
