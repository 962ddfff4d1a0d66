"""A page of another origin in a real browser, against an app on the same machine that asks for no token."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from page_app import App
from playwright.sync_api import Browser, BrowserContext, Page, expect

from charlstm.runs.access import token_hash

pytestmark = pytest.mark.browser

RUN, TOKEN = "brought-by-a-friend", "t" * 32
# What a page can try that it does not have to ask the browser's leave for, and what it has to; each says how it went.
TRIES = """async ({url, body}) => {
  const said = {};
  const kinds = ['text/plain', 'application/json', 'application/x-www-form-urlencoded'];
  for (const mode of ['no-cors', 'cors']) for (const kind of kinds)
    for (const path of ['component_server', 'queue/join', 'run/generate', 'call/generate', 'reset'])
      try {
        const answer = await fetch(`${url}gradio_api/${path}`,
          {method: 'POST', mode, headers: {'Content-Type': kind}, body, credentials: 'include'});
        said[`${mode} ${kind} ${path}`] = [answer.type, answer.status, await answer.text()];
      } catch (error) { said[`${mode} ${kind} ${path}`] = 'refused'; }
  const form = new FormData();
  form.append('files', new Blob(['planted']), 'planted.txt');
  await fetch(`${url}gradio_api/upload`, {method: 'POST', mode: 'no-cors', body: form}).catch(() => null);
  for (const path of ['config', '', 'gradio_api/info', 'gradio_api/startup-events'])
    try { said[`read ${path}`] = await (await fetch(url + path)).text(); } catch (error) { said[`read ${path}`] = ''; }
  said.events = await new Promise((done) => {
    const source = new EventSource(`${url}gradio_api/queue/data?session_hash=x`);
    source.onopen = () => done('open');
    source.onerror = () => done('refused');
  });
  said.socket = await new Promise((done) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}gradio_api/queue/join`);
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
  });
  said.image = await new Promise((done) => {
    const image = new Image();
    image.onload = () => done('shown');
    image.onerror = () => done('refused');
    image.src = `${url}static/img/logo.svg`;
  });
  return said;
}"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The address of another site, which has an empty page."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("<title>elsewhere</title>", encoding="utf-8")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    threading.Thread(target=server.serve_forever).start()
    yield f":{server.server_port}/index.html"
    server.shutdown()
    server.server_close()


@pytest.fixture
def victim(app: App) -> Iterator[Path]:
    """A run whose owner's token the other page has found out: only where it comes from is against it."""
    place = app.checkpoints_dir / RUN
    place.mkdir()
    settings = (app.checkpoints_dir / "tiny-shakespeare" / "config.json").read_bytes()
    (place / "config.json").write_bytes(settings)
    os.utime(place / "config.json", (1e9, 1e9))  # or it would be taken for a run that is about to begin
    (place / "owner").write_text(token_hash(TOKEN), encoding="utf-8")
    yield place
    shutil.rmtree(place, ignore_errors=True)


def board(page: Page) -> int:
    """The component that runs are deleted through, as the page itself knows it."""
    config = page.evaluate("async () => await (await fetch('/config')).json()")
    numbers = [each["id"] for each in config["components"] if "act" in (each["props"].get("server_fns") or ())]
    return int(numbers[0])


def uploads(app: App) -> set[str]:
    folder = app.checkpoints_dir.parent / "gradio"
    return {path.name for path in folder.rglob("planted*")} if folder.exists() else set()


@pytest.mark.parametrize("site", ["http://127.0.0.1", "http://evil.localhost", "http://localhost"])
def test_a_page_of_another_origin_does_nothing_and_reads_nothing(
    browser: Browser, app: App, blank: Page, elsewhere: str, victim: Path, site: str
) -> None:
    page = blank
    page.goto(f"{app.url}charlstm/preview.png")  # as much of the app's own site as a request needs
    data = {"action": "delete", "run": RUN, "visitor": TOKEN}
    action = {"data": data, "component_id": board(page), "session_hash": "e"}
    foreign = browser.new_page()
    try:
        foreign.goto(site + elsewhere)
        body = json.dumps({**action, "fn_name": "act"})
        said = foreign.evaluate(TRIES, {"url": app.url, "body": body})
        read = {name: each for name, each in said.items() if name.startswith("read")}
        assert len(read) == 4
        assert not any(read.values())
        sent = {name: each for name, each in said.items() if name.startswith(("cors", "no-cors"))}
        assert len(sent) == 30
        assert all(each == "refused" or each == ["opaque", 0, ""] for each in sent.values())
        assert [said[name] for name in ("events", "socket", "image")] == ["refused"] * 3
        with foreign.expect_navigation():
            foreign.evaluate(  # a plain form, whose body is JSON all the same
                """({url, body}) => {
                  const form = document.createElement('form');
                  const action = url + 'gradio_api/component_server';
                  Object.assign(form, {method: 'POST', enctype: 'text/plain', action});
                  const input = document.createElement('input');
                  [input.name, input.value] = [body.slice(0, -1) + ',"x":"', '"}'];
                  form.append(input);
                  document.body.append(form);
                  form.submit();
                }""",
                {"url": app.url, "body": body},
            )
        expect(foreign.locator("body")).to_contain_text("another site")
    finally:
        foreign.close()
    assert victim.is_dir()
    assert uploads(app) == set()
    own = "async (body) => (await fetch('/gradio_api/component_server', " + (
        "{method: 'POST', headers: {'Content-Type': 'application/json'}, body})).status"
    )
    assert page.evaluate(own, body) == 200
    assert not victim.is_dir()  # so the request itself does delete it


def test_a_page_of_another_origin_shows_the_app_in_no_frame(browser: Browser, app: App, elsewhere: str) -> None:
    foreign = browser.new_page()
    try:
        foreign.goto("http://evil.localhost" + elsewhere)
        foreign.evaluate(
            """(url) => new Promise((done) => {
              const frame = document.createElement('iframe');
              frame.onload = done;
              frame.src = url;
              document.body.append(frame);
            })""",
            app.url,
        )
        shown = foreign.frames[1]
        assert shown.locator("#top").count() == 0
        assert not shown.url.startswith(app.url)
    finally:
        foreign.close()


def test_a_link_on_another_site_opens_the_page(context: BrowserContext, app: App, elsewhere: str) -> None:
    foreign = context.new_page()
    foreign.goto("http://evil.localhost" + elsewhere)
    foreign.evaluate("(url) => { location.href = url; }", app.url)
    expect(foreign.get_by_role("button", name="Write", exact=True)).to_be_visible()
