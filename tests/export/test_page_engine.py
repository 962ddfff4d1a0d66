"""The program of an exported page against the package, and against a step that is written out here.

Browser tests share one page; each model is loaded into it. Models are tiny, so what counts as large is lowered.
"""

import hashlib
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page_engine import SETTINGS, PageEngine, as_chunk, halved, options_of, package_text
from playwright.sync_api import Browser, Error

from charlstm import LanguageModel, SampleConfig
from charlstm.config import ModelConfig
from charlstm.errors import VocabularyError
from charlstm.export.page import encode_weights
from charlstm.generation.sampling import counter_uniform, sample_token
from charlstm.generation.stream import TextChunk, to_chunk
from charlstm.kernel.decoder import DecodedTokens
from charlstm.vocabulary import Vocabulary

pytestmark = pytest.mark.browser
_JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n何でも薄暗いじめじめした所で😀"
_PRINTABLE = "".join(map(chr, range(32, 127)))
_EXPORT = Path("charlstm/export")


@pytest.fixture(scope="module")
def engine(browser: Browser) -> Iterator[PageEngine]:
    page = browser.new_page()
    yield PageEngine(page)
    page.close()


@pytest.fixture
def all_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlstm.generation.quantization.FEWEST_WEIGHTS", 0)


def _model(characters: str = "", level: Any = "chars", factor: float = 3, **sizes: int) -> LanguageModel:
    """An untrained model with larger weights, so that gates open and close."""
    lm = LanguageModel.create(Vocabulary.from_text(characters, level), ModelConfig(**sizes), seed=3)
    for tensor in lm.model.state_dict().values():
        tensor.mul_(factor)
    return lm


def _japanese() -> LanguageModel:
    return _model(**_KINDS["Japanese"][1])


_KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # that cover the ways a step goes: prompts, models
    "Japanese": ("吾輩は", {"characters": _JAPANESE, "embedding_dim": 5, "hidden_size": 20}),
    "one-hot, 2 layers": ("a", {"characters": _PRINTABLE, "embedding_dim": 0, "hidden_size": 12, "num_layers": 2}),
    "bytes, 3 layers": ("né😀", {"level": "bytes", "embedding_dim": 6, "hidden_size": 17, "num_layers": 3}),
}


def _assert_same(ours: TextChunk, theirs: TextChunk) -> None:
    assert ours.text == theirs.text
    assert ours.likeliest == theirs.likeliest
    np.testing.assert_allclose(ours.surprises, theirs.surprises, atol=1e-4)
    np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


@pytest.mark.usefixtures("all_rounded")
@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("kind", _KINDS)
def test_the_page_writes_what_the_package_writes(engine: PageEngine, kind: str, is_plain: bool) -> None:
    prompt, sizes = _KINDS[kind]
    lm = _model(**sizes)
    assert engine.open(lm, is_plain=is_plain) == ("javascript" if is_plain else "simd")
    for settings in SETTINGS:
        config = SampleConfig(num_chars=120, **settings)
        _assert_same(engine.write(prompt, config), package_text(lm, prompt, config))


@pytest.mark.parametrize("name", ["tiny-shakespeare", "python-stdlib"])
def test_bundled_models_write_the_same_in_a_page(engine: PageEngine, repository: Path, name: str) -> None:
    """And rounding tips no draw; page_engine.py counts more of them."""
    lm = LanguageModel.load(repository / "checkpoints" / name)
    assert engine.open(lm) == "simd"
    for settings in SETTINGS[:3]:
        config = SampleConfig(num_chars=150, **settings)
        _assert_same(engine.write("The ", config), package_text(lm, "The ", config))
    assert engine.count_tips(lm, "The ", SampleConfig(num_chars=1000, temperature=1)) == 0


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("is_float16", [False, True])
def test_float_weights_write_the_same(engine: PageEngine, is_float16: bool, is_plain: bool) -> None:
    """Their sums are rounded in another order, so states may differ a little, and with large weights more and more."""
    for prompt, sizes in _KINDS.values():
        lm = _model(**sizes, factor=1.5)
        engine.open(lm, is_float16, is_plain)
        config = SampleConfig(num_chars=200, temperature=0.9)
        _assert_same(engine.write(prompt, config), package_text(halved(lm) if is_float16 else lm, prompt, config))


def _exponential(x: np.ndarray) -> np.ndarray:
    one = np.float32
    x = np.clip(x, one(-60), one(60))
    scaled = x * one(1.44269504088896)
    shifted = scaled + one(12582912)
    rest = scaled - (shifted - one(12582912))
    power = np.full_like(x, one(1.54035304e-4))
    for each in (1.33335581e-3, 9.61812911e-3, 5.55041087e-2, 2.40226507e-1, 6.93147181e-1, 1):
        power = power * rest + one(each)
    whole = shifted.view(np.int32) - one(12582912).view(np.int32)
    return (power.view(np.int32) + (whole << 23)).view(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.float32(1) / (np.float32(1) + _exponential(-x))


def _tanh(x: np.ndarray) -> np.ndarray:
    return np.float32(1) - np.float32(2) * (np.float32(1) / (np.float32(1) + _exponential(x + x)))


def _rounded_rows(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.abs(weight).max(axis=1) / np.float32(127)
    return np.rint(weight / scale[:, None]).astype(np.int64), scale


def _states(lm: LanguageModel, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """h and c (L, H) after `ids`, from the definition: 8-bit weights and states, every float operation rounded."""
    tensors = {name: each.numpy() for name, each in lm.model.state_dict().items()}
    num_layers, size = lm.model.config.num_layers, lm.model.config.hidden_size
    h, c = np.zeros((2, num_layers, size), np.float32)
    inputs, input_scale = _rounded_rows(tensors["lstm.weight_ih_l0"])
    table = tensors["embedding.weight"].astype(np.float16).astype(np.float64)
    for character in ids:
        below = None
        for layer in range(num_layers):
            bias = tensors[f"lstm.bias_ih_l{layer}"] + tensors[f"lstm.bias_hh_l{layer}"]
            weight, state = tensors[f"lstm.weight_hh_l{layer}"], h[layer]
            if layer:
                weight = np.concatenate([tensors[f"lstm.weight_ih_l{layer}"], weight], axis=1)
                state, given = np.concatenate([below, state]), bias
            else:
                given = (inputs @ table[character] * input_scale.astype(np.float64) + bias).astype(np.float32)
            whole, scale = _rounded_rows(weight)
            product = (whole @ np.rint(state * np.float32(127)).astype(np.int64)).astype(np.float32)
            i, f, g, o = np.split(product * (scale / np.float32(127)) + given, 4)
            c[layer] = _sigmoid(f) * c[layer] + _sigmoid(i) * _tanh(g)
            h[layer] = below = _sigmoid(o) * _tanh(c[layer])
    return h, c


@pytest.mark.usefixtures("all_rounded")
@pytest.mark.parametrize("is_plain", [False, True])
def test_states_are_those_of_the_definition_to_the_bit(engine: PageEngine, is_plain: bool) -> None:
    lm = _model("abcdefghijklmnopqrstuvwxyz", embedding_dim=7, hidden_size=27, num_layers=2)
    engine.open(lm, is_plain=is_plain)
    ids = np.random.default_rng(1).integers(26, size=60).tolist()
    program = """(ids) => {
      const state = network.newState();
      network.numRows = 3;  // fewer than characters: rows are computed again
      for (const id of ids) network.step(id, state);
      return [[...state.h], [...state.c]];
    }"""
    ours = np.array(engine.page.evaluate(program, ids), np.float32).reshape(2, 2, -1)[:, :, :27]
    np.testing.assert_array_equal(ours, _states(lm, ids))


@pytest.mark.usefixtures("all_rounded")
def test_a_text_ends_with_its_stop_string_and_goes_on_in_copies(engine: PageEngine) -> None:
    lm = _japanese()
    engine.open(lm)
    whole = package_text(lm, "猫", SampleConfig(num_chars=300)).text
    stop = whole[150:152]
    stopped = package_text(lm, "猫", SampleConfig(num_chars=300, stop=stop))
    _assert_same(engine.write("猫", SampleConfig(num_chars=300, stop=stop)), stopped)
    program = """(options) => {
      const text = begin('猫', options), pieces = [];
      for (let left = 300; left > 0; left -= 30) {
        const written = text.write(10, 0).text, other = text.copy(), same = other.write(20, 0).text;
        pieces.push(written, text.write(20, 0).text);
        if (pieces.at(-1) !== same) return 'a copy goes another way';
      }
      return pieces.join('');
    }"""
    assert engine.page.evaluate(program, options_of(SampleConfig())) == whole


@pytest.mark.usefixtures("all_rounded")
def test_a_given_text_is_scored_and_a_long_prompt_read_piece_by_piece(engine: PageEngine) -> None:
    lm = _japanese()
    engine.open(lm)
    written = package_text(lm, _JAPANESE * 30, SampleConfig(num_chars=40))
    program = """([prompt, given]) => {
      const text = begin(prompt, {});
      let rounds = 1;
      while (text.advance(100)) rounds++;
      return [rounds, plain(text.follow(given)), text.position];
    }"""
    rounds, followed, position = engine.page.evaluate(program, [_JAPANESE * 30, written.text])
    assert (rounds, position) == (-(-(30 * len(_JAPANESE) - 1) // 100), 40)
    _assert_same(as_chunk(followed), written)


def test_random_numbers_are_the_package_s(engine: PageEngine) -> None:
    places = [*itertools.product((0, 1, 2**31 - 1), (0, 7), (0, 1, 999, 2**40))]
    ours = engine.page.evaluate("(places) => places.map(([seed, sample, at]) => counter(seed, sample)(at))", places)
    assert ours == [counter_uniform(*place) for place in places]


def test_draws_are_those_of_the_reference(engine: PageEngine) -> None:
    """With many equal logits, negative ones and -infinity among them."""
    generator = np.random.default_rng(5)
    cases, expected = [], []
    for number in range(300):
        logits = generator.integers(-6, 6, size=50) / 2
        logits[generator.integers(50, size=5)] = -np.inf
        config = SampleConfig(temperature=number % 4 / 2, top_k=number % 7 * 4, top_p=(0.2, 0.9, 1)[number % 3])
        uniform = float(generator.random())
        cases.append([[float(each) if np.isfinite(each) else None for each in logits], options_of(config), uniform])
        expected.append(sample_token(logits, config, uniform))
    program = """(cases) => cases.map(([logits, options, number]) => {
      const floats = Float32Array.from(logits, (logit) => logit ?? -Infinity);
      return new Sampler(network).choose(floats, options, () => number);
    })"""
    engine.open(_model(_PRINTABLE[:50], embedding_dim=0, hidden_size=8))
    assert engine.page.evaluate(program, cases) == expected


_PROMPTS = (
    "plain",
    "‘quoted’ “twice” – …",
    "ÜBER Straße",
    "e\u0301te\u0301",
    "\ufeffa\r\nb\rc",
    "tab\there",
    "Ω猫😀 x猫",
    "\u212bngstr\u00f6m",
)
_KNOWN = "abcdefghijklmnopqrstuvwxyz \n'\".-", "abceiklmnorstuxéüß \n’…A\u030a", "\t\r\nehrtab"


@pytest.mark.parametrize("known", _KNOWN)
def test_prompts_are_read_as_the_package_reads_them(engine: PageEngine, known: str) -> None:
    def package(prompt: str) -> str | list[str]:
        try:
            return vocabulary.normalize(prompt)
        except VocabularyError as error:
            return re.findall(r"U\+([0-9A-F]{4,})", str(error))  # names ten at most

    vocabulary = Vocabulary.from_text(known)
    program = """([characters, prompts]) => prompts.map((prompt) => {
      try {
        return new Vocabulary({characters, level: 'chars'}).normalize(prompt);
      } catch (error) {
        const codes = error.characters.slice(0, 10).map((char) => char.codePointAt(0));
        return codes.map((code) => code.toString(16).toUpperCase().padStart(4, '0'));
      }
    })"""
    ours = engine.page.evaluate(program, [list(vocabulary.characters), list(_PROMPTS)])
    assert ours == [package(prompt) for prompt in _PROMPTS]


def test_bytes_become_characters_as_in_the_package(engine: PageEngine) -> None:
    generator = np.random.default_rng(2)
    likely = [0x41, 0x80, 0xA0, 0xBF, 0xC1, 0xC3, 0xE0, 0xE3, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0x90, 0x9F, 0xFF]
    texts = [generator.choice(likely, size=30).tolist() for _ in range(100)] + [list("né😀猫".encode())]
    program = """(texts) => texts.map((bytes) => {
      const decoder = new Decoder();
      return bytes.map((byte) => decoder.feed(byte)).join('') + decoder.finish();
    })"""
    assert engine.page.evaluate(program, texts) == [bytes(each).decode("utf-8", "replace") for each in texts]


def test_a_broken_character_has_the_figures_of_its_own_bytes_as_in_the_package(engine: PageEngine) -> None:
    """Given bytes are followed, in pieces of one and all at once, with the surprise that each byte has."""
    lm = _model(level="bytes", embedding_dim=6, hidden_size=17, num_layers=1)
    engine.open(lm)
    texts = [b"\xe1\xe1", b"\xe1A\xe1", b"\xf1\x80\xc3\xa9", b"\xed\xa0\x80A", b"\xff\xc3\xff\xf0\x9f\x98"]
    program = """([bytes, size]) => {
      const text = begin('a', {}), vocabulary = Object.create(text.vocabulary), written = [];
      text.vocabulary = vocabulary;
      for (let begin = 0; begin < bytes.length; begin += size) {
        vocabulary.encode = () => bytes.slice(begin, begin + size);
        written.push(plain(text.follow('', 1)));
      }
      return [...written, plain(text.write(0, 1, true))];
    }"""
    for data in texts:
        bare, state = [], None
        for byte in (ord("a"), *data):
            logits, state = lm.model(torch.tensor([[byte]]), state)
            bare.append(logits[0, 0].log_softmax(-1).detach())
        costs = np.array([[-float(logs[byte]) for logs, byte in zip(bare, data, strict=False)]], np.float32)
        best = np.array([[[int(logs.argmax())] for logs in bare[:-1]]], np.int32)
        ids = np.frombuffer(data, np.uint8).astype(np.int32)[None]
        expected = to_chunk(lm.vocabulary, DecodedTokens(ids, costs, best, np.exp(-costs)[:, :, None]))
        for size in (1, len(data)):
            pieces = [as_chunk(piece) for piece in engine.page.evaluate(program, [list(data), size])]
            assert "".join(piece.text for piece in pieces) == expected.text == data.decode("utf-8", "replace")
            assert sum((piece.likeliest for piece in pieces), ()) == expected.likeliest
            surprises = [each for piece in pieces for each in piece.surprises]
            np.testing.assert_allclose(surprises, expected.surprises, atol=1e-3)


def test_weights_that_are_cut_off_are_refused(engine: PageEngine) -> None:
    facts = {"network": encode_weights(_japanese())[0]}
    with pytest.raises(Error, match="holds 100 bytes of weights where"):
        engine.page.evaluate("(facts) => loadNetwork(facts, new ArrayBuffer(100))", facts)


def test_the_kernel_is_what_its_source_gives(repository: Path, tmp_path: Path) -> None:
    clang = shutil.which("clang")
    if clang is None or shutil.which("wasm-ld") is None:
        pytest.skip("no clang with wasm-ld is installed (Debian: apt-get install clang lld)")
    source = (repository / _EXPORT / "kernel.c").read_text(encoding="utf-8")
    command = re.search(r"clang (--target.*?) -o kernel\.wasm kernel\.c", source, re.DOTALL)
    assert command is not None
    flags = command[1].replace("\n *", " ").split()
    built = tmp_path / "kernel.wasm"
    subprocess.run([clang, *flags, "-o", built, repository / _EXPORT / "kernel.c"], check=True, timeout=60)
    version = subprocess.run([clang, "--version"], check=True, capture_output=True, text=True).stdout
    named = re.search(r"made by clang (\S+)\.", source)
    assert named is not None
    if f"version {named[1]}" in version:
        digests = [
            hashlib.sha256(path.read_bytes()).hexdigest() for path in (built, repository / _EXPORT / "kernel.wasm")
        ]
        assert digests[0] == digests[1], "build the kernel anew, by the command in kernel.c"
    assert len(built.read_bytes()) < 8192


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
