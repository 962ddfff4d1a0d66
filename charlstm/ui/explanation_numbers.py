"""Figures of a model for the page's explanations, each of which has an example computed from them."""

from typing import Any

from charlstm.config import SampleConfig
from charlstm.errors import CharLSTMError
from charlstm.language_model import LanguageModel
from charlstm.runs.history import RunHistory
from charlstm.ui.models import ModelRegistry

_OPENING_CHARS, _CONTINUED_CHARS = 60, 16
_EXAMPLE = SampleConfig(temperature=0.8, seed=1)
_MOST_KNOWN = 4  # models, which are kept in memory by this
_UNSURE = 0.5  # chance of the likeliest letter where an example is most instructive


class ExampleFacts:
    """Figures of the models of `registry`, for explanations beside which there are none."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._known: dict[str, tuple[LanguageModel, dict[str, Any]]] = {}  # of models as they were last loaded

    def get(self, model: Any = None) -> dict[str, Any]:
        """Return the figures of a model, of the first for `None`; anyone can call it with any value.

        Empty without a model, or with one that can't be read (as is told where it is chosen).
        """
        try:
            name = self._registry.require(model)
            language_model = self._registry.load(name)
            known = self._known.get(name)
            if known is None or known[0] is not language_model:
                known = self._known[name] = language_model, self._compute(name, language_model)
        except CharLSTMError:
            return {}
        for oldest in [*self._known][:-_MOST_KNOWN]:
            self._known.pop(oldest, None)
        return known[1]

    def _compute(self, name: str, language_model: LanguageModel) -> dict[str, Any]:
        prompt = next(iter(self._registry.prompts(name)), "")
        with self._registry.history(name) as history:
            recorded = _read_record(history)
        label = self._registry.label(name)
        return {"name": label, **_settings(language_model), **_choices(language_model, prompt), **recorded}


def _settings(language_model: LanguageModel) -> dict[str, Any]:
    config, origin = language_model.model.config, language_model.provenance
    facts: dict[str, Any] = {
        "vocabulary": len(language_model.vocabulary),
        "parameters": language_model.model.num_parameters,
        "layers": config.num_layers,
        "hidden": config.hidden_size,
        "inputs": config.embedding_dim or len(language_model.vocabulary),
        "dropout": config.dropout,
    }
    if origin is None:
        return facts
    loss = origin.val_stateful if origin.val_stateful is not None else origin.val_loss
    return facts | {"loss": loss, "rate": origin.train_config.get("learning_rate")}


def _read_record(history: RunHistory) -> dict[str, Any]:
    """Return what the run recorded about its text; a model that was fetched has no run."""
    facts: dict[str, Any] = {}
    if history.started:
        facts |= {"characters": history.started.num_train_chars, "held_out": history.started.num_val_chars}
    if history.references:
        facts["five_gram"] = history.references.fivegram
    if history.latest:
        facts["passes"] = history.latest.num_passes
    return facts


def _choices(language_model: LanguageModel, prompt: str) -> dict[str, Any]:
    """Return a text of the model up to a letter at which it is unsure, and all chances of the letter there."""
    text = prompt + language_model.generate(prompt, _EXAMPLE.model_copy(update={"num_chars": _OPENING_CHARS}))
    chunk = language_model.score(text, len(language_model.vocabulary)).chunk
    later = range(len(text) // 2, len(text))
    place = min(later, key=lambda each: abs(chunk.probabilities[each][0] - _UNSURE))
    continued = _EXAMPLE.model_copy(update={"num_chars": _CONTINUED_CHARS})
    seeds = [
        [seed, language_model.generate(text[:place], continued.model_copy(update={"seed": seed}))] for seed in (1, 2)
    ]
    shown = text[:place].rpartition("\n")[2]
    opening = shown if len(shown) > 1 else text[:place]
    ids = language_model.vocabulary.encode(opening)
    following = zip(chunk.likeliest[place], chunk.probabilities[place], strict=True)
    return {
        "opening": opening,
        "ids": [[letter, int(number)] for letter, number in zip(opening, ids, strict=False)],  # a byte is no letter
        "next": [[letter, round(float(chance), 5)] for letter, chance in following],
        "seeds": seeds,
    }
