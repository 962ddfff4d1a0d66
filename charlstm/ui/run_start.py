"""Starting a run that a visitor defined, by the form or by a program: checked, owned, labelled and queued."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charlstm.config import Settings
from charlstm.corpus import DATASETS
from charlstm.errors import RunError
from charlstm.runs.access import token_hash
from charlstm.runs.continuation import count_characters, inherit_sizes, with_fine_tuning_rates
from charlstm.runs.limits import check_size
from charlstm.runs.run_dir import RunDir
from charlstm.training.auto_settings import SMALLEST
from charlstm.ui.corpus_picker import select_corpus
from charlstm.ui.models import ModelRegistry
from charlstm.ui.new_run_settings import NEW_MODEL
from charlstm.ui.run_cache import RunCache
from charlstm.ui.setting_words import run_label
from charlstm.ui.train_form import FormValues

_MOST_ALIKE = 20  # runs of one text and preset begun in one minute


def start_run(
    cache: RunCache,
    registry: ModelRegistry,
    chosen: FormValues,
    visitor: Any = "",
    clock: Any = "",
    report: Callable[[int, int], object] | None = None,
) -> RunDir:
    """Check the text and start or queue the run, owned by whoever holds the token `visitor`; raise `CharLSTMError`.

    `clock` is the visitor's time of day, for the run's label; `report(bytes, bytes_in_all)` follows a text that is
    fetched.
    """
    corpus = select_corpus(chosen.corpus, chosen.file, chosen.pasted, chosen.encoding, report)
    settings = Settings.from_flat({**chosen.settings, "corpus": corpus.name})
    parent = registry.path(chosen.parent) if chosen.parent and chosen.parent != NEW_MODEL else None
    if parent:
        settings = inherit_sizes(with_fine_tuning_rates(settings, chosen.preset), parent)
    characters = corpus.check(settings.model, settings.train).characters
    least = settings
    if settings.train.plan == "on":  # its network will have these sizes or larger ones
        least = Settings.from_flat({**settings.flat(), **SMALLEST}, needs_end=False)
    check_size(least, count_characters(parent, characters) if parent else len(characters), corpus.num_chars)
    name = cache.manager.store.free_name(f"{Path(corpus.name).stem}-{chosen.folder_word()}")
    folder = cache.manager.start(
        settings,
        name,
        None if chosen.corpus in DATASETS else corpus.pieces(),
        parent=parent,
        owner=token_hash(str(visitor)) if visitor else "",
    )
    _label(cache, name, run_label(corpus.name, chosen.preset, chosen.is_changed, clock_time(clock)))
    cache.runs(is_fresh=True)
    return folder


def _label(cache: RunCache, name: str, label: str) -> None:
    """Give a new run the first name like `label` that no other run has; without one it is called as its folder."""
    for attempt in range(1, _MOST_ALIKE + 1):
        with contextlib.suppress(RunError):
            cache.manager.rename(name, label if attempt == 1 else f"{label} ({attempt})")
            return


def clock_time(told: Any) -> str:
    """Return the visitor's time of day, which the browser tells: `14:05`; empty for anything else."""
    return told if isinstance(told, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", told) else ""
