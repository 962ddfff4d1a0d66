"""Who may steer a run. The one place that decides, for buttons and for raw calls alike."""

import hashlib
import hmac
from typing import Protocol

from charlstm.environment import SPACE_AUTHOR_NAME, SPACE_ID, is_public, is_space
from charlstm.errors import RunError


class Owned(Protocol):
    """A run, in its folder, in a list or among the deleted ones."""

    @property
    def label(self) -> str:
        """The name that people see."""

    @property
    def owner(self) -> str:
        """The hash of the token of whoever started it; empty where nobody said."""


def token_hash(token: str) -> str:
    """Return the hash of its owner's token that a run keeps."""
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


def is_space_owner(username: str | None) -> bool:
    """Return whether the visitor who signed in as `username` owns this Space."""
    owner = SPACE_AUTHOR_NAME.text() or SPACE_ID.text().split("/")[0]
    return is_space() and bool(owner) and username == owner


def can_read(run: Owned, has_own_text: bool, owner_token: str, is_space_owner: bool) -> bool:
    """Return whether that visitor may be told of the text that the run learned from: a named one is open to all."""
    return not has_own_text or can_control(run, owner_token, is_space_owner)


def can_control(run: Owned, owner_token: str, is_space_owner: bool) -> bool:
    """Return whether the token's holder may stop, control, rename or delete the run: among strangers only its owner."""
    if is_space_owner or not is_public():
        return True
    owner = run.owner
    return bool(owner) and hmac.compare_digest(owner, token_hash(owner_token))


def require_control(run: Owned, owner_token: str, is_space_owner: bool) -> None:
    """Raise `RunError` if `may_steer` says no."""
    if not can_control(run, owner_token, is_space_owner):
        raise RunError(f"{run.label} was started by somebody else; only they may steer it, start one of your own.")
