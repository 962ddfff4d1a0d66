"""The model card: `card_template.md`, filled with what the run recorded and with what the model writes.

The template is Jinja; text of the user's enters it through `code` and `fence` alone, where it stays text.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData, constants

from charlstm import __version__
from charlstm.checkpoint import FORMAT_VERSION, Provenance
from charlstm.config import SampleConfig
from charlstm.export.pytorch import pytorch_program
from charlstm.formatting import TEXT_LABELS, format_duration
from charlstm.hub.recipe import make_recipe
from charlstm.language_model import LanguageModel
from charlstm.model_paths import MODEL_FILE

LIBRARY = "charlstm"
CURVE_FILE = "loss.png"
LICENSE = "mit"
TAGS = ["char-lstm", "lstm", "character-level"]
_DATASETS = {"tiny-shakespeare": "karpathy/tiny_shakespeare"}  # texts that the Hub has too
_TEMPLATE = Path(__file__).with_name("card_template.md")
_SAMPLES = tuple(SampleConfig(num_chars=300, temperature=each, seed=1) for each in (0.5, 0.8, 1.0))


@dataclass(frozen=True)
class CardFacts:
    """Contents of a card."""

    repo_id: str
    language_model: LanguageModel
    has_curve: bool
    language: str | None = None  # as the Hub names it, for example `en`
    license: str = LICENSE  # as the Hub names it
    base_model: str | None = None  # the repository of the model that the run began from, if that is on the Hub
    space: str | None = None  # the Space with the model's page


def config_json(language_model: LanguageModel) -> str:
    """Return the facts of `model.safetensors` for people and for the Hub; loading never needs them."""
    origin = language_model.provenance
    facts = {
        "model_type": "char-lstm",
        "architectures": ["CharLSTM"],
        "library_name": LIBRARY,
        "format_version": FORMAT_VERSION,
        "num_parameters": language_model.model.num_parameters,
        "config": language_model.model.config.model_dump(),
        "vocabulary": list(language_model.vocabulary.characters),
        "provenance": origin.model_dump() if origin else None,
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)  # which UTF-8 can't hold


def card_text(facts: CardFacts) -> str:
    """Return the README.md of the model's repository."""
    model, origin = facts.language_model, facts.language_model.provenance
    owner, _, name = facts.repo_id.partition("/")
    card = ModelCard.from_template(
        _metadata(facts),
        template_str=_TEMPLATE.read_text(encoding="utf-8"),
        repo_id=facts.repo_id,
        owner=owner,
        name=name,
        hub=constants.ENDPOINT,
        config=model.model.config,
        num_parameters=model.model.num_parameters,
        vocabulary_size=len(model.vocabulary),
        unit="byte" if model.model.config.level == "bytes" else "character",
        origin=origin,
        text=text_words(origin) if origin else "its text",
        base_model=facts.base_model,
        space=facts.space,
        program=pytorch_program(model, _download(facts.repo_id), "huggingface_hub"),
        measured=_validation_figures(origin) if origin else [],
        validation_split=_validation_split(origin) if origin else "",
        has_curve=facts.has_curve,
        curve_file=CURVE_FILE,
        samples=[(settings, model.generate("", settings)) for settings in _SAMPLES],
        recipe=make_recipe(model, origin, facts.base_model) if origin else None,
        license=facts.license,
        citation_key=re.sub(r"[^A-Za-z0-9]+", "-", facts.repo_id).strip("-"),
        charlstm_version=__version__,
        code=code,
        fence=fence,
        duration=format_duration,
        number="{:,}".format,
        bits=lambda nats: nats / math.log(2),
    )
    return f"{card}\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    name, origin = facts.repo_id.partition("/")[2], facts.language_model.provenance
    results = _results(origin) if origin else []
    dataset = dataset_of(origin) if origin else None
    picture = f"{constants.ENDPOINT}/{facts.repo_id}/resolve/main/{CURVE_FILE}"
    return ModelCardData(
        language=facts.language,
        license=facts.license,
        base_model=facts.base_model,
        base_model_relation="finetune" if facts.base_model else None,
        datasets=[dataset] if dataset else None,
        thumbnail=picture if facts.has_curve else None,
        library_name=LIBRARY,
        pipeline_tag="text-generation",
        tags=[*TAGS, "fine-tuned" if origin and origin.parent else "from-scratch"],
        model_name=name if results else None,
        eval_results=results or None,
    )


def _validation_figures(origin: Provenance) -> list[tuple[str, float]]:
    """Return names that say the method, and nats per character."""
    exact = origin.val_stateful_method or "stateful"
    rows = [(exact, origin.val_stateful), ("cold windows of 256 characters", origin.val_windows)]
    if origin.val_stateful is None:
        rows.insert(0, (origin.val_method or "stateful", origin.val_loss))
    return [(method, nats) for method, nats in rows if nats is not None and math.isfinite(nats)]


def _results(origin: Provenance) -> list[EvalResult]:
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Text Generation",
            dataset_type=dataset_of(origin) or _slug(origin.corpus),
            dataset_name=origin.corpus,
            dataset_split=_validation_split(origin),
            metric_type="loss" if unit == "nats" else "bits-per-character",
            metric_name=f"validation, {unit} per character ({method})",
            metric_value=round(nats if unit == "nats" else nats / math.log(2), 4),
        )
        for method, nats in _validation_figures(origin)
        for unit in ("nats", "bits")
    ]


def _validation_split(origin: Provenance) -> str:
    """Return `last 10% validation` of `first 90% training, last 10% validation`."""
    return origin.split.rpartition(", ")[2]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "text"


def text_words(origin: Provenance) -> str:
    """Return what the card calls the text that the model was trained on, as Markdown."""
    return TEXT_LABELS.get(origin.corpus) or code(origin.corpus)


def dataset_of(origin: Provenance) -> str | None:
    """Return the Hub's name of the text that the model was trained on, if the Hub has it."""
    source = str(origin.train_config.get("corpus") or origin.corpus)
    found = re.fullmatch(r"hf://datasets/([\w.-]+/[\w.-]+?)(@[^/]+)?/.+", source, re.ASCII)
    return found[1] if found else _DATASETS.get(origin.corpus)


def _download(repo_id: str) -> str:
    """Return the expression that fetches the model's file."""
    return f"huggingface_hub.hf_hub_download({json.dumps(repo_id)}, {json.dumps(MODEL_FILE)})"


def fence(text: str, language: str = "") -> str:
    """Make a block of code that no text can end: its fence is longer than any inside."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language or 'text'}\n{visible(text)}\n{fence}"


def code(text: str) -> str:
    """Set `text` as code within a line."""
    return f"`{visible(' '.join(text.split())).replace('`', chr(39))}`"


def visible(text: str) -> str:
    """Replace characters that control a terminal or a page."""
    return "".join(char if char in "\n\t" or char.isprintable() else "�" for char in text)
