"""Take the pictures of the page that README.md shows: docs/page.png (writing) and docs/training.png (a run).

    PYTHONPATH=. python tests/integration/screenshots.py [--chromium /usr/bin/chromium]

Starts an app with the bundled models and no other runs, writes a text with its surprise shown, then trains preset
`minute` on tiny-shakespeare for so many steps and takes the second picture while that run goes on, however long that
takes. 1200 x 630 pixels is what sites show of a linked page, as the Hub does of a deployed Space.
"""

import argparse
import re
import shutil
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from charlstm.config import Settings
from charlstm.runs.manager import RunManager

from crowd import REPOSITORY, serving  # isort: skip  tests/integration/crowd.py

_PICTURE = {"width": 1200, "height": 630}
_TALL_PICTURE = {"width": 1200, "height": 900}
_WHOLE_TEXT = re.compile(r"ROMEO:.{500}", re.DOTALL)  # the prompt and as many characters as the page writes unasked
_SETTINGS = Settings.preset("minute", max_minutes=0, max_steps=3000, eval_every=200)
_IN_THE_MIDDLE = re.compile(r"step 2,[1-9]")
_DOCS = REPOSITORY / "docs"


def photograph_writing(page: Page) -> None:
    """Write with the bundled model and take the picture of the tinted text."""
    page.get_by_label("Colours in Text").check()
    page.get_by_role("textbox", name="Prompt").fill("ROMEO:")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.get_by_role("textbox", name="Text", exact=True)).to_have_text(_WHOLE_TEXT, timeout=60_000)
    page.get_by_role("textbox", name="Text", exact=True).evaluate("text => { text.scrollTop = 0; }")
    save_picture(page, "page.png")


def photograph_training(page: Page) -> None:
    """Take the picture of the run once it has learned something."""
    page.set_viewport_size(_TALL_PICTURE)
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#run-state")).to_contain_text(_IN_THE_MIDDLE, timeout=600_000)
    save_picture(page, "training.png")


def save_picture(page: Page, name: str) -> None:
    """Save what a visitor sees at the top of the page."""
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    page.mouse.move(5, 5)
    page.wait_for_timeout(500)  # until colours have faded
    page.screenshot(path=_DOCS / name)


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        checkpoints = Path(place) / "checkpoints"
        shutil.copytree(REPOSITORY / "checkpoints", checkpoints)
        manager = RunManager(checkpoints)
        try:
            with serving("--checkpoints-dir", str(checkpoints)) as url:
                browser = playwright.chromium.launch(executable_path=flags.chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport=_PICTURE)
                page.goto(url, wait_until="load")
                photograph_writing(page)
                manager.start(_SETTINGS, name="my-run")
                photograph_training(page)
                browser.close()
        finally:
            stop_runs(manager)


def stop_runs(manager: RunManager) -> None:
    """Stop what still trains and wait for it, so that its folder can be removed."""
    pause = threading.Event()
    while run := manager.active():
        manager.stop(run.name)
        pause.wait(0.2)


if __name__ == "__main__":
    main()
