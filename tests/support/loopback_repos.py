"""Repositories of the Hub on this machine, requests to it, and faults."""

import hashlib
import threading
from dataclasses import dataclass, field
from typing import Any

import yaml

# As the Hub makes a new static Space: front matter that says so, and a page that is no one's.
NEW_STATIC_SPACE = {
    "README.md": b"---\ntitle: New\nsdk: static\n---\n",
    "index.html": b"<!doctype html><h1>Welcome to your static Space!</h1>",
    "style.css": b"body {}",
}


@dataclass
class Repo:
    """A repository: branches of commits, each a whole tree of files."""

    kind: str
    private: bool
    owner: str
    branches: dict[str, str] = field(default_factory=dict)
    trees: dict[str, dict[str, bytes]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    created_with: dict[str, Any] = field(default_factory=dict)

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{len(self.trees)}{branch}{sorted(files)}".encode()).hexdigest()
        self.trees[oid] = files
        self.branches[branch] = oid
        return oid

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.trees[self.branches.get(revision, revision)]

    def front_matter(self) -> dict[str, Any]:
        """What the Hub reads at the top of README.md."""
        parts = self.files().get("README.md", b"").decode().split("---\n")
        return dict(yaml.safe_load(parts[1]) or {}) if len(parts) > 2 else {}


@dataclass(frozen=True)
class Request:
    host: str  # "hub" or "storage"
    method: str
    path: str
    authorization: str | None


@dataclass
class Fault:
    """What happens instead, to the next `times` requests that `path` is found in."""

    path: str
    status: int = 0  # 0: the connection is cut
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "as the test wants it"}'
    times: int = 10**6
    after: int = 0  # requests that are let through first
    until: threading.Event | None = None  # a slow Hub: answers as usual, but only then
