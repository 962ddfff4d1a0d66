"""A real app in a process of its own, and a real browser to drive it."""

import os
import shutil
from collections.abc import Iterator

import pytest
from loopback import LoopbackHub, loopback_hub
from page_app import App, end_workers, served
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from visitors import VIEWPORT, visitor

from charlstm.ui import assets

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
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Chromium with a profile on disk, which keeps what it has compiled of the page's scripts: half of a visit's cost.

    The tests that need it are skipped where there is none, unless one is required.
    """
    named = os.environ.get("CHARLSTM_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, _CHROMIUM_NAMES)), None)
    if path is None:
        reason = "no Chromium is installed (Debian: apt-get install chromium; or name one in CHARLSTM_CHROMIUM)"
        if os.environ.get("CHARLSTM_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        profile = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=path,
            args=_CHROMIUM_FLAGS,
            viewport=VIEWPORT,  # type: ignore[arg-type]
            color_scheme="light",
            reduced_motion="reduce",  # a text is shown at once: at reading pace it would take seconds
        )
        profile.set_default_timeout(30_000)
        yield profile
        profile.close()


@pytest.fixture(scope="session")
def browser(profile: BrowserContext) -> Browser:
    """The browser itself, for visitors with a device of their own, or several at once."""
    assert profile.browser is not None
    return profile.browser


@pytest.fixture
def context(profile: BrowserContext) -> Iterator[BrowserContext]:
    """A visitor of its own, of whom the next one finds nothing."""
    with visitor(profile):
        yield profile


@pytest.fixture
def blank(context: BrowserContext) -> Page:
    """The visitor's page, where nothing is opened yet."""
    return context.pages[0]


@pytest.fixture
def bare(blank: Page, app: App) -> Page:
    """A page of the app's address with our scripts and styles and nothing of Gradio's, which takes seconds to start."""
    html = f"<!doctype html><html lang=en><head>{assets.head()}<style>{assets.css()}</style></head>"
    html += "<body><main class=gradio-container></main></body></html>"
    blank.route(f"{app.url}bare", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
    blank.goto(f"{app.url}bare")
    return blank


@pytest.fixture
def page(blank: Page, app: App) -> Iterator[Page]:
    """The app's page, just opened; a run that a failed test leaves behind does not fail the next one."""
    blank.goto(app.url, wait_until="load")
    yield blank
    end_workers(app.checkpoints_dir)
