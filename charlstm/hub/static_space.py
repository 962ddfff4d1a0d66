"""A static Space with a model's page: free for every account, and linked with the model's repository both ways.

The page is one file that holds the model, so the Space needs no server: whoever opens it writes in their own browser.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, SpaceCardData, constants
from huggingface_hub.errors import RepositoryNotFoundError

from charlstm.errors import HubError
from charlstm.export.page import build_page
from charlstm.hub.card import TAGS, CardFacts, dataset_of, text_words
from charlstm.hub.client import OnProgress, commit_files, hub_call
from charlstm.hub.thumbnail import thumbnail_png

PAGE_FILE, THUMBNAIL_FILE = "index.html", "thumbnail.png"
_LONGEST_TITLE = 60  # characters, here and in the description: what the Hub takes
_TEMPLATE_SAYS = b"Welcome to your static Space"  # the page that the Hub puts into a new one
_TEMPLATE_FILES = ("style.css",)
_MOST_TEMPLATE_BYTES = 4096
_README = """---
{front_matter}
---

# {title}

![A text that the model wrote]({thumbnail})

A page that writes with [{model}]({model_address}), a character-level LSTM{trained_on}. The model is part of the page
and runs in the browser of whoever opens it: no server, and nothing that is typed there leaves it.

`{page}` is all of it. Saved to a disk it works without a network, from any folder or web site.

It knows nothing but the letters of its text: for learning and for fun, not where a mistake matters. Made with charlstm;
licence: `{license}`.
"""


@dataclass(frozen=True)
class PageFiles:
    """Files of a static Space, and nothing else: ready to be shown, written to a folder, or sent."""

    repo_id: str
    files: dict[str, bytes]

    @property
    def subject(self) -> str:
        """The Space in an error message: a model's repository may have the same name."""
        return f"spaces/{self.repo_id}"

    @property
    def address(self) -> str:
        """Where people find the Space."""
        return space_address(self.repo_id)

    @property
    def digest(self) -> str:
        """A digest that tells these files from any others."""
        return files_digest(self.subject, self.files)


def space_address(repo_id: str) -> str:
    """Return the address of a Space's page on the Hub."""
    return f"{constants.ENDPOINT}/spaces/{repo_id}"


def files_digest(repo: str, files: dict[str, bytes]) -> str:
    """Return a digest that tells `files` for repository `repo` from any others."""
    digest = hashlib.sha256(repo.encode())
    for name, data in sorted(files.items()):
        digest.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
    return digest.hexdigest()


def build_page_files(facts: CardFacts, repo_id: str) -> PageFiles:
    """Make the files of Space `repo_id` for the model of `facts`; raise `CharLSTMError` if it fits no page."""
    links = {"The model on the Hub": f"{constants.ENDPOINT}/{facts.repo_id}"}
    page = build_page(facts.language_model, links=links, picture=_thumbnail_address(repo_id))
    name = facts.repo_id.partition("/")[2]
    size = f"{facts.language_model.model.num_parameters:,}"
    drawn = thumbnail_png(name, f"A network of {size} numbers that writes in your browser", facts.language_model)
    files = {"README.md": _readme(facts, repo_id).encode(), PAGE_FILE: page, THUMBNAIL_FILE: drawn}
    return PageFiles(repo_id, files)


def _thumbnail_address(repo_id: str) -> str:
    return f"{space_address(repo_id)}/resolve/main/{THUMBNAIL_FILE}"


def _readme(facts: CardFacts, repo_id: str) -> str:
    """Write the README, whose front matter tells the Hub what this is."""
    origin = facts.language_model.provenance
    title = f"Write with {facts.repo_id.partition('/')[2]}"[:_LONGEST_TITLE]
    data = SpaceCardData(
        title=title,
        emoji="✍️",
        colorFrom="yellow",
        colorTo="red",
        sdk="static",
        app_file=PAGE_FILE,
        pinned=False,
        short_description="A small LSTM that writes in your browser, with no server",
        license=facts.license,
        models=[facts.repo_id],
        datasets=[dataset] if origin and (dataset := dataset_of(origin)) else None,
        tags=[*TAGS, "text-generation"],
        thumbnail=_thumbnail_address(repo_id),
    )
    return _README.format(
        front_matter=data.to_yaml().strip(),
        title=title,
        thumbnail=THUMBNAIL_FILE,
        model=facts.repo_id,
        model_address=f"{constants.ENDPOINT}/{facts.repo_id}",
        trained_on=f" trained on {text_words(origin)}" if origin else "",
        page=PAGE_FILE,
        license=facts.license,
    )


def check_space(api: HfApi, page: PageFiles, private: bool, report: OnProgress) -> bool:
    """Return whether the Space is there already with such a page.

    Raises `HubError` where it is there and is something else, or more public than is asked for.
    """
    with hub_call(page.subject, report):
        try:
            info = api.space_info(page.repo_id)
        except RepositoryNotFoundError:
            return False
        if info.sdk not in (None, "static"):
            raise HubError(
                f"{page.subject} is there already and runs an app; its page needs another name (`push --space`)."
            )
        if private and not info.private:
            raise HubError(f"{page.subject} is there already and public; choose public, or another name for the page.")
        tags = (info.card_data.get("tags") if info.card_data else None) or []
        names = [each.rfilename for each in info.siblings or []]
        is_ours = TAGS[0] in tags
        if not is_ours and PAGE_FILE in names and not _is_template(api, page):
            raise HubError(
                f"{page.subject} is there already and holds a page of another kind; this one needs another name "
                "(`push --space`)."
            )
    return is_ours


def _is_template(api: HfApi, page: PageFiles) -> bool:
    """Return whether the Space's page is the one that the Hub puts into each new Space."""
    file = Path(api.hf_hub_download(page.repo_id, PAGE_FILE, repo_type="space"))
    return file.stat().st_size <= _MOST_TEMPLATE_BYTES and _TEMPLATE_SAYS in file.read_bytes()


def create_space(api: HfApi, page: PageFiles, private: bool, report: OnProgress) -> None:
    """Make the Space if there is none. Raises `HubError`."""
    with hub_call(page.subject, report):
        api.create_repo(page.repo_id, repo_type="space", space_sdk="static", private=private, exist_ok=True)


def send_page(api: HfApi, page: PageFiles, is_update: bool, report: OnProgress) -> None:
    """Send the files as one commit; raise `HubError`.

    What lies there beside them stays, but for what the Hub put into a new Space, which is no `is_update`.
    """
    with hub_call(page.subject, report):
        there = [] if is_update else api.list_repo_files(page.repo_id, repo_type="space")
        stale = [name for name in _TEMPLATE_FILES if name in there]
        where = {"repo_id": page.repo_id, "repo_type": "space"}
        commit_files(api, where, page.files, "Publish the page with charlstm", report, removed=stale)
