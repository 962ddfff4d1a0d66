"""What looking into a long text costs a browser: processor time of its page for each key and each move of the pointer.

    PYTHONPATH=. python tests/integration/looking.py [--num-chars 5000] [--chromium /usr/bin/chromium]

The page of text alone, as the app serves it, with invented characters and figures; no app is started.
"""

import argparse
import random
import sys
from collections.abc import Callable
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from charlstm.generation.stream import TextChunk
from charlstm.ui import assets, surprisal_text

_STEPS = 40
_SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# What Gradio gives to the page of text.
_START = """(value) => {
  window.props = { value };
  window.charlstm.reader(document.body, props, () => {}, () => {}, { isMain: true });
}"""


def invented(num_chars: int) -> surprisal_text.Page:
    """A page of lines of words."""
    draw = random.Random(1)
    text = "".join(
        draw.choices("etaoin shrdlu ,.\n", [9, 8, 7, 6, 5, 5, 18, 4, 4, 4, 3, 3, 2, 12, 2, 2, 3], k=num_chars)
    )
    growing = surprisal_text.TextBuilder("invented", "Given: ", 1, can_branch=True)
    surprises = tuple(draw.expovariate(0.7) for _ in text)
    growing.add(TextChunk(text, surprises, 0, ("etaoi",) * num_chars, ((0.4, 0.3, 0.1, 0.05, 0.01),) * num_chars))
    return growing.page()


def open_page(page: Page, value: surprisal_text.Page) -> CDPSession:
    """Show it, tinted, and begin to count processor time."""
    styles = ":root { --alive: #b45309; --background-fill-primary: white; }" + assets.css()
    text = surprisal_text.html_template("Text", "", is_main=True)
    page.set_content(f"{assets.head()}<style>{styles}</style>{text}")
    page.evaluate(_START, value)
    counting = page.context.new_cdp_session(page)
    counting.send("Performance.enable", {"timeDomain": "threadTicks"})
    return counting


def task_milliseconds(counting: CDPSession) -> float:
    """What the page's main thread has worked so far."""
    metrics = {each["name"]: each["value"] for each in counting.send("Performance.getMetrics")["metrics"]}
    return 1000 * float(metrics["TaskDuration"])


def cost(page: Page, counting: CDPSession, step: Callable[[], Any]) -> float:
    """Milliseconds of processor time until the page has settled after `step()`."""
    page.evaluate(_SETTLED)
    before = task_milliseconds(counting)
    step()
    page.evaluate(_SETTLED)
    return task_milliseconds(counting) - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--num-chars", type=int, default=5000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    flags = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=flags.chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        counting = open_page(page, invented(flags.num_chars))
        text = page.get_by_role("textbox", name="Text")
        text.focus()
        for key in ("ArrowRight", "ArrowDown", "End", "ArrowLeft", "ArrowUp", "Home"):
            steps = [cost(page, counting, lambda key=key: text.press(key)) for _ in range(_STEPS)]  # type: ignore[misc]
            sys.stdout.write(f"{key}: {sum(steps) / _STEPS:.1f} ms, at most {max(steps):.1f} ms\n")
        box = text.bounding_box() or {"x": 0, "y": 0}
        places = [(box["x"] + 20 + 9 * (n % 40), box["y"] + 20 + 9 * (n % 35)) for n in range(_STEPS)]
        steps = [cost(page, counting, lambda place=place: page.mouse.move(*place)) for place in places]  # type: ignore[misc]
        sys.stdout.write(f"pointing: {sum(steps) / _STEPS:.1f} ms, at most {max(steps):.1f} ms\n")
        browser.close()


if __name__ == "__main__":
    main()
