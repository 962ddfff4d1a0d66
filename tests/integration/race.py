"""A race on one text: how soon does `--preset minute` reach a validation loss, how soon two that are widely trained?

    PYTHONPATH=. python tests/integration/race.py [--corpus tiny-shakespeare] [--seconds 60] [--seed 1]
        [--goals 1.6 1.55] [--three-parts]

They train one after another on the same cores, for as long each by a clock that stands still while they are validated;
what the machine does otherwise weighs on all. The others are written here as their authors describe them:

- *blog*: `nn.LSTM` of 250 units over one-hot vectors, one stream in windows of 100, Adam at 0.01, no schedule.
- *nanoGPT*: its recipe for a CPU: 4 layers of 4 heads, 128 wide, windows of 64 in batches of 12, AdamW at 1e-3 falling
  to 1e-4 by a cosine, the first 100 steps rising; no dropout. The cosine ends when the time does.

With `--three-parts` they learn from the first 80 % of the text and are validated on the last 10 %; the 10 % between
are left out.

Validation: *stateful* for what carries a state; *windows*, cold ones of 256 characters or of as many as a model can
see, for all; over the first 65,536 characters of the validation part.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from charlstm.config import Settings
from charlstm.corpus import Split, open_corpus
from charlstm.evaluation import evaluate_batched, evaluate_windows
from charlstm.events import StepDone
from charlstm.language_model import LanguageModel
from charlstm.model import State
from charlstm.training.trainer import Trainer

_VALIDATED = 65_536
_CHECKS = 40  # over the race


class Mark(NamedTuple):
    """One validation: seconds of training before it, characters learned from, losses in nats (stateful, windows)."""

    seconds: float
    num_chars: int
    stateful: float
    windows: float


class Watch:
    """Seconds that were spent training."""

    def __init__(self, limit: float) -> None:
        self.limit, self._began, self._out, self._due = limit, time.perf_counter(), 0.0, 0.0

    def __call__(self) -> float:
        return time.perf_counter() - self._began - self._out

    def marks(self, num_chars: int, measure: Callable[[], tuple[float, float]]) -> Iterator[Mark]:
        """A mark if one is due."""
        seconds = self()
        if seconds >= self._due:
            began = time.perf_counter()
            yield Mark(seconds, num_chars, *measure())
            self._due = seconds + self.limit / _CHECKS
            self._out += time.perf_counter() - began


def ours(split: Split, seconds: float, seed: int) -> Iterator[Mark]:
    """Preset `minute`, given these seconds; the figures are those of its own model."""
    rare = {"eval_every": 10**9, "sample_every": 10**9, "calibrate": "off"}  # what is measured is not the scaled model
    settings = Settings.preset("minute", max_minutes=seconds / 60, seed=seed, **rare)
    language_model = LanguageModel.create(split.vocabulary, settings.model, seed)
    watch = Watch(seconds)
    trainer = Trainer(language_model, split, settings.train, watch)
    validation = split.validation[:_VALIDATED]

    def measure() -> tuple[float, float]:
        model = language_model.model
        return evaluate_batched(model, validation)[0].nats, evaluate_windows(model, validation).nats

    chars_per_step = settings.train.batch_size * settings.train.seq_len
    for event in trainer.run():
        if isinstance(event, StepDone):
            yield from watch.marks(event.step * chars_per_step, measure)
    yield Mark(seconds, trainer.step * chars_per_step, *measure())


def tensors(split: Split) -> tuple[Tensor, Tensor]:
    """Both parts, of the second as much as is validated."""
    train, validation = (torch.from_numpy(part[:].astype("int64")) for part in (split.train, split.validation))
    return train, validation[:_VALIDATED]


class Blog(nn.Module):
    """The network of the post."""

    def __init__(self, num_symbols: int) -> None:
        super().__init__()
        self.num_symbols = num_symbols
        self.lstm = nn.LSTM(num_symbols, 250, batch_first=True)
        self.head = nn.Linear(250, num_symbols)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits (B, T, V) for tokens (B, T), and the state after them."""
        hidden, state = self.lstm(functional.one_hot(tokens, self.num_symbols).float(), state)
        return self.head(hidden), state


def blog(split: Split, seconds: float, seed: int) -> Iterator[Mark]:
    """The post's loop."""
    torch.manual_seed(seed)
    model = Blog(len(split.vocabulary))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train, validation = tensors(split)
    watch, state, place, num_chars = Watch(seconds), None, 0, 0
    while watch() < seconds:
        if place + 101 > len(train):
            state, place = None, 0
        window = train[place : place + 101]
        logits, (h, c) = model(window[None, :-1], state)
        state, place = (h.detach(), c.detach()), place + 100
        loss = functional.cross_entropy(logits[0], window[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_chars += 100
        yield from watch.marks(num_chars, lambda: carried_and_cold(model, validation))
    yield Mark(seconds, num_chars, *carried_and_cold(model, validation))


@torch.inference_mode()
def carried_and_cold(model: Blog, text: Tensor) -> tuple[float, float]:
    """Its loss over the whole text in one stream, and in cold windows of 256."""
    carried = functional.cross_entropy(model(text[None, :-1])[0][0], text[1:]).item()
    return carried, cold(lambda tokens: model(tokens)[0], text, 256)


def cold(logits_of: Callable[[Tensor], Tensor], text: Tensor, length: int) -> float:
    """Mean nats over windows of `length` that follow each other, each read on its own."""
    count = (len(text) - 1) // length
    tokens, targets = (text[begin : begin + count * length].view(count, length) for begin in (0, 1))
    logits = torch.cat([logits_of(part) for part in tokens.split(64)])
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item()


class GPT(nn.Module):
    """A Transformer of nanoGPT's shape: normalised before each part, embedding and head tied, no biases."""

    def __init__(self, num_symbols: int, width: int = 128, num_layers: int = 4, length: int = 64) -> None:
        super().__init__()
        self.symbols, self.places = nn.Embedding(num_symbols, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(GPTBlock(width) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                rows_to_sum = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * num_layers) if rows_to_sum else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) for tokens (B, T)."""
        x = self.symbols(tokens) + self.places.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.symbols.weight)


class GPTBlock(nn.Module):
    """Causal attention of 4 heads, then two layers around a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.second(x))))


def nano_gpt(split: Split, seconds: float, seed: int) -> Iterator[Mark]:
    """nanoGPT's loop; it carries no state, so there is no stateful figure."""
    torch.manual_seed(seed)
    model = GPT(len(split.vocabulary))
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    train, validation = tensors(split)
    watch, step = Watch(seconds), 0

    def measure() -> tuple[float, float]:
        with torch.inference_mode():
            return math.nan, cold(model, validation, 64)

    while (spent := watch()) < seconds:
        cosine = 1e-4 + 0.5 * (1e-3 - 1e-4) * (1 + math.cos(math.pi * spent / seconds))
        for group in optimizer.param_groups:
            group["lr"] = min(cosine, 1e-3 * (step + 1) / 100)
        rows = torch.randint(len(train) - 64, (12,))
        windows = torch.stack([train[row : row + 65] for row in rows.tolist()])
        loss = functional.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        yield from watch.marks(12 * 64 * step, measure)
    yield Mark(seconds, 12 * 64 * step, *measure())


def reached(marks: list[Mark], goal: float) -> str:
    """The first seconds at or below `goal`, stateful where there is such a figure."""
    losses = [(mark.windows if math.isnan(mark.stateful) else mark.stateful) for mark in marks]
    return next((f"{mark.seconds:.0f} s" for mark, loss in zip(marks, losses, strict=True) if loss <= goal), "not")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="tiny-shakespeare")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--goals", type=float, nargs="+", default=[1.6, 1.55])
    parser.add_argument("--three-parts", action="store_true")
    wanted = parser.parse_args()
    settings = Settings.preset("minute")
    corpus = open_corpus(wanted.corpus)
    split = corpus.split(settings.model, settings.train)
    if wanted.three_parts:
        shorter = corpus.split(settings.model, settings.train.model_copy(update={"val_fraction": 0.2}))
        split = Split(split.vocabulary, shorter.train, split.validation)
    for name, contestant in {"minute": ours, "blog": blog, "nanoGPT": nano_gpt}.items():
        marks = list(contestant(split, wanted.seconds, wanted.seed))
        times = ", ".join(f"{goal:g}: {reached(marks, goal)}" for goal in wanted.goals)
        end = marks[-1]
        losses = f"{end.stateful:.4f} stateful, {end.windows:.4f} in windows"
        sys.stdout.write(f"{name:8s} {times}; after {end.num_chars:,} characters {losses}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
