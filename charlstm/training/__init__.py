"""Training: `train` runs in this process and returns a model; `Trainer` is the loop, a generator of events."""

from charlstm.training.in_process import build_provenance, describe_hardware, train, with_validation
from charlstm.training.trainer import Trainer

__all__ = ["Trainer", "build_provenance", "describe_hardware", "train", "with_validation"]
