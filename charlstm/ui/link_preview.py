"""What others show of a link to the page: its title, a description and a picture, instead of Gradio's.

They are part of the page as it is served, since whoever makes a preview runs no script.
"""

import io
import re
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import anyio
from gradio.routes import templates
from PIL import Image, ImageDraw, ImageFont
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from charlstm.data_folders import BUNDLED, BUNDLED_MODELS
from charlstm.errors import CharLSTMError
from charlstm.formatting import capitalize
from charlstm.runs.history import RunHistory, read_history
from charlstm.runs.run_dir import RunDir
from charlstm.ui.run_cache import RunCache

TITLE = "charlstm: a small network learns to write"
DESCRIPTION = (
    "Watch a small network learn to write, letter by letter, on your own text: from gibberish to language in a minute."
)
PICTURE = "charlstm/preview.png"
_SIZE = (1200, 630)
_PAPER, _INK, _FAINT, _ALIVE = "#faf8f5", "#2b2622", "#6f6760", "#b4532a"
_LINE_CHARS = 46
_shown: list[RunCache] = []  # the newest page's, as are Gradio's templates, which all pages of a process share
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32'"
    " rx='7' fill='%23b4532a'/%3E%3Cpath d='M19.6 12.6a5 5 0 1 0 0 6.8' fill='none' stroke='%23fff' stroke-width='3'"
    " stroke-linecap='round'/%3E%3C/svg%3E"
)
# Gradio's own tags, in the templates of its pages.
_FOREIGN = re.compile(r"<meta\s[^>]*?(?:property=\"og:|name=\"twitter:)[^>]*?/>\s*|<link rel=\"manifest\"[^>]*/>\s*")
# In the language of the templates: `config.root` is the page's public address, and `request` whoever's asks for it.
_TAGS = """<title>{title}</title>
<meta name="description" content="{description}" />
{{% set prompt = request.query_params.get("prompt", "")[:60] %}}
{{% set name = request.query_params.get("run") %}}
{{% set run = describe_run(name) if name and describe_run is defined else none %}}
{{% set own = run.title if run else "{title}" %}}
{{% set page_title = "“" ~ prompt ~ "…”, continued letter by letter" if prompt.strip() else own %}}
<meta property="og:title" content="{{{{ page_title | e }}}}" />
<meta property="og:description" content="{{{{ (run.description if run else "{description}") | e }}}}" />
<meta property="og:type" content="website" />
<meta property="og:site_name" content="charlstm" />
{{% if not run and not prompt.strip() %}}
<meta property="og:url" content="{{{{ (config.root or '') | e }}}}/" />
{{% endif %}}
<meta property="og:image" content="{{{{ (config.root or '') | e }}}}/{picture}{{{{ run.query if run }}}}" />
<meta property="og:image:width" content="{width}" />
<meta property="og:image:height" content="{height}" />
<meta name="twitter:card" content="summary_large_image" />
<link rel="icon" href="{icon}" />
<style>html[data-theme="light"] body {{ background: var(--bg); color: var(--col); }}
html[data-theme="dark"] body {{ background: var(--bg-dark); color: var(--col-dark); }}</style>"""


class RunPreview(NamedTuple):
    """What a link to a run is shown with."""

    title: str
    description: str
    query: str  # of the address of its picture


class _Stage(NamedTuple):
    """One line of the picture: what a run wrote at a step."""

    step: int
    line: str


def replace_tags(template: str) -> str:
    """Return Gradio's `template` of a page with our tags for previews instead of its own."""
    ours = _TAGS.format(
        title=TITLE, description=DESCRIPTION, picture=PICTURE, width=_SIZE[0], height=_SIZE[1], icon=_ICON
    )
    cleared = re.sub(r"<title>.*?</title>", "", _FOREIGN.sub("", template), flags=re.DOTALL)
    return cleared.replace("<head>", f"<head>\n{ours}", 1)  # some read the first few kB only


def show_runs(cache: RunCache) -> None:
    """Let links to the runs of `cache` be shown with what these runs reached, on every page of this process."""
    _shown.append(cache)
    del _shown[:-1]
    templates.env.globals["describe_run"] = describe_run


def describe_run(name: Any) -> RunPreview | None:
    """Return the preview of a run that is there; `None` of any other."""
    try:
        cache = _shown[-1]
        with cache.lock:
            state = cache.cached_run(cache.summary(name)).sections["state"].value
    except (CharLSTMError, IndexError):
        return None
    told = state["summary"] or f"{capitalize(state['word'])}: {state['story']}."
    title = f"“{state['label']}”: a small network learns to write"
    return RunPreview(title, f"{told} Watch how it learned, letter by letter.", f"?run={quote(str(name), safe='')}")


def route() -> Route:
    """Return the route of the picture."""
    return Route(f"/{PICTURE}", _picture)


async def _picture(request: Request) -> Response:
    name = request.query_params.get("run")
    picture = await anyio.to_thread.run_sync(_run_png, name, limiter=_one_at_a_time()) if name else None
    seconds = 60 if name else 86400
    headers = {"Cache-Control": f"public, max-age={seconds}"}
    return Response(picture or preview_png(), media_type="image/png", headers=headers)


@cache
def preview_png() -> bytes:
    """Draw the picture: the name, one sentence, and what the bundled model wrote as it learned."""
    with read_history(RunDir(BUNDLED_MODELS / BUNDLED[0])) as history:
        return _draw("Watch a small network learn to write, letter by letter", _stages(history))


@cache
def _one_at_a_time() -> anyio.CapacityLimiter:
    """Return the limit of pictures that are drawn: each takes a processor for as long as that takes."""
    return anyio.CapacityLimiter(1)


def _run_png(name: str) -> bytes | None:
    """Draw what a run wrote as it learned; `None` where that can't be told in the letters of the picture's typeface."""
    try:
        runs = _shown[-1]
        with runs.lock:
            found = runs.cached_run(runs.summary(name))
            label, stages = found.summary.label, _stages(found.history)
    except (CharLSTMError, IndexError):
        return None
    is_drawn = label.isascii() and len(stages) > 1 and all(stage.line.isascii() for stage in stages)
    return _draw(f"Learning to write: {label[:_LINE_CHARS]}", stages) if is_drawn else None


@lru_cache(maxsize=32)
def _draw(sentence: str, stages: tuple[_Stage, ...]) -> bytes:
    picture = Image.new("RGB", _SIZE, _PAPER)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 14, _SIZE[1]), fill=_ALIVE)
    draw.text((80, 62), "charlstm", fill=_INK, font=ImageFont.load_default(76))
    draw.text((80, 166), sentence, fill=_FAINT, font=ImageFont.load_default(36))
    for number, stage in enumerate(stages):
        top = 258 + 108 * number
        draw.text((80, top), f"step {stage.step:,}", fill=_ALIVE, font=ImageFont.load_default(26))
        draw.text((80, top + 34), stage.line, fill=_INK, font=ImageFont.load_default(42))
    buffer = io.BytesIO()
    picture.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _stages(history: RunHistory) -> tuple[_Stage, ...]:
    """Return a line of the first, an early and the last sample of a run; none where there are fewer."""
    places = (0, history.num_samples // 3, history.num_samples - 1) if history.num_samples > 2 else ()
    samples = [sample for place in places if (sample := history.sample(place))]
    return tuple(_Stage(sample.step, _line_of(sample.text[sample.prompt_chars :])) for sample in samples)


def _line_of(text: str) -> str:
    """Return the first line of `text` that is long enough to tell something and short enough for the picture."""
    lines = [line for line in text.split("\n") if _LINE_CHARS // 2 < len(line) <= _LINE_CHARS and line.isascii()]
    return next((line for line in lines if not line.endswith(":")), next(iter(text.split("\n")))[:_LINE_CHARS])
