"""Hand-written forward and backward pass of one window, built on the compiled kernel.

Autograd is used everywhere else; at the small steps that learn fastest, its operations, copies and allocations take as
long as the arithmetic. Shapes: T = time, B = batch, H = hidden size, V = vocabulary size.
"""

import torch
from torch import Tensor, nn

from charlstm.corpus.batches import Batch
from charlstm.kernel import lstm as kernel
from charlstm.kernel.lstm import Workspace
from charlstm.model import CharLSTM, State


def flat_gradient(model: nn.Module) -> Tensor:
    """Make every parameter's `grad` a view of one tensor, so that one operation covers all; return that tensor."""
    flat = torch.zeros(
        sum(parameter.numel() for parameter in model.parameters()),
        dtype=torch.float32,
        device=next(model.parameters()).device,
    )
    begin = 0
    for parameter in model.parameters():
        parameter.grad = flat[begin : begin + parameter.numel()].view_as(parameter)
        begin += parameter.numel()
    return flat


class WindowBackprop:
    """Writer of the gradients of a window's mean nats into every parameter's `grad`; needs a model in train mode."""

    def __init__(self, model: CharLSTM, dtype: torch.dtype, weight_dtype: torch.dtype | None = None) -> None:
        """Activations are of `dtype`, recurrent weights rounded to `weight_dtype`, by default the same."""
        self._model = model
        self._dtypes = dtype, weight_dtype or dtype
        self._memories = [Workspace() for _ in range(model.config.num_layers)]

    @torch.no_grad()
    def __call__(self, batch: Batch, state: State | None) -> tuple[Tensor, State]:
        """Compute the gradients; return the summed nats of the window and the state after it."""
        model, memory = self._model, self._memories[-1]
        h, c = state or model.initial_state(len(batch.tokens))
        layers: list[_FirstLayer | _UpperLayer] = []
        for index, own in enumerate(self._memories):
            before = h[index], c[index]
            if index == 0:
                layers.append(_FirstLayer(model, batch.tokens.t().contiguous(), before, self._dtypes, own))
            else:
                layers.append(_UpperLayer(model, index, layers[-1].hidden, before, self._dtypes[1], own))
        hidden = layers[-1].hidden
        places, targets = hidden.flatten(0, 1), batch.targets.t().flatten()
        weight, bias = model.head.weight, model.head.bias
        nats, dlogits, dplaces = kernel.output_loss(places, weight, bias, targets, 1 / batch.num_targets, memory)
        _product(dlogits.t(), places, _grad(weight), memory)
        torch.sum(dlogits, 0, dtype=torch.float32, out=_grad(bias))
        dhidden = dplaces.view_as(hidden)
        for layer in reversed(layers):
            dhidden = layer.backward(dhidden)
        h, c = (torch.stack(each) for each in zip(*(layer.last for layer in layers), strict=True))
        return nats, (h, c)


class _Layer:
    """Base of all layers: the recurrence and both kinds of dropout."""

    def __init__(
        self,
        model: CharLSTM,
        index: int,
        inputs: Tensor,
        rows: Tensor,
        before: State,
        weight_dtype: torch.dtype,
        memory: Workspace,
        bias: Tensor | None = None,
    ) -> None:
        self._memory, self._weight_dtype = memory, weight_dtype
        self._weight_ih, self._weight_hh, self._bias_ih, self._bias_hh = model.lstm.all_weights[index]
        self._weight_drop = model.sample_weight_mask()
        thinned: Tensor = self._weight_hh
        if self._weight_drop is not None:
            thinned = memory("thinned", *thinned.shape, dtype=thinned.dtype)
            kernel.drop_weights(self._weight_hh, thinned, *self._weight_drop)
        self._trace = kernel.forward(inputs, rows, thinned, *before, memory, bias=bias, weight_dtype=weight_dtype)
        self.last = self._trace.h[-1].to(torch.float32), self._trace.c[-1]
        self.hidden = self._trace.h[1:]
        self._unit_mask = model.unit_mask(*self.hidden.shape[1:])
        if self._unit_mask is not None:
            self._unit_mask = self._unit_mask.to(inputs.dtype)
            self.hidden = self.hidden * self._unit_mask

    def _gates_backward(self, dhidden: Tensor) -> Tensor:
        """Write the gradient of the recurrent weights; return those (T, B, 4H) of the gate inputs."""
        if self._unit_mask is not None:
            dhidden = dhidden * self._unit_mask
        dgates = kernel.backward(self._trace, dhidden, self._memory, self._weight_dtype)
        gradient = _grad(self._weight_hh)
        _product(dgates.flatten(0, 1).t(), self._trace.h[:-1].flatten(0, 1), gradient, self._memory)
        if self._weight_drop is not None:
            kernel.drop_weights(gradient, gradient, *self._weight_drop)
        return dgates

    def _biases_backward(self, gradient: Tensor) -> None:
        for bias in (self._bias_ih, self._bias_hh):
            _grad(bias).copy_(gradient)


class _FirstLayer(_Layer):
    """The first layer, which looks up each token's gate inputs in a table."""

    def __init__(
        self, model: CharLSTM, tokens: Tensor, before: State, dtypes: tuple[torch.dtype, torch.dtype], memory: Workspace
    ) -> None:
        weight_ih, _, bias_ih, bias_hh = model.lstm.all_weights[0]
        self._embedding: Tensor | None = None if model.embedding is None else model.embedding.weight
        self._vectors: Tensor = weight_ih.t() if self._embedding is None else self._embedding
        self._ids, rows = None, tokens
        if not model.uses_input_table(tokens.numel()):  # only the tokens that occur
            self._ids, rows = torch.unique(tokens, return_inverse=True)
            self._vectors = self._vectors[self._ids]
        bias = bias_ih + bias_hh
        table = self._vectors + bias if self._embedding is None else torch.addmm(bias, self._vectors, weight_ih.t())
        super().__init__(model, 0, table.to(dtypes[0]), rows, before, dtypes[1], memory)

    def backward(self, dhidden: Tensor) -> Tensor:
        """Write the layer's gradients; its inputs are tokens, which get none."""
        dgates = self._gates_backward(dhidden)
        dtable = kernel.sum_rows(self._trace.rows, dgates, len(self._vectors), self._memory)
        self._biases_backward(dtable.sum(0))
        if self._embedding is None:
            self._into(_grad(self._weight_ih).t(), dtable)
        else:
            torch.mm(dtable.t(), self._vectors, out=_grad(self._weight_ih))
            self._into(_grad(self._embedding), dtable @ self._weight_ih)
        return dhidden

    def _into(self, gradient: Tensor, rows: Tensor) -> None:
        if self._ids is None:
            gradient.copy_(rows)
        else:
            gradient.zero_().index_copy_(0, self._ids, rows)


class _UpperLayer(_Layer):
    """A layer that reads the hidden states of the layer below."""

    def __init__(
        self, model: CharLSTM, index: int, below: Tensor, before: State, weight_dtype: torch.dtype, memory: Workspace
    ) -> None:
        weight_ih, _, bias_ih, bias_hh = model.lstm.all_weights[index]
        self._below, self._narrow = below.flatten(0, 1), weight_ih.to(below.dtype)
        inputs = memory("inputs", len(self._below), len(weight_ih), dtype=below.dtype)
        torch.mm(self._below, self._narrow.t(), out=inputs)
        rows = torch.arange(len(self._below), device="cpu").view(below.shape[:2])
        super().__init__(model, index, inputs, rows, before, weight_dtype, memory, bias_ih + bias_hh)

    def backward(self, dhidden: Tensor) -> Tensor:
        """Write the layer's gradients; return those of the hidden states below."""
        dgates = self._gates_backward(dhidden)
        self._biases_backward(kernel.sum_rows(None, dgates, 1, self._memory)[0])
        dgates = dgates.flatten(0, 1)
        _product(dgates.t(), self._below, _grad(self._weight_ih), self._memory)
        dbelow = self._memory("dbelow", *self._below.shape, dtype=self._below.dtype)
        return torch.mm(dgates, self._narrow, out=dbelow).view_as(dhidden)


def _product(left: Tensor, right: Tensor, target: Tensor, memory: Workspace) -> None:
    """Write a matrix product into a float32 gradient."""
    if left.dtype == target.dtype:
        torch.mm(left, right, out=target)
    else:
        target.copy_(torch.mm(left, right, out=memory("product", *target.shape, dtype=left.dtype)))


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
