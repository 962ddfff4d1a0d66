"""Every error a user can cause, as one tree.

    CharLSTMError
    ├── ConfigError         a setting is unknown, of the wrong kind or out of bounds
    ├── CorpusError         a text can't be found, read or used
    ├── VocabularyError     a character the model does not know
    ├── CheckpointError     a model file is damaged, foreign or of another version
    ├── RunError            a run can't be started, found, stopped or resumed
    ├── HubError            the Hub can't be reached, refuses, or has not what is asked for
    ├── TrainingDiverged    the loss is no longer a finite number
    └── GroupError          another of the processes that train together has ended early

The message is one sentence for the person in front of the screen: what was wrong, the limit, what to do.
Broken invariants are `assert`s, not members of this tree.
"""


class CharLSTMError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(CharLSTMError, ValueError):
    """A setting is unknown, of the wrong kind or out of bounds."""


class CorpusError(CharLSTMError):
    """A text can't be found, read or used for training."""


class VocabularyError(CharLSTMError, ValueError):
    """A text holds characters that the model does not know."""


class CheckpointError(CharLSTMError):
    """A model file is damaged, foreign or of another version."""


class RunError(CharLSTMError):
    """A run can't be started, found, stopped or resumed."""


class HubError(CharLSTMError):
    """The Hub can't be reached, refuses, or has not what is asked for."""


class TrainingDiverged(CharLSTMError):
    """The training loss became infinite or not a number."""


class GroupError(CharLSTMError):
    """Another of the processes that train together has ended early."""
