"""A page as its reader uses it: opened from the disk in a real browser that is offline."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_models import MARKUP, small_model
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from charlstm import LanguageModel, SampleConfig
from charlstm.generation.read_first import Reader

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return small_model()


@pytest.fixture(scope="module")
def file(model: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model.export_html(tmp_path_factory.mktemp("page") / "page.html", title=MARKUP)


@pytest.fixture
def asked(context: BrowserContext) -> Iterator[list[str]]:
    """What the page asks for beside itself, and its errors."""
    found: list[str] = []
    context.on("request", lambda request: None if request.url.startswith("file:") else found.append(request.url))
    context.on("weberror", lambda error: found.append(str(error.error)))
    context.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    context.set_offline(True)
    yield found
    assert found == []


@pytest.fixture
def page(context: BrowserContext, asked: list[str], file: Path) -> Page:
    assert asked == []
    page = context.new_page()
    page.goto(file.as_uri())
    _written(page, 500)
    return page


def _text(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text", exact=True)


def _written(page: Page, length: int) -> str:
    """Wait for a text of so many letters; return it with its beginning."""
    expect(page.locator("#rate")).to_contain_text(f"{length:,} character", timeout=30_000)
    expect(page.locator("#write")).to_have_text("Write", timeout=30_000)
    return str(page.evaluate("[...document.querySelectorAll('#text .block')].map((each) => each.textContent).join('')"))


def _write(page: Page, prompt: str, length: int, **settings: object) -> str:
    page.locator("#more").evaluate("(each) => { each.open = true; }")
    page.locator("#is-new-seed").set_checked("seed" not in settings)
    page.locator("#prompt").fill(prompt)
    for name, value in {"num_chars": length, **settings}.items():
        page.locator(f"#{name}").fill(str(value))
    page.locator("#write").click()
    return _written(page, length)


def test_it_writes_what_the_package_writes_with_the_settings_of_the_form_and_of_an_address(
    page: Page, model: LanguageModel, file: Path
) -> None:
    settings = {"seed": 11, "temperature": 1.3, "top_k": 12, "top_p": 0.9, "no_repeat": 3}
    written = _write(page, "Ab <b>é日", 80, **settings)
    assert written == "Ab <b>é日" + model.generate("Ab <b>é日", SampleConfig(num_chars=80, **settings))  # type: ignore[arg-type]
    linked = page.url
    page.locator("#continue").click()
    longer = _written(page, 160)
    assert longer == "Ab <b>é日" + model.generate("Ab <b>é日", SampleConfig(num_chars=160, **settings))  # type: ignore[arg-type]
    page.goto(file.as_uri())
    _written(page, 500)
    page.goto(f"{linked}&constructor=x&unknown=1")
    page.reload()
    assert _written(page, 80) == written
    stop = written[30:32]
    page.locator("#more").evaluate("(each) => { each.open = true; }")
    page.locator("#stop").fill(stop)
    page.locator("#write").click()
    ended = written[: written.index(stop, 8) + 2]
    assert _written(page, len(ended) - 8) == ended


def test_a_letter_tells_what_else_it_might_have_been_and_the_text_goes_on_from_another_one(
    page: Page, model: LanguageModel
) -> None:
    first = _write(page, "the ", 60, seed=5)
    text = _text(page)
    text.focus()
    for key in ("ArrowRight", "ArrowRight", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    card = page.get_by_role("group", name="What else it might have been")
    expect(card).to_contain_text("had a chance of")
    page.keyboard.press("Enter")
    rows = card.get_by_role("button")
    assert rows.count() == 5
    config = SampleConfig(num_chars=60, seed=5)
    likeliest = [names for chunk in model.stream("the ", config, num_likeliest=5) for names in chunk.likeliest][1]
    assert [row.split("\n")[0] for row in rows.all_inner_texts()] == [
        {"\n": "↵ line end", " ": "␣ space"}.get(char, char) for char in likeliest
    ]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    prompt = first[:5] + likeliest[1]
    branched = prompt + model.generate(prompt, config)
    expect(text.locator("b")).to_have_text(prompt)
    assert _written(page, 60) == branched
    page.go_back()
    expect(text.locator("b")).to_have_text("the ")
    assert _written(page, 60) == first
    place = text.locator("span").nth(1).bounding_box()
    assert place is not None
    page.mouse.click(place["x"] + 2, place["y"] + place["height"] / 2)
    expect(card).to_contain_text("Choose one to go on from there.")
    page.keyboard.press("Escape")


def test_what_can_not_be_used_is_said_beside_the_form_and_leaves_the_text(page: Page) -> None:
    problem = page.get_by_role("alert")
    before = _text(page).inner_text()
    page.locator("#prompt").fill("Ω <img src=x> 漢")
    page.locator("#write").click()
    expect(problem).to_have_text("This network has never seen “Ω”, “漢”: leave them out of the beginning.")
    page.locator("#prompt").fill("")
    expect(problem).to_be_hidden()
    for name, value, sentence in (
        ("num_chars", "1.5", "Length: enter a whole number from 1 to 1,000,000, or 0 for a text without end."),
        ("seed", "-1", "Seed: enter a whole number from 0 to 2,147,483,647."),
        ("top_p", "0", "Top-p: enter a number above 0 and at most 1."),
    ):
        page.locator("#more").evaluate("(each) => { each.open = true; }")
        page.locator("#is-new-seed").set_checked(False)
        standard = page.locator(f"#{name}").input_value()
        page.locator(f"#{name}").fill(value)
        page.locator("#write").click()
        expect(problem).to_have_text(sentence)
        page.locator(f"#{name}").fill(standard)
    assert _text(page).inner_text() == before


def test_a_text_without_end_is_read_at_a_pace_stopped_copied_and_saved(page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#fast").uncheck()
    page.locator("#prompt").fill("the ")
    page.locator("#num_chars").fill("0")
    began = time.monotonic()
    page.locator("#write").click()
    expect(page.locator("#rate")).to_have_text(re.compile(r"^\d\d+ characters · seed \d+$"))
    page.keyboard.press("Escape")
    expect(page.locator("#continue")).to_have_text("Continue")
    text = _text(page).evaluate("(box) => box.textContent")
    assert 10 <= len(text) - len("the ") <= 80 * (time.monotonic() - began) + 1
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    with page.expect_download() as saved:
        page.locator("#save").click()
    assert Path(saved.value.path()).read_text(encoding="utf-8") == text


def test_it_fits_a_phone_is_named_throughout_and_axe_agrees_in_light_and_dark(browser: Browser, file: Path) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(file.as_uri())
    _written(page, 500)
    page.locator("#more > summary").click()
    page.get_by_text("How it works").click()
    page.get_by_text("Read this first").click()
    _text(page).locator("span").first.tap()
    expect(page.locator(".card")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = """[...document.querySelectorAll('button, summary, input, textarea, label.switch, .file span')]
        .filter((each) => !each.matches('[type=checkbox], .unseen'))
        .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 43.9)
        .map((each) => each.outerHTML.slice(0, 80))"""
    assert page.evaluate(small) == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert [(scheme, each["id"], each["nodes"][0]["html"][:120]) for each in found] == []
    assert page.title().startswith(MARKUP[:30])
    assert page.locator("img").count() == 0
    context.close()


def test_it_reads_a_text_first_as_the_package_does_and_forgets_it(
    page: Page, model: LanguageModel, tmp_path: Path
) -> None:
    song = "the zebra and the zoo; the zebra and the zoo <b> " * 4
    alone = _write(page, "the ", 60, seed=4)
    page.locator("#reading > summary").click()
    page.get_by_label("A text to read").fill(f"{song}Ω")
    page.get_by_role("button", name="Remember it").click()
    said = page.locator("#read-said")
    expect(said).to_contain_text(f"Read {len(song)} characters")
    expect(said).to_contain_text("Left out, as it never saw it: “Ω”.")
    reading = Reader(model.model, model.vocabulary, f"{song}Ω").finish()
    config = SampleConfig(num_chars=60, seed=4)
    for amount in (1.0, 1.7):
        page.locator("#amount").fill(str(amount))
        assert _write(page, "the ", 60, seed=4) == "the " + reading.weighted(amount).generate("the ", config)
    written = _text(page).inner_text()
    place = written.index("zebra", 6)
    _text(page).focus()
    page.keyboard.press("ArrowRight")
    for _ in range(place + 2 - len("the ")):
        page.keyboard.press("ArrowRight")
    context = written[place - 6 : place + 2]
    ago = len(song) - song.rindex(f"{context}b") - len(context)
    expect(page.locator(".card")).to_contain_text(f"after “{context}”, {ago} characters from the end.")
    points = [page.locator(f".line-{name}").first.get_attribute("points") or "" for name in ("alone", "adapted")]
    assert len(points[0].split()) == len(points[1].split()) == len(song) // 20
    page.get_by_role("button", name="Forget it again").click()
    assert _write(page, "the ", 60, seed=4) == alone
    for name, data, sentence in (
        (
            "large.txt",
            b"x" * 5_000_000,
            "This file has 5.0 MB; at most 100,000 characters are read: cut a part out of it.",
        ),
        ("long.txt", b"a" * 100_001, "The text to read has 100,001 characters; at most 100,000 are read."),
        ("picture.txt", b"\x00\x01", "This file holds no text; choose another one."),
        ("other.txt", "ΩΩ".encode(), "There is no text to read; write or paste some that the model knows."),
    ):
        (tmp_path / name).write_bytes(data)
        page.locator("#to-read-file").set_input_files(tmp_path / name)
        expect(page.locator("#read-problem")).to_have_text(sentence)


@pytest.mark.parametrize(
    ("script", "is_whole", "place", "sentence"),
    [
        ("", False, "#problem", "This file is damaged or not whole: get it once more."),
        ("delete window.DecompressionStream", True, "#problem", "open it in one from 2023 or later."),
        ("delete window.WebAssembly", True, "#rate", "a second, without WebAssembly"),
    ],
)
def test_a_file_that_is_not_whole_and_a_browser_that_lacks_something_are_told(
    context: BrowserContext, file: Path, tmp_path: Path, script: str, is_whole: bool, place: str, sentence: str
) -> None:
    page, data = context.new_page(), file.read_bytes()
    page.add_init_script(script)
    (tmp_path / "page.html").write_bytes(data if is_whole else data[: data.index(b'id="weights">') + 500])
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.locator(place)).to_contain_text(sentence)
