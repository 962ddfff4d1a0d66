"""For tests of texts too large to be held: models that differ in level, and the files of ids that were written."""

import os
from pathlib import Path

from charlstm.config import ModelConfig

CHARS, BYTES = ModelConfig(), ModelConfig(level="bytes")


def cached():
    """The files of ids in the cache of this test."""
    return sorted(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.ids"))


def ids_of(text, model=CHARS):
    """The ids of a text, by encoding and looking up each character."""
    if model.level == "bytes":
        return list(text.encode())
    places = {char: place for place, char in enumerate(sorted(set(text)))}
    return [places[char] for char in text]
