"""Texts of every kind are learned from with the preset a newcomer would press, and written in their own alphabet."""

from pathlib import Path

import pytest

from charlstm.cli import main
from charlstm.config import SampleConfig
from charlstm.language_model import LanguageModel

_SPANISH = (
    "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, ¿quién vivía? ¡Un hidalgo de lanza en astillero!\n"
)
_JAPANESE = "".join(chr(0x4E00 + (number * 7919) % 3000) + "のは、。\n"[number % 5] for number in range(6000))
_EMOJI = "👩‍👩‍👧‍👦🇪🇸👍🏽 café ☕️\n"
_MARKUP = "<script>alert(1)</script> ${x} {{y}} &amp;\n"
TEXTS = {
    "spanish": _SPANISH * 40,
    "three-thousand-kanji": _JAPANESE,
    "emoji": _EMOJI * 60,
    "one-line-repeated": "all work and no play makes jack a dull boy\n" * 100,
    "three-hundred-characters": (_SPANISH * 3)[:300],
    "one-character-only": "a" * 500,
    "markup": _MARKUP * 50,
    "control-characters": "a\x01b\x1bc\x7f\u200b\ufeff\n" * 100,
}
_QUICK = [
    "--preset",
    "minute",
    "--max-minutes",
    "0",
    "--max-steps",
    "12",
    "--hidden-size",
    "16",
    "--sample-chars",
    "40",
]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_learned_from_and_written_in_its_own_alphabet(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXTS[name]
    file = tmp_path / f"{name}.txt"
    file.write_bytes(text.encode("utf-8"))
    runs = tmp_path / "checkpoints"
    assert main(["train", "--corpus", str(file), "--name", name, "--checkpoints-dir", str(runs), *_QUICK]) == 0
    assert f"data has {len(text):,} characters, {len(set(text)):,} unique" in capsys.readouterr().out
    model = LanguageModel.load(runs / name)
    assert model.vocabulary.characters == tuple(sorted(set(text)))
    written = model.generate(text[:5], SampleConfig(num_chars=60, temperature=1.0))
    assert len(written) == 60
    assert set(written) <= set(text)


@pytest.mark.parametrize("name", ["three-thousand-kanji", "emoji"])
def test_bytes_read_any_prompt(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.txt"
    file.write_text(TEXTS[name], encoding="utf-8")
    runs = tmp_path / "checkpoints"
    flags = ["--corpus", str(file), "--name", name, "--checkpoints-dir", str(runs), "--level", "bytes", *_QUICK]
    assert main(["train", *flags]) == 0
    model = LanguageModel.load(runs / name)
    assert len(model.vocabulary) == 256
    assert model.generate("Ωmega never seen", SampleConfig(num_chars=30))


def test_a_text_shorter_than_its_streams_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tiny.txt"
    file.write_text("too short", encoding="utf-8")
    assert main(["train", "--corpus", str(file), "--checkpoints-dir", str(tmp_path / "runs"), *_QUICK]) == 1
    said = capsys.readouterr().err.strip()
    assert "tiny.txt has 9 characters" in said
    assert "at least 11" in said
    assert "\n" not in said
    assert not (tmp_path / "runs").exists()
