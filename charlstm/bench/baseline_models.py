"""Baselines in plain PyTorch: an LSTM over characters as tutorials write it, and a small GPT after nanoGPT's recipe.

Nothing of this package's own model, batches, optimiser or sampling is in here. nanoGPT's script also compiles its
network (`torch.compile`) before it trains; this one does not.
Shapes: B = streams or windows, T = characters of a window, V = vocabulary size, W = width.
"""

import math
from dataclasses import dataclass

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


def generate_with_peer(
    peer: BaselineLSTM, streams: int, num_chars: int, characters: str, temperature: float
) -> list[str]:
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


def evaluate_peer(peer: BaselineLSTM, tokens: Tensor, windows: int, window: int, at_once: int) -> float:
    """Compute the mean loss of cold windows at random places of tokens (N,), as nanoGPT does."""
    total = 0.0
    with torch.inference_mode():
        for begins in torch.split(torch.randint(len(tokens) - window, (windows,)), at_once):
            inputs = torch.stack([tokens[begin : begin + window] for begin in begins.tolist()])
            targets = torch.stack([tokens[begin + 1 : begin + 1 + window] for begin in begins.tolist()])
            logits, _ = peer(inputs)
            total += functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item() * len(begins)
    return total / windows


def prepare_for_peer(text: str) -> Tensor:
    """Map characters to ids by a dict, one at a time; ids (N,)."""
    characters = sorted(set(text))
    stoi = {char: index for index, char in enumerate(characters)}
    return torch.tensor([stoi[char] for char in text], dtype=torch.long)


_DRAWN_STD = 0.02  # of the weights at the start


@dataclass(frozen=True)
class GPTRecipe:
    """Sizes and schedule; the defaults are nanoGPT's for characters on a GPU."""

    num_layers: int = 6
    num_heads: int = 6
    width: int = 384
    context: int = 256
    batch_size: int = 64
    dropout: float = 0.2
    learning_rate: float = 1e-3
    lowest_rate: float = 1e-4
    warmup_steps: int = 100
    num_steps: int = 5_000
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1  # of matrices only
    max_grad_norm: float = 1.0

    def rate(self, step: int, fraction: float) -> float:
        """Return the learning rate of the update after `step` completed ones: a line up, then half a cosine down.

        `fraction` is how much of the time given is over. The cosine ends with the steps or with the time, whichever
        is sooner.
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        by_steps = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        falling = 0.5 * (1 + math.cos(math.pi * min(1.0, max(by_steps, fraction))))
        return self.lowest_rate + falling * (self.learning_rate - self.lowest_rate)


class GPT(nn.Module):
    """Learned places, blocks that normalise before each part, no biases; embedding and head share their weights."""

    def __init__(self, vocab_size: int, recipe: GPTRecipe) -> None:
        super().__init__()
        self.characters = nn.Embedding(vocab_size, recipe.width)
        self.places = nn.Embedding(recipe.context, recipe.width)
        self.drop = nn.Dropout(recipe.dropout)
        self.blocks = nn.ModuleList(_Block(recipe) for _ in range(recipe.num_layers))
        self.norm = nn.LayerNorm(recipe.width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:  # what is added to the residual stream is drawn smaller, as all layers' add up
                is_added = name.endswith(("project.weight", "down.weight"))
                nn.init.normal_(weight, std=_DRAWN_STD / (math.sqrt(2 * recipe.num_layers) if is_added else 1.0))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T), T at most the context, to logits (B, T, V)."""
        hidden = self.drop(self.characters(tokens) + self.places.weight[: tokens.shape[1]])
        for block in self.blocks:
            hidden = block(hidden)
        return functional.linear(self.norm(hidden), self.characters.weight)


class _Block(nn.Module):
    """Causal attention, then two layers around a GELU, each added to what came in."""

    def __init__(self, recipe: GPTRecipe) -> None:
        super().__init__()
        width = recipe.width
        self.num_heads, self.dropout = recipe.num_heads, recipe.dropout
        self.before_attention = nn.LayerNorm(width, bias=False)
        self.attend = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.before_layers = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.drop = nn.Dropout(recipe.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, W) to the same shape."""
        parts = self.attend(self.before_attention(hidden)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        share = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, dropout_p=share, is_causal=True)
        hidden = hidden + self.drop(self.project(seen.transpose(1, 2).flatten(2)))
        raised = functional.gelu(self.up(self.before_layers(hidden)))
        return hidden + self.drop(self.down(raised))  # type: ignore[no-any-return]


class GPTTraining:
    """Updates on windows at random places of a text that lies on the device; no step waits for a value."""

    def __init__(self, recipe: GPTRecipe, tokens: Tensor, vocab_size: int, dtype: torch.dtype) -> None:
        """tokens (N,) int64, on the device to train on; `dtype` is autocast's, or float32 for none."""
        self.recipe, self.num_steps_done = recipe, 0
        self._tokens, self._dtype = tokens, dtype
        self._window = torch.arange(recipe.context + 1, device=tokens.device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(1)
            self.model = GPT(vocab_size, recipe).to(tokens.device)
        parameters = list(self.model.parameters())
        groups = [
            {"params": [each for each in parameters if each.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [each for each in parameters if each.dim() <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)

    @property
    def chars_per_step(self) -> int:
        """How many characters are predicted in one update."""
        return self.recipe.batch_size * self.recipe.context

    def step(self, fraction: float = 0.0) -> Tensor:
        """Make one update, with `fraction` of the time given being over; return its loss (), in nats per character."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.num_steps_done, fraction)
        last = len(self._tokens) - self.recipe.context
        begins = torch.randint(last, (self.recipe.batch_size, 1), device=self._tokens.device)
        windows = self._tokens[begins + self._window]
        self.model.train()
        loss = self._loss(windows)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.max_grad_norm)
        self._optimizer.step()
        self.num_steps_done += 1
        return loss.detach()

    def evaluate(self, tokens: Tensor) -> float:
        """Compute the nats per character of tokens (N,), N above the context, in all cold windows that fit."""
        windows = tokens.to(self._tokens.device).unfold(0, self.recipe.context + 1, self.recipe.context)
        self.model.eval()
        with torch.inference_mode():
            losses = [self._loss(part) * len(part) for part in torch.split(windows, self.recipe.batch_size)]
        return float(torch.stack(losses).sum()) / len(windows)

    def _loss(self, windows: Tensor) -> Tensor:
        """Compute the mean nats of predicting the last T of windows (B, T + 1)."""
        is_mixed = self._dtype != torch.float32
        with torch.autocast(self._tokens.device.type, torch.bfloat16 if is_mixed else None, enabled=is_mixed):
            logits = self.model(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1).float(), windows[:, 1:].flatten())
