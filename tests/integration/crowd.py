"""A crowd at the door: many visitors write at once; how long does each wait for the first characters, how fast is it?

    python tests/integration/crowd.py 1 8 32 64 [--url http://127.0.0.1:7860] [--num-chars 2000]

Without `--url` it starts `app.py` with the bundled models. The visitors are connections of one process, as cheap as
they can be, since they share the machine with the app.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]


class Visit(NamedTuple):
    """What one visitor saw."""

    text: str
    first_seconds: float
    seconds: float


async def messages(client: httpx.AsyncClient, values: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """What the function `generate` sends, message by message; an error is raised as a `RuntimeError`."""
    asked = await client.post("gradio_api/call/v2/generate", json=values)
    asked.raise_for_status()
    async with client.stream("GET", f"gradio_api/call/generate/{asked.json()['event_id']}") as answer:
        event = ""
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                event = line.removeprefix("event: ")
            elif line.startswith("data:") and event == "error":
                raise RuntimeError(line)
            elif line.startswith("data:") and event in ("generating", "complete"):
                yield json.loads(line.removeprefix("data: "))[0]


async def visit(client: httpx.AsyncClient, values: dict[str, Any]) -> Visit:
    """Write once and wait for the end."""
    began, first, text = time.perf_counter(), 0.0, ""
    async for message in messages(client, values):
        first = first or time.perf_counter() - began
        text = message["texts"][0]
    return Visit(text, first, time.perf_counter() - began)


async def crowd(url: str, num_visitors: int, values: dict[str, Any]) -> list[Visit]:
    """`num_visitors` at once, each with a seed of its own."""
    limits = httpx.Limits(max_connections=2 * num_visitors)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        visits = [visit(client, {**values, "seed": seed}) for seed in range(num_visitors)]
        return list(await asyncio.gather(*visits))


@contextmanager
def serving(*flags: str) -> Any:
    """The address of an app of its own, started with more `flags`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "app.py"), "--port", str(port), *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        assert any(url in line for line in process.stdout or ()), "the app ended"  # it says where it listens
        yield f"{url}/"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("visitors", type=int, nargs="+")
    parser.add_argument("--url")
    parser.add_argument("--num-chars", type=int, default=2000)
    flags = parser.parse_args()
    values = {"model": "tiny-shakespeare", "prompt": "ROMEO:", "num_chars": flags.num_chars}
    if flags.url:
        measure(flags.url, flags.visitors, values)
    else:
        with serving() as url:
            measure(url, flags.visitors, values)


def measure(url: str, numbers: list[int], values: dict[str, Any]) -> None:
    """One line for each number of visitors, after one visit that does not count."""
    asyncio.run(crowd(url, 1, values))
    for number in numbers:
        visits = asyncio.run(crowd(url, number, values))
        firsts = sorted(each.first_seconds for each in visits)
        rates = sorted(len(each.text) / each.seconds for each in visits)
        late, rate = firsts[round(0.95 * (number - 1))], statistics.median(rates)
        sys.stdout.write(
            f"{number} visitors: first characters after {1000 * statistics.median(firsts):.0f} ms (median), "
            f"{1000 * late:.0f} ms (95th percentile), {1000 * firsts[-1]:.0f} ms (worst); "
            f"{rates[0]:,.0f} characters/s at least, {rate:,.0f} (median)\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
