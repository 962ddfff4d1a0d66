"""The model card: what a stranger needs to know, made from what the run recorded and from the model itself."""

import json
import math
import re
import shlex
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData

from charlstm.checkpoint import FORMAT_VERSION, Provenance
from charlstm.config import PRESETS, ModelConfig, SampleConfig, Settings, TrainConfig
from charlstm.corpus import DESCRIPTIONS
from charlstm.language_model import LanguageModel
from charlstm.wording import duration

LIBRARY = "charlstm"
CURVE_FILE = "loss.png"
_TAGS = ["char-lstm", "lstm", "character-level", "from-scratch"]
_SAMPLES = tuple(SampleConfig(num_chars=300, temperature=each, seed=1) for each in (0.5, 0.8, 1.0))
_OWN_TEXT = "YOUR_TEXT.txt"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of."""

    repo_id: str
    language_model: LanguageModel
    has_curve: bool
    language: str | None = None  # as the Hub names it, for example `en`


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
        f"{'bytes' if config.level == 'bytes' else 'characters'}){_learned(origin)} It continues a text "
        f"{'byte' if config.level == 'bytes' else 'character'} by character.",
        f"## Write with it\n\n{_fenced(_loading(facts.repo_id), 'python')}",
        *([_figures(origin)] if origin else []),
        *([f"![Loss over the steps of training]({CURVE_FILE})"] if facts.has_curve else []),
        f"## Samples\n\n{_samples(model)}",
        *([_recipe(model, origin)] if origin else []),
        _limits(origin),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    name, origin = facts.repo_id.partition("/")[2], facts.language_model.provenance
    results = _results(origin) if origin else []
    return ModelCardData(
        language=facts.language,
        library_name=LIBRARY,
        pipeline_tag="text-generation",
        tags=_TAGS,
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
            dataset_type=_slug(origin.corpus),
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


def _learned(origin: Provenance | None) -> str:
    if origin is None:
        return "."
    return (
        f", trained from nothing on {_code(origin.corpus)}, {origin.corpus_chars:,} characters, for "
        f"{origin.step:,} steps in {duration(origin.training_seconds)}."
    )


def _loading(repo_id: str) -> str:
    return (
        "from charlstm import LanguageModel, SampleConfig\n\n"
        f'lm = LanguageModel.from_pretrained("{repo_id}")\n'
        'print(lm.generate("", SampleConfig(num_chars=300, temperature=0.8, seed=1)))'
    )


def _figures(origin: Provenance) -> str:
    rows = [f"| {method} | {nats:.4f} | {nats / math.log(2):.4f} |" for method, nats in _measured(origin)]
    if not rows:
        return "## Validation\n\nNot measured."
    return "\n".join(
        [
            f"## Validation\n\nOn the {_validation_split(origin)} part of {_code(origin.corpus)}, lower is better:\n",
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
        shown.append(f"{settings}\n\n{_fenced(text)}")
    return "\n\n".join(shown)


def recipe_command(language_model: LanguageModel, origin: Provenance) -> str:
    """The command that trains the model again, with flags for what differs from the nearest preset."""
    # A model from before there were resets says nothing of them.
    wanted = {**language_model.model.config.model_dump(), "state_reset": 0.0, **origin.train_config}
    wanted = {
        name: value
        for name, value in wanted.items()
        if (name in ModelConfig.model_fields or name in TrainConfig.model_fields) and name not in ("plan", "device")
    }
    if origin.corpus not in DESCRIPTIONS:
        wanted["corpus"] = _OWN_TEXT
    differing = {}
    for preset in PRESETS:
        start = {**Settings.preset(preset).flat(), "plan": "off"}
        if PRESETS[preset].get("plan") != "on":  # which chooses anew
            differing[preset] = {name: value for name, value in wanted.items() if start[name] != value}
    preset = min(differing, key=lambda name: len(differing[name]))
    words = ["python", "-m", "charlstm", "train", "--corpus", str(wanted["corpus"]), "--preset", preset]
    for name, value in differing[preset].items():
        if name != "corpus":
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def _recipe(language_model: LanguageModel, origin: Provenance) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    own = "" if origin.corpus in DESCRIPTIONS else f" {_OWN_TEXT} stands for the text named above."
    return (
        f"## Train it again\n\n{_fenced(recipe_command(language_model, origin), 'bash')}\n\n"
        f"Split: {origin.split}. SHA-256 of the text: `{origin.corpus_sha256}`.{own} "
        f"Trained on {_code(origin.hardware)} with {versions}."
    )


def _limits(origin: Provenance | None) -> str:
    text = f"the style of {_code(origin.corpus)}" if origin else "the style of its text"
    return (
        "## Intended use and limits\n\n"
        f"For learning how recurrent networks work, and for fun: it imitates {text}. It knows nothing but the "
        "characters of that text, has no idea of truth, follows no instructions, and repeats whatever bias or error it "
        "holds; passages of the text may come out word for word. Not for use where a mistake matters."
    )


def _fenced(text: str, language: str = "") -> str:
    """A block of code that no text can end: its fence is longer than any inside."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language or 'text'}\n{_visible(text)}\n{fence}"


def _code(text: str) -> str:
    return f"`{_visible(' '.join(text.split())).replace('`', chr(39))}`"


def _visible(text: str) -> str:
    """Without characters that control a terminal or a page."""
    return "".join(char if char in "\n\t" or char.isprintable() else "�" for char in text)
