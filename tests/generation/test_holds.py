"""Held units while a text is written; their arithmetic is tested in tests/insight/test_states.py."""

import numpy as np
import pytest
import torch
from kernel_marks import needs_compiler

from charlstm import LanguageModel
from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import ConfigError
from charlstm.generation.holds import Hold, format_holds, parse_holds
from charlstm.insight.states import trace
from charlstm.kernel import decoder
from charlstm.vocabulary import Vocabulary

LETTERS = Vocabulary.from_text("\n abcdefghijklmnopqrstuvwxyz")
HOLDS = (Hold(3, 2.0), Hold(5, -1.5, 1))
BY = pytest.mark.parametrize("has_kernel", [pytest.param(True, marks=needs_compiler), False])


def make(scale: float = 3.0) -> LanguageModel:
    lm = LanguageModel.create(LETTERS, ModelConfig(hidden_size=12, num_layers=2), seed=11)
    with torch.no_grad():
        for parameter in filter(lambda each: each.dim() > 1, lm.model.parameters()):
            parameter.mul_(scale)
    return lm


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", ()),
        ("710=3.1", (Hold(710, 3.1),)),
        ("710=3.1,1:20=-2", (Hold(710, 3.1), Hold(20, -2.0, 1))),
        (" 1 : 20 = +.5 , 0:3=1e-3", (Hold(20, 0.5, 1), Hold(3, 0.001))),
    ],
)
def test_holds_are_read_and_written_the_same(text: str, holds: tuple[Hold, ...]) -> None:
    assert parse_holds(text) == holds
    assert parse_holds(format_holds(holds)) == holds
    assert format_holds(holds) == ",".join(text.split()) or " " in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("710", "'710' holds no unit"),
        ("710=3,", "'' holds no unit"),
        ("710=x", "710=x"),
        ("710=nan", "710=nan"),
        ("-1=2", "-1=2"),
        ("1=1001", "from -1000 to 1000"),
        ("1=1e999", "from -1000 to 1000"),
        ("1=2,0:1=3", "unit 1 is held twice"),
        (",".join(f"{unit}=1" for unit in range(65)), "more than the 64"),
        (" " * 100_000, "100,000 characters"),
    ],
)
def test_what_holds_nothing_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse_holds(text)
    assert str(refused.value).endswith(".")


@BY
def test_a_held_text_follows_from_states_held_from_the_end_of_the_prompt_on(
    has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its surprises are those of a text read with the units held from the prompt's last character on."""
    if not has_kernel:
        monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    lm, prompt, config = make(), "once upon a time", SampleConfig(num_chars=60, seed=4)
    chunks = list(lm.stream(prompt, config, holds=HOLDS))
    text = "".join(chunk.text for chunk in chunks)
    assert lm.generate(prompt, config, HOLDS) == text != lm.generate(prompt, config)
    surprises = [each for chunk in chunks for each in chunk.surprises]
    np.testing.assert_allclose(surprises, _surprises(lm, prompt, text), atol=1e-3)


def _surprises(lm: LanguageModel, prompt: str, text: str) -> list[float]:
    """By `CharLSTM.step`, held after each character from the prompt's last on."""
    ids = lm.vocabulary.encode(prompt + text).tolist()
    units = {hold.layer: (torch.tensor([hold.unit]), torch.tensor([hold.value])) for hold in HOLDS}
    state, found = lm.model.initial_state(1), []
    with torch.no_grad():
        for at, index in enumerate(ids[:-1]):
            is_held = at >= len(prompt) - 1
            logits, state = lm.model.step(torch.tensor([index]), state, units if is_held else None)
            if is_held:
                found.append(-float(logits[0].log_softmax(-1)[ids[at + 1]]))
    return found


@BY
def test_held_texts_are_the_same_alone_beside_others_and_continued(
    has_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_kernel:
        monkeypatch.setattr(decoder, "is_available", lambda *_: False)
    lm, how = make(), {"seed": 6, "no_repeat": 5}
    several = lm.generate_samples("abc", SampleConfig(num_samples=3, num_chars=90, **how), HOLDS)
    assert lm.generate_samples("abc", SampleConfig(num_chars=90, **how), HOLDS) == several[:1]
    begun = [text[: 33 - number] for number, text in enumerate(several)]
    on = [""] * 3
    for chunk in lm.stream("abc", SampleConfig(num_samples=3, num_chars=57, **how), begun, holds=HOLDS):
        on[chunk.sample] += chunk.text
    assert [(first + more)[:88] for first, more in zip(begun, on, strict=True)] == [text[:88] for text in several]


def test_held_at_what_tanh_can_not_tell_apart_the_same_is_written() -> None:
    lm, config = make(), SampleConfig(num_chars=80)
    texts = {lm.generate("abc", config, (Hold(3, value),)) for value in (20.0, 50.0, 1000.0)}
    assert len(texts) == 1
    assert lm.generate("abc", config, (Hold(3, -20.0),)) not in texts


def test_a_unit_the_model_lacks_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ConfigError, match="no unit 12 to hold: the units of a layer of this model are 0 to 11"):
        make().generate("abc", holds=(Hold(12, 1.0),))
    assert np.isfinite(trace(make(), np.arange(5), (Hold(11, 1.0),)).cells).all()
