"""Training: `train` runs in this process and returns a model; `Trainer` is the loop, a generator of events."""

from charlstm.training.autotune import plan
from charlstm.training.finetuning import grown
from charlstm.training.provenance import hardware, measured, provenance, train
from charlstm.training.trainer import Trainer

__all__ = ["Trainer", "grown", "hardware", "measured", "plan", "provenance", "train"]
