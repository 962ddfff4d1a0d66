"""What a text without end needs in memory: the process's resident pages, after more and more characters.

    PYTHONPATH=. python tests/integration/endless.py [--model checkpoints/tiny-shakespeare] [--num-chars 10000000]

A page is 4 kB on most machines. Linux only, as it reads /proc.
"""

import argparse
import sys
import time
from pathlib import Path

from charlstm import LanguageModel, SampleConfig

REPOSITORY = Path(__file__).resolve().parents[2]


def resident_pages() -> int:
    """How many pages of memory this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


def main() -> None:
    """Write, and print a line at every power of ten from 10,000 on, and at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", type=Path, default=REPOSITORY / "checkpoints" / "tiny-shakespeare")
    parser.add_argument("--num-chars", type=int, default=10_000_000)
    flags = parser.parse_args()
    language_model = LanguageModel.load(flags.model)
    marks = [10**power for power in range(4, 8) if 10**power < flags.num_chars] + [flags.num_chars]
    began, written = time.perf_counter(), 0
    # With what is told to a page of each character, as the page asks for it.
    for chunk in language_model.stream("", SampleConfig(num_chars=0), num_likeliest=5):
        written += len(chunk.text)
        while marks and written >= marks[0]:
            rate = written / (time.perf_counter() - began)
            sys.stdout.write(f"{marks.pop(0):>12,} characters: {resident_pages():,} pages; {rate:,.0f} characters/s\n")
            sys.stdout.flush()
        if not marks:
            break


if __name__ == "__main__":
    main()
