"""The network by the compiled recurrence and by PyTorch: the same logits, states and gradients."""

import pytest
import torch
from kernel_marks import BOTH, HAS, named, needs_compiler
from torch import Tensor
from torch.nn import functional

from charlstm.config import ModelConfig
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for every layer that the compiled recurrence did from now on: how many rows its table had."""
    calls: list[int] = []
    real = kernel.lstm_layer

    def counted(inputs: Tensor, *rest: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        calls.append(inputs[..., 0].numel())
        return real(inputs, *rest)

    monkeypatch.setattr(kernel, "lstm_layer", counted)
    return calls


def learned(model: CharLSTM, tokens: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
    """Logits, state and the gradient of every parameter."""
    model.zero_grad()
    torch.manual_seed(9)
    state = [torch.randn(model.config.num_layers, len(tokens), model.config.hidden_size) for _ in range(2)]
    logits, (h, c) = model(tokens, (state[0].tanh(), state[1]), dtype)
    functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"logits": logits.detach(), "h": h, "c": c, **gradients}


@pytest.mark.parametrize("embedding_dim", [0, 12])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(("vocab_size", "uses_input_table"), [(11, True), (90, True), (91, False), (300, False)])
@BOTH
def test_the_model_computes_the_same_by_it_and_by_pytorch(
    dtype: torch.dtype,
    vocab_size: int,
    uses_input_table: bool,
    num_layers: int,
    embedding_dim: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """9 streams of 10 characters; PyTorch's layer is the one that tests/test_model.py holds against a naive loop."""
    torch.manual_seed(3)
    config = ModelConfig(hidden_size=48, num_layers=num_layers, embedding_dim=embedding_dim)
    model, tokens = CharLSTM(vocab_size, config), torch.randint(vocab_size, (9, 10))
    calls = counting(monkeypatch)
    fused = learned(model, tokens, dtype)
    assert calls == [vocab_size if uses_input_table else 90, 90][:num_layers]
    monkeypatch.setattr(kernel, "is_available", lambda *_: False)
    plain = learned(model, tokens, torch.float32)
    assert len(calls) == num_layers
    assert fused.keys() == plain.keys()
    assert len(plain) == 3 + (embedding_dim > 0) + 4 * num_layers + 2
    tolerance = 2e-5 if dtype == torch.float32 else 0.03  # some roundings of 1/512 each, one after another
    for name, expected in plain.items():
        assert fused[name].dtype == torch.float32
        largest = expected.abs().max().item()
        assert largest > 0, name
        torch.testing.assert_close(fused[name], expected, rtol=tolerance, atol=tolerance * largest, msg=named(name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_of_another_size_falls_back_to_pytorch(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """17 units, and the same weights in a network of 32 whose other 15 have none: the same logits."""
    calls = counting(monkeypatch)
    torch.manual_seed(4)
    small, tokens = CharLSTM(11, ModelConfig(hidden_size=17)), torch.randint(11, (9, 10))
    logits, _ = small(tokens, None, dtype)
    assert calls == []
    wide = CharLSTM(11, ModelConfig(hidden_size=32))
    with torch.no_grad():
        for parameter in wide.parameters():
            parameter.zero_()
        for gate in range(4):
            ours, theirs = slice(32 * gate, 32 * gate + 17), slice(17 * gate, 17 * gate + 17)
            wide.lstm.weight_ih_l0[ours] = small.lstm.weight_ih_l0[theirs]
            wide.lstm.weight_hh_l0[ours, :17] = small.lstm.weight_hh_l0[theirs]
            wide.lstm.bias_ih_l0[ours] = small.lstm.bias_ih_l0[theirs] + small.lstm.bias_hh_l0[theirs]
        wide.head.weight[:, :17] = small.head.weight
        wide.head.bias.copy_(small.head.bias)
    expected, _ = wide(tokens, None, dtype)
    assert len(calls) == HAS[dtype]
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)


@needs_compiler
def test_few_streams_in_float32_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, model = counting(monkeypatch), CharLSTM(7, ModelConfig(hidden_size=16))
    model(torch.zeros(7, 3, dtype=torch.int64))
    assert calls == []
    model(torch.zeros(8, 3, dtype=torch.int64))
    assert calls == [7]


@BOTH
@pytest.mark.parametrize("size", [40, 48])
def test_the_state_after_a_window_holds_nothing_of_its_graph(dtype: torch.dtype, size: int) -> None:
    """Or every window of a pass would stay in memory."""
    model = CharLSTM(11, ModelConfig(hidden_size=size, num_layers=2))
    _, state = model(torch.zeros(9, 4, dtype=torch.int64), None, dtype)
    _, state = model(torch.zeros(9, 4, dtype=torch.int64), state, dtype)
    assert all(each.grad_fn is None and not each.requires_grad for each in state)
