"""The commands `inspect` and `explain`, with a network wired by hand that keeps an open bracket in mind."""

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import generate_docs
import pytest
import torch
from commands import TINY, assert_one_sentence, run

from charlstm import LanguageModel, ModelConfig, Vocabulary
from charlstm.insight.report import Insight

UNIT = 5  # is 1 inside of brackets, and -1 outside
PIECES = [f"{'ab ' * (1 + n % 5)}({'ba ' * (1 + n * n % 7)})\n" for n in range(700)]


class Wired(NamedTuple):
    model: Path
    text: Path


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Wired:
    """The model's folder and a text: a bracket is written to the memory, and all else leaves it as it is."""
    folder = tmp_path_factory.mktemp("wired")
    text = "".join(PIECES)
    vocabulary = Vocabulary.from_text(text)
    lm = LanguageModel.create(vocabulary, ModelConfig(hidden_size=8, embedding_dim=0), 1)
    opens, closes = (int(vocabulary.encode(mark)[0]) for mark in "()")
    with torch.no_grad():
        weight_ih, weight_hh, bias_ih, bias_hh = lm.model.lstm.all_weights[0]
        rows = [gate * 8 + UNIT for gate in range(4)]  # input, forget, candidate, output
        for tensor in (weight_ih, weight_hh, bias_ih, bias_hh):
            tensor[rows] = 0.0
        bias_ih[rows] = torch.tensor([-9.0, 9.0, 0.0, 9.0])
        weight_ih[rows[0], [opens, closes]] = 18.0
        weight_ih[rows[1], [opens, closes]] = -18.0
        weight_ih[rows[2], opens], weight_ih[rows[2], closes] = 9.0, -9.0
        lm.model.head.weight[closes, UNIT] = 6.0
    lm.save(folder / "model")
    (folder / "text.txt").write_text(text, encoding="utf-8")
    return Wired(folder / "model", folder / "text.txt")


def test_the_wired_unit_is_named_and_acts_and_the_answer_is_kept(wired: Wired):
    before = run("inspect", wired.model)
    assert (before.code, before.out) == (2, "")
    assert_one_sentence(before.err)
    assert "name one with --text" in before.err
    found = run("inspect", wired.model, "--text", wired.text, "--json", "--keep", "--places", 8192)
    assert (found.code, found.err) == (0, "")
    answer = json.loads(found.out)
    assert (answer["num_layers"], answer["hidden_size"], answer["vocabulary"]) == (1, 8, len(set("".join(PIECES))))
    unit = next(each for each in answer["units"] if each["unit"] == UNIT)
    assert "bracket" in unit["label"]
    assert unit["score"] == 1.0
    assert unit["acts"] is True
    assert unit["effect"]["measure"] == ")"

    kept = json.loads(run("inspect", wired.model, "--json").out)
    assert kept == {**answer, "model_sha256": kept["model_sha256"]}
    for flags in (("--seed", 2), ("--places", 4096), ("--anew",)):  # the kept answer is none to these
        assert "name one with --text" in run("inspect", wired.model, *flags).err
    rows = list(csv.DictReader(io.StringIO(run("inspect", wired.model, "--csv").out)))
    assert [int(row["unit"]) for row in rows if row["list"] == "named"] == [each["unit"] for each in answer["units"]]
    row = next(row for row in rows if int(row["unit"]) == UNIT)
    assert float(row["kl"]) == unit["effect"]["kl"]
    assert row["acts"] == "True"
    plain = run("inspect", wired.model).out
    line = next(line for line in plain.splitlines() if line.split()[:1] == [str(UNIT)])
    assert unit["label"] in line
    assert "1.00" in line


def test_a_letter_is_explained_by_the_bracket_that_was_opened(wired: Wired):
    text = wired.text.read_text(encoding="utf-8")
    place = text.index(")", 400)
    opened = text.rindex("(", 0, place)
    asked = ["explain", wired.model, "--text", wired.text, "--place", place]
    answer = json.loads(run(*asked, "--json").out)
    assert (answer["place"], answer["character"]) == (place, ")")
    assert [each["place"] for each in answer["worths"]] == list(range(place - 100, place))
    assert all(text[each["place"]] == each["character"] for each in answer["worths"])
    strongest = max(answer["worths"], key=lambda each: each["nats"])
    assert strongest["place"] == opened
    assert f"“(” {place - opened} characters back" in answer["sentence"]
    lm = LanguageModel.load(wired.model)
    read, target = lm.vocabulary.encode(text[:place]).astype(int), int(lm.vocabulary.encode(")")[0])
    with torch.no_grad():
        chances = lm.model(torch.from_numpy(read)[None])[0][0, -1].softmax(0)
    assert answer["chance"] == pytest.approx(float(chances[target]), abs=1e-4)

    from_the_end = run(*asked[:-1], place - len(text), "--csv", "--characters", 20).out
    rows = list(csv.reader(io.StringIO(from_the_end)))
    assert rows[0] == ["place", "character", "nats"]
    assert [int(row[0]) for row in rows[1:]] == list(range(place - 20, place))
    assert [float(row[2]) for row in rows[1:]] == [each["nats"] for each in answer["worths"][-20:]]
    assert answer["sentence"] in run(*asked).out


@pytest.mark.parametrize(
    ("flags", "said"),
    [(("--place", 10**6), "choose a place from 1 to"), (("--place", 0), "choose a place from 1 to"),
     (("--place", 5, "--characters", 0), "from 1 to 1,000"), (("--place", 5, "--json", "--csv"), "give one of them")],
)  # fmt: skip
def test_wrong_usage_is_refused_in_one_sentence(wired: Wired, flags: tuple[object, ...], said: str):
    code, out, err = run("explain", wired.model, "--text", wired.text, *flags)
    assert (code, out) == (2, "")
    assert_one_sentence(err)
    assert said in err


def test_the_documented_command_reproduces_the_table_of_units(
    wired: Wired, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
):
    """On a small model in place of the bundled ones."""
    text = (repository / "docs" / "insight.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^python tests/generate_docs\.py.*$", text, re.MULTILINE)
    document, trained = tmp_path / "insight.md", tmp_path / "checkpoints" / "small"
    document.write_text("<!-- units -->\nof another day\n<!-- /units -->\n", encoding="utf-8")
    where = ("--corpus", wired.text, "--checkpoints-dir", trained.parent, "--name", "small")
    assert run("train", *where, *TINY, "--max-steps", "1", "--val-fraction", "0.5").code == 0
    network, learned = LanguageModel.load(wired.model), LanguageModel.load(trained)
    LanguageModel(network.model, learned.vocabulary, learned.provenance).save(trained)
    monkeypatch.setattr(generate_docs, "BUNDLED", ("small",))
    monkeypatch.setattr(generate_docs, "REPOSITORY", tmp_path)
    monkeypatch.setattr(generate_docs, "TABLES", {"units": (document, generate_docs.units_table)})
    monkeypatch.chdir(wired.text.parent)  # a run keeps the name of its file only
    generate_docs.main(shlex.split(line)[2:])
    found = Insight.load(trained)
    assert found is not None
    named = {f"| small | {unit.unit} | {unit.label} | {unit.score:.3f} |" for unit in found.units if unit.remembers}
    assert named
    rows = document.read_text(encoding="utf-8").splitlines()[3:-1]
    assert {"|".join(row.split("|")[:5]) + "|" for row in rows} == named
