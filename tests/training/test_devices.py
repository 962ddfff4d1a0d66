"""Which device a run trains on, and the random numbers that a step draws there."""

from collections.abc import Callable

import pytest
import torch

from charlstm.errors import ConfigError
from charlstm.training.optim import resolve_device, seed_random

STEP = {"seed": 3, "step": 5}


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize("wanted", ["mps", "cuda"])
def test_a_gpu_that_is_not_there_is_refused_in_one_sentence(wanted: str):
    with pytest.raises(ConfigError) as refused:
        resolve_device(wanted)
    message = str(refused.value)
    assert message.startswith(f"device is {wanted} and this machine has no ")
    assert message.endswith("choose cpu or auto.")
    assert message.count(". ") == message.count("\n") == 0


@pytest.mark.usefixtures("without_gpu")
def test_apples_gpu_is_used_where_it_is_asked_for_and_never_by_auto(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == torch.device("mps")
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")


def refuse(*_: object) -> None:
    raise AssertionError("the processor's numbers need no GPU")


def test_on_the_processor_a_step_touches_no_generator_of_a_gpu(monkeypatch: pytest.MonkeyPatch):
    names = [(torch.cuda, "manual_seed"), (torch.cuda, "current_device"), (torch.mps, "manual_seed")]
    names += [(torch.mps, "get_rng_state"), (torch.mps, "set_rng_state")]
    for module, name in names:
        monkeypatch.setattr(module, name, refuse)
    before = torch.get_rng_state()
    with seed_random(**STEP, device=torch.device("cpu")):
        drawn = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before), "the program's own numbers go on as they would have"
    torch.rand(7)
    with seed_random(**STEP, device=torch.device("cpu")):
        assert torch.equal(torch.rand(3), drawn), "seed and step alone"
    with seed_random(3, 6, torch.device("cpu")):
        assert not torch.equal(torch.rand(3), drawn)


def fail() -> None:
    raise ValueError


@pytest.mark.parametrize("amid", [lambda: None, fail], ids=["ended", "failed"])
def test_apples_generator_is_seeded_for_a_step_and_is_as_before_afterwards(
    amid: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    generator = torch.Generator().manual_seed(11)  # in place of the one that is not there
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_state)
    monkeypatch.setattr(torch.mps, "manual_seed", generator.manual_seed)
    before = generator.get_state()
    drawn: list[torch.Tensor] = []
    for _ in range(2):
        try:
            with seed_random(**STEP, device=torch.device("mps")):
                drawn.append(torch.rand(3, generator=generator))
                amid()
        except ValueError:
            pass
        assert torch.equal(generator.get_state(), before)
    assert torch.equal(*drawn)
