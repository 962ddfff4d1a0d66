"""The bundled model that a short text is best begun from is the one that writes like it."""

import inspect
import random
import textwrap

import pytest

from charlstm import LanguageModel, SampleConfig
from charlstm.corpus import Corpus
from charlstm.data_folders import BUNDLED_MODELS
from charlstm.runs.training_inputs import advise_parent


def written_by(name: str) -> str:
    return LanguageModel.load(BUNDLED_MODELS / name).generate("", SampleConfig(num_chars=3000, seed=3))


@pytest.mark.parametrize("name", ["tiny-shakespeare", "moby-dick"])
def test_a_text_is_begun_from_the_model_that_could_have_written_it(name: str) -> None:
    assert advise_parent(Corpus("text", written_by(name))).startswith(
        f"3,000 characters are few: a run that begins with the model {name},"
    )


def test_code_is_begun_from_the_model_that_knows_code_and_foreign_letters_do_not_matter() -> None:
    code = inspect.getsource(textwrap) + "# Ελλάδα\n"
    assert "begins with the model python-stdlib," in advise_parent(Corpus("text", code))


def test_a_text_that_no_model_can_tell_anything_of_is_begun_from_nothing() -> None:
    letters = random.Random(1).choices("абвгдежз", k=5000)
    assert advise_parent(Corpus("text", "".join(letters))) == ""


def test_a_longer_text_is_begun_from_nothing() -> None:
    text = "the quick brown fox jumps over the lazy dog. " * 2223
    assert advise_parent(Corpus("text", text[:99_999])) != ""
    assert advise_parent(Corpus("text", text[:100_000])) == ""
