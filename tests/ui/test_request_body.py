"""What a body of JSON may cost, whatever it is made of."""

import json
import random
import time
import tracemalloc
from contextlib import nullcontext

import pytest

from charlstm.ui.request_body import BoundedUpload, RequestRefused, check_json

NESTED = b"[" * 60_000 + b"]" * 60_000


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" + b",".join([b"[]"] * 500_000) + b"]", 413),
        (b'{"data": [' + b",".join([b"0"] * 200_000) + b"]}", 413),
        (NESTED, 400),
        (b"[" * 500 + b"]" * 500, 400),
        (b"[" * 5_000, 400),
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe{\0}\0", 400),
        (b'"\\ud800"', 400),
        (b"1" * 5000, 400),
        (b"[1e400]", 400),
        (b"[NaN]", 400),
        (b"-Infinity", 400),
        (b'{"a": "' + b'\\"' * 1_000_000, 400),
    ],
)
def test_json_that_costs_more_than_it_is_long_is_refused_in_a_moment(body: bytes, status: int) -> None:
    start = time.process_time()
    with pytest.raises(RequestRefused) as refused:
        check_json(body)
    assert refused.value.status == status
    assert time.process_time() - start < 2


def test_the_memory_of_the_costliest_json_that_passes_is_bounded() -> None:
    costly = b"[" + b",".join([b"[]"] * 49_000) + b"]"
    tracemalloc.start()
    try:
        assert len(check_json(costly)) == 49_000
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


def test_commas_and_brackets_of_a_text_are_no_values() -> None:
    text = "".join(random.Random(1).choices(',[]{}"\\\n漢', k=400_000))
    for is_ascii in (False, True):
        assert check_json(json.dumps({"data": [text]}, ensure_ascii=is_ascii).encode()) == {"data": [text]}


def test_an_upload_has_a_boundary_that_its_parser_takes() -> None:
    for length, is_refused in ((200, False), (201, True)):
        headers = {"content-type": f"multipart/form-data; boundary={'x' * length}"}
        with pytest.raises(RequestRefused, match="boundary") if is_refused else nullcontext():
            BoundedUpload(None, headers, 1000)  # type: ignore[arg-type]
