"""The file of a page: what it holds, what it refuses, and that no text in it is ever HTML."""

import base64
import errno
import hashlib
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands import assert_one_sentence, run
from page_models import MARKUP, small_model

from charlstm import LanguageModel
from charlstm.config import SampleConfig
from charlstm.errors import ExportError
from charlstm.export import page as module
from charlstm.export.page import build_page, write_page


class _Reader(HTMLParser):
    """What a browser would make of a page: its elements, and the text of those that hold text alone."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.elements.append((tag, named))
        self._open = named.get("id") or tag

    def handle_endtag(self, _tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


_LINKS = {MARKUP: "https://example.org/?a=1&b=2", "no": "javascript:alert(1)"}


@pytest.fixture(scope="module")
def marked() -> _Reader:
    return _Reader(build_page(small_model(), MARKUP, links=_LINKS))


def test_markup_in_the_name_the_beginnings_and_the_vocabulary_of_a_model_stays_text(marked: _Reader) -> None:
    plain = _Reader(build_page(small_model(corpus="plain.txt", beginnings=("the ",))))
    assert [tag for tag, _ in marked.elements if tag != "a"] == [tag for tag, _ in plain.elements]
    facts = json.loads(marked.texts["facts"])
    assert facts["page"]["prompts"] == [MARKUP[:16], "</script>", "<!--"]
    assert "".join(facts["vocabulary"]["characters"]) == "".join(small_model().vocabulary.characters)
    assert MARKUP[:30] in marked.texts["h1"]
    assert "</script><img" in marked.texts["lead"]


def test_only_addresses_of_pages_become_links(marked: _Reader) -> None:
    assert [link["href"] for link in marked.named("a")] == ["https://example.org/?a=1&b=2"]
    assert marked.texts["a"].startswith(MARKUP)


def test_the_policy_allows_the_pages_own_style_and_script_and_no_request(marked: _Reader) -> None:
    policy = next(each["content"] for each in marked.named("meta") if "http-equiv" in each)
    scripts = [each for each in marked.named("script") if each.get("type") == "module"]
    assert len(scripts) == 1
    allowed = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    for kind, element in (("style-src", "style"), ("script-src", "script")):
        digest = base64.b64encode(hashlib.sha256(marked.texts[element].encode()).digest()).decode()
        assert allowed[kind].split()[0] == f"'sha256-{digest}'", kind
    assert (allowed["default-src"], allowed["img-src"]) == ("'none'", "data:")
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", "".join(str(each) for each in marked.named("link")))


def test_the_weights_are_those_that_are_packed_and_the_bounds_those_of_sampling(marked: _Reader) -> None:
    facts = json.loads(marked.texts["facts"])
    weights = zlib.decompress(base64.b64decode(marked.texts["weights"]))
    assert len(weights) == facts["network"]["numBytes"]
    settings = facts["page"]["settings"]
    assert {name: each["standard"] for name, each in settings.items()} == {
        name: getattr(SampleConfig(), name) for name in settings
    }
    assert (settings["top_p"]["least"], settings["top_p"]["isAbove"], settings["top_k"]["isWhole"]) == (0, True, True)


def test_a_title_is_one_line_of_bounded_length_and_names_the_download() -> None:
    reader = _Reader(build_page(small_model(), title=f"Grandma's\n letters {'x' * 200}"))
    assert reader.texts["h1"].startswith("Grandma's letters x")
    assert len(reader.texts["h1"].strip()) < 100
    assert json.loads(reader.texts["facts"])["page"]["fileName"].startswith("grandma-s-letters")


def test_lone_surrogates_and_no_provenance_are_no_obstacle() -> None:
    model = small_model(characters="ab\ud800\n", has_provenance=False)
    facts = json.loads(_Reader(build_page(model)).texts["facts"])
    assert facts["vocabulary"]["characters"] == ["a", "b", "\ud800", "\n"]
    assert facts["page"]["prompts"] == []


def test_the_bundled_model_fits_its_size(repository: Path) -> None:
    page = build_page(LanguageModel.load(repository / "checkpoints" / "tiny-shakespeare"))
    assert len(page) <= 3_600_000


class TestRefused:
    def test_a_model_too_large_for_a_phone_is_refused_with_the_limit_and_the_reason(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(module, "MOST_BYTES", 100)
        with pytest.raises(ExportError) as refused:
            write_page(small_model(), tmp_path / "page.html")
        assert_one_sentence(f"{refused.value}\n")
        assert "phone" in str(refused.value)
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_leaves_the_page_that_was_there(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        page.write_text("earlier")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(ExportError, match="No space left on device"):
            small_model().export_html(page)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_the_command_writes_the_page_and_refuses_a_folder(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    code, out, err = run("export", tmp_path / "model", tmp_path / "page.html", "--title", "Mine", "--float16")
    assert (code, err) == (0, "")
    assert "page.html" in out
    reader = _Reader((tmp_path / "page.html").read_bytes())
    assert reader.texts["h1"].strip() == "Mine"
    assert json.loads(reader.texts["facts"])["network"]["kind"] == "float16"
    code, out, err = run("export", tmp_path / "model", tmp_path)
    assert (code, out) == (1, "")
    assert_one_sentence(err)


@pytest.mark.parametrize("more", [[], ["--plain"]])
def test_the_command_never_writes_over_the_model(tmp_path: Path, more: list[str]) -> None:
    small_model().save(tmp_path / "model")
    own = tmp_path / "model" / "model.safetensors"
    before = own.read_bytes()
    code, out, err = run("export", tmp_path / "model", own.parent if more else own, *more)
    assert (code, out) == (2, "")
    assert_one_sentence(err)
    assert own.read_bytes() == before
    assert [*own.parent.iterdir()] == [own]
