"""Baselines: an LSTM over characters the way tutorials and nanoGPT's descendants write it, in plain PyTorch.

Nothing of this package's own model, batches, optimiser or sampling is in here.
Shapes: B = streams or windows, T = characters of a window, V = vocabulary size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, Tensor]


class BaselineLSTM(nn.Module):
    """One-hot -> nn.LSTM -> nn.Linear, in float32."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.lstm = nn.LSTM(vocab_size, hidden_size, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, vocab_size)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Map tokens (B, T) to logits (B, T, V) and the state."""
        hidden, state = self.lstm(functional.one_hot(tokens, self.vocab_size).float(), state)
        return self.head(hidden), state


class BaselineTraining:
    """Truncated back-propagation with a carried state, Adam as it comes, clipping, and the loss read at every step."""

    def __init__(self, peer: BaselineLSTM, tokens: Tensor, streams: int, window: int, learning_rate: float) -> None:
        """tokens (N,), cut into `streams` equal parts; what is left over at the end is not used."""
        self._peer = peer
        length = (len(tokens) - 1) // streams
        self._inputs = tokens[: streams * length].view(streams, length)
        self._targets = tokens[1 : streams * length + 1].view(streams, length)
        self._window = window
        self._begin = 0
        self._state: State | None = None
        self._optimizer = torch.optim.Adam(peer.parameters(), lr=learning_rate)

    def step(self) -> float:
        """Make one update and return its loss, in nats per character."""
        if self._begin + self._window > self._inputs.shape[1]:
            self._begin, self._state = 0, None
        place = slice(self._begin, self._begin + self._window)
        self._begin += self._window
        logits, (h, c) = self._peer(self._inputs[:, place], self._state)
        self._state = h.detach(), c.detach()
        loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), self._targets[:, place].reshape(-1))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._peer.parameters(), 1.0)
        self._optimizer.step()
        return loss.item()


def peer_writes(peer: BaselineLSTM, streams: int, num_chars: int, characters: str, temperature: float) -> list[str]:
    """Write `streams` texts of `num_chars`: nn.LSTM stepped, its state carried, each character drawn by multinomial."""
    written: list[list[str]] = [[] for _ in range(streams)]
    tokens = torch.zeros(streams, 1, dtype=torch.long)
    state: State | None = None
    with torch.inference_mode():
        for _ in range(num_chars):
            logits, state = peer(tokens, state)
            tokens = torch.multinomial((logits[:, -1] / temperature).softmax(-1), 1)
            for text, index in zip(written, tokens[:, 0].tolist(), strict=True):
                text.append(characters[index])
    return ["".join(text) for text in written]


def peer_evaluates(peer: BaselineLSTM, tokens: Tensor, windows: int, window: int, at_once: int) -> float:
    """Compute the mean loss of cold windows at random places of tokens (N,), as nanoGPT does."""
    total = 0.0
    with torch.inference_mode():
        for begins in torch.split(torch.randint(len(tokens) - window, (windows,)), at_once):
            inputs = torch.stack([tokens[begin : begin + window] for begin in begins.tolist()])
            targets = torch.stack([tokens[begin + 1 : begin + 1 + window] for begin in begins.tolist()])
            logits, _ = peer(inputs)
            total += functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item() * len(begins)
    return total / windows


def peer_prepares(text: str) -> Tensor:
    """Map characters to ids by a dict, one at a time; ids (N,)."""
    characters = sorted(set(text))
    stoi = {char: index for index, char in enumerate(characters)}
    return torch.tensor([stoi[char] for char in text], dtype=torch.long)
