"""Visitors of the page who share a browser's profile, one after another."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urljoin

from playwright.sync_api import BrowserContext, Error, Page

VIEWPORT = {"width": 1280, "height": 800}
_PICTURE = "/charlstm/preview.png"  # the smallest thing of the app's origin: no script of its own runs there
_FORGET = """
addEventListener('pagehide', (event) => event.stopImmediatePropagation(), true); // when the page would keep its tab
sessionStorage.clear();
"""


@contextmanager
def visitor(profile: BrowserContext) -> Iterator[BrowserContext]:
    """A visitor whose pages are closed at the end, and whose browser then keeps nothing of theirs but scripts.

    The profile's first page stays, blank: its process has the page's scripts in memory, so a visit there costs least.
    """
    before = profile.pages
    yield profile
    for page in profile.pages:
        if page not in before:
            page.close()
    first = before[0]
    first.unroute_all()
    if first.url != "about:blank":
        with suppress(Error):  # some addresses have no such storage
            first.evaluate(_FORGET)
        first.goto("about:blank")
    first.set_viewport_size(VIEWPORT)  # type: ignore[arg-type]
    first.emulate_media(reduced_motion="reduce", color_scheme="light")
    session = profile.new_cdp_session(first)
    session.send("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "cookies,local_storage,indexeddb"})
    session.detach()


def store(page: Page, address: str, key: str, value: object) -> None:
    """Have the browser find `value` under `key` when it opens a page of that origin next."""
    page.goto(urljoin(address, _PICTURE))
    page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, json.dumps(value)])
