"""A file that was chosen to learn from is found again, by nobody else, and makes room for newer ones."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from charlstm.ui import corpus_picker
from charlstm.ui.corpus_picker import Uploads


def _file(place: Path, name: str, text: str) -> str:
    path = place / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_found_under_its_id_after_the_upload_itself_is_gone(tmp_path: Path) -> None:
    file = _file(tmp_path, "a text.txt", "to be")
    upload_id = Uploads(tmp_path / "runs").keep(file)
    Path(file).unlink()
    found = Uploads(tmp_path / "runs").find(upload_id)  # as after a restart
    assert found is not None
    assert (found.name, found.read_text(encoding="utf-8")) == ("a text.txt", "to be")


@pytest.mark.parametrize("wrong", ["", "..", "../runs", "0" * 32, None, 5, ["x"], {"path": "/etc/passwd"}])
def test_what_is_no_id_finds_nothing(tmp_path: Path, wrong: object) -> None:
    kept = Uploads(tmp_path)
    kept.keep(_file(tmp_path, "a.txt", "x"))
    assert kept.find(wrong) is None


def test_the_oldest_make_room_and_the_newest_stays_however_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_picker, "_MOST_BYTES", 10)
    kept, ids = Uploads(tmp_path / "runs"), []
    for age, text in ((3, "1234"), (2, "5678"), (1, "90"), (0, "x" * 50)):
        ids.append(kept.keep(_file(tmp_path, "a.txt", text)))
        place = tmp_path / "runs" / ".uploads" / ids[-1]
        os.utime(place, (place.stat().st_mtime - 10 * age,) * 2)
        if age == 1:
            assert all(kept.find(each) for each in ids), "ten bytes are not too much"
    assert [kept.find(each) is not None for each in ids] == [False, False, False, True]


def test_where_nothing_can_be_kept_nothing_fails(tmp_path: Path) -> None:
    assert Uploads(Path(_file(tmp_path, "no-folder", ""))).keep(_file(tmp_path, "a.txt", "x")) == ""
    assert Uploads(tmp_path).keep(None) == ""


@pytest.mark.browser
def test_a_file_dropped_anywhere_is_chosen_and_there_after_a_reload(page: Page) -> None:
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#run-state .badge")).to_be_visible()
    make = "new File([`${'the mice and the men\\n'.repeat(60)}`], 'of mice.txt', { type: 'text/plain' })"
    dropped = page.evaluate_handle(f"() => {{ const data = new DataTransfer(); data.items.add({make}); return data; }}")
    page.dispatch_event("#runs", "drop", {"dataTransfer": dropped})
    expect(page.locator("#corpus-facts")).to_contain_text("1,260 characters")
    expect(page.locator("#preset-facts")).to_contain_text("1,260 characters are few")
    page.get_by_role("button", name="Begin with the Shakespeare model").click()
    expect(page.locator("#preset-facts")).to_contain_text("tiny-shakespeare can write already")
    page.wait_for_function("JSON.parse(localStorage.getItem('charlstm-form')).at(-1)")
    page.reload(wait_until="load")
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_role("combobox", name="Text to learn")).to_have_value("Upload a file")
    expect(page.locator("#corpus-facts")).to_contain_text("1,260 characters")
