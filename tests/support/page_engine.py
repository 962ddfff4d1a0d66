"""The program of an exported page, alone in a browser's page: opened, asked for texts, and timed.

As a command it compares whole texts with the package's, counts draws that rounding tips, and measures rates:
`PYTHONPATH=. python tests/support/page_engine.py checkpoints/tiny-shakespeare --num-chars 2000 --num-draws 100000`
"""

import argparse
import base64
import copy
import itertools
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

from charlstm import LanguageModel, SampleConfig
from charlstm.export.page import encode_weights
from charlstm.generation import quantization
from charlstm.generation.engine import start_session
from charlstm.generation.stream import TextChunk

_EXPORT = Path(__file__).resolve().parents[2] / "charlstm" / "export"
_HELPERS = """
let network, vocabulary;
async function open(facts, encoded, isPlain) {
  if (isPlain) facts.network.kernel = '';
  network = await loadNetwork(facts, Uint8Array.from(atob(encoded), (char) => char.charCodeAt(0)).buffer);
  vocabulary = new Vocabulary(facts.vocabulary);
  return network.kind;
}
function begin(prompt, options) {
  const text = new Text(network, vocabulary, options);
  text.read(prompt);
  return text;
}
const plain = (written) => ({...written, surprises: [...written.surprises]});
function countTips(prompt, options, ids) {
  const text = begin(prompt, options);
  let tips = 0;
  for (const id of ids) {
    const allowed = text.sampler.guard(text.predict(), text.history, text.options.noRepeat);
    tips += text.sampler.choose(allowed, text.options, () => text.draw(text.position)) !== id;
    text.accept(id);
  }
  return tips;
}
function measure(prompt, options, seconds) { // characters a second, and steps of the network alone, by turns
  const text = begin(prompt, options), state = network.newState(), rates = {whole: [], steps: []};
  const began = performance.now();
  const time = (name, work) => {
    const start = performance.now();
    work();
    rates[name].push(200000 / (performance.now() - start));
  };
  while (performance.now() - began < 1000 * seconds) {
    time('whole', () => text.write(200, 5));
    time('steps', () => { for (let step = 0; step < 200; step++) network.step(1, state, false); });
  }
  const spread = (each) => (each.sort((one, other) => other - one), [each[0], each[each.length >> 1]]);
  return [spread(rates.whole), spread(rates.steps)];
}
"""
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.9, "seed": 7},
    {"temperature": 0},
    {"temperature": 0.3, "no_repeat": 6, "seed": 2**31 - 1},
    {"temperature": 1, "top_p": 0.4},
)


def options_of(config: SampleConfig) -> dict[str, Any]:
    """The same settings as the page's program names them."""
    return {
        "seed": config.seed,
        "temperature": config.temperature,
        "topK": config.top_k,
        "topP": config.top_p,
        "noRepeat": config.no_repeat,
        "stop": config.stop,
    }


def package_text(lm: LanguageModel, prompt: str, config: SampleConfig, num_likeliest: int = 5) -> TextChunk:
    """What the package writes with the weights that a page holds."""
    chunks = list(lm.stream(prompt, config, num_likeliest=num_likeliest, rounded=True))
    fields = ([getattr(each, name) for each in chunks] for name in ("surprises", "likeliest", "probabilities"))
    surprises, likeliest, probabilities = (tuple(itertools.chain.from_iterable(each)) for each in fields)
    return TextChunk("".join(each.text for each in chunks), surprises, 0, likeliest, probabilities)


class PageEngine:
    """`network.js` and `runtime.js` in a page, with one model at a time."""

    def __init__(self, page: Page) -> None:
        self.page = page
        script = "".join(
            (_EXPORT / name).read_text(encoding="utf-8") for name in ("network.js", "runtime.js", "ngram.js")
        )
        page.set_content("<p>nothing but scripts</p>")
        page.add_script_tag(content=script + _HELPERS)

    def open(self, lm: LanguageModel, is_float16: bool = False, is_plain: bool = False) -> str:
        """Load `lm`; return what computes it."""
        network, weights = encode_weights(lm, is_float16)
        vocabulary = {"characters": lm.vocabulary.characters, "level": lm.vocabulary.level}
        facts = {"network": network, "vocabulary": vocabulary}
        arguments = [facts, base64.b64encode(weights).decode("ascii"), is_plain]
        return str(self.page.evaluate("(given) => open(...given)", arguments))

    def write(self, prompt: str, config: SampleConfig, num_likeliest: int = 5) -> TextChunk:
        """What the page writes."""
        program = "([prompt, options, num, likeliest]) => plain(begin(prompt, options).write(num, likeliest, true))"
        written = self.page.evaluate(program, [prompt, options_of(config), config.num_chars, num_likeliest])
        return as_chunk(written)

    def count_tips(self, lm: LanguageModel, prompt: str, config: SampleConfig) -> int:
        """How often the page would have drawn another character than the package, given all that it has written."""
        opening = lm.vocabulary.encode(lm.vocabulary.normalize(prompt)).astype(np.int32)
        session = start_session(lm.model, [opening], config, rounded=True)
        ids = session.write(config, config.num_chars, 0).ids[0].tolist()
        return int(self.page.evaluate("(given) => countTips(...given)", [prompt, options_of(config), ids]))

    def measure(self, prompt: str, seconds: float) -> list[list[float]]:
        """Rates of 200 characters with surprises and five alternatives, and of 200 bare steps: fastest and median."""
        rates: list[list[float]] = self.page.evaluate("(given) => measure(...given)", [prompt, {}, seconds])
        return rates


def halved(lm: LanguageModel) -> LanguageModel:
    """A copy with all weights rounded to 16 bits."""
    model = copy.deepcopy(lm.model)
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.state_dict().items()})
    return LanguageModel(model, lm.vocabulary, lm.provenance)


def as_chunk(written: dict[str, Any]) -> TextChunk:
    probabilities = tuple(map(tuple, written["probabilities"]))
    return TextChunk(written["text"], tuple(written["surprises"]), 0, tuple(written["likeliest"]), probabilities)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--prompt", default="\n")
    parser.add_argument("--float16", action="store_true")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--num-chars", type=int, default=2000)
    parser.add_argument("--num-draws", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    lm = LanguageModel.load(arguments.model)
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        engine = PageEngine(browser.new_page())
        _say("computed by", engine.open(lm, arguments.float16, arguments.plain))
        if arguments.float16:
            lm, quantization.FEWEST_WEIGHTS = halved(lm), 1 << 62  # the package computes in float32 then
        for settings in SETTINGS if arguments.num_chars else ():
            config = SampleConfig(num_chars=arguments.num_chars, **settings)
            ours, theirs = engine.write(arguments.prompt, config), package_text(lm, arguments.prompt, config)
            _say(settings, "the same" if ours.text == theirs.text else "another", len(ours.text))
        if arguments.num_draws:
            config = SampleConfig(num_chars=arguments.num_draws, temperature=1)
            _say(engine.count_tips(lm, arguments.prompt, config), "tipped of", arguments.num_draws)
        if arguments.seconds:
            for what, (fastest, median) in zip(
                ("characters", "steps alone"), engine.measure(arguments.prompt, arguments.seconds), strict=True
            ):
                _say(f"{what} a second, fastest {fastest:,.0f}, median {median:,.0f}")
        browser.close()


if __name__ == "__main__":
    main()
