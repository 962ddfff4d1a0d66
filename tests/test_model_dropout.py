"""Dropout and dropped recurrent weights: which, how many, when, and that the rest is scaled."""

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from networks import some_state, some_tokens
from torch import Tensor

from charlstm.config import ModelConfig
from charlstm.kernel import lstm as kernel
from charlstm.model import CharLSTM, State

SIZES = pytest.mark.parametrize("size", [40, 48])  # PyTorch's layer; the compiled one where there is a compiler


def layers_of(model: CharLSTM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What every layer of every later `forward` reads from below, and its hidden states, both (T, B, .)."""
    seen: list[tuple[Tensor, Tensor]] = []

    def listening(layer: Callable[..., tuple[Tensor, State]]) -> Callable[..., tuple[Tensor, State]]:
        def run(index: int, below: Tensor, *rest: object) -> tuple[Tensor, State]:
            hidden, after = layer(index, below, *rest)
            seen.append((below.detach(), hidden.detach()))
            return hidden, after

        return run

    for name in ("_run_torch_layer", "_run_fused_layer"):
        monkeypatch.setattr(model, name, listening(getattr(model, name)))
    return seen


def bare(size: int, **settings: object) -> CharLSTM:
    """A network whose logits are what reaches its output layer."""
    torch.manual_seed(0)
    model = CharLSTM(size, ModelConfig(hidden_size=size, **settings))
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(size))
        model.head.bias.zero_()
    return model


@SIZES
def test_dropout_is_one_mask_for_all_characters_after_every_layer_and_scales_the_rest(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 streams x 40 units at rate 0.25: the share dropped is within 0.018 (5.8 standard deviations) of it."""
    model = bare(size, num_layers=3, dropout=0.25).train()
    seen, tokens = layers_of(model, monkeypatch), some_tokens(500, 5)
    logits, _ = model(tokens)
    whole = [hidden for _, hidden in seen]
    thinned = [below for below, _ in seen[1:]] + [logits.detach().transpose(0, 1)]
    masks = [after[0] != 0 for after in thinned]
    for before, after, kept in zip(whole, thinned, masks, strict=True):
        torch.testing.assert_close(after, before * kept / 0.75, rtol=1e-5, atol=0.0)
        assert 1 - kept.float().mean().item() == pytest.approx(0.25, abs=0.018)
    assert len(masks) == 3
    for one, other in combinations(masks, 2):
        agreeing = (one == other).float().mean().item()  # independent masks agree on 0.75**2 + 0.25**2
        assert agreeing == pytest.approx(0.625, abs=0.02)


@SIZES
def test_another_window_drops_other_units(size: int) -> None:
    model, tokens = bare(size, dropout=0.5).train(), some_tokens(20, 3)
    first, second = (model(tokens)[0] != 0 for _ in range(2))
    assert (first == second).float().mean().item() == pytest.approx(0.5, abs=0.1)  # 5.6 standard deviations of 800


def recurrent_weights_used(model: CharLSTM, tokens: Tensor, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The recurrent weights that each layer of one `forward` worked with."""
    used: list[Tensor] = []
    real_torch, real_fused = torch.lstm, kernel.lstm_layer

    def in_torch(inputs: Tensor, before: list[Tensor], weights: list[Tensor], *rest: object) -> tuple[Tensor, ...]:
        used.append(weights[1].detach().clone())
        return real_torch(inputs, before, weights, *rest)

    def fused(inputs: Tensor, rows: Tensor, weight_hh: Tensor, *state: Tensor) -> tuple[Tensor, State]:
        used.append(weight_hh.detach().clone())
        return real_fused(inputs, rows, weight_hh, *state)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "lstm", in_torch)
        patched.setattr(kernel, "lstm_layer", fused)
        model(tokens)
    return used


@SIZES
@pytest.mark.parametrize(("share", "exact"), [(0.25, 64 / 256), (0.3, 77 / 256), (0.001, 1 / 256), (0.99, 253 / 256)])
def test_weight_dropout_drops_its_share_of_the_recurrent_weights_and_scales_the_rest(
    size: int, share: float, exact: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 layers x 4 x 40 x 40 weights and more: within 5.5 standard deviations, which chance passes once in 10^7."""
    model = bare(size, num_layers=2, weight_dropout=share).train()
    used = recurrent_weights_used(model, some_tokens(8, 3), monkeypatch)
    assert len(used) == 2
    dropped, count = 0, 0
    for weights, (_, whole, _, _) in zip(used, model.lstm.all_weights, strict=True):
        kept = weights != 0
        torch.testing.assert_close(weights[kept], (whole.detach() / (1 - exact))[kept], rtol=1e-5, atol=0.0)
        dropped, count = dropped + int((~kept).sum()), count + kept.numel()
    assert abs(dropped / count - exact) < 5.5 * math.sqrt(exact * (1 - exact) / count)
    assert not torch.equal(used[0] != 0, used[1] != 0), "both layers drop the same"


def test_weight_dropout_drops_each_weight_alike_and_independently_of_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four weights share one draw of 32 bits, so each place in eight is looked at by itself."""
    model = bare(48, weight_dropout=0.5).train()
    masks = torch.stack(
        [recurrent_weights_used(model, some_tokens(1, 1), monkeypatch)[0].flatten() == 0 for _ in range(40)]
    )
    places = masks.view(-1, 8).float()
    sigma = 0.5 / math.sqrt(len(places))
    assert (places.mean(dim=0) - 0.5).abs().max().item() < 5.5 * sigma
    both = (places.t() @ places) / len(places)
    both.fill_diagonal_(0.25)
    assert (both - 0.25).abs().max().item() < 5.5 * math.sqrt(0.25 * 0.75 / len(places))


def test_weight_dropout_keeps_every_other_weight_and_learns_through_what_it_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dropped weight has no gradient; evaluation and single steps drop nothing."""
    model, tokens = bare(40, weight_dropout=0.5).train(), some_tokens(4, 6)
    seen: list[Tensor] = []
    thin = model._drop_weights
    monkeypatch.setattr(model, "_drop_weights", lambda weight: seen.append(thin(weight)) or seen[-1])
    model(tokens)[0].square().sum().backward()
    gradient = model.lstm.weight_hh_l0.grad
    assert gradient is not None
    assert torch.equal(gradient == 0, seen[0] == 0)
    plain = CharLSTM(40, ModelConfig(hidden_size=40))
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model.eval()(tokens)[0], plain(tokens)[0])
    model.train()
    state = some_state(model.config, 4, torch.float32)
    torch.testing.assert_close(model.step(tokens[:, 0], state)[0], plain.step(tokens[:, 0], state)[0])
