"""Figures of a model for the page's explanations, each of which has an example computed from them."""

from typing import Any

from charlstm.config import SampleConfig
from charlstm.errors import CharLSTMError
from charlstm.language_model import LanguageModel
from charlstm.runs.history import RunHistory
from charlstm.runs.run_dir import RunDir
from charlstm.ui.models import ModelRegistry

_OPENING_CHARS, _CONTINUED_CHARS = 60, 16
_EXAMPLE = SampleConfig(temperature=0.8, seed=1)
_UNSURE = 0.5  # chance of the likeliest letter where an example is most instructive


def bundled_facts(registry: ModelRegistry) -> dict[str, Any]:
    """Return figures of the first model, for explanations beside which there is no other; empty without one."""
    name = next(iter(registry.names()), None)
    if name is None:
        return {}
    try:
        language_model, prompts = registry.load(name), registry.prompts(name)
        facts = {"name": name, **_settings(language_model), **_choices(language_model, next(iter(prompts), ""))}
        return facts | _recorded(RunDir(registry.path(name)))
    except CharLSTMError:  # one that is damaged or just deleted is reported where it is chosen
        return {}


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


def _recorded(folder: RunDir) -> dict[str, Any]:
    """Return what its run recorded about its text; a model that was fetched has no run."""
    history = RunHistory(folder)
    history.poll()
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
    following = zip(chunk.likeliest[place], chunk.probabilities[place], strict=True)
    return {
        "opening": shown if len(shown) > 1 else text[:place],
        "next": [[letter, round(float(chance), 5)] for letter, chance in following],
        "seeds": seeds,
    }
