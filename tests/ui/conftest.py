"""A real app in a process of its own, and a real browser to drive it."""

import os
import shutil
from collections.abc import Iterator

import pytest
from loopback import LoopbackHub, loopback_hub
from page_app import App, end_workers, served
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

_CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

expect.set_options(timeout=30_000)  # for what must come, however busy the machine is; Playwright's own 5 s are short


@pytest.fixture(scope="session")
def hub() -> Iterator[LoopbackHub]:
    """The Hub that the app knows."""
    with loopback_hub() as server:
        yield server


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Iterator[App]:
    """The app with the bundled model, on a machine that is logged in to the Hub; one for all tests of the page."""
    with served(tmp_path_factory.mktemp("page"), hub) as app:
        yield app


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; the tests are skipped where there is none, unless one is required."""
    named = os.environ.get("CHARLSTM_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium; or name one in CHARLSTM_CHROMIUM)"
        if os.environ.get("CHARLSTM_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor of its own, to whom a text is shown at once: at reading pace it would take seconds."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, app: App) -> Iterator[Page]:
    """The app's page, just opened; a run that a failed test leaves behind does not fail the next one."""
    page = context.new_page()
    page.goto(app.url, wait_until="load")
    yield page
    end_workers(app.checkpoints_dir)
