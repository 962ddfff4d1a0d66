"""The weights of a model in 8 bits, as texts are written with them and as an exported page holds them.

A step's products are whole numbers then, and its sums exact. Shapes: V = vocabulary size, E = embedding size, or V with
one-hot input, H = hidden size, K = what a layer multiplies: H in the first layer, and 2H above it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlstm.model import CharLSTM

FEWEST_WEIGHTS = 1 << 17  # in layers: fewer are in the nearest cache as they are, and 8 bits would gain little
_STEPS = 127  # of a weight from 0 to the largest of its row, and of a hidden state from 0 to 1
_TABLE_ROWS = 256  # computed at once: they take 8 bytes a number for a moment


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix whose entry (r, k) is `weights[r, k] * scales[r]`."""

    weights: NDArray[np.int8]  # (4H, K)
    scales: NDArray[np.float32]  # (4H,) the largest weight of a row / 127

    @classmethod
    def of(cls, weight: Tensor) -> "QuantizedMatrix":
        """Round `weight`, whose entries are finite, half to even."""
        scale = weight.abs().amax(dim=1) / _STEPS
        whole = (weight / scale.clamp(min=1e-30)[:, None]).round().to(torch.int8)
        return cls(whole.cpu().numpy(), scale.float().cpu().numpy())


@dataclass(frozen=True)
class QuantizedWeights:
    """All that a step needs. Gates are in PyTorch's order: input, forget, candidate, output."""

    embedding: NDArray[np.float16] | None  # (V, E), none for one-hot input
    inputs: QuantizedMatrix  # (4H, E): what a character gives the gates of the first layer
    layers: tuple[QuantizedMatrix, ...]  # (4H, K), above the first layer the columns of the layer below come first
    biases: tuple[NDArray[np.float32], ...]  # (4H,) for each layer, both of PyTorch's together
    head: NDArray[np.float16]  # (V, H)
    head_bias: NDArray[np.float32]  # (V,)

    def gate_table(self) -> NDArray[np.float32]:
        """Return what each character gives the gates of the first layer, biases included: (V, 4H).

        Sums of 16 bits x 8 bits are exact in float64, so that they are the same in any order.
        """
        scales, bias = self.inputs.scales.astype(np.float64), self.biases[0].astype(np.float64)
        columns = self.inputs.weights.T.astype(np.float64)
        if self.embedding is None:
            return (columns * scales + bias).astype(np.float32)
        rows = np.array_split(self.embedding, -(-len(self.embedding) // _TABLE_ROWS))
        return np.concatenate(
            [((each.astype(np.float64) @ columns) * scales + bias).astype(np.float32) for each in rows]
        )


def is_quantized(model: CharLSTM) -> bool:
    """Return whether the layers of `model` are large enough to gain from 8 bits, and whether they can be rounded."""
    weights = [weight for layer in model.lstm.all_weights for weight in layer[:2]]
    is_large = sum(weight.numel() for weight in weights) >= FEWEST_WEIGHTS
    return is_large and all(bool(each.isfinite().all()) for each in model.parameters())


@torch.no_grad()
def quantize_weights(model: CharLSTM) -> QuantizedWeights:
    """Round the weights of `model`, all of which are finite."""
    (first_ih, *above), recurrent = zip(*[layer[:2] for layer in model.lstm.all_weights], strict=True)
    embedding = None if model.embedding is None else model.embedding.weight
    layers = [recurrent[0], *(torch.cat(pair, dim=1) for pair in zip(above, recurrent[1:], strict=True))]
    return QuantizedWeights(
        None if embedding is None else _half(embedding),
        QuantizedMatrix.of(first_ih),
        tuple(QuantizedMatrix.of(each) for each in layers),
        tuple((layer[2] + layer[3]).cpu().numpy() for layer in model.lstm.all_weights),
        _half(model.head.weight),
        model.head.bias.cpu().numpy().copy(),
    )


def _half(weight: Tensor) -> NDArray[np.float16]:
    """Round to 16 bits; what is beyond their range becomes the largest number in it."""
    largest = torch.finfo(torch.float16).max
    half: NDArray[np.float16] = weight.clamp(-largest, largest).half().cpu().numpy()
    return half
