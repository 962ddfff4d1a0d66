"""Whatever names a repository is understood: what people type, and what they paste."""

import huggingface_hub.constants
import pytest
from loopback import OWNER, LoopbackHub

from charlstm.errors import HubError
from charlstm.hub.pull import fetch
from charlstm.hub.push import ModelFiles, build_files, push
from charlstm.hub.repo_names import RepoName, parse_repo, validate_repo_id


@pytest.mark.parametrize(
    ("typed", "revision"),
    [
        ("u/m", None),
        ("  u/m/ ", None),
        ("u/m@v2", "v2"),
        ("u/m@refs/pr/1", "refs/pr/1"),
        ("u/m/tree/main", None),
        ("https://huggingface.co/u/m", None),
        ("HTTPS://HuggingFace.co/u/m/", None),
        ("http://hf.co/u/m?library=x#usage", None),
        ("hf.co/u/m", None),
        ("huggingface.co/u/m/blob/v2/README.md", "v2"),
        ("https://huggingface.co/u/m/resolve/refs%2Fpr%2F1/model.safetensors?download=true", "refs/pr/1"),
        ("https://huggingface.co/u/m/tree/refs/pr/1", "refs/pr/1"),
        ("https://huggingface.co/u/m/commit/0123abc", "0123abc"),
        ("https://huggingface.co/u/m/discussions/3", None),
        ("https://huggingface.co/u/m.git", None),
        ("git@hf.co:u/m", None),
        ("hf://u/m@dev/model.safetensors", "dev"),
        ("https://huggingface.co/api/models/u/m", None),
    ],
)
def test_what_is_pasted_names_a_model(typed: str, revision: str | None) -> None:
    name = parse_repo(typed)
    assert (name.repo_id, name.revision) == ("u/m", revision)


@pytest.mark.parametrize(
    ("typed", "kind", "said"),
    [
        ("https://huggingface.co/datasets/u/d/viewer/default", "model", "u/d is a data set"),
        ("hf://datasets/u/d/file.txt", "model", "u/d is a data set"),
        ("datasets/u/d", "space", "u/d is a data set"),
        ("https://hf.co/spaces/u/s", "model", "u/s is a Space"),
        ("https://hf.co/u/m", "space", "u/m is a model"),
    ],
)
def test_an_address_of_another_kind_is_told_as_what_it_is(typed: str, kind: str, said: str) -> None:
    with pytest.raises(HubError, match=said):
        validate_repo_id(typed, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("typed", ["u/s", "spaces/u/s", "https://huggingface.co/spaces/u/s/tree/main"])
def test_a_space_is_named_with_and_without_its_kind(typed: str) -> None:
    assert validate_repo_id(typed, "space") == "u/s"


@pytest.mark.parametrize(
    "typed",
    ["https://example.com/u/m", "https://huggingface.co/u", "https://huggingface.co", "hf://", "a/b/c", "u/m/x/y"],
)
def test_what_names_no_repository_is_refused(typed: str) -> None:
    with pytest.raises(HubError, match="not a repository name"):
        validate_repo_id(typed)


def test_the_hub_that_is_set_is_known_by_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.example:8443")
    assert parse_repo("https://hub.example:8443/u/m/tree/v2") == RepoName("u/m", "model", "v2")


def test_a_pasted_address_is_pushed_to_and_pulled_from(hub: LoopbackHub, trained, packed: ModelFiles) -> None:  # type: ignore[no-untyped-def]
    parcel = build_files(trained, f"{hub.address()}/owner/tiny/tree/second")
    assert parcel.repo_id == "owner/tiny"
    push(parcel, OWNER)
    assert "model.safetensors" in hub.model("owner/tiny").files("second")
    assert fetch(f"{hub.address()}/owner/tiny/blob/second/README.md").read_bytes() == packed.files["model.safetensors"]


@pytest.mark.parametrize(("kind", "word"), [("dataset", "a data set"), ("space", "a Space")])
def test_a_name_that_belongs_to_another_kind_is_told_as_what_it_is(hub: LoopbackHub, kind: str, word: str) -> None:
    hub.add("owner/thing", {"README.md": b""}, kind=kind)
    with pytest.raises(HubError, match=f"owner/thing is {word} on the Hub"):
        fetch("owner/thing")
