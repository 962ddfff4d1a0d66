"""What tests of the network read with it: tokens and states, the same at every call."""

import torch
from torch import Tensor

from charlstm.config import ModelConfig
from charlstm.model import State

VOCAB_SIZE = 7


def some_tokens(batch_size: int = 3, length: int = 6) -> Tensor:
    return torch.randint(VOCAB_SIZE, (batch_size, length), generator=torch.Generator().manual_seed(5))


def some_state(config: ModelConfig, batch_size: int = 3, dtype: torch.dtype = torch.float64) -> State:
    generator = torch.Generator().manual_seed(6)
    shape = (config.num_layers, batch_size, config.hidden_size)
    h, c = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    return h.tanh(), c
