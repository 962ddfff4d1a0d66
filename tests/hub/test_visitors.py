"""A Space with strangers: each publishes as themselves, through raw calls too, and no login can be found anywhere."""

import base64
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import itsdangerous
import pytest
from loopback import OWNER, VISITOR, LoopbackHub
from waiting import wait_until

from charlstm.errors import HubError
from charlstm.ui.hub_login import token_for

_REPOSITORY = Path(__file__).resolve().parents[2]
_SECRET = "of-the-oauth-app"
_HASHES = itertools.count()


@dataclass
class Space:
    """The app as a Space runs it, its own token in the environment."""

    address: str
    place: Path

    def opened(self) -> str:
        """A session whose tab is open, and so offers the models there are."""
        session = f"session{next(_HASHES)}"
        self.call(session, "offer_models", [None, None])
        return session

    def call(self, session: str, function: str, values: list[Any], cookie: str = "") -> list[Any]:
        """What function `function` says, called as a browser does, or anybody else."""
        index = self._index(function)
        headers = {"Content-Type": "application/json", **({"Cookie": cookie} if cookie else {})}
        body = json.dumps({"data": values, "fn_index": index, "session_hash": session}).encode()
        join = urllib.request.Request(f"{self.address}/gradio_api/queue/join", body, headers)
        urllib.request.urlopen(join).read()
        data = urllib.request.Request(f"{self.address}/gradio_api/queue/data?session_hash={session}", headers=headers)
        said = []
        with urllib.request.urlopen(data) as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    message = json.loads(line[5:])
                    said.append(message)
                    if message["msg"] == "process_completed":
                        break
        return said

    def _index(self, function: str) -> int:
        with urllib.request.urlopen(f"{self.address}/config") as answer:
            config = json.load(answer)
        return next(each["id"] for each in config["dependencies"] if each["api_name"] == function)


def signed_in(token: str) -> str:
    """The cookie that Gradio gives to a visitor who has signed in."""
    user = {"sub": "1", "name": "V", "preferred_username": "visitor", "profile": "", "picture": ""}
    info = {"access_token": token, "scope": "contribute-repos", "expires_at": 4e9, "userinfo": user}
    data = base64.b64encode(json.dumps({"oauth_info": info}).encode())
    key = sha256(f"{_SECRET}-v4".encode()).hexdigest()
    return f"session={itsdangerous.TimestampSigner(key).sign(data).decode()}"


@pytest.fixture
def space(hub: LoopbackHub, trained: Path, tmp_path: Path) -> Iterator[Space]:
    shutil.copytree(trained, tmp_path / "checkpoints" / "tiny")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "SPACE_ID": "owner/space", "SYSTEM": "spaces", "HF_TOKEN": OWNER,
                   "HF_ENDPOINT": hub.address(),
                   "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0",
                   "OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": _SECRET, "OAUTH_SCOPES": "openid contribute-repos",
                   "OPENID_PROVIDER_URL": hub.address(), "GRADIO_SERVER_NAME": "127.0.0.1"}  # fmt: skip
    command = [sys.executable, "app.py", "--port", str(port), "--checkpoints-dir", str(tmp_path / "checkpoints")]
    log = tmp_path / "app.log"
    with log.open("wb") as output:
        app = subprocess.Popen(command, cwd=_REPOSITORY, env=environment, stdout=output, stderr=output)
    try:
        wait_until(lambda: b"Running on" in log.read_bytes() or app.poll() is not None)
        assert app.poll() is None, log.read_text(encoding="utf-8")
        yield Space(f"http://127.0.0.1:{port}", tmp_path)
    finally:
        app.send_signal(signal.SIGKILL)
        app.wait()


def test_each_visitor_publishes_as_themselves_and_a_stranger_not_at_all(space: Space, hub: LoopbackHub) -> None:
    cookie, wish = signed_in(VISITOR), ["tiny", "visitor/tiny", "", True]
    session = space.opened()
    looked = space.call(session, "look", wish, cookie)
    assert "README.md" in json.dumps(looked[-1])
    assert hub.authorizations() <= {None}

    stranger = space.call(space.opened(), "send", [None, "public", *wish])
    assert "nobody is signed in" in json.dumps(stranger).lower()
    assert hub.authorizations() <= {None}  # the Space's own token acts for nobody

    skipping = space.call(space.opened(), "send", [None, "private", *wish], cookie)
    assert "this is not what was shown" in json.dumps(skipping).lower()
    assert hub.authorizations() <= {None}

    sent = space.call(session, "send", [None, "private", *wish], cookie)
    assert f"{hub.address()}/visitor/tiny/commit/" in json.dumps(sent[-1])
    assert hub.authorizations() - {None} == {f"Bearer {VISITOR}"}
    assert hub.authorizations("storage") == {None}
    assert hub.model("visitor/tiny").private
    assert "index.html" in hub.repos["space/visitor/tiny"].files()
    assert hub.repos["space/visitor/tiny"].private

    with urllib.request.urlopen(space.address) as answer:
        page = answer.read().decode()
    with urllib.request.urlopen(f"{space.address}/config") as answer:
        page += answer.read().decode()
    assert "Sign in with Hugging Face" in page
    said = json.dumps([looked, stranger, skipping, sent]) + page
    kept = [each.read_bytes() for each in space.place.rglob("*") if each.is_file()]
    for token in (OWNER, VISITOR):
        assert token not in said
        if token == VISITOR:
            assert not [data for data in kept if token.encode() in data]
    assert OWNER not in (space.place / "app.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(("host", "may"), [("127.0.0.1", True), ("::1", True), ("192.168.0.7", False)])
def test_at_home_the_login_of_the_machine_acts_only_for_whoever_sits_at_it(
    hub: LoopbackHub, host: str, may: bool
) -> None:
    headers = {"host": f"[{host}]:7860" if ":" in host else f"{host}:7860"}
    request: Any = type(
        "Request", (), {"client": type("Client", (), {"host": host}), "headers": headers, "request": None}
    )
    if may:
        assert token_for(request, None) == OWNER
    else:
        with pytest.raises(HubError, match="whoever sits at it"):
            token_for(request, None)
    assert hub.requests == []
