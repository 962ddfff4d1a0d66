"""`LanguageModel`: weights, vocabulary and provenance together, which is all it takes to write text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from charlstm.checkpoint import Provenance, load_model, save_model
from charlstm.config import ModelConfig, SampleConfig
from charlstm.data_folders import find_model
from charlstm.generation.engine import DecodeSession, SessionStart, start_session
from charlstm.generation.holds import Hold
from charlstm.generation.mixing import Crossfade, MixedModel
from charlstm.generation.read_first import Reading, read_text
from charlstm.generation.stream import Score, TextWriter, score
from charlstm.model import CharLSTM
from charlstm.model_paths import model_file
from charlstm.vocabulary import Vocabulary


@dataclass(frozen=True)
class LanguageModel(TextWriter):
    """A model that can be saved, loaded and asked for text."""

    model: CharLSTM
    vocabulary: Vocabulary
    provenance: Provenance | None = None

    @classmethod
    def create(cls, vocabulary: Vocabulary, config: ModelConfig, seed: int) -> "LanguageModel":
        """Create an untrained model; same seed, same weights. The global random state stays as it is."""
        with torch.inference_mode(False), torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls(CharLSTM(len(vocabulary), config), vocabulary)

    @classmethod
    def load(cls, path: str | Path) -> "LanguageModel":
        """Load a folder that holds `model.safetensors`, or such a file; raises `CheckpointError`.

        What is not there may be the name of one of the user's models or of a bundled one, such as `tiny-shakespeare`.
        """
        return cls(*load_model(model_file(find_model(Path(path)))))

    @classmethod
    def from_pretrained(cls, repo_id: str, revision: str | None = None) -> "LanguageModel":
        """Fetch the model of `user/model` from the Hugging Face Hub and load it, strictly; raises `HubError`.

        Its file stays in the Hub's cache and serves again where the Hub can't be reached.
        """
        from charlstm.hub.pull import fetch

        return cls.load(fetch(repo_id, revision))

    def save(self, path: str | Path) -> Path:
        """Save to a folder or a `.safetensors` file; returns the file's path."""
        file = model_file(Path(path))
        save_model(file, self.model, self.vocabulary, self.provenance)
        return file

    def export_html(self, path: str | Path, is_float16: bool = False, title: str = "") -> Path:
        """Write this model as one HTML file, which generates text in any browser without a network; return its path.

        Its weights are of 8 bits where the package writes with such ones, or of float16. Raises `ExportError`.
        """
        from charlstm.export.page import write_page

        return write_page(self, path, title=title, is_float16=is_float16)

    def start_session(self, start: SessionStart) -> DecodeSession:
        """Start a session of texts, as `charlstm.generation.engine.start_session` does."""
        return start_session(self.model, *start)

    def generate(
        self,
        prompt: str = "",
        config: SampleConfig | None = None,
        holds: Sequence[Hold] = (),
        read: str | Reading = "",
        read_weight: float = 1.0,
        rounded: bool = False,
    ) -> str:
        """Return the text that continues `prompt`, without the prompt; raise `ConfigError` if it had no end.

        Of several samples the first; `generate_samples` returns all. Units in `holds` are held while it writes. A text
        in `read`, or what `read` made of it, is read first, and weighs `read_weight`; see `Reading.weighted`.
        `rounded` takes the weights in 8 bits that an exported page has, at temperature 0 too.
        """
        if not read:
            return self.generate_samples(prompt, config, holds, rounded)[0]
        reading = self.read(read) if isinstance(read, str) else read
        return reading.weighted(read_weight).generate(prompt, config, holds)

    def mix(self, other: "LanguageModel", share: float | Crossfade = 0.5) -> MixedModel:
        """Return a model that writes with this one and, at `share` from 0 to 1, with `other`.

        A `Crossfade` as `share` can be turned while a text is written; raises `ConfigError` for bytes with characters.
        """
        return MixedModel(self, other, share if isinstance(share, Crossfade) else Crossfade(share))

    def read(self, text: str, is_learning: bool = False) -> Reading:
        """Read `text` and return what was taken in, which writes as this model does; the model stays as it is.

        It is remembered, or with `is_learning` learned by a copy of the model; see `charlstm.generation.read_first`.
        Raises `ConfigError` for a text too long, and `VocabularyError` for one of which the model knows no character.
        """
        return read_text(self.model, self.vocabulary, text, is_learning)

    def score(self, text: str, num_likeliest: int = 0) -> Score:
        """Measure how well the model predicts `text`; see `charlstm.generation.stream.score`."""
        return score(self.model, self.vocabulary, text, num_likeliest)

    def with_characters(
        self, characters: Iterable[str], config: ModelConfig, seed: int
    ) -> tuple["LanguageModel", tuple[str, ...]]:
        """Return this model with `characters` added to its vocabulary, and those of them that are new.

        Known characters keep their ids and weights. The input vectors of new ones are initialized as in a new model;
        their output weights start as the mean of all others, so that they are neither likely nor impossible.
        """
        known, level = self.vocabulary.characters, self.vocabulary.level
        new = () if level == "bytes" else tuple(sorted(set(characters) - set(known)))
        extended = LanguageModel.create(Vocabulary(known + new, level), config, seed)
        tensors = self.model.state_dict()
        with torch.no_grad():
            for name, tensor in extended.model.state_dict().items():  # shares memory with the parameters
                old = tensors[name]
                tensor[tuple(slice(size) for size in old.shape)] = old
                if new and name.startswith("head."):
                    tensor[len(known) :] = old.mean(dim=0)
        return extended, new
