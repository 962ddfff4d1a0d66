"""The network: characters in, logits of the next character out.

Shapes: B = batch, T = time, V = vocabulary size, L = layers, H = hidden size.
A state is `(h, c)`, each (L, B, H), float32.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from charlstm.config import ModelConfig
from charlstm.kernel import lstm as kernel

State = tuple[Tensor, Tensor]
HeldUnits = dict[int, tuple[Tensor, Tensor]]  # layer -> units (N,) int64, and the cell states (N,) they keep
_FEWEST_STREAMS = 8  # below, a matrix-vector product per time step is bound by memory, and PyTorch's is as good


class _Kind(TypedDict):
    """Device and type of a tensor, as keyword arguments of its makers."""

    device: torch.device
    dtype: torch.dtype


class CharLSTM(nn.Module):
    """Embedding or one-hot -> LSTM layers -> linear, with locked dropout after every layer while it trains.

    Locked (Gal and Ghahramani 2016): a unit is dropped for all characters of a window, so the noise of one
    character does not hide what another carries. `weight_dropout` drops recurrent weights for a window (Merity et al.
    2017).
    """

    def __init__(self, vocab_size: int, config: ModelConfig, device: torch.device | str = "cpu") -> None:
        super().__init__()
        # Said wherever a tensor is made: the program around this may have given PyTorch other defaults.
        how: _Kind = {"device": torch.device(device), "dtype": torch.float32}
        self.vocab_size = vocab_size
        self.config = config
        self.shard: tuple[slice, int] | None = None  # which of how many streams a process of several trains on
        self.embedding = _embedding(vocab_size, config.embedding_dim, how) if config.embedding_dim else None
        self.lstm = nn.LSTM(
            input_size=config.embedding_dim or vocab_size,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            batch_first=True,
            **how,
        )
        self.head = nn.Linear(config.hidden_size, vocab_size, **how)
        if config.forget_bias:
            self._set_forget_bias(config.forget_bias)
        if config.recurrent_init == "orthogonal":
            self._set_orthogonal()
        with torch.no_grad():
            self.lstm.all_weights[0][0].mul_(config.input_scale)

    def _set_orthogonal(self) -> None:
        """Draw an orthogonal matrix for each gate: the state neither grows nor fades at first (Saxe et al. 2014)."""
        for _, weight_hh, _, _ in self.lstm.all_weights:
            for gate in weight_hh.detach().chunk(4):
                nn.init.orthogonal_(gate)

    def _set_forget_bias(self, value: float) -> None:
        """Remember by default (Jozefowicz et al. 2015). nn.LSTM adds two biases and orders its gates i, f, g, o."""
        size = self.config.hidden_size
        with torch.no_grad():
            for _, _, bias_ih, bias_hh in self.lstm.all_weights:
                bias_ih[size : 2 * size] = value
                bias_hh[size : 2 * size] = 0.0

    @property
    def num_parameters(self) -> int:
        """The number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.head.weight.device

    def assign_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Make `tensors`, which are not copied, the parameters."""
        self.load_state_dict(tensors, strict=True, assign=True)
        for parameter in self.parameters():
            parameter.requires_grad_(True)
        self.lstm.flatten_parameters()

    def initial_state(self, batch_size: int) -> State:
        """Return an all-zero state."""
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return self.head.weight.new_zeros(shape), self.head.weight.new_zeros(shape)

    def forward(
        self, tokens: Tensor, state: State | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, State]:
        """Map tokens (B, T) to logits (B, T, V) and the state after the last token; no state means zeros.

        `dtype` is what weights and activations are rounded to for the arithmetic, by default that of the parameters;
        sums of the recurrence, cell states and what is returned are not.
        """
        dtype = dtype or self.head.weight.dtype
        h, c = state or self.initial_state(len(tokens))
        layer = self._run_fused_layer if self.is_fused(len(tokens), dtype) else self._run_torch_layer
        hidden, h_after, c_after = tokens.t(), [], []
        for index in range(self.config.num_layers):
            hidden, (h_last, c_last) = layer(index, hidden, (h[index], c[index]), dtype)
            hidden = self._apply_dropout(hidden)
            h_after.append(h_last)
            c_after.append(c_last)
        logits = functional.linear(hidden, self.head.weight.to(dtype), self.head.bias.to(dtype))
        return logits.transpose(0, 1).to(self.head.weight.dtype), (torch.stack(h_after), torch.stack(c_after))

    def is_fused(self, num_streams: int, dtype: torch.dtype) -> bool:
        """Return whether the compiled kernel computes the layers."""
        is_worth_it = num_streams >= _FEWEST_STREAMS or dtype != torch.float32
        return self.device.type == "cpu" and is_worth_it and kernel.is_available(dtype, self.config.hidden_size)

    def _run_fused_layer(self, index: int, below: Tensor, state: State, dtype: torch.dtype) -> tuple[Tensor, State]:
        """Compute one layer; `below` is tokens (T, B) for the first one, else hidden states (T, B, H)."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[index]
        bias = bias_ih + bias_hh
        rows = None
        if index:
            inputs = functional.linear(below, weight_ih.to(dtype), bias.to(dtype))
        else:
            tokens, rows = (None, below) if self.uses_input_table(below.numel()) else (below, None)
            inputs = (self._embed(tokens, weight_ih) + bias).to(dtype)
        return kernel.lstm_layer(inputs, rows, self._drop_weights(weight_hh), state[0], state[1])

    def uses_input_table(self, num_places: int) -> bool:
        """Return whether a table of what each character adds to the gates is less work than the positions one by one.

        It depends on nothing else, so it is with fewer characters in the vocabulary than in the window.
        """
        return self.vocab_size <= num_places

    def _embed(self, tokens: Tensor | None, weight_ih: Tensor) -> Tensor:
        """Return what tokens (T, B), or the whole vocabulary (`None`), add to the gates of the first layer, (N, 4H)."""
        vectors = self.embedding.weight if self.embedding is not None else weight_ih.t()
        if tokens is not None:
            vectors = functional.embedding(tokens, vectors)
        return vectors if self.embedding is None else vectors @ weight_ih.t()

    def input_gate_table(self) -> Tensor:
        """Return what each character adds to the gates of the first layer, biases included: (V, 4H)."""
        weight_ih, _, bias_ih, bias_hh = self.lstm.all_weights[0]
        return self._embed(None, weight_ih) + (bias_ih + bias_hh)

    def _run_torch_layer(self, index: int, below: Tensor, state: State, dtype: torch.dtype) -> tuple[Tensor, State]:
        """Compute the same with PyTorch, which is also what the fused layer is checked against."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.lstm.all_weights[index]
        inputs = self._inputs(below) if index == 0 else below
        weights = [weight_ih, self._drop_weights(weight_hh), bias_ih, bias_hh]
        weights = in_one_block(weights, dtype) if below.is_cuda else [each.to(dtype) for each in weights]
        before = [each[None].to(dtype) for each in state]
        hidden, h, c = torch.lstm(inputs.to(dtype), before, weights, True, 1, 0.0, self.training, False, False)
        return hidden, (h[0].detach().to(bias_ih), c[0].detach().to(bias_ih))

    def _apply_dropout(self, hidden: Tensor) -> Tensor:
        """Apply locked dropout to hidden (T, B, H)."""
        mask = self.unit_mask(*hidden.shape[1:])
        return hidden if mask is None else hidden * mask.to(hidden.dtype)

    def unit_mask(self, batch: int, size: int) -> Tensor | None:
        """Return the dropout mask of a layer's units (B, H) in this window: 0 or 1 / share kept; `None` if all ones."""
        if not self.training or not self.config.dropout:
            return None
        share, num_streams = self.shard or (slice(batch), batch)  # drawn for all streams, so that they stay the same
        drawn = torch.empty(num_streams, size, device=self.device, dtype=torch.float32)
        kept = drawn.bernoulli_(1 - self.config.dropout)[share]
        return kept / (1 - self.config.dropout)

    def _drop_weights(self, weight_hh: Tensor) -> Tensor:
        """Drop recurrent weights (4H, H) at random, the same ones for a whole window (DropConnect)."""
        drop = self.sample_weight_mask()
        if drop is None:
            return weight_hh
        mask = torch.ones_like(weight_hh)
        if weight_hh.device.type == "cpu" and kernel.is_available(torch.float32, self.config.hidden_size):
            kernel.drop_weights(mask, mask, *drop)
        else:
            functional.dropout(mask, drop[0], inplace=True)
        return weight_hh * mask

    def sample_weight_mask(self) -> tuple[float, int] | None:
        """Draw the DropConnect mask of this window: the dropped share in 256ths, and a seed; `None` for none."""
        if not self.training or not self.config.weight_dropout:
            return None
        seed = torch.randint(2**63 - 1, (), device="cpu", dtype=torch.int64)
        return max(1, round(256 * self.config.weight_dropout)) / 256, int(seed)

    def step(self, tokens: Tensor, state: State, held: HeldUnits | None = None) -> tuple[Tensor, State]:
        """Compute one step of each stream, without dropout: tokens (B,) -> logits (B, V) and the new state.

        The cell states of units in `held` keep those values, and their hidden states follow by the output gate.
        Same numbers as `forward` in evaluation mode; what `charlstm.generation.engine` does where nothing is compiled.
        """
        below = self._inputs(tokens)
        h, c = [], []
        for layer, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(self.lstm.all_weights):
            before = (state[0][layer], state[1][layer])
            inputs = below
            below, cell = torch.lstm_cell(inputs, before, weight_ih, weight_hh, bias_ih, bias_hh)
            if held and layer in held:
                units, values = held[layer]
                rows = 3 * self.config.hidden_size + units  # of the output gate, the last of four
                output = functional.linear(inputs, weight_ih[rows], bias_ih[rows])
                output = output + functional.linear(before[0], weight_hh[rows], bias_hh[rows])
                below, cell = below.clone(), cell.clone()
                cell[:, units] = values
                below[:, units] = output.sigmoid() * values.tanh()
            h.append(below)
            c.append(cell)
        return self.head(below), (torch.stack(h), torch.stack(c))

    def _inputs(self, tokens: Tensor) -> Tensor:
        if self.embedding is not None:
            return self.embedding(tokens)  # type: ignore[no-any-return]
        one_hot = self.head.weight.new_zeros(*tokens.shape, self.vocab_size)  # functional.one_hot makes int64 first
        return one_hot.scatter_(-1, tokens.unsqueeze(-1), 1.0)


def in_one_block(weights: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Return the weights of a layer, rounded to `dtype`, as views of one block of memory, through which gradients flow.

    cuDNN wants them in this order, matrices first, without a gap; else PyTorch copies them at every call, and warns.
    """
    block = torch.cat([each.flatten() for each in weights]).to(dtype)
    parts = torch.split(block, [each.numel() for each in weights])
    return [part.view_as(each) for part, each in zip(parts, weights, strict=True)]


def _embedding(vocab_size: int, size: int, how: _Kind) -> nn.Embedding:
    """Draw an embedding as `nn.Embedding` does, but not on the meta device.

    To know the shape of a normal draw there, PyTorch imports `torch._dynamo`: 1 to 2.8 s of a first load (*measured*).
    """
    vectors = torch.empty(vocab_size, size, **how)
    if vectors.device.type != "meta":
        nn.init.normal_(vectors)
    embedding: nn.Embedding = nn.Embedding.from_pretrained(vectors, freeze=False)  # type: ignore[no-untyped-call]
    return embedding


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode and compute no gradients inside the block; restore the model's mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)
