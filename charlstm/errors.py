"""Errors that a user can cause, as one tree.

    CharLSTMError
    ├── ConfigError         a setting is unknown, of the wrong kind or out of bounds
    ├── CorpusError         a text can't be found, read or used
    ├── VocabularyError     a character the model does not know
    ├── CheckpointError     a model file is damaged, foreign or of another version
    ├── ExportError         a model can't be exported as asked
    ├── RunError            a run can't be started, found, stopped or resumed
    ├── HubError            the Hub can't be reached, refuses, or has not what is asked for
    ├── TrainingDiverged    the loss is no longer a finite number
    └── DistributedError          another of the processes that train together has ended early

The message is one sentence for the person in front of the screen: what was wrong, the limit, what to do.
Broken invariants are `assert`s, not members of this tree.
"""

import unicodedata

_LONGEST_MESSAGE = 1990  # characters: room for a path of any length that people use, and for what is said of it


def printable(text: str, max_chars: int = _LONGEST_MESSAGE) -> str:
    """Return `text` for a terminal or a page: control characters escaped, the middle of a long one left out."""
    if len(text) > max_chars:
        text = f"{text[: max_chars // 2]}[...]{text[len(text) - max_chars // 2 :]}"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or unicodedata.category(char) == "Zs" else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


class CharLSTMError(Exception):
    """Base of every error this package raises on purpose; whatever stands in its message is `printable`."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in arguments))


class ConfigError(CharLSTMError, ValueError):
    """A setting is unknown, of the wrong kind or out of bounds."""


class CorpusError(CharLSTMError):
    """A text can't be found, read or used for training."""


class VocabularyError(CharLSTMError, ValueError):
    """A text holds characters that the model does not know."""


class CheckpointError(CharLSTMError):
    """A model file is damaged, foreign or of another version."""


class ExportError(CharLSTMError):
    """A model can't be exported as asked."""


class RunError(CharLSTMError):
    """A run can't be started, found, stopped or resumed."""


class HubError(CharLSTMError):
    """The Hub can't be reached, refuses, or has not what is asked for."""


class TrainingDiverged(CharLSTMError):
    """The training loss became infinite or not a number."""


class DistributedError(CharLSTMError):
    """Another of the processes that train together has ended early."""
