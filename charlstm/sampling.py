"""Writing text: pure filters over logits, and `stream`, which yields what is written piece by piece.

Shapes: B = samples (1 here), V = vocabulary size. Surprise is the negative log-probability, in nats, that the model
itself (temperature 1, no filter) gave to what was written.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from charlstm.config import SampleConfig
from charlstm.model import CharLSTM, State, evaluating
from charlstm.vocabulary import Decoder, Vocabulary

_PROMPT_WINDOW = 4096  # characters of a prompt read at once: bounds the memory a long prompt takes
_COLDEST = 1e-30  # temperatures below are no different, and logits divided by them would overflow float32


class TextChunk(NamedTuple):
    """A piece of written text; `surprises` holds one figure per token (of the last tokens, at level bytes)."""

    text: str
    surprises: tuple[float, ...]


def keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    """(..., V): all but the `top_k` largest become -inf; 0 keeps all."""
    if top_k == 0 or top_k >= logits.shape[-1]:
        return logits
    kept = logits.topk(top_k, dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)


def keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    """(..., V): all but the smallest set of largest whose probabilities reach `top_p` become -inf; 1 keeps all."""
    if top_p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probabilities = ordered.softmax(dim=-1)
    dropped = probabilities.cumsum(dim=-1) - probabilities >= top_p
    dropped[..., 0] = False  # a `top_p` that float32 rounds to 0 still keeps the likeliest
    return torch.full_like(logits, -torch.inf).scatter(-1, order, ordered.masked_fill(dropped, -torch.inf))


def choose(logits: Tensor, config: SampleConfig, generator: torch.Generator) -> Tensor:
    """logits (B, V) -> ids (B,); temperature 0 is exactly the likeliest, and draws no random number."""
    if config.temperature == 0:
        return logits.argmax(dim=-1)
    filtered = keep_top_p(keep_top_k(logits / max(config.temperature, _COLDEST), config.top_k), config.top_p)
    return torch.multinomial(filtered.softmax(dim=-1), 1, generator=generator).squeeze(-1)


def stream(model: CharLSTM, vocabulary: Vocabulary, prompt: str, config: SampleConfig) -> Iterator[TextChunk]:
    """Continue `prompt`, yielding each piece as it is written (the prompt itself is not repeated).

    Same seed, same text. Raises `VocabularyError` before anything is written if the prompt can't be read.
    Stopping early is leaving the iterator.
    """
    ids = torch.from_numpy(vocabulary.encode(vocabulary.fit(prompt) or _opening(vocabulary)).astype("int64"))
    generator = torch.Generator().manual_seed(config.seed)
    decoder = Decoder(vocabulary)
    logits, state = _read(model, ids)
    held: list[float] = []
    for left in range(config.num_chars - 1, -1, -1):
        # No block of inference mode may hold a yield: it would switch the mode of the thread that consumes.
        with torch.inference_mode():
            chosen = choose(logits, config, generator)
            held.append(functional.cross_entropy(logits, chosen).item())
            if left:
                logits, state = model.step(chosen, state)
        text = decoder.feed(chosen.tolist(), is_last=left == 0)
        if text:
            yield TextChunk(text, tuple(held))
            held = []


def _opening(vocabulary: Vocabulary) -> str:
    """What an empty prompt stands for: the beginning of a line."""
    return "\n" if not vocabulary.unknown("\n") else vocabulary.characters[0]


def _read(model: CharLSTM, ids: Tensor) -> tuple[Tensor, State]:
    """Read a prompt (N,) -> logits (1, V) of what follows, and the state."""
    state: State | None = None
    with evaluating(model):
        for window in torch.split(ids[None], _PROMPT_WINDOW, dim=1):
            logits, state = model(window, state)
    assert state is not None
    return logits[:, -1], state
