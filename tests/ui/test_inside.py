"""Look inside in a browser: its frame, what a network keeps in mind, its birth and its moments."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

_FAKE = Path(__file__).parents[1] / "support" / "fake_inside.js"
_ASKED = "name => fake.asked.filter(([each]) => each === name).map(([, request]) => request)"


def _open(page: Page) -> None:
    """Open the tab's scripts on a server whose answers are known."""
    page.add_script_tag(path=_FAKE)
    page.evaluate("openInside()")
    expect(page.locator("#inside-mind .inside-letters")).not_to_be_empty()
    expect(page.locator(".claim-text")).to_contain_text("Unit 3 ")


@pytest.fixture
def inside(bare: Page) -> Page:
    _open(bare)
    return bare


def _hue(page: Page, place: int) -> str:
    red, _, blue, opacity = page.evaluate("place => tintAt(place)", place)
    return "none" if opacity == 0 else "orange" if red > blue else "blue"


def test_letters_are_tinted_by_the_sign_of_the_unit_and_keys_leaf_through_units_fetched_ahead(inside: Page) -> None:
    text = inside.evaluate("fake.text")
    assert inside.locator("#inside-mind .inside-letters").text_content() == text
    for place in (0, 2, 3, 4, 5, 9, 15, 19):
        assert _hue(inside, place) == ("orange" if text[place] in "aeiou" else "blue")
    inside.wait_for_function("fake.asked.filter(([name]) => name === 'inside_trace').length === 3")  # 80 units
    inside.keyboard.press("ArrowRight")
    expect(inside.locator(".claim-text")).to_have_text("Unit 4 has no name yet: what would you call it?")
    inside.keyboard.press("ArrowLeft")
    for _ in range(4):
        inside.keyboard.press("ArrowLeft")
    expect(inside.get_by_label("Unit", exact=True)).to_have_value("79")
    assert len(inside.evaluate(_ASKED, "inside_trace")) == 3  # no unit was asked for when it was wanted
    inside.get_by_role("button", name="1 simpler one").click()
    inside.get_by_role("button", name="spaces").click()  # orange where it is so, also if it is never above zero
    assert [_hue(inside, place) for place in (0, 1, 2)] == ["blue", "orange", "blue"]
    expect(inside.locator(".scale-edges")).to_have_text("−1.54−1.18−0.82−0.46")
    inside.get_by_role("button", name="vowels").click()
    inside.get_by_label("Show its").select_option("forget gate")  # 0.9 everywhere: open
    expect(inside.locator(".scale-high")).to_have_text("open")
    assert {_hue(inside, place) for place in (0, 2, 4)} == {"orange"}


def test_claims_say_what_was_measured_and_a_unit_without_one_takes_the_visitors_word(inside: Page) -> None:
    claim, evidence = inside.locator(".claim-text"), inside.locator(".claim")
    expect(claim).to_have_text("Unit 3 tells whether this is a vowel: orange where it is so.")
    changed = "a new line comes next with a chance of 13 % instead of 3.4 %; with other units held 3.1 % to 3.7 %."
    measured = "Measured on the text kept for validation"
    for words in ("97 of 100", "untrained network: 70", "four characters alone: 64", measured, changed):
        expect(evidence).to_contain_text(words)
    assert inside.locator(".chips-box .chip").all_text_contents() == ["vowels", "late", "verse", "1 simpler one"]
    inside.get_by_role("button", name="1 simpler one").click()
    expect(inside.get_by_role("button", name="spaces")).to_be_visible()
    inside.get_by_role("button", name="unit 21").click()  # which tells the same
    expect(claim).to_contain_text("Unit 21 tells whether this is a vowel")
    expect(inside.get_by_label("Your name for this unit")).to_be_hidden()
    inside.get_by_role("button", name="late").click()
    expect(claim).to_contain_text("blue where it is so")
    expect(evidence).to_contain_text("no more than other units do")
    inside.get_by_role("button", name="verse").click()
    expect(evidence).to_contain_text("too little to call it so")
    expect(inside.locator(".corner-text").first).to_have_text("it was <i>")
    inside.get_by_label("Unit", exact=True).fill("40")
    inside.keyboard.press("Enter")
    inside.get_by_label("Your name for this unit").fill("<b>mine</b>")
    inside.keyboard.press("Enter")
    expect(claim).to_have_text("You call unit 40 “<b>mine</b>”.")
    inside.reload()
    _open(inside)
    expect(inside.locator(".chip.is-yours")).to_have_text("“<b>mine</b>”")
    assert inside.evaluate("document.querySelector('.inside b')") is None
    expect(inside.locator(".numbers-table")).to_be_hidden()
    inside.get_by_label("Numbers").check()
    expect(inside.locator(".numbers-table tbody tr").first).to_contain_text("0.972")
    with inside.expect_download() as download:
        inside.get_by_role("button", name="Download as CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("property,layer,unit,")
    assert lines[1].startswith("vowels,0,3,cell,1,0.972,0.701,0.639,11.2,-1,2,0.02,0.004,,,a new line,")


def test_typed_text_is_coloured_as_text_and_what_the_model_cannot_read_is_said(inside: Page) -> None:
    letters = inside.locator("#inside-mind .inside-letters")
    inside.get_by_role("button", name="Type your own text").click()
    inside.keyboard.insert_text("xo<img src=x onerror=alert(1)>")
    inside.wait_for_function("fake.asked.some(([, request]) => request.text?.endsWith('alert(1)>'))")
    expect(letters).to_have_text("xo<img src=x onerror=alert(1)>")
    assert [_hue(inside, place) for place in (0, 1)] == ["blue", "orange"]
    inside.keyboard.insert_text("Ω")
    expect(inside.locator("#inside-mind .inside-problem")).to_have_text("The model has never seen Ω.")
    inside.keyboard.press("Backspace")
    expect(inside.locator("#inside-mind .inside-problem")).to_be_empty()
    inside.get_by_role("button", name="Its own text again").click()
    expect(letters).to_have_text(inside.evaluate("fake.text"))
    inside.get_by_label("Age of this network").fill("0")
    expect(inside.locator(".age output")).to_have_text("after 0.7 s (step 6)")
    inside.wait_for_function("fake.asked.some(([name, request]) => name === 'inside_trace' && request.age === 6)")
    then = inside.locator(".inside-then").first
    expect(then).to_be_hidden()
    inside.get_by_role("tab", name="Moments like this").click()
    expect(then).to_have_text("The network as it was after 0.7 s of training.")
    inside.wait_for_function("fake.asked.some(([name, request]) => name === 'inside_moments' && request.age === 6)")
    inside.wait_for_function("fake.asked.some(([name, request]) => name === 'inside_corners' && request.age === 6)")


def test_a_busy_server_is_asked_again_for_the_units_and_the_film_is_fetched_anew_when_they_come(bare: Page) -> None:
    page = bare
    page.add_script_tag(path=_FAKE)
    page.evaluate(
        "window.insideFake = (make => () => { const it = make(); it.busy.times = 1; return it; })(insideFake)"
    )
    page.evaluate("openInside()")
    page.get_by_role("tab", name="Being born").click()
    expect(page.locator("#inside-birth .curves-line")).to_have_count(2)
    expect(page.locator(".chips-working").first).to_contain_text("Busy.")
    assert [each["film"] for each in page.evaluate(_ASKED, "inside_ages") if "film" in each] == [True]
    page.wait_for_function(
        "fake.asked.filter(([name, request]) => name === 'inside_ages' && request.film).length === 2"
    )
    expect(page.locator("#inside-birth .curves-line")).to_have_count(2)
    assert len(page.evaluate(_ASKED, "inside_units")) == 2


_LIVE = """
localStorage.setItem('charlstm-unit-names', JSON.stringify({ 'live: A fake/0/40': 'mine' }));
window.insideFake = (make => () => {
  const it = make(), known = it.answers.inside_units({ model: 'fake' });
  it.models.splice(0, 2, { name: 'live: A fake', label: 'live: A fake' });
  it.answers.inside_units = () => ({ ...known, state: 'working' }); // has names already
  it.end = () => {
    it.models.splice(0, 1, { name: 'first', label: 'Another' }, { name: 'run', label: 'A fake' });
    it.answers.inside_version = () => ({ version: 2, model: 'run' });
    it.answers.inside_units = () => ({ ...known, state: 'working', progress: 0.5, stage: 'once more', units: [], nearly: [] });
  };
  it.finish = () => { it.answers.inside_units = () => ({ ...known, units: known.units.slice(1) }); };
  return it;
})(insideFake)
"""  # noqa: E501


def test_a_network_in_training_becomes_its_run_with_all_that_is_shown_of_it(bare: Page) -> None:
    page = bare
    page.add_script_tag(path=_FAKE)
    page.evaluate(_LIVE)
    page.evaluate("openInside()")
    names = ["vowels", "late", "“mine”", "verse", "1 simpler one"]
    page.get_by_role("button", name="late").click()
    page.evaluate("fake.end()")
    expect(page.get_by_label("Model to look into")).to_have_value("run")
    expect(page.locator(".chips-working").first).to_contain_text("once more")
    assert page.locator("#inside-mind .chips-box .chip").all_text_contents() == names
    expect(page.get_by_label("Unit", exact=True)).to_have_value("9")
    expect(page.locator("#inside-mind .claim-text")).to_contain_text("past its middle")
    page.wait_for_function("fake.asked.some(([name, { model }]) => name === 'inside_trace' && model === 'run')")
    page.evaluate("fake.finish()")
    expect(page.locator("#inside-mind .chips-working")).to_be_hidden()
    assert page.locator("#inside-mind .chips-box .chip").all_text_contents() == names


def test_the_birth_of_a_unit_and_moments_like_one_are_shown_and_follow_the_model(inside: Page) -> None:
    tab = inside.get_by_role("tab", name="What it keeps in mind")
    tab.focus()
    inside.keyboard.press("End")
    expect(inside.get_by_role("tab", name="Moments like this")).to_be_focused()
    expect(inside.locator(".moments-list li")).to_contain_text("before it was")
    expect(inside.locator(".moments-found .mind-source")).to_have_text("Found in the text that it learned from.")
    inside.get_by_role("tab", name="Being born").click()
    birth = inside.locator("#inside-birth")
    expect(birth.locator(".curves-line")).to_have_count(2)
    expect(birth.locator(".claim-text")).to_have_text(
        "After 6.0 s unit 3 is right about “vowels” for 97 of 100 pairs of places."
    )
    expect(birth.locator(".claim-evidence")).to_have_text(
        "Guessing: 50. At the end: 97. It was half way there after 1.2 s."
    )
    inside.get_by_label("Moment of the training", exact=True).fill("1")
    expect(birth.locator(".unit-film-clock")).to_have_text("after 0.7 s · step 6")
    choice = inside.get_by_label("Model to look into")
    inside.evaluate("fake.models[1] = { name: 'new', label: 'Just trained' }")  # while the page is open
    choice.focus()
    expect(choice.locator("option")).to_have_text(["A fake", "Just trained"])
    choice.select_option("new")
    expect(birth).to_contain_text("No states of this network were kept")
    tab.click()
    expect(inside.locator(".chips").first).to_contain_text("Nothing here follows one property alone")
