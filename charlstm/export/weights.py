"""A model's weights as a web page holds them: what `network.js` reads.

Shapes: V = vocabulary size, E = embedding size (V for one-hot input), H = hidden size; K = H in the first layer and 2H
above, where the state of the layer below comes first.

Every tensor lies in its natural order, one after another, each from a multiple of 4 bytes on, little-endian:
`embedding` (V, E), `input` (4H, E), `layer<n>` (4H, K), `biases<n>` (4H,), `head` (V, H), `headBias` (V,), and where
weights are whole numbers of 8 bits `inputScales` (4H,) and `scales<n>` (4H,), what one step of a weight is worth.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from charlstm.generation.quantization import is_quantized, quantize_weights
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM

_KERNEL = Path(__file__).with_name("kernel.wasm")
_ALIGNMENT = 4

Tensors = Iterator[tuple[str, NDArray[Any]]]


def pack_weights(lm: LanguageModel, is_float16: bool = False) -> tuple[dict[str, Any], bytes]:
    """Return what `network.js` has to know of `lm`, as JSON values, and its weights.

    The weights are those that the package writes with: of 8 bits where its layers are large enough to gain from that,
    else of float32; or all of float16.
    """
    kind = "float16" if is_float16 else "int8" if is_quantized(lm.model) else "float32"
    tensors = _rounded(lm.model) if kind == "int8" else _floats(lm.model, kind)
    places, pieces, end = dict[str, Any](), list[bytes](), 0
    for name, tensor in tensors:
        piece = tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
        places[name] = {"type": tensor.dtype.name, "at": end, "size": tensor.size}
        pieces.append(piece + bytes(-len(piece) % _ALIGNMENT))
        end += len(pieces[-1])
    facts = {
        "kind": kind,
        "vocabularySize": lm.model.vocab_size,
        "hiddenSize": lm.model.config.hidden_size,
        "numLayers": lm.model.config.num_layers,
        "numBytes": end,
        "tensors": places,
        "kernel": base64.b64encode(_KERNEL.read_bytes()).decode("ascii"),
    }
    return facts, b"".join(pieces)


def _rounded(model: CharLSTM) -> Tensors:
    rounded = quantize_weights(model)
    if rounded.embedding is not None:
        yield "embedding", rounded.embedding
    yield "input", rounded.inputs.weights
    yield "inputScales", rounded.inputs.scales
    for index, (layer, biases) in enumerate(zip(rounded.layers, rounded.biases, strict=True)):
        yield f"layer{index}", layer.weights
        yield f"scales{index}", layer.scales
        yield f"biases{index}", biases
    yield "head", rounded.head
    yield "headBias", rounded.head_bias


def _floats(model: CharLSTM, kind: str) -> Tensors:
    """Yield the tensors as they are, or of float16; the two biases of a unit's gate are summed in float32.

    What float16 does not reach, beyond 65,504, becomes its largest number.
    """
    largest = float(np.finfo(kind).max)

    def numbers(tensor: Tensor) -> NDArray[Any]:
        return tensor.detach().float().cpu().numpy().clip(-largest, largest).astype(kind)

    if model.embedding is not None:
        yield "embedding", numbers(model.embedding.weight)
    for index, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
        if not index:
            yield "input", numbers(weight_ih)
        own = numbers(weight_hh)
        yield f"layer{index}", np.concatenate([numbers(weight_ih), own], axis=1) if index else own
        yield f"biases{index}", numbers(bias_ih).astype(np.float32) + numbers(bias_hh).astype(np.float32)
    yield "head", numbers(model.head.weight)
    yield "headBias", numbers(model.head.bias)
