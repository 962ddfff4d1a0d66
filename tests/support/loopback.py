"""A Hub on this machine: what the real one answers to the calls that this project makes, and faults on demand.

Two servers, as there: the Hub itself, and a storage that large files travel to and from by signed addresses.
"""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_repos import NEW_STATIC_SPACE, Fault, Repo, Request

__all__ = ["OWNER", "READER", "VISITOR", "Fault", "LoopbackHub", "Repo", "Request", "loopback_hub"]

OWNER, VISITOR, READER = "hf_ownerTokenOfThisMachine", "hf_visitorTokenFromOAuth", "hf_readerToken"
_ACCOUNTS = {OWNER: "owner", VISITOR: "visitor", READER: "reader"}
_LARGE_BYTES = 100_000  # what is larger, or binary by its name, goes to storage
_LARGE_NAMES = (".safetensors", ".bin", ".png", ".pt")
_KINDS = {"models": "model", "spaces": "space", "datasets": "dataset"}


class LoopbackHub:
    """Repositories in memory, behind two loopback servers."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.verifies_at = "hub"
        self.damage: Callable[[bytes], bytes] | None = None  # done to each file on its way from storage
        self.connections: list[socket.socket] = []
        self._servers = {name: _server(self, name) for name in ("hub", "storage")}

    def address(self, name: str = "hub") -> str:
        host = "127.0.0.1" if name == "hub" else "localhost"  # two hosts, not only two ports
        return f"http://{host}:{self._servers[name].server_address[1]}"

    def close(self) -> None:
        """Nobody is there any more: not for new connections, and not for those that are open."""
        for fault in self.faults:
            if fault.until:
                fault.until.set()
        for server in self._servers.values():
            server.shutdown()
            server.server_close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def add(self, repo_id: str, files: dict[str, bytes], private: bool = False, kind: str = "model") -> Repo:
        """A repository that is there already; returned for the test to look into."""
        self.repos[f"{kind}/{repo_id}"] = repo = Repo(kind, private, repo_id.split("/")[0])
        repo.commit("main", dict(files))
        return repo

    def model(self, repo_id: str) -> Repo:
        return self.repos[f"model/{repo_id}"]

    def authorizations(self, host: str = "hub") -> set[str | None]:
        return {request.authorization for request in self.requests if request.host == host}

    def fault_for(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.path in path and fault.method in ("", method):
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    try:
        yield hub
    finally:
        hub.close()


def _server(hub: LoopbackHub, name: str) -> ThreadingHTTPServer:
    class Bound(_Handler):
        pass

    Bound.hub, Bound.name = hub, name
    server = _Server(("127.0.0.1", 0), Bound)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A connection that a test cuts is no error; one that is, the test's client will see."""


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or code


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    name: str
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

    def setup(self) -> None:
        super().setup()
        self.hub.connections.append(self.connection)

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def handle_one(self) -> None:
        self.address = urlsplit(self.path)
        self.hub.requests.append(Request(self.name, self.command, self.path, self.headers.get("Authorization")))
        fault = self.hub.fault_for(self.command, self.path)
        if fault and fault.until:
            fault.until.wait(60)
        elif fault:
            self._fail(fault)
            return
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.headers.get("Authorization") and self._account() is None and self.name == "hub":
                raise _Refused(401, message="Invalid credentials in Authorization header")
            for pattern, methods, answer in _ROUTES[self.name]:
                if self.command in methods and (found := re.fullmatch(pattern, self.address.path)):
                    answer(self, *[unquote(each or "") for each in found.groups()])
                    return
            raise _Refused(404)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code, "X-Error-Message": refused.message}
            self._answer({"error": refused.message}, refused.status, {k: v for k, v in headers.items() if v})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815

    def _fail(self, fault: Fault) -> None:
        if fault.status:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(fault.body, fault.status, fault.headers)
            return
        self.rfile.read(min(1000, int(self.headers.get("Content-Length") or 0)))
        self.close_connection = True
        self.connection.close()

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for key, each in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, each)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _account(self) -> str | None:
        return _ACCOUNTS.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))

    def _repo(self, kind: str, repo_id: str, writes: bool = False) -> Repo:
        repo, account = self.hub.repos.get(f"{kind}/{repo_id}"), self._account()
        if repo is None or (repo.private and repo.owner != account):
            raise _Refused(401 if account is None else 404, "RepoNotFound", "Repository not found")
        if writes and repo.owner != account:
            raise _Refused(401 if account is None else 403, message="you have no right to write here")
        return repo

    # --- who and what -------------------------------------------------------------------------------------------

    def whoami(self) -> None:
        if self._account() is None:
            raise _Refused(401, message="Invalid credentials in Authorization header")
        self._answer({"type": "user", "name": self._account(), "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def create(self) -> None:
        wish = json.loads(self.body)
        owner = wish.get("organization") or self._account()
        if self._account() is None:
            raise _Refused(401, message="Invalid username or password.")
        if owner != self._account() or self._account() == "reader":
            raise _Refused(403, message=f"You don't have the rights to create a model under the namespace {owner!r}")
        kind, repo_id = wish.get("type", "model"), f"{owner}/{wish['name']}"
        url = f"{self.hub.address()}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
        if f"{kind}/{repo_id}" in self.hub.repos:
            self._answer({"error": "You already created this repo", "url": url}, 409)
            return
        private = wish.get("visibility") == "private" or bool(wish.get("private"))
        template = NEW_STATIC_SPACE if wish.get("sdk") == "static" else {}
        repo = self.hub.add(repo_id, {".gitattributes": b"", **template}, private, kind)
        repo.created_with = wish
        repo.variables = {each["key"]: each["value"] for each in wish.get("variables", [])}
        self._answer({"url": url, "name": repo_id})

    def info(self, kinds: str, repo_id: str, revision: str = "main") -> None:
        repo = self._repo(_KINDS[kinds], repo_id)
        files = self._tree(repo, revision)
        siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        sha = repo.branches.get(revision, revision)
        told = {"id": repo_id, "modelId": repo_id, "private": repo.private, "sha": sha, "siblings": siblings}
        self._answer({**told, "sdk": repo.front_matter().get("sdk"), "cardData": repo.front_matter()})

    def _tree(self, repo: Repo, revision: str) -> dict[str, bytes]:
        try:
            return repo.files(revision)
        except KeyError:
            raise _Refused(404, "RevisionNotFound", "Revision not found") from None

    def tree(self, kinds: str, repo_id: str, revision: str, _path: str = "") -> None:
        files = self._tree(self._repo(_KINDS[kinds], repo_id), revision)
        self._answer([{"type": "file", "path": p, "size": len(d), "oid": _git_hash(d)} for p, d in files.items()])

    def paths_info(self, kinds: str, repo_id: str, revision: str) -> None:
        files = self._tree(self._repo(_KINDS[kinds], repo_id), revision)
        wanted = parse_qs(self.body.decode()).get("paths", []) or json.loads(self.body or b"{}").get("paths", [])
        found = [path for path in files if path in wanted]
        self._answer([{"type": "file", "path": p, "size": len(files[p]), "oid": _git_hash(files[p])} for p in found])

    def branch(self, kinds: str, repo_id: str, name: str) -> None:
        repo = self._repo(_KINDS[kinds], repo_id, writes=True)
        if name in repo.branches:
            raise _Refused(409, message="Reference already exists")
        repo.branches[name] = repo.branches["main"]
        self._answer({})

    def variable(self, kinds: str, repo_id: str) -> None:
        repo, wish = self._repo(_KINDS[kinds], repo_id, writes=True), json.loads(self.body)
        repo.variables[wish["key"]] = wish["value"]
        self._answer({key: {"key": key, "value": value} for key, value in repo.variables.items()})

    def hardware(self, kinds: str, repo_id: str) -> None:
        self._repo(_KINDS[kinds], repo_id, writes=True).created_with["hardware"] = json.loads(self.body)["flavor"]
        self._answer({"stage": "BUILDING", "hardware": {"requested": json.loads(self.body)["flavor"]}})

    # --- sending --------------------------------------------------------------------------------------------------

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        errors = [] if content.startswith("---\n") else [{"message": "the metadata is missing"}]
        self._answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, kinds: str, repo_id: str, revision: str) -> None:
        repo = self._repo(_KINDS[kinds], repo_id, writes=True)
        there = self._tree(repo, revision)
        answer = []
        for each in json.loads(self.body)["files"]:
            is_large = each["size"] > _LARGE_BYTES or each["path"].endswith(_LARGE_NAMES)
            old = there.get(each["path"])
            oid = None if old is None else (hashlib.sha256(old).hexdigest() if is_large else _git_hash(old))
            mode = "lfs" if is_large else "regular"
            answer.append({"path": each["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._answer({"files": answer})

    def batch(self, repo_id: str) -> None:
        kind = next((_KINDS[kinds] for kinds in _KINDS if repo_id.startswith(f"{kinds}/")), "model")
        self._repo(kind, repo_id.removeprefix(f"{kind}s/"), writes=True)
        objects = []
        for each in json.loads(self.body)["objects"]:
            if each["oid"] not in self.hub.blobs:
                upload = {"href": f"{self.hub.address('storage')}/put/{each['oid']}?signature=secret", "header": {}}
                verify = {"href": f"{self.hub.address(self.hub.verifies_at)}/verify", "header": {}}
                each["actions"] = {"upload": upload, "verify": verify}
            objects.append(each)
        self._answer({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise _Refused(400, message="the content has another hash")
        self.hub.blobs[oid] = self.body
        self._answer(b"")

    def verify(self) -> None:
        if json.loads(self.body)["oid"] not in self.hub.blobs:
            raise _Refused(404)
        self._answer({})

    def commit(self, kinds: str, repo_id: str, branch: str) -> None:
        repo = self._repo(_KINDS[kinds], repo_id, writes=True)
        files = dict(self._tree(repo, branch))
        for line in self.body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"], None)
            elif key == "deletedFolder":
                files = {path: data for path, data in files.items() if not path.startswith(value["path"])}
        oid = repo.commit(branch, files)
        url = f"{self.hub.address()}/{'' if kinds == 'models' else kinds + '/'}{repo_id}/commit/{oid}"
        self._answer({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    # --- fetching -------------------------------------------------------------------------------------------------

    def resolve(self, repo_id: str, revision: str, path: str) -> None:
        kind = next((_KINDS[kinds] for kinds in _KINDS if repo_id.startswith(f"{kinds}/")), "model")
        repo = self._repo(kind, repo_id.removeprefix(f"{kind}s/"))
        files = self._tree(repo, revision)
        sha = repo.branches.get(revision, revision)
        if path not in files:
            self._answer({}, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        data = files[path]
        if len(data) <= _LARGE_BYTES and not path.endswith(_LARGE_NAMES):
            headers = {"ETag": f'"{_git_hash(data)}"', "X-Repo-Commit": sha}
            self._answer(data, 200, headers)
            return
        oid = hashlib.sha256(data).hexdigest()
        self.hub.blobs[oid] = data
        location = f"{self.hub.address('storage')}/get/{oid}?signature=secret"
        linked = {"X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{oid}"', "X-Xet-Hash": oid,
                  "Link": f'<{self.hub.address()}/xet-read-token>; rel="xet-auth"'}  # fmt: skip
        self._answer(b"", 302, {"X-Repo-Commit": sha, "Location": location, **linked})

    def get(self, oid: str) -> None:
        data = self.hub.damage(self.hub.blobs[oid]) if self.hub.damage else self.hub.blobs[oid]
        first = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}
        self._answer(data[first:], 206 if first else 200, headers)


def _git_hash(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


_API = r"/api/(models|spaces|datasets)/([^/]+/[^/]+)"
_Route = tuple[str, tuple[str, ...], Callable[..., None]]
_ROUTES: dict[str, list[_Route]] = {
    "hub": [
        (r"/api/whoami-v2", ("GET",), _Handler.whoami),
        (r"/api/repos/create", ("POST",), _Handler.create),
        (r"/api/validate-yaml", ("POST",), _Handler.validate),
        (_API + r"/preupload/(.+)", ("POST",), _Handler.preupload),
        (_API + r"/commit/(.+)", ("POST",), _Handler.commit),
        (_API + r"/branch/(.+)", ("POST",), _Handler.branch),
        (_API + r"/tree/([^/]+)(?:/(.*))?", ("GET",), _Handler.tree),
        (_API + r"/paths-info/(.+)", ("POST",), _Handler.paths_info),
        (_API + r"/variables", ("POST",), _Handler.variable),
        (_API + r"/hardware", ("POST",), _Handler.hardware),
        (_API + r"/revision/(.+)", ("GET",), _Handler.info),
        (_API, ("GET",), _Handler.info),
        (r"/(.+)\.git/info/lfs/objects/batch", ("POST",), _Handler.batch),
        (r"/verify", ("POST",), _Handler.verify),
        (r"/(.+)/resolve/([^/]+)/(.+)", ("GET", "HEAD"), _Handler.resolve),
    ],
    "storage": [
        (r"/put/(\w+)", ("PUT",), _Handler.put),
        (r"/get/(\w+)", ("GET",), _Handler.get),
        (r"/verify", ("POST",), _Handler.verify),
    ],
}
