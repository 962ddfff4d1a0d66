"""Two models that write one text, against a loop over `forward` in double precision written here."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig, SampleConfig
from charlstm.errors import ConfigError, VocabularyError
from charlstm.generation import sampling
from charlstm.generation.holds import Hold
from charlstm.generation.mixing import MOST_STEPS, Crossfade, MixedModel
from charlstm.generation.stream import TextChunk
from charlstm.language_model import LanguageModel
from charlstm.vocabulary import Vocabulary

ABC, XYZ = Vocabulary.from_text("\n abcde"), Vocabulary.from_text("\n cdeXYé")


def make(vocabulary: Vocabulary, seed: int) -> LanguageModel:
    """A random model with strong opinions."""
    made = LanguageModel.create(vocabulary, ModelConfig(hidden_size=8, num_layers=1), seed)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.mul_(6.0)
    return made


@pytest.fixture(scope="module")
def pair() -> tuple[LanguageModel, LanguageModel]:
    return make(ABC, 1), make(XYZ, 2)


@torch.no_grad()
def chances(voice: LanguageModel, read: str) -> dict[str, float]:
    """The probability of each character that `voice` knows after all of `read` that it knows."""
    own = "".join(char for char in read if char in voice.vocabulary.characters) or "\n"
    logits, _ = voice.model.eval()(torch.from_numpy(voice.vocabulary.encode(own).astype(np.int64))[None])
    return dict(zip(voice.vocabulary.characters, logits[0, -1].double().softmax(0).tolist(), strict=True))


def expected(
    pair: Sequence[LanguageModel], prompt: str, shares: Sequence[float], config: SampleConfig, sample: int = 0
) -> tuple[str, list[float], list[float]]:
    """The text, its surprises and its leanings, one character for each of `shares`."""
    characters = sorted({*pair[0].vocabulary.characters, *pair[1].vocabulary.characters})
    text, surprises, leanings = "", [], []
    for place, share in enumerate(shares):
        first, second = (chances(voice, prompt + text) for voice in pair)
        mixed = [(1 - share) * first.get(char, 0.0) + share * second.get(char, 0.0) for char in characters]
        with np.errstate(divide="ignore"):
            logits = np.log(np.array(mixed))
        chosen = sampling.sample_token(logits, config, sampling.counter_uniform(config.seed, sample, place))
        text += (char := characters[chosen])
        surprises.append(-math.log(mixed[chosen]))
        ratio = second.get(char, 0.0) / first[char] if first.get(char) else math.inf
        leanings.append(max(-99.0, min(99.0, math.log(ratio) if ratio else -math.inf)))
    return text, surprises, leanings


def whole(pieces: Sequence[TextChunk]) -> tuple[str, list[float], list[float]]:
    return (
        "".join(piece.text for piece in pieces),
        [each for piece in pieces for each in piece.surprises],
        [each for piece in pieces for each in piece.leanings],
    )


@pytest.mark.parametrize("settings", [{"temperature": 1.0}, {"temperature": 0.0}, {"top_k": 3}, {"top_p": 0.8}])
def test_probabilities_are_mixed_at_each_character(
    pair: tuple[LanguageModel, LanguageModel], settings: dict[str, float]
) -> None:
    config = SampleConfig(num_chars=60, seed=5, **settings)
    text, surprises, leanings = whole([*pair[0].mix(pair[1], 0.4).stream("abX", config)])
    wanted = expected(pair, "abX", [0.4] * 60, config)
    assert text == wanted[0]
    assert surprises == pytest.approx(wanted[1], abs=1e-3)
    assert leanings == pytest.approx(wanted[2], abs=1e-2)


def test_the_first_or_second_model_alone_writes_at_either_end(pair: tuple[LanguageModel, LanguageModel]) -> None:
    config = SampleConfig(num_chars=80, seed=3, temperature=1.0)
    for share, voice in ((0, pair[0]), (1, pair[1])):
        assert pair[0].mix(pair[1], share).generate("cd", config) == voice.generate("cd", config)
    both = pair[0].mix(pair[1], 0.5).generate("cd", config)
    assert set(both) & set("XYé")
    assert set(both) & set("ab")


def test_the_share_may_be_turned_while_it_writes_and_the_record_writes_the_same_text(
    pair: tuple[LanguageModel, LanguageModel],
) -> None:
    fade, config, pieces = Crossfade(0.0), SampleConfig(num_chars=300, seed=8, num_samples=2), list[TextChunk]()
    for piece in pair[0].mix(pair[1], fade).stream("cd", config):
        pieces.append(piece)
        if len(pieces) == 2:
            fade.turn(1.0)
    turned_at = sum(len(piece.text) for piece in pieces[:2]) // 2
    assert str(fade) == f"0,{turned_at}:1"
    texts = ["".join(piece.text for piece in pieces if piece.sample == number) for number in range(2)]
    assert texts[0][:turned_at] == pair[0].generate("cd", config)[:turned_at]
    shares = [0.0] * turned_at + [1.0] * 40
    assert texts[1][: len(shares)] == expected(pair, "cd", shares, config, sample=1)[0]
    assert pair[0].mix(pair[1], Crossfade.parse(str(fade))).generate_samples("cd", config) == texts
    assert not set(texts[0][turned_at:]) & set("ab")


def test_a_text_goes_on_where_it_was_left(pair: tuple[LanguageModel, LanguageModel]) -> None:
    share, config = "0.2,30:0.9", SampleConfig(num_chars=90, seed=4)
    at_once = pair[0].mix(pair[1], Crossfade.parse(share)).generate("b\n", config)
    begun, rest = at_once[:50], config.model_copy(update={"num_chars": 40})
    pieces = pair[0].mix(pair[1], Crossfade.parse(share)).stream("b\n", rest, [begun])
    assert begun + "".join(piece.text for piece in pieces) == at_once


def test_units_of_the_first_model_may_be_held(pair: tuple[LanguageModel, LanguageModel]) -> None:
    config, holds = SampleConfig(num_chars=50, temperature=0), [Hold(1, 30.0), Hold(3, -30.0)]
    held = pair[0].generate("cd", config, holds)
    assert held != pair[0].generate("cd", config)
    assert pair[0].mix(pair[1], 0).generate("Xcd", config, holds) == held  # which passes over the X


def test_characters_that_one_does_not_know_are_read_as_their_equivalents_or_passed_over() -> None:
    plain, typographic = make(Vocabulary.from_text("\n ab'"), 1), make(Vocabulary.from_text("\n ab’"), 2)
    mixed = plain.mix(typographic, 0)
    config = SampleConfig(num_chars=40, temperature=0)
    assert mixed.vocabulary.characters == ("\n", " ", "'", "a", "b", "’")
    assert mixed.generate("a’b", config) == plain.generate("a'b", config)
    with pytest.raises(VocabularyError, match="'z'"):
        mixed.generate("z", config)


def test_bytes_of_a_character_lean_together() -> None:
    vocabulary = Vocabulary.from_text("", "bytes")
    pair = make(vocabulary, 1), make(vocabulary, 2)
    pieces = [*pair[0].mix(pair[1]).stream("é", SampleConfig(num_chars=60, temperature=1.5), num_likeliest=3)]
    for piece in pieces:
        lengths = {len(piece.text), len(piece.surprises), len(piece.leanings), len(piece.likeliest)}
        assert lengths == {len(piece.text)}
    assert len(whole(pieces)[0]) < 60
    assert all(map(math.isfinite, whole(pieces)[2]))
    with pytest.raises(ConfigError, match="choose two of the same kind"):
        MixedModel(pair[0], make(ABC, 1), Crossfade())


@pytest.mark.parametrize(
    "text",
    [
        *("", "1.01", "-0.1", "nan", ".", "0.5,", "0.5,0.6", "5:0.5", "0.5;1", "x" * 99),
        *("0.5,9:0.1,9:0.2", "0.5,9:0.1,3:0.2"),
        ",".join(["0.5", *(f"{place}:0.5" for place in range(1, MOST_STEPS + 1))]),
    ],
)
def test_what_is_no_share_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="share of the second model") as refused:
        Crossfade.parse(text)
    assert len(str(refused.value)) < 250


def test_a_share_is_written_as_it_is_read_and_turning_back_leaves_no_step() -> None:
    fade = Crossfade.parse("0.25, 10:1,20:0")
    assert [fade.at(place) for place in (0, 9, 10, 19, 20, 10**6)] == [0.25, 0.25, 1.0, 1.0, 0.0, 0.0]
    assert str(fade) == "0.25,10:1,20:0"
    fade.turn(1.0)
    fade.settle(15)  # it was 1 there already
    assert str(fade) == "0.25,10:1"
    for wrong in (1.5, -1, math.nan):
        with pytest.raises(ConfigError):
            fade.turn(wrong)
