"""Addresses of the code and of the blog post that the page links to, where they are known."""

from importlib.metadata import PackageNotFoundError, metadata

from charlstm.environment import SPACE_ID
from charlstm.hub.client import hub_address

_CODE, _POST = "code", "post"  # labels of the package's Project-URL entries


def code_address() -> str:
    """Return where the code can be read: the files of this Space, else what the package's metadata names, or ''."""
    space = SPACE_ID.text()
    return f"{hub_address()}/spaces/{space}/tree/main" if space else _project_urls().get(_CODE, "")


def file_address(path: str, first_line: int, last_line: int) -> str:
    """Return the address of lines of the file at `path` (from the repository's root); '' if the code has none."""
    space = SPACE_ID.text()
    if space:
        return f"{hub_address()}/spaces/{space}/blob/main/{path}#L{first_line}-L{last_line}"
    root = _project_urls().get(_CODE, "")
    return f"{root.rstrip('/')}/blob/main/{path}#L{first_line}-L{last_line}" if root else ""


def post_address() -> str:
    """Return the address of the blog post whose experiment is the preset `blog`, or '' if it is not known."""
    return _project_urls().get(_POST, "")


def _project_urls() -> dict[str, str]:
    """Return the package's own addresses by their labels in lower case; a clone that is not installed has none."""
    try:
        entries = metadata("charlstm").get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    pairs = (entry.partition(",") for entry in entries)
    return {label.strip().lower(): url.strip() for label, _, url in pairs if url.strip().startswith("https://")}
