"""The command line: what it offers, and what it refuses and how."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import Trained, assert_one_sentence, run
from pydantic import BaseModel

import charlstm
from charlstm.bench.report import BenchConfig
from charlstm.config import ModelConfig, SampleConfig, TrainConfig
from charlstm.config_fields import unit_of
from charlstm.kernel.job_layout import limit_torch_threads


class TestHelp:
    def test_the_commands_are_listed_each_with_what_it_does(self):
        code, out, err = run("--help")
        assert (code, err) == (0, "")
        for command, what in {
            "train": "Train a model",
            "resume": "Continue a run",
            "generate": "Write text",
            "evaluate": "Measure a model",
            "runs": "List the runs",
            "bench": "Time this package",
        }.items():
            assert re.search(rf"{command}\s+{what}", out), command

    def test_the_version_is_told(self):
        assert run("--version") == (0, f"charlstm {charlstm.__version__}\n", "")

    def test_no_command_at_all_is_wrong_usage(self):
        assert run().code == 2

    def test_help_and_the_list_of_runs_start_without_torch_and_gradio(self, repository: Path, tmp_path: Path):
        commands = [[], *([each] for each in ("train", "resume", "generate", "evaluate", "runs", "bench"))]
        script = f"""
import contextlib, io, sys
from charlstm.cli import main
for command in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert "usage" in out.getvalue(), command
main(["runs", "--json", "--checkpoints-dir", {str(tmp_path)!r}])
print(sorted({{"torch", "gradio", "numpy", "safetensors"}} & set(sys.modules)))
"""
        command = [sys.executable, "-c", script]
        shown = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
        assert shown.stdout.splitlines() == ["[]", "[]"]

    @pytest.mark.parametrize(
        ("command", "configs"),
        [("train", (ModelConfig, TrainConfig)), ("generate", (SampleConfig,)), ("bench", (BenchConfig,))],
    )
    def test_every_setting_is_a_flag_with_its_meaning_unit_and_bounds(
        self, command: str, configs: tuple[type[BaseModel], ...]
    ):
        out = re.sub(r"[\s│]+", " ", run(command, "--help").out)
        sections = dict(zip(*[iter(re.split(r" (--[a-z0-9-]+) ", out)[1:])] * 2, strict=True))
        for config in configs:
            schema = config.model_json_schema()["properties"]
            for name, facts in schema.items():
                shown = sections[f"--{name.replace('_', '-')}"]
                assert facts["description"] in shown, name
                assert unit_of(config.model_fields[name]).lower() in shown.lower(), name
                for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                    if bound in facts:
                        limit = facts[bound]
                        assert re.search(rf"\b{limit if limit % 1 else int(limit):,}\b", shown), (name, bound)
                for choice in facts.get("enum", []):
                    assert choice in shown, (name, choice)

    def test_the_defaults_shown_are_those_of_the_preset(self):
        hidden = {
            preset: re.search(
                r"--hidden-size.*?default: (\d+)", run("train", "--preset", preset, "--help").out, re.DOTALL
            )
            for preset in ("minute", "blog")
        }
        assert {preset: match and match[1] for preset, match in hidden.items()} == {"minute": "384", "blog": "250"}


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("flags", "named"),
        [
            (["--hidden-size", "0"], ["hidden_size", "0", "from 1 to 4,096 units"]),
            (["--hidden-size", "-3"], ["hidden_size", "-3"]),
            (["--dropout", "1"], ["dropout", "1.0", "below 1"]),
            (["--learning-rate", "nan"], ["learning_rate", "nan"]),
            (["--max-minutes", "0"], ["max_steps", "max_passes", "max_minutes"]),
            (["--seed", str(2**31)], ["seed", "2,147,483,647"]),
        ],
    )
    def test_a_value_out_of_bounds_is_refused_with_the_bounds_before_anything_is_made(
        self, trained: Trained, tmp_path: Path, flags: list[str], named: list[str]
    ):
        code, out, err = run("train", "--corpus", trained.text, "--checkpoints-dir", tmp_path / "c", *flags)
        assert (code, out) == (2, "")
        assert_one_sentence(err)
        assert [part for part in named if part not in err] == []
        assert not (tmp_path / "c").exists()

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--bogus", "3"],
            ["train", "--bogus", "3"],
            ["train", "--hidden-size", "wide"],
            ["train", "--level", "words"],
            ["train", "--preset", "nope"],
            ["resume"],
            ["generate"],
            ["evaluate", "model", "--val-fraction", "most"],
            ["runs", "--jason"],
            ["fly"],
        ],
    )
    def test_what_is_not_offered_is_wrong_usage(self, arguments: list[str]):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err
        assert "Traceback" not in err

    @pytest.mark.parametrize("flags", [["--temperature", "9"], ["--num-chars", "-1"], ["--top-p", "0"]])
    def test_sampling_settings_have_bounds_too(self, trained: Trained, flags: list[str]):
        code, out, err = run("generate", trained.model, *flags)
        assert (code, out) == (2, "")
        assert_one_sentence(err)
        assert flags[0].strip("-").replace("-", "_") in err

    @pytest.mark.parametrize(
        ("content", "named"),
        [
            ('{"hidden_sise": 8}', "hidden_sise"),
            ('{"name": "x"}', "'name'"),
            ('{"hidden_size": 0}', "hidden_size is 0"),
            ('{"hidden_size": ', "can't be read as JSON"),
            ("[1]", "one JSON object"),
            (None, "can't be read"),
        ],
    )
    def test_a_file_of_settings_is_held_to_the_same_rules(self, tmp_path: Path, content: str | None, named: str):
        file = tmp_path / "settings.json"
        if content is not None:
            file.write_text(content)
        code, out, err = run("train", "--config", file)
        assert (code, out) == (2, "")
        assert_one_sentence(err)
        assert named in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARLSTM_TRASH_DAYS", "abc"),
        ("CHARLSTM_TRASH_DAYS", "nan"),
        ("CHARLSTM_TRASH_DAYS", "-1"),
        ("CHARLSTM_MAX_RUNS", "two"),
        ("OMP_NUM_THREADS", "abc"),
        ("OMP_NUM_THREADS", "0"),
    ],
)
def test_a_variable_that_is_no_such_number_is_refused_by_its_name_before_a_run_is_begun(
    name: str, value: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(name, value)
    code, out, err = run("train", "--corpus", trained.text, "--max-steps", 1, "--checkpoints-dir", tmp_path)
    assert (code > 0, out, list(tmp_path.iterdir())) == (True, "", [])
    assert_one_sentence(err)
    assert name in err
    assert value in err


@pytest.mark.parametrize("value", ["", "1", " 4 ", "4,2"])
def test_openmps_own_numbers_of_threads_are_taken(value: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    num_threads = torch.get_num_threads()
    limit_torch_threads()
    torch.set_num_threads(num_threads)
