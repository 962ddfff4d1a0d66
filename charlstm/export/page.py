"""Pages: a model as one HTML file that writes in any browser, without a network and without this package.

The file holds a page (`template.html`, `page.css`, `page*.js`), the engine (`network.js`, `runtime.js`, `kernel.wasm`)
and the model: what is said of it, its vocabulary and its weights. It asks for nothing else: its policy forbids every
request, and every script but its own. Shapes: V = vocabulary size, E = embedding size, H = hidden size.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray
from torch import Tensor

from charlstm.config import SampleConfig
from charlstm.config_fields import bounds_of, describe_bounds
from charlstm.errors import ExportError, printable
from charlstm.files import atomic_write
from charlstm.formatting import name_text
from charlstm.generation.quantization import is_quantized, quantize_weights
from charlstm.language_model import LanguageModel
from charlstm.model import CharLSTM
from charlstm.model_description import ModelFacts, describe_model

_KERNEL = Path(__file__).with_name("kernel.wasm")
_ALIGNMENT = 4

Tensors = Iterator[tuple[str, NDArray[Any]]]


def encode_weights(lm: LanguageModel, is_float16: bool = False) -> tuple[dict[str, Any], bytes]:
    """Return what `network.js` has to know of `lm`, as JSON values, and its weights.

    The weights are those that the package writes with: of 8 bits where its layers are large enough to gain from that,
    else of float32; or all of float16. Every tensor lies in its natural order, one after another, each from a multiple
    of 4 bytes on, little-endian: `embedding` (V, E), `input` (4H, E), `layer<n>` (4H, K), `biases<n>` (4H,), `head`
    (V, H), `headBias` (V,), and where weights are whole numbers of 8 bits `inputScales` (4H,) and `scales<n>` (4H,),
    what one step of a weight is worth. K = H in the first layer and 2H above, where the state of the layer below comes
    first; E = V for one-hot input.
    """
    kind = "float16" if is_float16 else "int8" if is_quantized(lm.model) else "float32"
    tensors = _round_weights(lm.model) if kind == "int8" else _floats(lm.model, kind)
    places, pieces, end = dict[str, Any](), list[bytes](), 0
    for name, tensor in tensors:
        piece = tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
        places[name] = {"type": tensor.dtype.name, "at": end, "size": tensor.size}
        pieces.append(piece + bytes(-len(piece) % _ALIGNMENT))
        end += len(pieces[-1])
    facts = {
        "kind": kind,
        "vocabularySize": lm.model.vocab_size,
        "hiddenSize": lm.model.config.hidden_size,
        "numLayers": lm.model.config.num_layers,
        "numBytes": end,
        "tensors": places,
        "kernel": base64.b64encode(_KERNEL.read_bytes()).decode("ascii"),
    }
    return facts, b"".join(pieces)


def _round_weights(model: CharLSTM) -> Tensors:
    rounded = quantize_weights(model)
    if rounded.embedding is not None:
        yield "embedding", rounded.embedding
    yield "input", rounded.inputs.weights
    yield "inputScales", rounded.inputs.scales
    for index, (layer, biases) in enumerate(zip(rounded.layers, rounded.biases, strict=True)):
        yield f"layer{index}", layer.weights
        yield f"scales{index}", layer.scales
        yield f"biases{index}", biases
    yield "head", rounded.head
    yield "headBias", rounded.head_bias


def _floats(model: CharLSTM, kind: str) -> Tensors:
    """Yield the tensors as they are, or of float16; the two biases of a unit's gate are summed in float32.

    What float16 does not reach, beyond 65,504, becomes its largest number.
    """
    largest = float(np.finfo(kind).max)

    def numbers(tensor: Tensor) -> NDArray[Any]:
        return tensor.detach().float().cpu().numpy().clip(-largest, largest).astype(kind)

    if model.embedding is not None:
        yield "embedding", numbers(model.embedding.weight)
    for index, (weight_ih, weight_hh, bias_ih, bias_hh) in enumerate(model.lstm.all_weights):
        if not index:
            yield "input", numbers(weight_ih)
        own = numbers(weight_hh)
        yield f"layer{index}", np.concatenate([numbers(weight_ih), own], axis=1) if index else own
        yield f"biases{index}", numbers(bias_ih).astype(np.float32) + numbers(bias_hh).astype(np.float32)
    yield "head", numbers(model.head.weight)
    yield "headBias", numbers(model.head.bias)


MOST_BYTES = 64_000_000  # of weights: a phone holds them as text, as bytes and as numbers while the page opens
# One module, in this order.
_SCRIPTS = (
    "network.js",
    "runtime.js",
    "ngram.js",
    "page_text.js",
    "page_card.js",
    "page_parts.js",
    "page_reading.js",
    "page.js",
)
_SETTINGS = ("num_chars", "temperature", "top_k", "top_p", "no_repeat", "stop", "seed")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_LONGEST_TITLE = 80
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32'"
    " rx='7' fill='%23b4532a'/%3E%3Cpath d='M19.6 12.6a5 5 0 1 0 0 6.8' fill='none' stroke='%23fff' stroke-width='3'"
    " stroke-linecap='round'/%3E%3C/svg%3E"
)


def build_page(
    language_model: LanguageModel,
    title: str = "",
    is_float16: bool = False,
    links: Mapping[str, str] | None = None,
    picture: str = "",
    prompts: Sequence[str] | None = None,
) -> bytes:
    """Return the HTML file of `language_model`, in UTF-8; raise `ExportError` for one that is too large.

    Its heading is `title`, by default the name of the text that it learned. `links` maps words to the addresses that
    the page links below, `picture` is the address of what others show with a link to it, and `prompts` are the
    beginnings that it offers, by default those that belong to the model.
    """
    _require_small(language_model.model.num_parameters * (2 if is_float16 else 1))
    network, weights = encode_weights(language_model, is_float16)
    _require_small(len(weights))
    facts = describe_model(language_model)
    lead = _lead(language_model, facts)
    title = printable(" ".join(title.split()), _LONGEST_TITLE) or _title(language_model)
    style, script = _read("page.css"), "".join(map(_read, _SCRIPTS))
    coded = base64.b64encode(zlib.compress(weights, 9)).decode("ascii")
    values = {
        "policy": _policy(style, script),
        "title": html.escape(title),
        "description": html.escape(f"{lead} Look at every letter that it might have written instead."),
        "tags": _tags(title, lead, picture),
        "icon": _ICON,
        "lead": html.escape(lead),
        **_about(language_model, facts),
        "links": _link_list(links or {}),
        "size": f"Getting ready: {len(coded) / 1e6:.1f} MB of numbers, all of them in this file.",
        "style": style,
        "facts": _json(_page_facts(language_model, facts, title, network, prompts)),
        "script": script,
        "weights": coded,
    }
    return _PLACE.sub(lambda place: values[place[1]], _read("template.html")).encode("utf-8", "replace")


def write_page(language_model: LanguageModel, path: str | Path, **options: Any) -> Path:
    """Write the page of `language_model` to `path`, whole or not at all; see `build_page` for `options`.

    Raises `ExportError`, also where the file can't be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ExportError(f"{path} is a folder; name a file in it, such as {path / 'page.html'}.")
    page = build_page(language_model, **options)
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(page)
    except OSError as error:
        size = f"{len(page) / 1e6:.1f} MB"
        raise ExportError(
            f"{path} can't be written ({error.strerror or error}); choose another place, with {size} to spare."
        ) from None
    return path


def _require_small(num_bytes: int) -> None:
    if num_bytes > MOST_BYTES:
        raise ExportError(
            f"this model has {num_bytes / 1e6:,.0f} MB of weights, and a page at most {MOST_BYTES / 1e6:,.0f}: a phone "
            "has to hold them several times to open it; export a smaller model, or this one in 8 bits."
        )


def _title(language_model: LanguageModel) -> str:
    origin = language_model.provenance
    return (name_text(origin.corpus, _LONGEST_TITLE) if origin else "") or "A network that writes"


def _lead(language_model: LanguageModel, facts: ModelFacts) -> str:
    """Return a sentence about the model for people who know none of it."""
    if language_model.provenance is None:
        return "A network that goes on with whatever you begin, letter by letter."
    return f"{facts.sentence.rstrip('.')}, and now goes on with whatever you begin."


def _about(language_model: LanguageModel, facts: ModelFacts) -> dict[str, str]:
    config = language_model.model.config
    figures = [f"<dt>{html.escape(each.title)}</dt><dd>{html.escape(each.value)}</dd>" for each in facts.figures]
    return {
        "memory": f"{config.num_layers * config.hidden_size:,}",
        "alphabet": f"{len(language_model.vocabulary):,}",
        "unit": "bytes" if language_model.vocabulary.level == "bytes" else "characters",
        "figures": "".join(figures),
    }


def _page_facts(
    language_model: LanguageModel,
    facts: ModelFacts,
    title: str,
    network: Mapping[str, Any],
    prompts: Sequence[str] | None,
) -> dict[str, Any]:
    vocabulary, origin = language_model.vocabulary, language_model.provenance
    return {
        "network": network,
        "vocabulary": {"characters": vocabulary.characters, "level": vocabulary.level},
        "page": {
            "prompts": prompts if prompts is not None else facts.prompts or (origin.beginnings if origin else ()),
            "isCode": facts.is_code,
            "settings": {name: _setting(name) for name in _SETTINGS},
            "fileName": re.sub(r"\W+", "-", title.lower()).strip("-") or "text",
        },
    }


def _setting(name: str) -> dict[str, Any]:
    """Return the bounds of a setting of `SampleConfig`, and how they are said."""
    field = SampleConfig.model_fields[name]
    least, most = bounds_of(field)
    return {
        "standard": field.default,
        "least": least,
        "most": most,
        "isAbove": any(isinstance(item, Gt) for item in field.metadata),
        "isWhole": field.annotation is int,
        "isText": field.annotation is str,
        "says": describe_bounds(field),
    }


def _json(value: Any) -> str:
    """Return JSON in ASCII that no parser of HTML takes for the end of a script or a comment."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", r"\u003c").replace(">", r"\u003e")


def _policy(style: str, script: str) -> str:
    """Return the page's policy: nothing is fetched, and only this style and this script are used."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
        f"script-src {_digest(script)} 'wasm-unsafe-eval'; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _tags(title: str, lead: str, picture: str) -> str:
    """Return what others show of a link to the page."""
    tags = {"og:title": title, "og:description": lead, "og:type": "website"} | (
        {"og:image": picture} if picture else {}
    )
    return "\n".join(f'<meta property="{name}" content="{html.escape(value)}">' for name, value in tags.items())


def _link_list(links: Mapping[str, str]) -> str:
    """Return the links, of which only those that a browser opens as pages are kept."""
    shown = [
        f'<a href="{html.escape(address)}" rel="noopener" target="_blank">{html.escape(words)}</a>'
        for words, address in links.items()
        if address.startswith(("https://", "http://"))
    ]
    return " · ".join(["Made with charlstm", *shown])


def _read(name: str) -> str:
    return (files("charlstm.export") / name).read_text(encoding="utf-8")
