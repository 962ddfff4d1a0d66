"""Record the film of a run that has ended as that of a bundled model, which learned the same text.

    PYTHONPATH=. python tests/integration/record_film.py RUN checkpoints/tiny-shakespeare

RUN is the folder of a run with snapshots, such as `python -m charlstm train --preset minute --name NAME` leaves. The
note of the film says what network it shows. Needs the text (`CHARLSTM_CORPUS_DIR`).
"""

import argparse
import sys
from pathlib import Path

from charlstm import LanguageModel
from charlstm.config import TrainConfig
from charlstm.corpus import open_corpus
from charlstm.formatting import format_duration
from charlstm.insight.learning_film import record_film
from charlstm.insight.report import Insight, inspect_model

_MEASURED_TOKENS = 1 << 17


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    network = LanguageModel.load(given.run)
    config, origin = network.model.config, network.provenance
    if origin is None:
        sys.exit("the model of this run does not say what it learned.")
    split = open_corpus(origin.corpus).split(config, TrainConfig(batch_size=1), network.vocabulary)
    text = network.vocabulary.decode(split.validation[:_MEASURED_TOKENS])
    film = record_film(given.run, network, text, Insight.load(given.run) or inspect_model(network, text))
    if film is None:
        sys.exit("this run kept no snapshots, or no unit of its network has a name.")
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    note = (
        f"Not this very network, but one of {layers} of {config.hidden_size} units that learned the same text for "
        f"{format_duration(origin.training_seconds)}, and wrote the text shown here at the end."
    )
    path = film.model_copy(update={"note": note}).save(given.model)
    sys.stdout.write(f"{path}: {len(film.steps)} ages, {len(film.units)} units, {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
