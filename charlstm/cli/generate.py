"""The commands `generate` and `evaluate`."""

import itertools
import json
import sys

from charlstm.cli.flags import Evaluate, Flat, Generate
from charlstm.cli.progress import BytesBar, escape_control_chars
from charlstm.config import TrainConfig, plain_lines
from charlstm.errors import CorpusError

_LONG_CHARS = 10_000  # PyTorch alone takes seconds for so many


def generate(flags: Flat[Generate]) -> None:
    """Write text with a model."""
    import torch

    from charlstm.generation.crossfade import Crossfade
    from charlstm.generation.holds import parse_holds
    from charlstm.generation.mixing import MixedModel
    from charlstm.kernel.build import compiler_note
    from charlstm.language_model import LanguageModel

    holds = parse_holds(flags.hold)
    torch.set_num_threads(1)  # one text is read and written by one; the other cores are for others

    config, prompt = flags.sample, plain_lines(flags.prompt)
    language_model = LanguageModel.load(flags.model)
    writer: LanguageModel | MixedModel = language_model
    if flags.mix:
        other, _, share = flags.mix.rpartition("=") if "=" in flags.mix else (flags.mix, "", "0.5")
        fade = Crossfade.parse(share)
        writer = language_model.mix(LanguageModel.load(other), fade)
    if (config.num_chars or _LONG_CHARS) >= _LONG_CHARS and (note := compiler_note()):
        print(note, file=sys.stderr)
    if config.num_samples > 1:
        for number, text in enumerate(writer.generate_samples(prompt, config, holds, flags.rounded), start=1):
            print(f"---- {number} of {config.num_samples} ----\n{escape_control_chars(prompt + text)}")
        return
    chunks = writer.stream(prompt, config, holds=holds, rounded=flags.rounded)
    first = next(chunks)  # a prompt that can't be read is refused before it is printed
    print(escape_control_chars(prompt), end="")
    for chunk in itertools.chain([first], chunks):
        print(escape_control_chars(chunk.text), end="", flush=True)
    print()


def evaluate(flags: Flat[Evaluate]) -> None:
    """Measure a model on the validation part of a text, in nats and bits per character."""
    from charlstm.corpus import open_corpus
    from charlstm.cpus import limit_torch_threads
    from charlstm.evaluation import final_validation
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
    with BytesBar() as bar:
        cut = corpus.split(language_model.model.config, train, language_model.vocabulary, bar.report)
    tokens = cut.validation
    stateful, windows, method = final_validation(language_model.model, tokens)
    split = f"last {100 * train.val_fraction:g}%"
    if flags.as_json:
        figures = {
            key: {"nats": loss.nats, "bpc": loss.bpc} for key, loss in (("stateful", stateful), ("windows", windows))
        }
        print(
            json.dumps(
                {
                    **figures,
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
