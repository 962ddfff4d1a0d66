"""The commands `generate` and `evaluate`."""

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlstm.cli.flags import Evaluate, Flat, Generate
from charlstm.cli.progress import BytesBar, escape_control_chars
from charlstm.config import TrainConfig
from charlstm.config_fields import plain_lines
from charlstm.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from charlstm.evaluation import Loss
    from charlstm.generation.dynamic_evaluation import AdaptiveLoss, AdaptiveMethod
    from charlstm.generation.holds import Hold
    from charlstm.generation.mixing import MixedModel
    from charlstm.generation.read_first import Reading
    from charlstm.generation.stream import TextChunk
    from charlstm.language_model import LanguageModel
    from charlstm.vocabulary import Tokens

_LONG_CHARS = 10_000  # PyTorch alone takes seconds for so many


def generate(flags: Flat[Generate]) -> None:
    """Write text with a model."""
    import torch

    from charlstm.generation.holds import parse_holds
    from charlstm.generation.mixing import Crossfade
    from charlstm.generation.stream import collect_samples
    from charlstm.kernel.build import compiler_note
    from charlstm.language_model import LanguageModel

    holds = parse_holds(flags.hold)
    torch.set_num_threads(1)  # one text is read and written by one; the other cores are for others

    config, prompt = flags.sample, plain_lines(flags.prompt)
    language_model = LanguageModel.load(flags.model)
    writer: LanguageModel | MixedModel | Reading = language_model
    if flags.read and flags.mix:
        raise ConfigError("a text is read by one model: leave out --read or --mix.")
    if flags.read:
        writer = _read_first(language_model, flags)
    elif flags.mix:
        other, _, share = flags.mix.rpartition("=") if "=" in flags.mix else (flags.mix, "", "0.5")
        fade = Crossfade.parse(share)
        writer = language_model.mix(LanguageModel.load(other), fade)
    if (config.num_chars or _LONG_CHARS) >= _LONG_CHARS and (note := compiler_note()):
        print(note, file=sys.stderr)
    if config.num_samples > 1:
        chunks = _stream(writer, prompt, flags, holds)
        for number, text in enumerate(collect_samples(chunks, config), start=1):
            print(f"---- {number} of {config.num_samples} ----\n{escape_control_chars(prompt + text)}")
        return
    chunks = _stream(writer, prompt, flags, holds)
    first = next(chunks)  # a prompt that can't be read is refused before it is printed
    print(escape_control_chars(prompt), end="")
    for chunk in itertools.chain([first], chunks):
        print(escape_control_chars(chunk.text), end="", flush=True)
    print()


def _stream(
    writer: "LanguageModel | MixedModel | Reading", prompt: str, flags: Generate, holds: Sequence["Hold"]
) -> "Iterator[TextChunk]":
    from charlstm.generation.read_first import Reading

    if not isinstance(writer, Reading):
        return writer.stream(prompt, flags.sample, holds=holds, rounded=flags.rounded)
    if flags.rounded:
        raise ConfigError("--rounded is for a model that has read nothing: leave out --read.")
    return writer.stream(prompt, flags.sample, holds=holds)


def _read_first(language_model: "LanguageModel", flags: Generate) -> "Reading":
    """Read a text, telling how much less surprising it became; return what was taken in."""
    from tqdm import tqdm

    from charlstm.corpus import open_corpus
    from charlstm.generation.read_first import Reader, check_weight

    check_weight(flags.read_weight)
    with BytesBar() as bar:
        text = open_corpus(flags.read, report=bar.report, shown=flags.read).text
    reader = Reader(language_model.model, language_model.vocabulary, text, flags.learn)
    with tqdm(total=len(reader), unit=" characters", leave=False, disable=not sys.stderr.isatty()) as progress:
        for piece in reader:
            progress.update(len(piece.alone))
    reading = reader.finish().weighted(flags.read_weight)
    print(
        f"read {len(reader):,} characters: {reading.alone:.4f} nats per character alone, "
        f"{reading.adapted:.4f} with what it had read by then",
        file=sys.stderr,
    )
    if reader.note:
        print(escape_control_chars(reader.note), file=sys.stderr)
    return reading


def evaluate(flags: Flat[Evaluate]) -> None:
    """Measure a model on the validation part of a text, in nats and bits per character."""
    from charlstm.corpus import open_corpus
    from charlstm.evaluation import final_validation
    from charlstm.kernel.job_layout import limit_torch_threads
    from charlstm.language_model import LanguageModel

    limit_torch_threads()
    language_model = LanguageModel.load(flags.model)
    origin = language_model.provenance
    asked = {name: getattr(flags, name) for name in ("corpus", "encoding", "val_fraction")}
    trained = {name: origin.train_config[name] for name in asked if name in origin.train_config} if origin else {}
    given = {name: value for name, value in asked.items() if value is not None}
    train = TrainConfig(**{**trained, **given, "batch_size": 1})
    with BytesBar() as bar:
        corpus = open_corpus(train.corpus, train.encoding, bar.report, shown=train.corpus)
    if origin and flags.corpus is None and corpus.sha256 != origin.corpus_sha256:
        raise CorpusError(f"{train.corpus} is not the text this model learned from; name the text with --corpus.")
    known = corpus.in_known_form(language_model.vocabulary)
    for note in known.notes[len(corpus.notes) :]:
        print(f"{corpus.name}: {note}", file=sys.stderr)
    with BytesBar() as bar:
        cut = known.split(language_model.model.config, train, language_model.vocabulary, bar.report)
    tokens = cut.validation
    stateful, windows, method = final_validation(language_model.model, tokens)
    adaptive = _evaluate_adaptive(language_model, tokens, flags.adaptive) if flags.adaptive else None
    split = f"last {100 * train.val_fraction:g}%"
    if flags.as_json:
        figures = {key: _figures(loss) for key, loss in (("stateful", stateful), ("windows", windows))}
        extra = {}
        if adaptive:
            facts = {"method": flags.adaptive, "characters": adaptive.alone.num_chars}
            extra["adaptive"] = {**_figures(adaptive.adapted), "alone": _figures(adaptive.alone), **facts}
        print(
            json.dumps(
                {
                    **figures,
                    **extra,
                    "method": method,
                    "characters": stateful.num_chars,
                    "model": str(flags.model),
                    "corpus": corpus.name,
                    "split": split,
                }
            )
        )
        return
    print(f"{flags.model} on {corpus.name}, {split}, {stateful.num_chars:,} characters")
    print(f"stateful             {stateful.nats:.4f} nats per character, {stateful.bpc:.4f} bits")
    print(f"cold windows of 256  {windows.nats:.4f} nats per character, {windows.bpc:.4f} bits")
    if adaptive:
        for name, loss in ((f"adaptive ({flags.adaptive})", adaptive.adapted), ("the same alone", adaptive.alone)):
            print(f"{name:19}  {loss.nats:.4f} nats per character, {loss.bpc:.4f} bits")
        if adaptive.alone.num_chars < len(tokens) - 1:
            print(f"the last two on the first {adaptive.alone.num_chars:,} characters of it")


def _figures(loss: "Loss") -> dict[str, float]:
    return {"nats": loss.nats, "bpc": loss.bpc}


def _evaluate_adaptive(language_model: "LanguageModel", tokens: "Tokens", method: "AdaptiveMethod") -> "AdaptiveLoss":
    from tqdm import tqdm

    from charlstm.generation.dynamic_evaluation import MEASURED_AT_MOST, evaluate_adaptive

    total = min(len(tokens), MEASURED_AT_MOST) - 1
    with tqdm(total=total, unit=" characters", leave=False, disable=not sys.stderr.isatty()) as bar:
        return evaluate_adaptive(language_model.model, tokens, method, bar.update)
