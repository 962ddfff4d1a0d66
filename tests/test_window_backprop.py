"""The gradients written out by hand around the compiled kernel, against autograd through PyTorch's own LSTM."""

import pytest
import torch
from kernel_marks import BOTH, needs_compiler
from torch import Tensor
from torch.nn import functional

from charlstm.config import ModelConfig
from charlstm.corpus.batches import IGNORED, Batch
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State
from charlstm.window_backprop import WindowBackprop, flat_gradient

B, T = 9, 10


def window(vocab_size: int) -> Batch:
    """One stream has ended before its last place."""
    tokens, targets = torch.randint(vocab_size, (B, T)), torch.randint(vocab_size, (B, T))
    targets[3, -1] = IGNORED
    return Batch(tokens, targets, B * T - 1, starts_anew=False)


def gradients(model: CharLSTM) -> dict[str, Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def by_autograd(model: CharLSTM, batch: Batch, before: State) -> tuple[Tensor, State]:
    logits, after = model(batch.tokens, before)
    nats = functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")
    (nats / batch.num_targets).backward()
    return nats.detach(), after


@needs_compiler
@pytest.mark.parametrize("drops", [{}, {"dropout": 0.4, "weight_dropout": 0.4}])
@pytest.mark.parametrize("vocab_size", [11, 64, 300])
@pytest.mark.parametrize(("num_layers", "embedding_dim"), [(1, 0), (1, 12), (2, 0), (3, 12)])
@BOTH
def test_they_are_those_of_autograd(
    dtype: torch.dtype,
    num_layers: int,
    embedding_dim: int,
    vocab_size: int,
    drops: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice in a row, as scratch memory is kept; the same numbers are dropped, as both draw from the same seed."""
    torch.manual_seed(3)
    config = ModelConfig(hidden_size=48, num_layers=num_layers, embedding_dim=embedding_dim, **drops)
    model = CharLSTM(vocab_size, config).train()
    flat = flat_gradient(model)
    fused = WindowBackprop(model, dtype)
    monkeypatch.setattr(CharLSTM, "is_fused", lambda *_: False)
    for seed in (5, 6):
        batch = window(vocab_size)
        before = torch.randn(num_layers, B, 48).tanh(), torch.randn(num_layers, B, 48)
        torch.manual_seed(seed)
        nats, after = fused(batch, before)
        found = gradients(model)
        flat.zero_()
        torch.manual_seed(seed)
        expected_nats, expected_after = by_autograd(model, batch, before)
        tolerance = 2e-6 if dtype == torch.float32 else 0.02  # some roundings of 1/512 each, one after another
        torch.testing.assert_close(nats, expected_nats, rtol=tolerance, atol=0.0)
        for one, other in zip(after, expected_after, strict=True):
            torch.testing.assert_close(one, other, rtol=0.0, atol=tolerance)
        expected = gradients(model)
        assert len(found) == len(expected) == (embedding_dim > 0) + 4 * num_layers + 2
        for name, gradient in expected.items():
            largest = gradient.abs().max().item()
            assert largest > 0, name
            torch.testing.assert_close(found[name], gradient, rtol=0.0, atol=tolerance * largest, msg=name)


@needs_compiler
def test_a_window_without_any_target_teaches_nothing() -> None:
    model = CharLSTM(20, ModelConfig(hidden_size=32)).train()
    flat = flat_gradient(model)
    tokens = torch.randint(20, (B, T))
    nats, _ = WindowBackprop(model, torch.float32)(Batch(tokens, torch.full((B, T), IGNORED), 1, True), None)
    assert nats.item() == 0
    assert not flat.any()


def test_one_tensor_holds_every_gradient() -> None:
    model = CharLSTM(20, ModelConfig(hidden_size=5, embedding_dim=3))
    flat = flat_gradient(model)
    model(torch.randint(20, (2, 4)))[0].sum().backward()
    assert torch.equal(flat, torch.cat([each.flatten() for each in gradients(model).values()]))
    flat.fill_(7.0)
    assert all((gradient == 7).all() for gradient in gradients(model).values())


@needs_compiler
@pytest.mark.parametrize("size", [16, 48])
def test_numbers_dropped_by_a_seed_are_dropped_again_in_place(size: int) -> None:
    """The share is right to 5.5 standard deviations (once in 10^7), and another seed drops others."""
    source = torch.rand(4 * size, size) + 1
    target = kernel.drop_weights(source, torch.empty_like(source), 0.25, seed=2**62 + 7)
    kept = target != 0
    torch.testing.assert_close(target[kept], source[kept] / 0.75)
    assert abs(kept.float().mean().item() - 0.75) < 5.5 * (0.1875 / source.numel()) ** 0.5
    other = source.clone()
    assert torch.equal(kernel.drop_weights(other, other, 0.25, seed=2**62 + 7), target)
    for seed in (2**62 + 8, 2**62 + 7 + 2**32, 7):
        assert not torch.equal(kernel.drop_weights(source, torch.empty_like(source), 0.25, seed=seed) != 0, kept)
