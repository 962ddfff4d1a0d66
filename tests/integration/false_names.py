"""How often units are named where there is nothing to name: in networks that have learned nothing.

    PYTHONPATH=. python tests/integration/false_names.py TEXT [TEXT ...] [--networks 20] [--hidden-size 192]

Each network has random weights, as at the beginning of training, and reads a text as one that is looked into does.
Prints for each text how many tests of a property there were, and how many ended with a name.
"""

import argparse
import sys
from pathlib import Path

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.insight.text_sample import PLACES, Sample
from charlstm.insight.units import name_units

_SEED = 1000  # of the first network; those that it is compared with have others


def main() -> int:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path, metavar="TEXT")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--hidden-size", type=int, default=192)
    options = parser.parse_args()
    for path in options.texts:
        text = path.read_text(encoding="utf-8")
        vocabulary = Vocabulary.from_text(text)
        num_tests = num_names = 0
        for number in range(options.networks):
            untrained = LanguageModel.create(vocabulary, ModelConfig(hidden_size=options.hidden_size), _SEED + number)
            sample = Sample.take(untrained, text, PLACES)
            num_names += len(name_units(untrained, sample, number + 1).units)
            num_tests += len(sample.stretches)
        sys.stdout.write(f"{path.name}: {num_names} names in {num_tests:,} tests\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
