"""What the settings' fields are made of: units, bounds, and their descriptions."""

import codecs
from typing import Annotated, get_args

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator
from pydantic.fields import FieldInfo


class Unit(str):
    """The unit of a field's value, attached through `Annotated`."""


def plain_lines(text: str) -> str:
    """Return `text` as a corpus would be read: plain newlines, and no byte-order mark in front."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


class Suggestions(tuple[str, ...]):
    """Frequent values of a text field that takes others too, attached through `Annotated`."""

    __slots__ = ()


_NO_TEXT = ("idna", "punycode", "unicode_escape", "unicode-escape", "raw_unicode_escape", "raw-unicode-escape")


def _check_encoding(name: str) -> str:
    """Return `name` if it is `auto` or an encoding of texts that Python knows."""
    if name == "auto":
        return name
    try:
        codec = codecs.lookup(name)
        "".encode(name)  # refuses codecs that are not text encodings, such as rot13 or hex
    except (LookupError, ValueError):
        raise ValueError("no encoding of texts") from None
    if codec.name in _NO_TEXT or codec.incrementaldecoder is None:
        raise ValueError("no encoding of texts")
    return name


Encoding = Annotated[
    str,
    Suggestions(
        ["auto", "utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "koi8-r", "shift_jis", "euc_jp", "gb18030", "big5"]
    ),
    AfterValidator(_check_encoding),
]


def unit_of(field: FieldInfo) -> str:
    """Return the field's unit, or an empty string for a plain number or text."""
    return next((str(item) for item in field.metadata if isinstance(item, Unit)), "")


def bounds_of(field: FieldInfo) -> tuple[float | None, float | None]:
    """Return the lower and upper bound of a numeric field; `None` where there is none."""
    lower = next(
        (item.ge if isinstance(item, Ge) else item.gt for item in field.metadata if isinstance(item, Ge | Gt)), None
    )
    upper = next(
        (item.le if isinstance(item, Le) else item.lt for item in field.metadata if isinstance(item, Le | Lt)), None
    )
    return lower, upper  # type: ignore[return-value]  # annotated_types types them as "supports comparison"


def suggestions_of(field: FieldInfo) -> tuple[str, ...]:
    """Return frequent values of a text field that takes others too; empty for any other field."""
    return next((tuple(item) for item in field.metadata if isinstance(item, Suggestions)), ())


def describe_bounds(field: FieldInfo) -> str:
    """Describe the accepted values in words: `from 1 to 4,096 units`, `chars or bytes`, `a text`."""
    if suggestions := suggestions_of(field):
        return f"the name of a text encoding, such as {', '.join(suggestions[:6])}"
    choices = get_args(field.annotation)
    if choices:
        return " or ".join(str(choice) for choice in choices)
    lower, upper = bounds_of(field)
    if lower is None or upper is None:
        longest = next((item.max_length for item in field.metadata if getattr(item, "max_length", None)), None)
        kind = "a text that is not empty" if any(isinstance(item, MinLen) for item in field.metadata) else "a text"
        return f"{kind} of at most {longest:,} characters" if longest else kind
    kind = "a whole number" if field.annotation is int else "a number"
    below = any(isinstance(item, Lt) for item in field.metadata)
    above = any(isinstance(item, Gt) for item in field.metadata)
    if not above and not below:
        return f"{kind} from {lower:,} to {upper:,} {unit_of(field)}".rstrip()
    return f"{kind} {'above' if above else 'at least'} {lower:,} and {'below' if below else 'at most'} {upper:,}"


def help_text(field: FieldInfo) -> str:
    """Return the field's meaning, unit and bounds in one line."""
    return str(field.description)
