"""What becomes of files: cut, swapped, forged."""

import struct
from collections.abc import Callable

PICKLE_PROTOCOL_4_OF_A_LIST = bytes.fromhex("80049505000000000000005d942e")
DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "shorter than a length": lambda data: data[:5],
    "cut within the header": lambda data: data[:100],
    "cut within the weights": lambda data: data[:-1],
    "cut in half": lambda data: data[: len(data) // 2],
    "longer than it says": lambda data: data + b"\x00",
    "noise": lambda _: bytes((37 * number * number + 11 * number) % 256 for number in range(4096)),
    "text": lambda _: b"To be, or not to be, that is the question\n" * 20,
    "a renamed pickle": lambda _: PICKLE_PROTOCOL_4_OF_A_LIST,
    "a renamed torch zip": lambda _: b"PK\x03\x04" + bytes(500),
    "a header of many lines": lambda _: struct.pack("<Q", 8) + b"{\n\n\n\nxyz",
    "a header that is a list": lambda _: struct.pack("<Q", 8) + b"[1,2,3] ",
    "a header of huge length": lambda data: struct.pack("<Q", 2**62) + data[8:],
}
