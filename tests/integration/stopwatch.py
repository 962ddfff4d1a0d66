"""Time what a visitor waits for: the first letter on arrival, samples after Start, writing with the finished run.

    PYTHONPATH=. python tests/integration/stopwatch.py [--chromium /usr/bin/chromium]

Starts an app with the bundled models and no other runs, opens its page in Chromium at 1280x800, trains preset `minute`
to its end, and prints seconds, with bytes, requests and layout shift of the first load.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from crowd import REPOSITORY, serving  # isort: skip  tests/integration/crowd.py

_SHIFTS = """window.shift = 0; new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: 'layout-shift', buffered: true })"""
_WRITING = "document.querySelector('#text .reader-text span')?.textContent.length > 0"
_SAMPLES = "(number) => (window.charlstm.store.sections.samples?.list.length || 0) >= number"
_OVER = "['measuring', 'completed'].includes(window.charlstm.store.sections.state?.status)"
_MEASURED = "window.charlstm.store.sections.state?.status === 'completed'"
_NUM_SAMPLES = "window.charlstm.store.sections.samples.list.length"


def measure(page: Page, url: str) -> None:
    """Print the figures of one visit."""
    loaded = {"bytes": 0, "requests": 0}
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda done: loaded.update(bytes=loaded["bytes"] + done["encodedDataLength"]))
    network.on(
        "Network.requestWillBeSent",
        lambda asked: loaded.update(requests=loaded["requests"] + (not asked["request"]["url"].startswith("data:"))),
    )
    page.add_init_script(_SHIFTS)
    began = time.monotonic()
    page.goto(url, wait_until="load")
    page.wait_for_function(_WRITING)
    say(began, "from arrival to the first letter")
    page.wait_for_timeout(3000)
    sys.stdout.write(f"first load and 3 s: {loaded}, layout shift {page.evaluate('shift'):.3f}\n")
    page.get_by_role("tab", name="Train").click()
    page.evaluate("window.charlstm.store.sections.samples = undefined")
    before = page.evaluate("window.charlstm.store.shown")
    page.locator("#start").click()
    began = time.monotonic()
    page.wait_for_function("(before) => window.charlstm.store.shown !== before", arg=before)
    for number in (1, 2, 3):
        page.wait_for_function(_SAMPLES, arg=number)
        say(began, f"from Start to {number} samples")
    page.wait_for_function(_OVER)
    ended = time.monotonic()
    page.locator("[data-action=write]:visible").wait_for()
    say(ended, f"from the end, with {page.evaluate(_NUM_SAMPLES)} samples, to Write with it")
    page.locator("[data-action=write]").click()
    began = time.monotonic()
    page.locator("#text .reader.is-writing").wait_for()
    say(began, "from there to writing")
    page.wait_for_function(_MEASURED)  # before its folder is taken away


def say(began: float, words: str) -> None:
    """Print the seconds since `began`."""
    sys.stdout.write(f"{time.monotonic() - began:5.1f} s {words}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        for name in ("tiny-shakespeare", "python-stdlib"):
            shutil.copytree(REPOSITORY / "checkpoints" / name, Path(place) / name)
        browser = playwright.chromium.launch(executable_path=flags.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(300_000)
        with serving("--checkpoints-dir", place) as url:
            measure(page, url)
        browser.close()


if __name__ == "__main__":
    main()
