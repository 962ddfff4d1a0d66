"""Train a character-level LSTM and write text with it.

    from charlstm import LanguageModel, SampleConfig
    lm = LanguageModel.load("checkpoints/tiny-shakespeare")
    print(lm.generate("ROMEO:", SampleConfig(num_chars=500, temperature=0.8, seed=1)))

Names are loaded at first use, so that a command's `--help` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from charlstm.config import ModelConfig, SampleConfig, Settings, TrainConfig
    from charlstm.corpus import Corpus, open_corpus
    from charlstm.errors import CharLSTMError
    from charlstm.language_model import LanguageModel
    from charlstm.model import CharLSTM
    from charlstm.training import Trainer, train
    from charlstm.vocabulary import Vocabulary

_HOMES = {
    "CharLSTM": "model",
    "CharLSTMError": "errors",
    "Corpus": "corpus",
    "LanguageModel": "language_model",
    "ModelConfig": "config",
    "SampleConfig": "config",
    "Settings": "config",
    "TrainConfig": "config",
    "Trainer": "training",
    "Vocabulary": "vocabulary",
    "open_corpus": "corpus",
    "train": "training",
}
__all__ = [
    "CharLSTM",
    "CharLSTMError",
    "Corpus",
    "LanguageModel",
    "ModelConfig",
    "SampleConfig",
    "Settings",
    "TrainConfig",
    "Trainer",
    "Vocabulary",
    "open_corpus",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"charlstm.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'charlstm' has no attribute {name!r}")
