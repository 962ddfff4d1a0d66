"""nanoGPT's recipe, written out: its network and its training have the properties that their description gives them."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from charlstm.bench.baseline_models import GPT, GPTRecipe, GPTTraining

SMALL = GPTRecipe(num_layers=2, num_heads=2, width=16, context=8, batch_size=6, num_steps=300, warmup_steps=10)


def small_gpt(vocab_size: int = 7) -> GPT:
    torch.manual_seed(1)
    return GPT(vocab_size, SMALL).eval()


def some_text(length: int, vocab_size: int = 7) -> torch.Tensor:
    return torch.randint(vocab_size, (length,), generator=torch.Generator().manual_seed(2))


def test_a_later_character_changes_no_earlier_logit():
    model, tokens = small_gpt(), some_text(8)[None]
    for place in range(8):
        changed = tokens.clone()
        changed[0, place] = (tokens[0, place] + 1) % 7
        with torch.no_grad():
            before, after = model(tokens)[0], model(changed)[0]
        assert torch.equal(before[:place], after[:place])
        assert all(not torch.allclose(before[later], after[later], atol=1e-7) for later in range(place, 8)), (
            "every place from there on sees it"
        )


def test_the_number_of_parameters_is_the_one_counted_by_hand():
    """A block: 3 W^2 into attention and W^2 out of it, 4 W^2 up and down, two norms of W. nanoGPT prints 10.65M."""
    block = 12 * 16 * 16 + 2 * 16
    assert sum(each.numel() for each in small_gpt().parameters()) == 7 * 16 + 8 * 16 + 2 * block + 16
    full = GPT(65, GPTRecipe())
    assert sum(each.numel() for each in full.parameters()) - full.places.weight.numel() == 10_646_784


def test_an_untrained_one_guesses():
    """Weights are drawn so small that 16 products of them and numbers of size 1 move a logit by 0.08 or so."""
    training = GPTTraining(SMALL, some_text(500), 7, torch.float32)
    assert training.evaluate(some_text(400)) == pytest.approx(math.log(7), abs=0.1)
    assert float(training.step()) == pytest.approx(math.log(7), abs=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_learns_a_text_that_repeats(dtype: torch.dtype):
    text, fast = torch.arange(700) % 7, replace(SMALL, learning_rate=1e-2)
    training = GPTTraining(fast, text, 7, dtype)
    torch.manual_seed(3)
    first = training.evaluate(text)
    losses = [training.step() for _ in range(60)]
    assert first == pytest.approx(math.log(7), abs=0.1)
    assert training.evaluate(text) < 0.2
    assert not any(loss.requires_grad for loss in losses)
    assert {each.dtype for each in training.model.parameters()} == {torch.float32}, "rounded for products alone"


def test_its_loss_is_that_of_cold_windows_read_one_by_one():
    training, text = GPTTraining(SMALL, some_text(300), 7, torch.float32), some_text(100)
    for _ in range(5):
        training.step()
    nats: list[float] = []
    training.model.eval()
    for begin in range(0, 96, 8):  # 99 targets are 12 windows of 8, and 3 that fill none
        with torch.no_grad():
            logits = training.model(text[None, begin : begin + 8])[0].double().numpy()
        scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nats += [-scores[place, text[begin + place + 1]] for place in range(8)]
    assert training.evaluate(text) == pytest.approx(np.mean(nats), rel=1e-5)


def test_units_are_dropped_while_it_trains_and_not_while_it_is_validated():
    model, tokens = small_gpt(), some_text(8)[None]
    with torch.no_grad():
        assert torch.equal(model(tokens), model(tokens))
        model.train()
        assert not torch.equal(model(tokens), model(tokens))


def test_what_is_too_long_for_the_context_is_no_window_and_all_others_are_drawn(monkeypatch: pytest.MonkeyPatch):
    """Of 11 characters, windows of 8 and the one after them begin at places 0, 1 and 2."""
    begins: set[int] = set()
    training = GPTTraining(SMALL, torch.arange(11), 11, torch.float32)
    real = functional.cross_entropy

    def seen(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        windows = targets.view(-1, 8)
        assert torch.equal(windows - windows[:, :1], torch.arange(8).expand(6, 8))
        begins.update((windows[:, 0] - 1).tolist())
        return real(logits, targets)

    monkeypatch.setattr(functional, "cross_entropy", seen)
    torch.manual_seed(4)
    for _ in range(8):
        training.step()
    assert begins == {0, 1, 2}


def test_the_rate_rises_for_a_hundred_steps_and_then_falls_along_half_a_cosine_by_steps_or_by_time():
    recipe = GPTRecipe()
    rising = [recipe.rate(step, 0.0) for step in range(101)]
    assert rising == sorted(rising)
    assert rising[0] == pytest.approx(1e-3 / 101)
    assert rising[100] == pytest.approx(1e-3)
    halfway, end = 100 + 4_900 // 2, 5_000
    assert recipe.rate(halfway, 0.0) == pytest.approx((1e-3 + 1e-4) / 2)
    assert recipe.rate(end, 0.0) == pytest.approx(1e-4)
    assert recipe.rate(200, 0.5) == pytest.approx((1e-3 + 1e-4) / 2)
    assert recipe.rate(200, 1.0) == recipe.rate(200, 1.7) == pytest.approx(1e-4)


def test_the_rate_of_an_update_is_the_recipes(monkeypatch: pytest.MonkeyPatch):
    """AdamW's first update moves a weight by the rate, whatever the gradient; norms, which begin at 1, don't decay."""
    training = GPTTraining(SMALL, some_text(300), 7, torch.float32)
    monkeypatch.setattr(GPTRecipe, "rate", lambda *_: 0.25)
    before = training.model.norm.weight.detach().clone()
    training.step()
    moved = (training.model.norm.weight.detach() - before).abs()
    assert moved.median().item() == pytest.approx(0.25, rel=1e-3)
