"""The commands `inspect` and `explain`."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charlstm.cli.flags import Explain, Flat, Inspect
from charlstm.cli.progress import BytesBar, escape_control_chars
from charlstm.config import TrainConfig
from charlstm.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from charlstm.insight.report import Insight, UnitRecord
    from charlstm.language_model import LanguageModel

_FEWEST_PLACES, _MOST_PLACES = 4096, 1 << 18
_DEFAULT_SEED = 1
_MOST_CHARACTERS = 1000  # before a letter
_SHOWN = 10  # of them in the lines for people
_COLUMNS = ("layer", "unit", "part", "sign", "property", "label", "score", "twin", "last4", "remembers", "acts",
            "low", "high", "memory", "stretches")  # fmt: skip
_EFFECT_COLUMNS = ("kl", "control_kl", "value", "measure", "before", "after", "control_low", "control_high",
                   "turn", "control_turn")  # fmt: skip


def inspect(flags: Flat[Inspect]) -> None:
    """Name the units of a model that follow something in a text, and what changes while each is held."""
    _require_one_kind(flags.as_json, flags.as_csv)
    if flags.places is not None and not _FEWEST_PLACES <= flags.places <= _MOST_PLACES:
        raise ConfigError(f"places must be from {_FEWEST_PLACES:,} to {_MOST_PLACES:,}, not {flags.places:,}.")
    from charlstm.data_folders import find_model
    from charlstm.insight.report import Insight, inspect_model
    from charlstm.insight.text_sample import THOROUGH
    from charlstm.kernel.job_layout import limit_torch_threads
    from charlstm.language_model import LanguageModel

    limit_torch_threads()
    folder = find_model(flags.model)
    is_kept_wanted = not flags.anew and flags.text is None and flags.seed is None and flags.places is None
    found = Insight.load(folder) if is_kept_wanted else None
    if found is None:
        language_model = LanguageModel.load(flags.model)
        text, source = _text_to_inspect(language_model, flags.text)
        with _progress() as line:

            def tell(share: float, stage: str, _: object) -> None:
                line(f"{share:4.0%} {stage}")

            seed = _DEFAULT_SEED if flags.seed is None else flags.seed
            found = inspect_model(language_model, text, tell, source, seed, flags.places or THOROUGH)
        if flags.keep:
            found.save(folder)
    if flags.as_json:
        print(json.dumps({"model": str(flags.model), **found.model_dump(exclude={"format"})}, ensure_ascii=False))
    elif flags.as_csv:
        _print_csv(("list", *_COLUMNS, *_EFFECT_COLUMNS), _rows(found))
    else:
        print("\n".join([f"{flags.model}, {found.num_layers} x {found.hidden_size}", *_lines(found)]))


def explain(flags: Flat[Explain]) -> None:
    """Tell why a letter of a text was likely: what each of the characters before it is worth to it."""
    _require_one_kind(flags.as_json, flags.as_csv)
    if not 1 <= flags.characters <= _MOST_CHARACTERS:
        raise ConfigError(f"characters must be from 1 to {_MOST_CHARACTERS:,}, not {flags.characters:,}.")
    from charlstm.insight.attribution import explain_letter
    from charlstm.kernel.job_layout import limit_torch_threads
    from charlstm.language_model import LanguageModel

    limit_torch_threads()
    language_model = LanguageModel.load(flags.model)
    text = _read(flags.text)
    place = flags.place + len(text) if flags.place < 0 else flags.place
    found = explain_letter(language_model, text, place, flags.characters)
    first = found.place - len(found.worths)
    rows = [
        (place - found.place + first + at, found.text[first + at], round(float(worth), 4))
        for at, worth in enumerate(found.worths)
    ]
    if flags.as_json:
        answer = {
            "model": str(flags.model),
            "text": flags.text,
            "place": place,
            "character": found.text[found.place],
            "chance": round(found.chance, 6),
            "sentence": found.sentence,
            "worths": [dict(zip(("place", "character", "nats"), row, strict=True)) for row in rows],
        }
        print(json.dumps(answer, ensure_ascii=False))
    elif flags.as_csv:
        _print_csv(("place", "character", "nats"), rows)
    else:
        before = found.text[max(0, found.place - 60) : found.place]
        print(escape_control_chars(f"{before}|{found.text[found.place]}|\n\n{found.sentence}\n"))
        print("     place  nats  character")
        for at, char, worth in sorted(rows, key=lambda row: -abs(row[2]))[:_SHOWN]:
            print(f"{at:10,} {worth:+5.2f}  {char!r}")


def _require_one_kind(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise ConfigError("--json and --csv are two ways to print the same: give one of them.")


def _text_to_inspect(language_model: "LanguageModel", named: str | None) -> tuple[str, str]:
    """Return the text in which units are looked for, and where it comes from."""
    if named is not None:
        return _read(named), "the text given"
    from charlstm.corpus import open_corpus

    origin = language_model.provenance
    if origin is None:
        raise ConfigError("this model does not say which text it learned from: name one with --text.")
    train = TrainConfig(**{**origin.train_config, "batch_size": 1})
    with BytesBar() as bar:
        corpus = open_corpus(train.corpus, train.encoding, bar.report, shown=train.corpus)
        if corpus.sha256 != origin.corpus_sha256:
            raise CorpusError(f"{train.corpus} is not the text this model learned from; name a text with --text.")
        kept = corpus.split(language_model.model.config, train, language_model.vocabulary, bar.report).validation
    return language_model.vocabulary.decode(kept[:_MOST_PLACES]), "text kept for validation"


def _read(named: str) -> str:
    from charlstm.corpus import open_corpus

    with BytesBar() as bar:
        return open_corpus(named, report=bar.report, shown=named).text


@contextmanager
def _progress() -> "Iterator[Callable[[str], None]]":
    """Show on a terminal, in a line that goes, what the function given is told."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc}", leave=False, disable=not sys.stderr.isatty()) as line:
        yield line.set_description_str


def _print_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def _rows(found: "Insight") -> Iterator[list[Any]]:
    for name, units in (("named", found.units), ("nearly", found.nearly)):
        for unit in units:
            effect = [getattr(unit.effect, column) for column in _EFFECT_COLUMNS] if unit.effect else []
            yield [name, *(getattr(unit, column) for column in _COLUMNS), *effect]


def _lines(found: "Insight") -> Iterator[str]:
    """Yield the tables for people."""
    yield f"{found.characters:,} characters of {found.source or 'a text'}; areas: 0.5 is nothing, 1 all pairs in order"
    yield ""
    yield "  unit  goes with                            area  untrained  last four  held, it changes the prediction by"
    yield from (_line(unit) for unit in found.units)
    if not found.units:
        yield "  (nothing here follows one property)"
    if found.nearly:
        yield from ("", "nearly, too little to claim:", *(_line(unit) for unit in found.nearly))
    if found.absent:
        yield ""
        yield f"no unit goes with: {', '.join(each.label for each in found.absent)}"
    keepers = ", ".join(f"{_unit(int(layer), int(unit))} ({memory:.0f})" for layer, unit, memory in found.keepers)
    yield ""
    yield f"what forgets most slowly (characters until a third is left): {keepers}"


def _line(unit: "UnitRecord") -> str:
    line = f"{_unit(unit.layer, unit.unit):>6}  {unit.label:35}  {unit.score:.2f}  {unit.twin:9.2f}  {unit.last4:9.2f}"
    if unit.effect is None:
        return line
    if not unit.acts:
        return f"{line}  no more than random units do"
    effect = unit.effect
    if effect.kl > effect.control_kl:
        line += f"  {effect.kl:.4f} nats (random units: {effect.control_kl:.4f})"
    else:
        line += f"  {effect.turn:.4f} nats towards it (random units: {effect.control_turn:.4f})"
    if effect.control_low <= effect.after <= effect.control_high:
        return line
    return f"{line}; {effect.measure}: {effect.before:.3f} -> {effect.after:.3f}"


def _unit(layer: int, unit: int) -> str:
    return f"{layer}:{unit}" if layer else str(unit)
