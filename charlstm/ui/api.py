"""Public API of the page, for programs: `generate`, `score`, `models`. Docstrings are its documentation."""

from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import api

from charlstm.config import SampleConfig
from charlstm.errors import CharLSTMError, ConfigError
from charlstm.formatting import error_text
from charlstm.model_description import describe_model
from charlstm.ui.crossfader import parse_mix
from charlstm.ui.generation import PROGRAM, ActiveRequests, GenerationRequest, generate
from charlstm.ui.models import ModelRegistry
from charlstm.ui.reading_cache import ReadFirst
from charlstm.ui.surprisal_text import replace_surrogates, text_of
from charlstm.ui.text_comparison import score_text

_MOST_CHARS = 100_000
_DEFAULTS = SampleConfig()


def build_api(registry: ModelRegistry, active_requests: ActiveRequests, concurrency: int) -> None:
    """Register the three API functions; every other event of the page is private."""
    functions = _Functions(registry, active_requests)
    api(functions.generate, api_name="generate", concurrency_limit=concurrency, concurrency_id="write")
    api(functions.score, api_name="score")
    api(functions.models, api_name="models")


class _Functions:
    """Functions that programs may call."""

    def __init__(self, registry: ModelRegistry, active_requests: ActiveRequests) -> None:
        self._registry, self._active_requests = registry, active_requests

    def generate(
        self,
        model: str,
        prompt: str = "",
        num_chars: int = _DEFAULTS.num_chars,
        temperature: float = _DEFAULTS.temperature,
        top_k: int = _DEFAULTS.top_k,
        top_p: float = _DEFAULTS.top_p,
        no_repeat: int = _DEFAULTS.no_repeat,
        stop: str = _DEFAULTS.stop,
        num_samples: int = _DEFAULTS.num_samples,
        seed: int = _DEFAULTS.seed,
        hold: str = "",
        mix: str = "",
        mix_weight: float = 0.5,
        read: str = "",
        read_weight: float = 1.0,
        learn: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Continue a prompt as a stream: each message holds the texts so far, the last one the complete texts.

        Parameters:
            model: Name of a model, as `models` lists it.
            prompt: Text to continue, at most 100,000 characters; empty for the most frequent beginning of a line.
            num_chars: Characters to write, 1 to 100,000 in all texts together.
            temperature: 0 always takes the likeliest character, 1 follows the model, 2 is the most random.
            top_k: Sample from this many of the likeliest characters; 0 for all.
            top_p: Sample from the likeliest characters with this share of the probability, above 0, at most 1.
            no_repeat: Never repeat a sequence of this length from the last 1,024 characters; 0 for no limit.
            stop: End a text as soon as it ends with this string; empty for none.
            num_samples: Number of texts, 1 to 8.
            seed: The same seed gives the same text; 0 to 2147483647.
            hold: Cell states to hold while it writes, as unit=value or layer:unit=value, with commas: 710=3.1,1:20=-2.
            mix: Name of a second model to write with; each character is drawn from both models' probabilities.
            mix_weight: Share of the second model, 0 to 1.
            read: Text to read first and write like, at most 100,000 characters, or 20,000 to learn; empty for none.
            read_weight: How much of what was read is used, 0 to 2; 1 is what predicts its text best.
            learn: Whether the text is learned by a copy of the model for this request, instead of remembered.

        Returns:
            {"opening": the text used for an empty prompt, "texts": the continuations of it or of the prompt, one string
            per sample, "seed": the seed, "is_done": whether the texts are complete}
        """
        values = {
            "num_chars": num_chars,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "no_repeat": no_repeat,
            "stop": stop,
            "num_samples": num_samples,
            "seed": seed,
        }
        try:
            first = ReadFirst.of(read, learn, read_weight)
            request = GenerationRequest.of(model, prompt, values, hold=hold, mix=parse_mix(mix, mix_weight), read=first)
            yield from self._messages(request, has_prompt=bool(prompt))
        except CharLSTMError as error:
            raise gr.Error(error_text(error), print_exception=False) from None

    def _messages(self, request: GenerationRequest, has_prompt: bool) -> Iterator[dict[str, Any]]:
        if not 0 < request.config.num_chars * request.config.num_samples <= _MOST_CHARS:
            raise ConfigError(f"num_chars x num_samples must be from 1 to {_MOST_CHARS:,}.")
        for frame in generate(self._registry, request, self._active_requests, lambda: False, PROGRAM):
            page = frame.page
            yield {
                "opening": "" if has_prompt else page["given"],
                "texts": [text_of(text) for text in page["texts"]],
                "seed": request.config.seed,
                "is_done": not page["is_writing"],
            }

    def score(self, model: str, text: str) -> dict[str, Any]:
        """Measure how well a model predicts a text.

        Parameters:
            model: Name of a model, as `models` lists it.
            text: The text, 1 to 20,000 characters.

        Returns:
            {"nats", "bits": per character, "perplexity", "characters", "surprises": nats of each character}
        """
        try:
            _, figures, surprises = score_text(self._registry, model, text)
        except CharLSTMError as error:
            raise gr.Error(error_text(error), print_exception=False) from None
        return {**figures, "surprises": [round(each, 4) for each in surprises]}

    def models(self) -> list[dict[str, Any]]:
        """List the available models.

        Returns:
            A list of {"name", "facts": layers, size, corpus and validation loss in one line, "prompts": examples}
        """
        return [{"name": name, **_describe(self._registry, name)} for name in self._registry.names()]


def _describe(registry: ModelRegistry, name: str) -> dict[str, Any]:
    try:
        return {
            "facts": replace_surrogates(describe_model(registry.load(name)).line),
            "prompts": [*map(replace_surrogates, registry.prompts(name))],
        }
    except CharLSTMError as error:
        return {"facts": error_text(error), "prompts": []}
