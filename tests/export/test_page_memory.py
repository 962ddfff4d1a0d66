"""What an exported page remembers of a text that it read first, against the package."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from page_engine import SETTINGS, PageEngine, as_chunk, options_of
from playwright.sync_api import Browser

from charlstm import LanguageModel, SampleConfig
from charlstm.config import ModelConfig
from charlstm.generation.ngram_memory import NgramMemory
from charlstm.generation.read_first import Reader
from charlstm.vocabulary import Vocabulary

pytestmark = pytest.mark.browser
_SONG = "THE silver lantern burns for “Fenwick”\r\nthe silver lantern burns for zorblax, €42\n" * 5
_READ = """([string, prompt, options, weight, num]) => {
  const text = new Text(network, vocabulary, options), memory = new Memory(network, vocabulary, string);
  while (!memory.isWhole) memory.advance(37);
  text.remember(memory, weight);
  text.read(prompt);
  const half = text.write(num >> 1), copy = text.copy(), rest = plain(copy.write(num - (num >> 1), 5, true));
  text.remember(null);
  const written = {...plain(half), text: half.text + rest.text};
  for (const key of ['surprises', 'likeliest', 'probabilities']) written[key] = [...written[key], ...rest[key]];
  return {written, sums: memory.sums, num: memory.numRead, leftOut: memory.leftOut};
}"""


@pytest.fixture(scope="module")
def engine(browser: Browser) -> Iterator[PageEngine]:
    page = browser.new_page()
    yield PageEngine(page)
    page.close()


def _model(characters: str, level: Any = "chars", **sizes: int) -> LanguageModel:
    lm = LanguageModel.create(Vocabulary.from_text(characters, level), ModelConfig(**sizes), seed=3)
    for tensor in lm.model.state_dict().values():
        tensor.mul_(3)
    return lm


def test_the_n_gram_of_the_page_has_the_same_doubles(engine: PageEngine) -> None:
    numbers, ngram = random.Random(5), NgramMemory()
    ids = [numbers.choice(range(3)) + (at // 150) * 60000 for at in range(300)] + [*range(40)] * 4
    alone = [numbers.uniform(0.001, 0.9) if at % 9 else 0.0 for at, _ in enumerate(ids)]
    program = """([ids, alone, shares]) => {
      const ngram = new Ngram(), read = ids.map((id, at) => ngram.read(id, alone[at])), mixed = [];
      for (const amount of [0, 0.3, 1, 2]) {
        for (let end = 0; end < ids.length; end += 29) {
          const probabilities = Float64Array.from(shares);
          ngram.mix(probabilities, String.fromCharCode(...ids.slice(Math.max(0, end - 8), end)), amount);
          mixed.push([...probabilities.slice(0, 60), probabilities[60001]]);
        }
      }
      return [read, mixed];
    }"""
    shares = np.full(60003, 1 / 60003)
    read, mixed = engine.page.evaluate(program, [ids, alone, shares.tolist()])
    assert ngram.read(np.array(ids, np.int32), np.array(alone)).tolist() == read
    tails = ["".join(map(chr, ids[max(0, end - 8) : end])) for end in range(0, len(ids), 29)]
    expected = [ngram.mix(shares, tail, amount) for amount in (0, 0.3, 1, 2) for tail in tails]
    assert [[*each[:60], each[60001]] for each in expected] == mixed


@pytest.mark.parametrize(
    ("prompt", "string", "characters", "level"),
    [
        ("the silver ", _SONG, "\n ,abcdefghijklmnopqrstuvwxyz", "chars"),
        ("名前は", "吾輩は猫である。名前はまだ無い。\n" * 8, "吾輩は猫である。名前まだ無い\n", "chars"),
        ("né", "né à Besançon 😀\n" * 8, "", "bytes"),
    ],
)
def test_the_page_writes_with_what_it_read_what_the_package_writes(
    engine: PageEngine, monkeypatch: pytest.MonkeyPatch, prompt: str, string: str, characters: str, level: str
) -> None:
    monkeypatch.setattr("charlstm.generation.quantization.FEWEST_WEIGHTS", 0)
    lm = _model(characters, level, embedding_dim=5, hidden_size=20)
    engine.open(lm)
    reader = Reader(lm.model, lm.vocabulary, string, rounded=True)
    reading = reader.finish()
    for settings, weight in zip(SETTINGS, (1, 0.4, 1.7, 1, 0), strict=True):
        config = SampleConfig(num_chars=120, **settings)
        told = engine.page.evaluate(_READ, [string, prompt, options_of(config), weight, config.num_chars])
        written = list(reading.weighted(weight).stream(prompt, config, rounded=True, num_likeliest=5))
        assert told["written"]["text"] == "".join(each.text for each in written)
        surprises = [each for chunk in written for each in chunk.surprises]
        np.testing.assert_allclose(as_chunk(told["written"]).surprises, surprises, atol=1e-4)
        assert told["written"]["likeliest"] == [each for chunk in written for each in chunk.likeliest]
    assert (told["num"], told["leftOut"]) == (len(reader), list(reader.left_out))
    assert told["sums"]["alone"] / len(reader) == pytest.approx(reading.alone, abs=1e-4)
    assert told["sums"]["adapted"] / len(reader) == pytest.approx(reading.adapted, abs=1e-4)


def test_what_cannot_be_read_is_said(engine: PageEngine) -> None:
    engine.open(_model("ab", hidden_size=4))
    program = """(string) => {
      try {
        new Memory(network, vocabulary, string);
      } catch (error) {
        return [error instanceof Unreadable, error.message];
      }
    }"""
    known, said = engine.page.evaluate(program, "42")
    assert known
    assert said.startswith("There is no text to read")
    known, said = engine.page.evaluate(program, "a" * 100_001)
    assert known
    assert "has 100,001 characters; at most 100,000" in said
