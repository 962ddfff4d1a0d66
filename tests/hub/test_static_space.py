"""A model's page becomes a static Space beside its repository: what is sent, the links, what is refused, what fails."""

import dataclasses
import io
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from commands import sentence_of
from huggingface_hub import ModelCard
from loopback import OWNER, READER, Fault, LoopbackHub
from loopback_repos import NEW_STATIC_SPACE
from PIL import Image

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.cli import main
from charlstm.errors import HubError
from charlstm.hub import client, static_space, thumbnail
from charlstm.hub.card import CardFacts
from charlstm.hub.client import Progress
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.hub.thumbnail import thumbnail_png

_COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}  # all that the Hub knows
_SENT = {"README.md", "index.html", "thumbnail.png"}


@pytest.fixture(scope="session")
def with_page(trained: Path) -> ModelFiles:
    """The model and its page, which is larger than what the Hub on this machine takes inside a commit."""
    files = build_files(trained, "owner/tiny", space="owner/tiny")
    page = dataclasses.replace(files.page, files={**files.page.files, "index.html": bytes(600_000)})
    return dataclasses.replace(files, page=page)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's waits between two attempts, and ours: noted, not made."""
    seconds: list[float] = []
    waits = SimpleNamespace(sleep=seconds.append, time=time.time)
    monkeypatch.setattr(client, "time", waits)
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", waits)
    return seconds


def _front_matter(readme: bytes) -> dict[str, Any]:
    return dict(yaml.safe_load(readme.decode().split("---\n")[1]))


def _page_files(hub: LoopbackHub) -> dict[str, bytes]:
    return {name: data for name, data in hub.repos["space/owner/tiny"].files().items() if name != ".gitattributes"}


def test_a_page_and_its_model_are_made_and_linked_both_ways(hub: LoopbackHub, trained: Path) -> None:
    files = build_files(trained, "owner/tiny", space="owner/tiny")
    address = push(files, OWNER)
    assert address.startswith(f"{hub.address()}/owner/tiny/commit/")
    model, space = hub.model("owner/tiny"), hub.repos["space/owner/tiny"]
    assert model.private
    assert space.private
    assert space.created_with["sdk"] == "static"
    assert _page_files(hub) == files.page.files
    assert set(files.page.files) == _SENT, "and nothing is left of the Hub's own page"
    front = _front_matter(files.page.files["README.md"])
    assert front["sdk"] == "static"
    assert front["app_file"] == "index.html"
    assert front["models"] == ["owner/tiny"]
    assert front["license"] == "mit"
    assert {front["colorFrom"], front["colorTo"]} <= _COLORS
    assert not front["emoji"].isascii()
    assert max(len(front["title"]), len(front["short_description"])) <= 60
    assert front["thumbnail"] == f"{hub.address()}/spaces/owner/tiny/resolve/main/thumbnail.png"
    assert f"]({hub.address()}/owner/tiny)" in files.page.files["README.md"].decode()
    assert f"]({hub.address()}/spaces/owner/tiny)" in model.files()["README.md"].decode()
    assert f"{hub.address()}/owner/tiny".encode() in files.page.files["index.html"]
    assert Image.open(io.BytesIO(files.page.files["thumbnail.png"])).size == (1200, 630)
    assert hub.authorizations("storage") == {None}


def test_without_a_page_no_space_is_asked_for_and_the_card_names_none(hub: LoopbackHub, packed: ModelFiles) -> None:
    push(packed, OWNER)
    assert [each for each in hub.requests if "spaces" in each.path] == []
    assert "spaces/owner" not in packed.card


def test_a_second_time_nothing_changes_and_nothing_travels(hub: LoopbackHub, with_page: ModelFiles) -> None:
    push(with_page, OWNER)
    hub.requests.clear()
    push(with_page, OWNER)
    assert len(hub.repos["space/owner/tiny"].trees) == 2  # the Hub's own commit, and ours
    assert [each for each in hub.requests if each.method == "PUT"] == []


def test_what_others_put_beside_the_page_stays(hub: LoopbackHub, with_page: ModelFiles) -> None:
    push(with_page, OWNER)
    space = hub.repos["space/owner/tiny"]
    space.commit("main", {**space.files(), "style.css": b"mine", "notes.md": b"mine"})
    again = dataclasses.replace(with_page.page, files={**with_page.page.files, "index.html": b"newer"})
    push(dataclasses.replace(with_page, page=again), OWNER)
    assert _page_files(hub) == {**again.files, "style.css": b"mine", "notes.md": b"mine"}


@pytest.mark.parametrize(
    ("there", "private", "expected"),
    [
        ({"README.md": b"---\nsdk: gradio\n---\n", "app.py": b"x"}, True, "runs an app"),
        ({"README.md": b"---\nsdk: static\n---\n", "index.html": b"my diary"}, True, "a page of another kind"),
        ({"README.md": b"---\nsdk: static\ntags: [char-lstm]\n---\n", "index.html": b"x"}, False, "already and public"),
    ],
)
def test_a_space_that_is_something_else_is_left_alone(
    hub: LoopbackHub, with_page: ModelFiles, there: dict[str, bytes], private: bool, expected: str
) -> None:
    space = hub.add("owner/tiny", there, private, kind="space")
    assert expected in sentence_of(lambda: push(with_page, OWNER))
    assert space.files() == there
    assert "model/owner/tiny" not in hub.repos


def test_a_space_that_was_only_made_is_filled(hub: LoopbackHub, with_page: ModelFiles) -> None:
    hub.add("owner/tiny", {**NEW_STATIC_SPACE, "notes.md": b"mine"}, private=True, kind="space")
    push(with_page, OWNER)
    assert _page_files(hub) == {**with_page.page.files, "notes.md": b"mine"}


def test_a_private_model_does_not_get_out_by_its_page(hub: LoopbackHub, with_page: ModelFiles) -> None:
    repo = hub.add("owner/tiny", {"README.md": b"before"}, private=True)
    assert "a page for everyone would hold all of it" in sentence_of(lambda: push(with_page, OWNER, private=False))
    assert repo.files() == {"README.md": b"before"}
    assert "space/owner/tiny" not in hub.repos
    push(with_page, OWNER)
    assert hub.repos["space/owner/tiny"].private


def test_a_page_is_as_public_as_is_chosen(hub: LoopbackHub, with_page: ModelFiles) -> None:
    push(with_page, OWNER, private=False)
    assert not hub.model("owner/tiny").private
    assert not hub.repos["space/owner/tiny"].private


def test_a_page_shows_no_branch(hub: LoopbackHub, with_page: ModelFiles) -> None:
    assert "leave out the branch" in sentence_of(lambda: push(with_page, OWNER, revision="second"))
    assert hub.requests == []


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("/api/spaces/owner/tiny", 500), "has a problem"),
        (Fault("/api/spaces/owner/tiny", 403), "may not read spaces/owner/tiny"),
        (Fault("/api/spaces/owner/tiny", 0), "connection broke"),
        (Fault("/api/repos/create", 403, after=1), "may not write to spaces/owner/tiny"),
        (Fault("/api/repos/create", 402, after=1), "a paid plan for spaces/owner/tiny"),
        (Fault("/api/repos/create", 429, after=1), "try again in a few minutes"),
    ],
)
def test_where_there_can_be_no_space_nothing_is_sent(
    hub: LoopbackHub, with_page: ModelFiles, fault: Fault, expected: str
) -> None:
    hub.faults.append(dataclasses.replace(fault))
    assert expected in sentence_of(lambda: push(with_page, OWNER))
    model = hub.repos.get("model/owner/tiny")
    assert model is None or set(model.files()) == {".gitattributes"}
    hub.faults.clear()
    push(with_page, OWNER)
    assert _page_files(hub) == with_page.page.files
    assert set(with_page.files) < set(hub.model("owner/tiny").files())


@pytest.mark.usefixtures("slept")
@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/spaces/owner/tiny/tree/", 500, "has a problem"),
        ("/spaces/owner/tiny/preupload/", 404, "no spaces/owner/tiny on the Hub"),
        ("/spaces/owner/tiny/preupload/", 500, "has a problem"),
        ("/spaces/owner/tiny.git/info/lfs/objects/batch", 403, "may not write to spaces/owner/tiny"),
        ("/spaces/owner/tiny.git/info/lfs/objects/batch", 507, "no storage left for spaces/owner/tiny"),
        ("/spaces/owner/tiny/commit/", 409, "spaces/owner/tiny was changed by somebody else"),
        ("/spaces/owner/tiny/commit/", 413, "larger than the Hub takes"),
        ("/spaces/owner/tiny/commit/", 0, "connection broke"),
    ],
)
def test_a_page_that_fails_is_told_the_model_is_kept_and_the_next_time_completes(
    hub: LoopbackHub, with_page: ModelFiles, path: str, status: int, expected: str
) -> None:
    hub.faults.append(Fault(path, status))
    told = sentence_of(lambda: push(with_page, OWNER))
    assert told.startswith("the model is published, its page is not yet: ")
    assert expected in told
    assert set(with_page.files) < set(hub.model("owner/tiny").files())
    assert b"Welcome to your static Space" in _page_files(hub)["index.html"]
    hub.faults.clear()
    push(with_page, OWNER)
    assert _page_files(hub) == with_page.page.files


@pytest.mark.parametrize(
    "path", ["/api/spaces/owner/tiny", "/spaces/owner/tiny/preupload/", "/spaces/owner/tiny/commit/"]
)
def test_a_hub_that_is_busy_once_is_asked_again(
    hub: LoopbackHub, with_page: ModelFiles, slept: list[float], path: str
) -> None:
    steps: list[Progress] = []
    hub.faults.append(Fault(path, 503, times=1))
    push(with_page, OWNER, report=steps.append)
    assert _page_files(hub) == with_page.page.files
    assert len([step for step in steps if "trying again" in step.words]) == len(slept) == 1


def test_the_bytes_of_the_page_are_told_while_they_travel(hub: LoopbackHub, with_page: ModelFiles) -> None:
    steps: list[Progress] = []
    push(with_page, OWNER, report=steps.append)
    sent = [step for step in steps if step.words == "sending index.html"]
    assert sent[-1].num_bytes == sent[-1].total_bytes == len(with_page.page.files["index.html"])
    assert hub.authorizations() - {None} == {f"Bearer {OWNER}"}


@pytest.mark.usefixtures("hub")
def test_a_login_without_a_right_is_told(with_page: ModelFiles) -> None:
    assert "may not write to owner/tiny" in sentence_of(lambda: push(with_page, READER))


class TestTheCommand:
    def test_publishes_the_model_and_its_page(
        self, hub: LoopbackHub, trained: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["push", str(trained), "owner/tiny", "--space", "owner/write-with-tiny", "--public"]) == 0
        out = capsys.readouterr().out
        assert out.endswith(f"its page: {hub.address()}/spaces/owner/write-with-tiny\n")
        space = hub.repos["space/owner/write-with-tiny"]
        assert not space.private
        assert space.front_matter()["models"] == ["owner/tiny"]
        assert f"{hub.address()}/spaces/owner/write-with-tiny)" in hub.model("owner/tiny").files()["README.md"].decode()

    def test_lays_out_and_lists_what_it_would_send(
        self,
        hub: LoopbackHub,
        trained: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        assert main(["push", str(trained), "owner/tiny", "--page", "--dry-run"]) == 0
        out = capsys.readouterr().out
        assert hub.requests == []
        folder = Path(out.splitlines()[-1].rpartition(" ")[2])
        assert {each.name for each in folder.iterdir()} == _SENT
        for each in folder.iterdir():
            assert f"{each.stat().st_size:,} bytes  {each.name}" in out
        assert main(["push", str(trained), "owner/tiny", "--page"]) == 0
        assert _page_files(hub) == {each.name: each.read_bytes() for each in folder.iterdir()}

    def test_refuses_a_space_that_is_none(self, hub: LoopbackHub, trained: Path) -> None:
        with pytest.raises(HubError, match="is a data set by its address; a Space is wanted here"):
            build_files(trained, "owner/tiny", space=f"{hub.address()}/datasets/owner/tiny")
        with pytest.raises(HubError, match="not a repository name"):
            build_files(trained, "owner/tiny", space="tiny")
        assert hub.requests == []


def test_a_page_and_its_absence_are_told_apart(packed: ModelFiles, with_page: ModelFiles) -> None:
    other = dataclasses.replace(with_page, page=dataclasses.replace(with_page.page, repo_id="owner/other"))
    assert len({packed.digest, with_page.digest, other.digest}) == 3


def test_a_corpus_name_stays_text_in_the_readme_of_the_space(trained: Path) -> None:
    model = LanguageModel.load(trained)
    hostile = dataclasses.replace(
        model, provenance=model.provenance.model_copy(update={"corpus": "`</script><img src=x>\n---\nsdk: docker\n"})
    )
    readme = static_space._readme(CardFacts("owner/tiny", hostile, False), "owner/tiny")
    assert ModelCard(readme).data.to_dict()["sdk"] == "static"
    assert "`'</script><img src=x> --- sdk: docker`" in readme


def _drawn_rows(picture: bytes) -> list[int]:
    """Rows of a picture that are not all of its paper."""
    image = Image.open(io.BytesIO(picture)).convert("L")
    return [y for y in range(image.height) if min(image.crop((0, y, image.width, y + 1)).tobytes()) < 200]


@pytest.mark.parametrize(("characters", "is_drawn"), [("abcdefgh \n", True), ("あいうえおかきく \n", False)])
def test_the_thumbnail_shows_a_text_unless_its_font_lacks_the_letters(characters: str, is_drawn: bool) -> None:
    model = LanguageModel.create(Vocabulary(tuple(sorted(characters))), ModelConfig(hidden_size=4), seed=1)
    rows = _drawn_rows(thumbnail_png("a" * 96, "facts", model))
    assert min(rows) > 40, "the name"
    assert (max(rows) > 212) is is_drawn
    assert max(rows) < 600


def test_a_surprise_has_the_same_tint_on_the_page_in_an_exported_one_and_in_a_thumbnail(repository: Path) -> None:
    package = repository / "charlstm"
    scripts = [(package / name).read_text() for name in ("ui/static/reader.js", "export/page_text.js")]
    told = [[float(edge) for edge in re.findall(r"EDGES = \[([^]]+)", script)[0].split(",")] for script in scripts]
    assert told == [list(thumbnail._EDGES)] * 2
    styles = [(package / name).read_text() for name in ("ui/static/reader.css", "export/page.css")]
    light = re.findall(r"(?m)^\.is-tinted \.s\d[^{]*\{ background: (#\w+)", styles[0])
    assert light == re.findall(r"--s\d: (#\w+)", styles[1])[:5] == list(thumbnail._TINTS[1:])
