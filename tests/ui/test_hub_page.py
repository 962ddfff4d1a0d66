"""Publishing and fetching in a real browser, against the Hub on loopback."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import App, free_port
from loopback import OWNER, Fault, LoopbackHub, loopback_hub
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with loopback_hub() as server:
        yield server


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Iterator[App]:
    """An app on a machine that is logged in."""
    place = tmp_path_factory.mktemp("hub-page")
    (place / "home").mkdir()
    (place / "home" / "token").write_text(OWNER, encoding="utf-8")
    shutil.copytree(_REPOSITORY / "checkpoints" / "tiny-shakespeare", place / "checkpoints" / "tiny-shakespeare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.address())
        patch.setenv("HF_HOME", str(place / "home"))
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        app = App(place / "checkpoints", free_port())
        app.start()
    yield app
    app.kill()
    assert OWNER not in (place / "app.log").read_text(encoding="utf-8")


@pytest.fixture
def page(browser: Browser, app: App, hub: LoopbackHub) -> Iterator[Page]:
    hub.faults.clear()
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(app.url, wait_until="load")
    page.get_by_role("tab", name="Hub").click()
    expect(page.get_by_label("Model to publish")).to_have_value("tiny-shakespeare")
    yield page
    assert OWNER not in page.content()
    page.context.close()


def _publish(page: Page) -> None:
    button = page.get_by_role("button", name="Publish", exact=True)
    expect(button).to_be_enabled()
    button.click()


def test_what_will_be_sent_is_shown_before_anything_is_and_then_sent_privately(page: Page, hub: LoopbackHub) -> None:
    publish = page.get_by_role("button", name="Publish", exact=True)
    expect(publish).to_be_disabled()
    page.get_by_label("Name on the Hub").fill("owner/my-model")
    page.get_by_role("button", name="Show what will be sent").click()
    files = page.locator("#publish-files")
    expect(files).to_contain_text("model.safetensors")
    expect(page.get_by_role("textbox", name="Model card")).to_contain_text("library_name: charlstm")
    expect(files.get_by_role("img")).to_be_visible()
    assert [request for request in hub.requests if request.authorization] == []
    shown = set(files.locator("td:first-child").all_inner_texts())
    expect(publish).to_be_enabled()
    page.get_by_label("Name on the Hub").fill("owner/my-model-2")
    expect(publish).to_be_disabled()  # it is not what was shown any more
    page.get_by_role("button", name="Show what will be sent").click()
    _publish(page)
    link = page.locator("#publish-said a")
    expect(link).to_be_visible()
    commit = hub.model("owner/my-model-2").branches["main"]
    assert link.get_attribute("href") == f"{hub.address()}/owner/my-model-2/commit/{commit}"
    assert hub.model("owner/my-model-2").private
    assert set(hub.model("owner/my-model-2").files()) - {".gitattributes"} == shown
    assert "model/owner/my-model" not in hub.repos


def test_what_fails_is_told_and_publishing_again_completes(page: Page, hub: LoopbackHub) -> None:
    hub.faults.append(Fault("/commit/", 409))
    page.get_by_label("Name on the Hub").fill("owner/again")
    page.get_by_role("button", name="Show what will be sent").click()
    _publish(page)
    said = page.locator("#publish-said")
    expect(said.get_by_role("alert")).to_contain_text("changed by somebody else")
    assert "model.safetensors" not in hub.model("owner/again").files()
    hub.faults.clear()
    _publish(page)
    expect(said.get_by_role("link")).to_be_visible()
    assert "model.safetensors" in hub.model("owner/again").files()


def test_a_model_is_fetched_and_offered(page: Page, app: App, hub: LoopbackHub) -> None:
    data = (_REPOSITORY / "checkpoints" / "tiny-shakespeare" / "model.safetensors").read_bytes()
    hub.add("someone/plays", {"model.safetensors": data})
    hub.add("someone/pickled", {"pytorch_model.bin": b"x"})
    page.get_by_label("Model on the Hub").fill("someone/pickled")
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator("#fetch-said")).to_contain_text("can run code when it is opened")
    page.get_by_label("Model on the Hub").fill("someone/plays")
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator("#fetch-said")).to_contain_text("plays is among your models now")
    assert (app.checkpoints_dir / "plays" / "model.safetensors").read_bytes() == data
    page.get_by_role("tab", name="Generate").click()
    page.get_by_role("combobox", name="Model").click()
    expect(page.get_by_role("option", name="plays")).to_be_visible()


def test_what_is_typed_never_acts(page: Page) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    hostile = '<img src=x onerror="alert(1)">${alert(2)}{{alert(3)}}'
    page.get_by_label("Name on the Hub").fill(hostile)
    page.get_by_role("button", name="Show what will be sent").click()
    expect(page.locator("#publish-said").get_by_role("alert")).to_contain_text("onerror")
    page.get_by_label("Model on the Hub").fill(hostile)
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator("#fetch-said").get_by_role("alert")).to_contain_text("onerror")
    assert page.locator("#publish-said img, #fetch-said img").count() == 0
    assert dialogs == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways_and_every_control_has_a_name(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.get_by_label("Name on the Hub").fill(f"owner/{'long-' * 17}name")
    page.get_by_role("button", name="Show what will be sent").click()
    expect(page.locator("#publish-files")).to_contain_text("model.safetensors")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = """() => [...document.querySelectorAll('button, input, textarea, select, progress')]
        .filter(e => e.checkVisibility() && e.type !== 'hidden')
        .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length
                       || e.innerText?.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 200))"""
    assert page.evaluate(unnamed) == []
