"""What it costs a run to be watched: its speed in turns with and without open pages, which alternate.

    PYTHONPATH=. python tests/integration/watching.py [--pages 5] [--turns 21] [--seconds 10]
        [--clients | --inside | --bare]

An app and a run of its own, on this machine. The watchers are pages in Chromium where there is one; so they share the
processor with the run, as those of somebody who trains at home do. With `--clients` they are connections that ask what
such pages ask, and draw nothing: what watchers elsewhere cost. With `--inside` these look into the network in training:
they ask for its units, which are named anew as it learns, and for the colours of a text. With `--bare` the pages hold
nothing but a number that changes once a second: what the browser itself costs, which no page can be below. While nobody
is to watch, the pages are told that they are hidden, and ask nothing. Each watched turn is compared with the unwatched
ones just before and after it. On Linux it also prints the app's own processor time, which is less a matter of chance.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from charlstm.config import Settings
from charlstm.runs.history import RunHistory
from charlstm.runs.manager import RunManager
from charlstm.runs.run_dir import ACTIVE
from charlstm.ui.models import LIVE

from crowd import serving  # isort: skip  tests/integration/crowd.py

NAME = "watched"
SETTLED_SECONDS = 1.5  # after watchers came or went, before a turn begins
NEVER = 10**9
_HIDE = """(isHidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
_BARE = """<p id="run-state"><b class="badge">0</b></p><script>
  setInterval(() => { if (!document.hidden) document.querySelector('.badge').textContent = Math.random(); }, 1000);
</script>"""
Watch = Callable[[bool], None]


def component_ids(url: str) -> dict[str, int]:
    """The ids of the page's components, by the names of their elements."""
    with urllib.request.urlopen(f"{url}config") as answer:
        components = json.load(answer)["components"]
    return {each["props"]["elem_id"]: each["id"] for each in components if each["props"].get("elem_id")}


class InsideClient:
    """Asks what *Look inside* asks about the network in training."""

    num_bytes = 0

    def __init__(self, url: str, ids: dict[str, int]) -> None:
        self._url, self._inside = f"{url}gradio_api/component_server/", ids["inside"]

    def ask(self) -> None:
        """Its units and a trace of the text it writes."""
        trace = {"age": None, "text": None, "layer": 0, "first": 0, "count": 8, "quantity": "cell"}
        for name, asked in (("inside_units", {"age": None}), ("inside_trace", trace)):
            data = {"model": f"{LIVE}{NAME}", "visitor": "a page", **asked}
            call = {"session_hash": "x", "component_id": self._inside, "fn_name": name, "data": data}
            request = urllib.request.Request(self._url, json.dumps(call).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                said = answer.read()
            assert b'"problem"' not in said, said[:300]
            self.num_bytes += len(said)


class Client:
    """Asks once a second what an open page asks, and keeps what that needs to ask only for what is new."""

    def __init__(self, url: str, ids: dict[str, int]) -> None:
        self._url, self._status_line = f"{url}gradio_api/component_server/", ids["status-line"]
        self._tags: dict[str, str] = {}
        self._samples: list[Any] = [None, 0]
        self.num_bytes = 0

    def ask(self) -> None:
        """One tick."""
        asked = {"run": NAME, "shown": NAME, "compared": [], "tags": self._tags, "samples": self._samples}
        call = {"session_hash": "x", "component_id": self._status_line, "fn_name": "tick", "data": asked}
        request = urllib.request.Request(self._url, json.dumps(call).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = answer.read()
        self.num_bytes += len(data)
        for name, (tag, value) in ((json.loads(data) or {}).get("sections") or {}).items():
            self._tags[name] = tag
            if name == "samples":
                self._samples = [value["epoch"], value["keep"] + len(value["add"])]


@contextmanager
def clients(url: str, number: int, kind: type[Client] | type[InsideClient]) -> Iterator[Watch]:
    """Connections that ask as pages do, while they are told to."""
    is_watching, is_over = threading.Event(), threading.Event()

    def watch(client: Client | InsideClient, delay: float) -> None:
        is_over.wait(delay)
        while not is_over.wait(1.0):
            if is_watching.is_set():
                client.ask()

    ids = component_ids(url)
    asking = [kind(url, ids) for _ in range(number)]
    threads = [threading.Thread(target=watch, args=(client, i / number)) for i, client in enumerate(asking)]
    for thread in threads:
        thread.start()
    try:
        yield lambda wished: is_watching.set() if wished else is_watching.clear()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        say(f"{sum(client.num_bytes for client in asking):,} bytes in all")


@contextmanager
def pages(url: str | None, number: int, chromium: str) -> Iterator[Watch]:
    """Open pages, bare ones without `url`, each in a window of its own, that are hidden while nobody is to watch."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        opened = [browser.new_context(viewport={"width": 1280, "height": 800}).new_page() for _ in range(number)]
        for page in opened:
            if url is None:
                page.set_content(_BARE)
            else:
                page.goto(f"{url}#run={NAME}", wait_until="load", timeout=120_000)
            page.locator("#run-state .badge").wait_for(timeout=120_000)

        def watch(wished: bool) -> None:
            for page in opened:
                page.evaluate(_HIDE, not wished)

        yield watch
        browser.close()


def say(line: str) -> None:
    """One line of the result."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def place(history: RunHistory) -> tuple[int, float]:
    """Step and training time of the newest point of the curve, which is awaited."""
    before = history.latest
    while history.latest is before:
        time.sleep(0.05)
        history.poll()
    assert history.latest is not None
    return history.latest.step, history.latest.elapsed_seconds


def processor_seconds(url: str) -> float:
    """Processor time that the app at `url` has taken, all its threads together; 0 where the system doesn't tell."""
    port = url.rstrip("/").rpartition(":")[2].encode()
    apps = [file.parent for file in Path("/proc").glob("[0-9]*/cmdline") if port in file.read_bytes().split(b"\0")]
    stats = [file.read_text() for app in apps for file in app.glob("task/*/schedstat")]
    return sum(int(stat.split()[0]) for stat in stats) / 1e9


def turns(history: RunHistory, watch: Watch, url: str, number: int, seconds: float) -> tuple[list[float], list[float]]:
    """Of `number` turns, every second one watched, the steps per second, and the app's share of a processor."""
    rates, shares = [], []
    for turn in range(number):
        watch(turn % 2 == 1)
        time.sleep(SETTLED_SECONDS)
        first, began = place(history)
        taken, now = processor_seconds(url), time.monotonic()
        time.sleep(seconds)
        shares.append((processor_seconds(url) - taken) / (time.monotonic() - now))
        last, ended = place(history)
        rates.append((last - first) / (ended - began))
        say(f"turn {turn + 1}, {'watched' if turn % 2 else 'alone'}: {rates[-1]:.2f} steps per second")
    return rates, shares


def measure(flags: argparse.Namespace, checkpoints_dir: Path) -> None:
    """Start everything, measure, stop the run."""
    minutes = flags.turns * (flags.seconds + SETTLED_SECONDS + 2) / 60 + 10  # the run outlasts the measurement
    quiet = {"eval_every": NEVER, "sample_every": NEVER, "log_every": 10, "max_minutes": minutes}
    manager = RunManager(checkpoints_dir)
    folder = manager.start(Settings.preset("minute", corpus=flags.corpus, **quiet), NAME)
    kind = InsideClient if flags.inside else Client
    chromium = (
        None if flags.clients or flags.inside else os.environ.get("CHARLSTM_CHROMIUM") or shutil.which("chromium")
    )
    try:
        with serving("--checkpoints-dir", str(checkpoints_dir)) as url:
            history = RunHistory(folder)
            page_url = None if flags.bare else url
            watchers = pages(page_url, flags.pages, chromium) if chromium else clients(url, flags.pages, kind)
            with watchers as watch:
                rates, taken = turns(history, watch, url, flags.turns, flags.seconds)
    finally:
        manager.stop(NAME)
        while manager.status(folder) in ACTIVE:
            time.sleep(0.2)
    shares = [2 * rates[turn] / (rates[turn - 1] + rates[turn + 1]) for turn in range(1, len(rates) - 1, 2)]
    spread = f"{min(shares):.4f} to {max(shares):.4f}"
    what = (
        f"{'bare ' * flags.bare}pages in Chromium on this machine"
        if chromium
        else "lookers"
        if flags.inside
        else "clients"
    )
    say(f"{flags.pages} {what}: {statistics.median(shares):.4f} of the speed alone (median of {len(shares)}; {spread})")
    say(f"cost: {100 * (1 - statistics.median(shares)):.1f} %")
    alone, watched = (1000 * statistics.median(taken[begin::2]) for begin in (0, 1))
    say(f"the app took {alone:.1f} ms of a second of a processor alone, and {watched:.1f} ms with them")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--turns", type=int, default=21, help="an odd number, 3 or more")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a turn")
    parser.add_argument("--corpus", default="tiny-shakespeare")
    parser.add_argument("--clients", action="store_true", help="ask as pages do, without a browser")
    parser.add_argument("--inside", action="store_true", help="ask as Look inside does, without a browser")
    parser.add_argument("--bare", action="store_true", help="pages with a number that changes, and nothing else")
    with tempfile.TemporaryDirectory() as place_of_runs:
        measure(parser.parse_args(), Path(place_of_runs))


if __name__ == "__main__":
    main()
