"""*Take it along*: a page of the chosen model, made for whoever asks and fetched with progress."""

from pathlib import Path

import pytest
from page_app import App
from page_models import MARKUP, small_model
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.testclient import TestClient

from charlstm import LanguageModel
from charlstm.export.page import build_page
from charlstm.ui import export_page
from charlstm.ui.export_page import PageStore, make_page, route
from charlstm.ui.models import ModelRegistry


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    small_model().save(tmp_path / "mine")
    return ModelRegistry(tmp_path)


def test_a_page_is_made_kept_and_sent_as_a_file_to_whoever_has_its_token(registry: ModelRegistry) -> None:
    made = make_page(registry, {"model": "mine", "title": "My <b>"})
    client = TestClient(Starlette(routes=[route()]))
    answer = client.get(f"/{made['address']}")
    assert (answer.status_code, len(answer.content)) == (200, made["bytes"])
    assert answer.content == build_page(registry.load("mine"), "My <b>")
    assert answer.headers["content-disposition"] == "attachment; filename*=utf-8''my-b.html"
    assert answer.headers["content-type"] == "application/octet-stream", (
        "as a page it would run under the app's address"
    )
    assert client.get("/charlstm/page/guessed").status_code == 404


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        ({"model": "../mine"}, "no longer there"),
        ({"model": ["mine"]}, "must be texts"),
        ({"model": "mine", "title": "x" * 400}, "at most 300 characters"),
        ("mine", "MB"),
    ],
)
def test_what_can_not_be_made_is_a_sentence(
    registry: ModelRegistry, request_: object, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlstm.export.page.MOST_BYTES", 1000)
    found = make_page(registry, request_)
    assert list(found) == ["problem"]
    assert problem in found["problem"]


def test_pages_are_kept_up_to_a_size_and_none_for_long() -> None:
    store = PageStore(most_bytes=10)
    tokens = [store.put(bytes(5), name) for name in "abc"]
    assert [page and page.name for page in map(store.get, tokens)] == [None, "b", "c"]
    whole = store.put(bytes(11), "whole")
    assert [page and page.name for page in map(store.get, [*tokens, whole])] == [None, None, None, "whole"]
    brief = PageStore(seconds=-1)
    assert brief.get(brief.put(b"a", "a")) is None


def test_a_corpus_that_a_visitor_may_not_read_gives_no_beginnings(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "may_read", lambda *_: False)
    page = export_page.PAGES.get(make_page(registry, {"model": "mine"})["address"].rpartition("/")[2])
    assert page is not None
    assert MARKUP[:16].replace("<", r"\u003c").encode() not in page.data
    assert b'"prompts":[]' in page.data


@pytest.mark.browser
def test_the_button_saves_the_page_of_the_chosen_model_and_tells_of_a_problem(page: Page, app: App) -> None:
    button = page.get_by_role("button", name="Take it along")
    button.click()
    dialog = page.get_by_role("dialog", name="Take it along")
    page.route("**/charlstm/page/*", lambda route: route.fulfill(status=404, json={"problem": "It is gone."}))
    dialog.get_by_role("button", name="Download").click()
    expect(dialog.get_by_role("alert")).to_have_text("It is gone.")
    page.unroute("**/charlstm/page/*")
    dialog.get_by_label("Heading").fill("For you")
    with page.expect_download() as saved:
        dialog.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename == "for-you.html"
    model = LanguageModel.load(app.checkpoints_dir / "tiny-shakespeare")
    assert Path(saved.value.path()).read_bytes() == build_page(model, "For you")
    expect(dialog.get_by_role("status")).to_contain_text("Saved as for-you.html, 3.4 MB")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
