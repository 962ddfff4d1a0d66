"""Properties of a text, gathered one by one. F = properties, T = characters."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlstm.insight.text_layout import Layout, Mask


@dataclass(frozen=True)
class Property:
    """What may be followed: its name on the wire, on a button, and after "Unit 7 tells"."""

    key: str
    label: str
    sentence: str


class Properties(NamedTuple):
    """Properties of a text of T characters."""

    names: tuple[Property, ...]  # (F,)
    values: NDArray[np.bool_]  # (T, F)
    known: NDArray[np.bool_]  # (T, F)


class PropertyBuilder:
    """Collects the properties of one text, one by one."""

    def __init__(self, text: str) -> None:
        self.layout = Layout(text)
        self._found: list[tuple[Property, Mask, Mask]] = []

    def add(self, key: str, label: str, sentence: str, values: Mask, known: Mask | None = None) -> None:
        """Add a property; what is not `known` counts neither way."""
        everywhere = np.ones(self.layout.size, bool)
        self._found.append(
            (Property(key, label, sentence), values.astype(bool), everywhere if known is None else known)
        )

    def values_of(self, key: str) -> Mask | None:
        """Return the values of a property that was added, else `None`."""
        return next((values for name, values, _ in self._found if name.key == key), None)

    def build(self) -> Properties:
        """Return all properties added so far."""
        names, values, known = zip(*self._found, strict=True)
        return Properties(names, np.stack(values, axis=1), np.stack(known, axis=1))
