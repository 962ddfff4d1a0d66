"""Repository names: plain, or an address as a browser, `git` or a file system shows it."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from huggingface_hub import constants

from charlstm.errors import HubError

Kind = Literal["model", "dataset", "space"]
_KINDS: dict[str, Kind] = {"models": "model", "datasets": "dataset", "spaces": "space"}
_WORDS: dict[Kind, str] = {"model": "a model", "dataset": "a data set", "space": "a Space"}
_REPO_ID = re.compile(r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_BEFORE_REVISION = ("tree", "blob", "resolve", "raw", "commit", "commits")
_LONGEST = 2000  # characters of an address; longer ones are not taken apart


@dataclass(frozen=True)
class RepoName:
    """A repository's name, parsed from an address."""

    repo_id: str
    kind: Kind | None = None  # none: it does not say
    revision: str | None = None


def validate_repo_id(repo_id: str, kind: Kind = "model") -> str:
    """Return `user/name` of what `repo_id` names, plainly or as an address; raise `HubError`."""
    return parse_repo(repo_id, kind).repo_id


def parse_repo(typed: str, kind: Kind = "model") -> RepoName:
    """Take apart what somebody typed or pasted where a `kind` of repository is meant; raises `HubError`.

    Known: `user/name`, `user/name@revision`, and addresses of the Hub with whatever they go on with.
    """
    name = _parse(typed.strip())
    repo_id, last = name.repo_id, name.repo_id.rpartition("/")[2]
    if not _REPO_ID.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id or last.endswith((".git", ".", "-")):
        raise HubError(
            f"{typed.strip()[:100]!r} is not a repository name; write it as user/name, with letters, digits, single "
            "dashes, dots and underscores."
        )
    if name.kind not in (None, kind):
        raise HubError(f"{repo_id} is {_WORDS[name.kind or kind]} by its address; {_WORDS[kind]} is wanted here.")
    return name


def describe_kind(kind: Kind) -> str:
    """Return `kind` in words."""
    return _WORDS[kind]


def _parse(typed: str) -> RepoName:
    path, is_address = _without_host(typed[:_LONGEST])
    parts = [part for part in path.split("/") if part]
    kind: Kind | None = "model" if is_address else None
    if parts[:1] == ["api"] and is_address:
        parts = parts[1:]
    if len(parts) > 2 and parts[0] in _KINDS:
        kind, parts = _KINDS[parts[0]], parts[1:]
    if parts[1:2] and parts[1].endswith("@refs"):  # the one revision that is written with slashes
        parts[1:4] = ["/".join(parts[1:4]).replace("/", "%2F")]
    if len(parts) < 2 or (len(parts) > 2 and not is_address and parts[2] not in _BEFORE_REVISION):
        return RepoName(typed)
    name, _, revision = parts[1].partition("@")
    if len(parts) > 3 and parts[2] in _BEFORE_REVISION:
        revision = "/".join(parts[3:6]) if parts[3] == "refs" else parts[3]
    revision = unquote(revision)
    repo_id = f"{parts[0]}/{name.removesuffix('.git') if is_address else name}"
    return RepoName(repo_id, kind, revision if revision not in ("", "main") else None)


def _without_host(typed: str) -> tuple[str, bool]:
    """Return the path of an address, without what a browser adds, and whether it is one of the Hub."""
    if typed.startswith("hf://"):
        return typed.removeprefix("hf://"), "/" in typed.removeprefix("hf://").partition("@")[0]
    own = urlsplit(constants.ENDPOINT).netloc
    bare = re.sub(r"^(https?://|git@(?=[\w.]+:))", "", typed, flags=re.IGNORECASE)
    host, _, path = bare.replace(":", "/", 1).partition("/") if typed.startswith("git@") else bare.partition("/")
    if host.lower() not in (*_HOSTS, own.lower()):
        return typed, False
    return re.split(r"[?#]", path, maxsplit=1)[0], True
