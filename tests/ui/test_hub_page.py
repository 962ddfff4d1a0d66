"""Publishing and fetching in a real browser, against the Hub on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import OWNER, Fault, LoopbackHub
from page_app import App, served
from plain_server import served_folder
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
_REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, hub: LoopbackHub) -> Iterator[App]:
    """For a person alone: among strangers the machine's login would act for nobody."""
    with served(tmp_path_factory.mktemp("hub-page"), hub, CHARLSTM_PUBLIC="0") as app:
        yield app


@pytest.fixture
def page(opened: Page, hub: LoopbackHub) -> Iterator[Page]:
    hub.faults.clear()
    opened.get_by_role("tab", name="Share").click()
    expect(opened.get_by_label("Model to publish")).to_have_value("tiny-shakespeare")
    expect(opened.locator("#hub-login")).to_contain_text("Signed in as owner, with the login of this machine")
    yield opened
    assert OWNER not in opened.content()


def _publish(page: Page, words: str = "Publish") -> None:
    button = page.get_by_role("button", name=words, exact=True)
    expect(button).to_be_enabled()
    button.click()


def test_what_will_be_sent_is_shown_before_anything_is_and_then_sent_privately(page: Page, hub: LoopbackHub) -> None:
    before = len(hub.requests)
    publish = page.get_by_role("button", name="Publish", exact=True)
    expect(publish).to_be_disabled()
    page.get_by_role("button", name="Show what will be sent").click()
    expect(page.locator("#publish-said")).to_have_text("Enter a name such as you/my-model.")
    page.get_by_label("Name on the Hub").fill("owner/my-model")
    page.get_by_role("button", name="Show what will be sent").click()
    files, card = page.locator("#publish-files"), page.get_by_role("document", name="Model card")
    expect(files).to_contain_text("model.safetensors")
    expect(card.get_by_role("heading", name="my-model")).to_be_visible()
    expect(card.get_by_role("cell", name="stateful")).to_be_visible()
    assert card.get_by_role("img").evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 100
    page.get_by_role("button", name="Source").click()
    expect(card).to_be_hidden()
    expect(page.get_by_role("textbox", name="Source of the model card")).to_contain_text("library_name: charlstm")
    rows = files.locator("tr").evaluate_all("rows => rows.map(row => getComputedStyle(row).borderStyle)")
    assert set(rows) == {"none"}  # lines below the cells alone, not Gradio's around each row
    assert [request for request in hub.requests[before:] if request.authorization] == []
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
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Show what will be sent").click()
    _publish(page)
    said = page.locator("#publish-said")
    expect(said.get_by_role("alert")).to_contain_text("changed by somebody else")
    assert "model.safetensors" not in hub.model("owner/again").files()
    hub.faults.clear()
    _publish(page)
    expect(said.get_by_role("link")).to_be_visible()
    assert "model.safetensors" in hub.model("owner/again").files()


def test_a_model_gets_a_page_of_its_own_that_writes_on_any_web_site(
    page: Page, hub: LoopbackHub, tmp_path: Path
) -> None:
    page.get_by_label("Name on the Hub").fill("owner/bard")
    page.get_by_role("checkbox", name="With a page of its own").check()
    page.get_by_role("button", name="Show what will be sent").click()
    files = page.locator("#publish-files")
    expect(files.get_by_role("table", name="To the static Space owner/bard")).to_contain_text("index.html")
    expect(page.locator("#card .card-seen")).to_contain_text("In your browser, with nothing to install")
    assert "space/owner/bard" not in hub.repos
    _publish(page, "Publish with its page")
    address = f"{hub.address()}/spaces/owner/bard"
    expect(page.locator("#publish-said").get_by_role("link", name=address)).to_have_attribute("href", address)
    page.get_by_role("checkbox", name="With a page of its own").uncheck()
    expect(page.get_by_role("button", name="Publish", exact=True)).to_be_disabled()
    site = tmp_path / "some" / "site"
    site.mkdir(parents=True)
    for name, data in hub.repos["space/owner/bard"].files().items():
        (site / name).write_bytes(data)
    asked: list[str] = []
    with served_folder(tmp_path) as root:
        visitor = page.context.new_page()
        visitor.on("request", lambda request: asked.append(request.url))
        visitor.goto(f"{root}some/site/", wait_until="load")
        link = visitor.get_by_role("link", name="The model on the Hub")
        assert link.get_attribute("href") == f"{hub.address()}/owner/bard"
        visitor.get_by_role("button", name="Write", exact=True).click()
        expect(visitor.get_by_text("characters · seed")).to_be_visible()
        assert asked == [f"{root}some/site/"], "nothing but the page itself"
        visitor.close()


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
    page.get_by_role("tab", name="Write").click()
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
