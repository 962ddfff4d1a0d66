"""The model card: what a stranger needs to know, made from what the run recorded and from the model itself."""

import json
import math
import re
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData, constants

from charlstm import __version__
from charlstm.checkpoint import FORMAT_VERSION, MODEL_FILE, Provenance
from charlstm.config import SampleConfig
from charlstm.formatting import format_duration
from charlstm.hub.markdown import code, fenced
from charlstm.hub.recipe import describe_recipe
from charlstm.language_model import LanguageModel

LIBRARY = "charlstm"
CURVE_FILE = "loss.png"
LICENSE = "mit"
_TAGS = ["char-lstm", "lstm", "character-level"]
_DATASETS = {"tiny-shakespeare": "karpathy/tiny_shakespeare"}  # texts that the Hub has too
_LIBRARY = (
    "It was made with charlstm, a Python library that is on no package index yet: `pip install .` in a clone of its "
    "repository installs it, or `pip install` with the file of a wheel. Then:"
)
_SAMPLES = tuple(SampleConfig(num_chars=300, temperature=each, seed=1) for each in (0.5, 0.8, 1.0))


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of."""

    repo_id: str
    language_model: LanguageModel
    has_curve: bool
    language: str | None = None  # as the Hub names it, for example `en`
    license: str = LICENSE  # as the Hub names it
    base_model: str | None = None  # the repository of the model that the run began from, if that is on the Hub


def config_json(language_model: LanguageModel) -> str:
    """The facts of `model.safetensors` for people and for the Hub; loading never needs them."""
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
    """The README.md of the model's repository."""
    model, origin = facts.language_model, facts.language_model.provenance
    config = model.model.config
    parts = [
        f"---\n{_metadata(facts).to_yaml().strip()}\n---",
        f"# {facts.repo_id.partition('/')[2]}",
        f"A character-level LSTM ({config.num_layers} × {config.hidden_size} units, "
        f"{model.model.num_parameters:,} parameters, {len(model.vocabulary):,} different "
        f"{'bytes' if config.level == 'bytes' else 'characters'}){_learned(facts, origin)} It continues a text "
        f"{'byte' if config.level == 'bytes' else 'character'} by character.",
        f"## Write with it\n\n{_LIBRARY}\n\n{fenced(_loading(facts.repo_id), 'python')}\n\n"
        f"With PyTorch alone, in place of that library:\n\n{fenced(plain_torch(facts), 'python')}",
        *([_figures(origin)] if origin else []),
        *([f"![Loss over the steps of training]({CURVE_FILE})"] if facts.has_curve else []),
        f"## Samples\n\n{_samples(model)}",
        *([describe_recipe(model, origin, facts.base_model)] if origin else []),
        _limits(origin),
        _citation(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    name, origin = facts.repo_id.partition("/")[2], facts.language_model.provenance
    results = _results(origin) if origin else []
    dataset = _dataset(origin) if origin else None
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
        tags=[*_TAGS, "fine-tuned" if origin and origin.parent else "from-scratch"],
        model_name=name if results else None,
        eval_results=results or None,
    )


def _measured(origin: Provenance) -> list[tuple[str, float]]:
    """Names that say the method, and nats per character."""
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
            dataset_type=_dataset(origin) or _slug(origin.corpus),
            dataset_name=origin.corpus,
            dataset_split=_validation_split(origin),
            metric_type="loss" if unit == "nats" else "bits-per-character",
            metric_name=f"validation, {unit} per character ({method})",
            metric_value=round(nats if unit == "nats" else nats / math.log(2), 4),
        )
        for method, nats in _measured(origin)
        for unit in ("nats", "bits")
    ]


def _validation_split(origin: Provenance) -> str:
    """`last 10% validation`, of `first 90% training, last 10% validation`."""
    return origin.split.rpartition(", ")[2]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "text"


def _dataset(origin: Provenance) -> str | None:
    """The Hub's name of the text, if the Hub has it."""
    source = str(origin.train_config.get("corpus") or origin.corpus)
    found = re.fullmatch(r"hf://datasets/([\w.-]+/[\w.-]+?)(@[^/]+)?/.+", source, re.ASCII)
    return found[1] if found else _DATASETS.get(origin.corpus)


def _learned(facts: CardFacts, origin: Provenance | None) -> str:
    if origin is None:
        return "."
    begin = "trained from nothing"
    if origin.parent:
        known = f"[{facts.base_model}]({constants.ENDPOINT}/{facts.base_model})" if facts.base_model else None
        begin = f"fine-tuned from {known or code(origin.parent)}"
    parts = f", in {len(origin.more) + 1} parts," if origin.more else ""
    return (
        f", {begin} on {code(origin.corpus)}, {origin.corpus_chars:,} characters{parts or ','} for "
        f"{origin.step:,} steps in {format_duration(origin.training_seconds)}."
    )


def _loading(repo_id: str) -> str:
    return (
        "from charlstm import LanguageModel, SampleConfig\n\n"
        f'lm = LanguageModel.from_pretrained("{repo_id}")\n'
        'print(lm.generate("", SampleConfig(num_chars=300, temperature=0.8, seed=1)))'
    )


def plain_torch(facts: CardFacts) -> str:
    """A program that computes the model's logits with PyTorch and what else everybody has."""
    model = facts.language_model
    config, known = model.model.config, model.vocabulary.characters
    beginnings = model.provenance.beginnings if model.provenance else ()
    text = next((each for each in beginnings if each and each.isprintable() and set(each) <= set(known)), None)
    text = text or ("text" if config.level == "bytes" else "".join(known[:8]))
    tokens = "list(text.encode())" if config.level == "bytes" else "[vocabulary.index(char) for char in text]"
    inputs = (
        'weights["embedding.weight"][tokens]'
        if config.embedding_dim
        else "torch.nn.functional.one_hot(tokens, len(vocabulary)).float()"
    )
    return f"""import json, torch
from huggingface_hub import hf_hub_download
from safetensors import safe_open

with safe_open(hf_hub_download("{facts.repo_id}", "{MODEL_FILE}"), "pt") as file:
    header, weights = file.metadata(), {{name: file.get_tensor(name) for name in file.keys()}}
vocabulary, text = json.loads(header["vocabulary"]), {text!a}
lstm = torch.nn.LSTM({config.embedding_dim or "len(vocabulary)"}, {config.hidden_size}, {config.num_layers}, \
batch_first=True)
lstm.load_state_dict({{name[5:]: each for name, each in weights.items() if name.startswith("lstm.")}})
tokens = torch.tensor([{tokens}])
logits = lstm({inputs})[0] @ weights["head.weight"].T + weights["head.bias"]
print("after", repr(text), "comes", repr(vocabulary[logits[0, -1].argmax()]))"""


def _figures(origin: Provenance) -> str:
    rows = [f"| {method} | {nats:.4f} | {nats / math.log(2):.4f} |" for method, nats in _measured(origin)]
    if not rows:
        return "## Validation\n\nNot measured."
    return "\n".join(
        [
            f"## Validation\n\nOn the {_validation_split(origin)} part of {code(origin.corpus)}, lower is better:\n",
            "| how | nats per character | bits per character |",
            "|---|---|---|",
            *rows,
        ]
    )


def _samples(language_model: LanguageModel) -> str:
    shown = []
    for config in _SAMPLES:
        text = language_model.generate("", config)
        settings = f"Temperature {config.temperature:g}, seed {config.seed}, {config.num_chars} characters, no prompt:"
        shown.append(f"{settings}\n\n{fenced(text)}")
    return "\n\n".join(shown)


def _limits(origin: Provenance | None) -> str:
    text = f"the style of {code(origin.corpus)}" if origin else "the style of its text"
    return (
        "## Intended use and limits\n\n"
        f"For learning how recurrent networks work, and for fun: it imitates {text}. It knows nothing but the "
        "characters of that text, has no idea of truth, follows no instructions, and repeats whatever bias or error it "
        "holds; passages of the text may come out word for word. Not for use where a mistake matters."
    )


def _citation(facts: CardFacts) -> str:
    entry = f"""@misc{{{re.sub(r"[^A-Za-z0-9]+", "-", facts.repo_id).strip("-")},
  title  = {{{facts.repo_id}: a character-level LSTM}},
  author = {{{facts.repo_id.partition("/")[0]}}},
  howpublished = {{{constants.ENDPOINT}/{facts.repo_id}}},
  note   = {{made with charlstm {__version__}, by the charlstm authors}}
}}"""
    return f"## Licence and citation\n\nLicence: `{facts.license}`.\n\n{fenced(entry, 'bibtex')}"
