"""What becomes of a file that somebody damaged, at random or on purpose; the same seed, the same damage."""

import json
import os
import random
import struct

TIMES = int(os.environ.get("CHARLSTM_ATTACKS", "1"))
_VALUES = [
    *(0, -1, 1, 2**31, 2**63, 10**400, -(10**9), 1e308, float("nan"), float("inf"), True, None, "", "x", "\x1b[31m\n"),
    *([], {}, [[]], "n" * 10**5, ["a"] * 1000, {"a": {"b": []}}),
]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with one or more of its bytes changed, lost, doubled or added."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        data = _damaged_once(data, chance)
    return data


def _damaged_once(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    end = min(len(data), begin + chance.choice((1, 1, 4, 100, len(data))))
    middle = {
        "noise": chance.randbytes(end - begin),
        "lost": b"",
        "doubled": 2 * data[begin:end],
        "added": chance.randbytes(chance.choice((1, 8, 1000))) + data[begin:end],
        "a bit": bytes(byte ^ 1 << chance.randrange(8) for byte in data[begin : begin + 1]) + data[begin + 1 : end],
        "cut": None,
    }[chance.choice(("noise", "lost", "doubled", "added", "a bit", "cut"))]
    return data[:begin] if middle is None else data[:begin] + middle + data[end:]


def altered(value: object, chance: random.Random) -> object:
    """A JSON value in which something is replaced, removed or added, anywhere."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        if (kind := chance.random()) < 0.15:
            return {key: each for key, each in value.items() if key != name}
        if kind < 0.25:
            return {**value, chance.choice(("extra", "\x1b]0;x\x07", "k" * 10**5)): value[name]}
        return {**value, name: altered(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.5:
        place = chance.randrange(len(value))
        return [*value[:place], altered(value[place], chance), *value[place + 1 :]]
    return chance.choice(_VALUES)


def damaged_json(data: bytes, chance: random.Random) -> bytes:
    """A JSON text that was damaged, altered, nested, or written in another encoding."""
    kind = chance.random()
    if kind < 0.4:
        return damaged(data, chance)
    if kind < 0.8:
        return json.dumps(altered(json.loads(data), chance), ensure_ascii=chance.random() < 0.5).encode(
            "utf-8", "surrogatepass"
        )
    if kind < 0.9:
        return chance.choice((b"[", b'{"a":', b'{"hidden_size":[')) * chance.choice((100, 10_000, 100_000))
    return data.decode(errors="replace").encode(chance.choice(("utf-8-sig", "utf-16", "utf-32", "cp037")), "replace")


def damaged_tensors(data: bytes, chance: random.Random) -> bytes:
    """A safetensors file that was damaged, or whose header was altered and fits the file again."""
    if chance.random() < 0.5:
        return damaged(data, chance)
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    texts = header["__metadata__"]
    name = chance.choice(sorted(texts))
    if chance.random() < 0.5 and texts[name][:1] in "{[":
        texts[name] = damaged_json(texts[name].encode(), chance).decode(errors="replace")
    else:
        header = altered(header, chance)
    forged = json.dumps(header).encode()
    return struct.pack("<Q", len(forged)) + forged + data[8 + length :]
