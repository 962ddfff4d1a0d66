"""Descriptions of a model for people: where it comes from, its figures, and beginnings that belong to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from charlstm.formatting import format_largest_unit, label_text
from charlstm.language_model import LanguageModel

PROMPTS = {
    "tiny-shakespeare": ("ROMEO:", "First Citizen:\n", "To be, or "),
    "moby-dick.txt": ("Call me Ishmael. ", "The whale ", "CHAPTER 1"),
    "python-stdlib": ("def ", "class ", "import "),
    "python-reference": ("The ", "See also ", "If "),
}
_CODE_ENDINGS = (".py", ".js", ".ts", ".c", ".h", ".cpp", ".rs", ".go", ".java", ".html", ".css", ".json")


class Figure(NamedTuple):
    """One figure of a model, and the word that explains it."""

    title: str
    value: str
    term: str = ""  # of the page's explanations


@dataclass(frozen=True)
class ModelFacts:
    """A model described in one line, and its example prompts."""

    line: str
    prompts: tuple[str, ...]
    is_code: bool = False
    sentence: str = ""  # for people who know none of it
    figures: tuple[Figure, ...] = ()
    explained: Mapping[str, float] = field(default_factory=dict)  # numbers for examples in explanations


def describe_model(language_model: LanguageModel) -> ModelFacts:
    """Describe a model: size, parameters, corpus, training time and validation loss."""
    config, origin = language_model.model.config, language_model.provenance
    num_parameters, num_characters = language_model.model.num_parameters, len(language_model.vocabulary)
    parts = [f"{config.num_layers} × {config.hidden_size} LSTM, {num_parameters:,} parameters"]
    layers = "layer" if config.num_layers == 1 else "layers"
    kind = "bytes" if language_model.vocabulary.level == "bytes" else "characters"
    figures = [
        Figure("Network", f"LSTM, {config.num_layers} {layers} of {config.hidden_size:,} units"),
        Figure("Parameters", f"{num_parameters:,}", "parameters"),
        Figure("Alphabet", f"{num_characters:,} different {kind}"),
    ]
    explained: dict[str, float] = {"vocabulary": num_characters, "parameters": num_parameters}
    if origin is None:
        return ModelFacts(parts[0], (), sentence="A model of unknown origin.", figures=tuple(figures))
    parts.append(f"learned from {label_text(origin.corpus)} for {origin.training_seconds / 60:.1f} min")
    loss = origin.val_stateful if origin.val_stateful is not None else origin.val_loss
    if loss is not None:
        parts.append(f"validation {loss:.2f} nats per character ({loss / math.log(2):.2f} bits)")
        explained["loss"] = loss
        figures += [
            Figure("Validation", f"{loss:.3f} nats per character ({loss / math.log(2):.2f} bits)", "validation"),
            Figure("Perplexity", f"{math.exp(loss):.1f}: as if choosing among so many letters", "perplexity"),
        ]
    unit = "byte by byte" if language_model.vocabulary.level == "bytes" else "letter by letter"
    return ModelFacts(
        " · ".join(parts),
        PROMPTS.get(origin.corpus, ()),
        uses_code_font(origin.corpus),
        f"Learned {label_text(origin.corpus)} for {format_largest_unit(origin.training_seconds)}, {unit}.",
        tuple(figures),
        explained,
    )


def uses_code_font(corpus: str) -> bool:
    """Return whether texts of a corpus of this name are shown in a monospaced font."""
    return corpus in ("python-stdlib", "python-reference") or corpus.endswith(_CODE_ENDINGS)
