"""A real app in a process of its own, and a real browser to drive it."""

from collections.abc import Iterator

import pytest
from loopback import LoopbackHub, loopback_hub
from page_app import App, end_workers, served
from playwright.sync_api import BrowserContext, Page, expect
from visitors import visitor

from charlstm.ui import assets

expect.set_options(timeout=30_000)  # for what must come, however busy the machine is; Playwright's own 5 s are short


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Analyses in the test's own process don't give way to the tests of another one."""
    monkeypatch.setattr("charlstm.ui.inside_jobs._REST_ON_BUSY_MACHINE", 0.0)


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


@pytest.fixture
def blank(context: BrowserContext) -> Page:
    """The visitor's page, where nothing is opened yet."""
    return context.pages[0]


@pytest.fixture(scope="module")
def opened(profile: BrowserContext, app: App) -> Iterator[Page]:
    """One visitor's page for a whole module: to open it costs more than most of what tests do on it."""
    with visitor(profile) as context:
        page = context.new_page()
        page.goto(app.url, wait_until="load")
        yield page


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
