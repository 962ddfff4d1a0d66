"""How often a model writes gibberish from the state that writing starts from: no test, a measurement.

    PYTHONPATH=. python tests/integration/fresh_state.py [--steps 306 574] [--seeds 1 2] [--state-reset 0.02 0]

Trains preset `minute` for so many steps, writes 24 texts of 200 characters (temperature 0.8, seeds 1 to 24) after each
prompt, and has the bundled model score prompt and text. A text above 3.5 nats per character is gibberish. Prints a line
for each training: both validation figures, then for each prompt the median and the number of gibberish texts. Exits
with 1 if more than 1 of 24 is gibberish in any cell whose streams are reset.
"""

import argparse
import itertools
import statistics
import sys

from charlstm import LanguageModel, SampleConfig
from charlstm.config import Settings
from charlstm.corpus import open_corpus
from charlstm.evaluation import evaluate_stateful, evaluate_windows
from charlstm.training import Trainer

PROMPTS = ("", "ROMEO:", "JULIET:", "First Citizen:", "To be, or")
NUM_TEXTS = 24
GIBBERISH = 3.5  # nats per character; Shakespeare's own text costs the judge about 1.4
NEVER = 10**9


def train(num_steps: int, seed: int, state_reset: float) -> tuple[LanguageModel, str]:
    """The model after so many steps, and its validation figures in words."""
    settings = Settings.preset(
        "minute", max_steps=num_steps, max_minutes=0, seed=seed, state_reset=state_reset, sample_every=NEVER
    )
    split = open_corpus("tiny-shakespeare").split(settings.model, settings.train)
    trainer = Trainer(LanguageModel.create(split.vocabulary, settings.model, seed), split, settings.train)
    for _ in trainer.run():
        pass
    model = trainer.language_model.model
    stateful, windows = evaluate_stateful(model, split.validation), evaluate_windows(model, split.validation)
    return trainer.language_model, f"stateful {stateful.nats:.4f}, windows {windows.nats:.4f}"


def count_gibberish(language_model: LanguageModel, judge: LanguageModel, prompt: str) -> tuple[float, int]:
    """The median nats per character of the texts, and how many are gibberish."""
    nats = []
    for seed in range(1, NUM_TEXTS + 1):
        text = language_model.generate(prompt, SampleConfig(num_chars=200, temperature=0.8, seed=seed))
        nats.append(judge.score(prompt + text).nats)
    return statistics.median(nats), sum(each > GIBBERISH for each in nats)


def main() -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[306, 574, 1205, 5700])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--state-reset", type=float, nargs="+", default=[0.02])
    parser.add_argument("--judge", default="checkpoints/tiny-shakespeare")
    flags = parser.parse_args()
    judge, most = LanguageModel.load(flags.judge), 0
    for state_reset, num_steps, seed in itertools.product(flags.state_reset, flags.steps, flags.seeds):
        language_model, figures = train(num_steps, seed, state_reset)
        cells = {prompt: count_gibberish(language_model, judge, prompt) for prompt in PROMPTS}
        shown = ", ".join(f"{prompt or 'no prompt'!r} {median:.2f} ({num})" for prompt, (median, num) in cells.items())
        sys.stdout.write(f"reset {state_reset:g}, {num_steps:,} steps, seed {seed}: {figures}; {shown}\n")
        sys.stdout.flush()
        if state_reset:
            most = max(most, *(num for _, num in cells.values()))
    return int(most > 1)


if __name__ == "__main__":
    sys.exit(main())
