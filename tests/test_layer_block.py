"""The weights of a layer in one block of memory, as cuDNN wants them."""

import pytest
import torch
from torch import Tensor

from charlstm.config import ModelConfig
from charlstm.model import CharLSTM, in_one_block


def layer(index: int = 0) -> list[Tensor]:
    torch.manual_seed(2)
    return list(CharLSTM(7, ModelConfig(hidden_size=5, num_layers=2, embedding_dim=3)).lstm.all_weights[index])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_weights_lie_one_after_another_in_a_block_of_their_own_and_nothing_else_does(dtype: torch.dtype):
    weights = layer()
    packed = in_one_block(weights, dtype)
    first = packed[0].untyped_storage()
    assert first.nbytes() == sum(each.numel() for each in weights) * dtype.itemsize
    place = first.data_ptr()
    for each, weight in zip(packed, weights, strict=True):
        assert each.untyped_storage().data_ptr() == first.data_ptr() != weight.untyped_storage().data_ptr()
        assert each.data_ptr() == place
        assert each.is_contiguous()
        place += each.numel() * dtype.itemsize


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_the_same_numbers_rounded_to_the_dtype(dtype: torch.dtype):
    for each, weight in zip(in_one_block(layer(), dtype), layer(), strict=True):
        assert each.dtype == dtype
        assert torch.equal(each, weight.to(dtype))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_reach_each_weight_as_without_it(index: int, dtype: torch.dtype):
    below = torch.randn(4, 2, 5 if index else 3, generator=torch.Generator().manual_seed(3))
    state = [torch.zeros(1, 2, 5, dtype=dtype)] * 2
    gradients: list[list[Tensor]] = []
    for pack in (in_one_block, lambda weights, dtype: [each.to(dtype) for each in weights]):
        weights = layer(index)
        hidden = torch.lstm(below.to(dtype), state, pack(weights, dtype), True, 1, 0.0, True, False, False)[0]
        (hidden.float() * torch.arange(hidden.numel()).view_as(hidden)).sum().backward()
        gradients.append([each.grad for each in weights if each.grad is not None])
    assert len(gradients[0]) == 4
    for packed, plain in zip(*gradients, strict=True):
        assert packed.dtype == torch.float32
        assert packed.abs().max() > 0
        assert torch.equal(packed, plain)
