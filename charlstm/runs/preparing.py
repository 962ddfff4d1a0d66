"""What a worker has before the first step: its settings, where they are planned, text, weights and trainer."""

from charlstm.config import Settings
from charlstm.corpus import Corpus, Report, Split
from charlstm.distributed import World
from charlstm.language_model import LanguageModel
from charlstm.runs.limits import check_parameters
from charlstm.runs.memory import available_bytes, check_memory, num_parameters
from charlstm.runs.store import RunFolder
from charlstm.training import Trainer, grown, plan
from charlstm.training.compute import chosen_device


def clear_up(folder: RunFolder) -> None:
    """The run's turn has come; what killed workers left half written is of no use."""
    folder.ticket_file.unlink(missing_ok=True)
    for left in (*folder.path.glob(".*.safetensors.*.tmp"), *folder.state_file.parent.glob(".*.tmp")):
        left.unlink(missing_ok=True)


def prepared(
    folder: RunFolder,
    settings: Settings,
    corpus: Corpus,
    world: World,
    report: Report | None = None,
) -> tuple[Split, Trainer, tuple[str, ...]]:
    """Text and trainer, and the characters that the model which the run begins from did not know."""
    begun, seed = None, settings.train.seed
    new: tuple[str, ...] = ()
    if folder.parent_file.exists():
        parent = LanguageModel.load(folder.parent_file)
        begun, new = grown(parent, (char for char, _ in corpus.frequencies), settings.model, seed)
    split = corpus.split(settings.model, settings.train, begun.vocabulary if begun else None, report=report)
    check_parameters(num_parameters(settings.model, len(split.vocabulary)))
    if chosen_device(settings.train.device).type == "cpu":
        check_memory(settings, len(split.vocabulary), corpus.num_chars, available_bytes())
    language_model = begun or LanguageModel.create(split.vocabulary, settings.model, seed)
    return split, Trainer(language_model, split, settings.train, world=world), new


def begin_added_part(folder: RunFolder, trainer: Trainer) -> bool:
    """Whether the run goes on for longer than when it was saved; every process of a group finds so."""
    num_parts = 1 + len(folder.more())
    is_longer = trainer.course.num_parts < num_parts
    if is_longer:
        trainer.begin_part(num_parts)
    return is_longer


def planned(folder: RunFolder, corpus: Corpus) -> tuple[str, ...]:
    """Choose the run's settings now if they are to be, once, so that a resumed run goes on alike; returns notes."""
    settings = folder.settings()
    if settings.train.plan == "off":
        return ()
    settings, note = plan(settings, corpus)
    folder.keep_settings(settings)
    return (note,)
