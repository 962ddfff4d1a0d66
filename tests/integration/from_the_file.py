"""The loss of a model, from the format of its file and NumPy alone: no line of the package is used.

    python tests/integration/from_the_file.py checkpoints/tiny-shakespeare/model.safetensors TEXT.txt

TEXT is the whole text that a model of characters with one layer learned; its last tenth is evaluated, in whole cold
windows of 256 characters, and in one stream.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np

_WINDOW = 256


class Network:
    """One LSTM layer between an embedding and a linear layer, read from a safetensors file."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        begin = 8 + struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:begin])
        self.symbols = json.loads(header.pop("__metadata__")["vocabulary"])

        def tensor(name: str) -> Any:
            first, last = (begin + offset for offset in header[name]["data_offsets"])
            return np.frombuffer(data[first:last], "<f4").reshape(header[name]["shape"])

        bias = tensor("lstm.bias_ih_l0") + tensor("lstm.bias_hh_l0")
        self.inputs = tensor("embedding.weight") @ tensor("lstm.weight_ih_l0").T + bias
        self.recurrent, self.head, self.bias = (
            tensor(name) for name in ("lstm.weight_hh_l0", "head.weight", "head.bias")
        )

    def nats(self, tokens: Any) -> float:
        """Mean nats of tokens (B, T + 1) after the first of each row."""
        h = c = np.zeros((len(tokens), self.head.shape[1]), np.float32)
        total = 0.0
        for now, then in zip(tokens.T[:-1], tokens.T[1:], strict=True):
            i, f, g, o = np.split(self.inputs[now] + h @ self.recurrent.T, 4, axis=1)
            c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            h = np.tanh(c) / (1 + np.exp(-o))
            logits = (h @ self.head.T + self.bias).astype(np.float64)
            total += float((np.log(np.exp(logits).sum(1)) - logits[np.arange(len(then)), then]).sum())
        return total / (tokens.size - len(tokens))


def main() -> None:
    """Print both figures."""
    network, text = Network(Path(sys.argv[1])), Path(sys.argv[2]).read_text(encoding="utf-8")
    ids = {symbol: number for number, symbol in enumerate(network.symbols)}
    tokens = np.array([ids[char] for char in text[-round(len(text) / 10) :]])
    places = np.arange(0, len(tokens) - _WINDOW, _WINDOW)[:, None] + np.arange(_WINDOW + 1)
    sys.stdout.write(f"windows {network.nats(tokens[places]):.4f}, stateful {network.nats(tokens[None]):.4f}\n")


if __name__ == "__main__":
    main()
