"""Access control for runs: the one module that decides who may read or control a run, for buttons and API calls."""

import hashlib
import hmac
from typing import Protocol

from charlstm.environment import SPACE_AUTHOR_NAME, SPACE_ID, is_public, is_space
from charlstm.errors import RunError


class Owned(Protocol):
    """A run as access control sees it: in its directory, in a list or in the trash."""

    @property
    def label(self) -> str:
        """The run's display name."""

    @property
    def owner(self) -> str:
        """The hash of the owner's token; empty if the run has no owner."""


def token_hash(token: str) -> str:
    """Return the hash under which a run stores its owner's token."""
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


def is_space_owner(username: str | None) -> bool:
    """Return whether the signed-in `username` owns this Space."""
    owner = SPACE_AUTHOR_NAME.text() or SPACE_ID.text().split("/")[0]
    return is_space() and bool(owner) and username == owner


def can_read(run: Owned, has_own_text: bool, owner_token: str, is_space_owner: bool) -> bool:
    """Return whether the visitor may see the run's training text; a named corpus is public."""
    return not has_own_text or can_control(run, owner_token, is_space_owner)


def can_control(run: Owned, owner_token: str, is_space_owner: bool) -> bool:
    """Return whether the holder of the token may control the run, which only its owner may on a public app."""
    if is_space_owner or not is_public():
        return True
    owner = run.owner
    return bool(owner) and hmac.compare_digest(owner, token_hash(owner_token))


def require_control(run: Owned, owner_token: str, is_space_owner: bool) -> None:
    """Raise `RunError` unless `can_control` allows it."""
    if not can_control(run, owner_token, is_space_owner):
        raise RunError(f"{run.label} was started by somebody else; only they may steer it, start one of your own.")
