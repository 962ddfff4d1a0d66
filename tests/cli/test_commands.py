"""The command line: what it offers, what it refuses and how, and that its commands do what they say."""

import contextlib
import io
import itertools
import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from commands import TINY, Trained, assert_one_sentence, lines_of, provenance_of, run

from charlstm import LanguageModel
from charlstm.cli import main
from charlstm.config import ModelConfig, TrainConfig
from charlstm.generation.holds import Hold
from charlstm.runs.control import Control
from charlstm.runs.run_dir import RunDir
from charlstm.runs.worker import run_training


class TestTrain:
    def test_a_large_text_is_prepared_under_a_bar_that_goes_and_leaves_the_output_as_it_is(
        self, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.corpus.corpus.HELD_BYTES", 0)
        command = ["train", "--corpus", trained.text, "--name", "tiny", *TINY, "--max-steps", 60]
        code, out, err = run(*command, "--checkpoints-dir", tmp_path)
        assert (code, err) == (0, "")
        plain = [line for line in trained.outcome.out.splitlines() if line.startswith("step ")]
        assert [line for line in out.splitlines() if line.startswith("step ")] == plain != []
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        with contextlib.redirect_stderr(terminal), contextlib.redirect_stdout(io.StringIO()):
            assert main(["evaluate", str(tmp_path / "tiny"), "--corpus", str(trained.text), "--json"]) == 0
        assert "preparing the text:" in terminal.getvalue()
        assert terminal.getvalue().endswith("\r"), "the bar is gone"

    def test_flags_go_over_the_file_and_the_file_over_the_preset(self, trained: Trained, tmp_path: Path):
        file = tmp_path / "settings.json"
        file.write_text(json.dumps({"hidden_size": 12, "seq_len": 20, "sample_chars": 7, "corpus": "python-reference"}))
        command = ["train", "--preset", "blog", "--config", file, "--corpus", trained.text, "--hidden-size", 4]
        outcome = run(*command, "--max-steps", 3, "--checkpoints-dir", tmp_path / "c", "--name", "mixed")
        assert outcome.code == 0, outcome.err
        values = json.loads((tmp_path / "c" / "mixed" / "config.json").read_text())
        assert (values["hidden_size"], values["max_steps"], values["corpus"]) == (4, 3, str(trained.text))  # flags
        assert (values["seq_len"], values["sample_chars"]) == (20, 7)  # the file
        assert (values["batch_size"], values["lr_schedule"], values["max_passes"]) == (1, "constant", 1.0)  # the preset
        assert values["weight_decay"] == 0.0  # nobody: the field's own default
        assert values.keys() == {*ModelConfig.model_fields, *TrainConfig.model_fields}

    def test_elsewhere_than_on_a_terminal_it_prints_plain_lines_with_samples_beside_their_steps(
        self, trained: Trained, pangrams: str
    ):
        code, out, err = trained.outcome
        assert (code, err) == (0, "")
        assert "\r" not in out
        assert "\x1b" not in out
        assert "%|" not in out
        assert f"data has {len(pangrams):,} characters, {len(set(pangrams))} unique" in out
        recorded = lines_of(trained.model)
        samples = {line["step"]: line for line in recorded if line["kind"] == "sampled"}
        assert list(samples) == [0, 20, 30, 40, 60]
        for step, sample in samples.items():
            opening, written = sample["text"][: sample["prompt_chars"]], sample["text"][sample["prompt_chars"] :]
            last_line = opening.splitlines()[-1]
            head = f"step {step}, quick estimate of validation {sample['quick_loss']:.2f} ----"
            assert f"{head}\n> {last_line}\n{written}\n----" in out
        for line in recorded:
            if line["kind"] == "evaluated":
                assert f"step {line['step']}: validation {line['val_loss']:.4f}" in out
        assert "completed at step 60" in out

    def test_a_run_without_a_name_is_named_after_text_and_preset(self, trained: Trained, tmp_path: Path):
        command = ["train", "--corpus", trained.text, "--checkpoints-dir", tmp_path, *TINY, "--max-steps", 1]
        assert run(*command).code == run(*command).code == 0
        assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {"pangrams-minute", "pangrams-minute-2"}

    @pytest.mark.parametrize("name", ["../x", "tiny", "x" * 65])
    def test_a_bad_or_taken_name_is_refused_in_one_sentence(self, trained: Trained, name: str):
        before = sorted(trained.checkpoints.parent.rglob("*"))
        command = ["train", "--corpus", trained.text, "--checkpoints-dir", trained.checkpoints, *TINY]
        code, out, err = run(*command, "--max-steps", 1, "--name", name)
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert sorted(trained.checkpoints.parent.rglob("*")) == before

    def test_a_missing_text_is_named_in_one_sentence_and_no_run_is_left_behind(self, tmp_path: Path):
        code, out, err = run("train", "--corpus", tmp_path / "gone.txt", "--checkpoints-dir", tmp_path / "c")
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert f"no file {tmp_path / 'gone.txt'}" in err
        assert not (tmp_path / "c").exists()

    def test_a_text_too_short_is_refused_with_the_length_that_would_do(self, tmp_path: Path):
        text = tmp_path / "short.txt"
        text.write_text("ab")
        command = ["train", "--corpus", text, "--checkpoints-dir", tmp_path / "c", "--name", "short", *TINY]
        command += ["--batch-size", 30, "--max-steps", 1]
        code, out, err = run(*command)
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert not (tmp_path / "c").exists()
        match = re.search(r"at least (\d+)", err)
        assert match is not None
        needed = int(match[1])
        text.write_text(("ab" * needed)[: needed - 1])
        assert run(*command).code == 1
        text.write_text(("ab" * needed)[:needed])
        assert run(*command).code == 0

    def test_the_blog_preset_shows_the_posts_experiment(self, trained: Trained, tmp_path: Path, pangrams: str):
        command = ["train", "--preset", "blog", "--corpus", trained.text, "--checkpoints-dir", tmp_path]
        code, out, err = run(*command, "--name", "post")
        assert (code, err) == (0, "")
        distinct = len(set(pangrams))
        assert f"data has {len(pangrams):,} characters, {distinct} unique" in out
        recorded = lines_of(tmp_path / "post")
        first = next(line for line in recorded if line["kind"] == "progress")
        assert first["step"] == 0
        assert first["train_loss"] == pytest.approx(math.log(distinct), abs=0.1)
        num_train = len(pangrams) - round(len(pangrams) * 0.1)
        assert recorded[-1]["step"] == math.ceil((num_train - 1) / 100), "one pass in windows of 100"
        sizes = [len(line["text"]) - line["prompt_chars"] for line in recorded if line["kind"] == "sampled"]
        assert set(sizes) == {500}
        told = re.findall(r"---- step ([\d,]+), quick estimate of validation \d\.\d\d ----", out)
        assert told == ["0", str(recorded[-1]["step"])]
        assert recorded[0]["num_parameters"] == 4 * 250 * (distinct + 250 + 2) + distinct * (250 + 1)


class TestResume:
    def test_an_unknown_run_is_refused_in_one_sentence(self, trained: Trained):
        code, out, err = run("resume", "nobody", "--checkpoints-dir", trained.checkpoints)
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert "no run named nobody" in err

    def test_a_completed_run_is_refused_in_one_sentence_and_stays_completed(self, trained: Trained):
        code, _, err = run("resume", "tiny", "--checkpoints-dir", trained.checkpoints)
        assert code == 1
        assert_one_sentence(err)
        assert "reached its planned end" in err
        rows = json.loads(run("runs", "--json", "--checkpoints-dir", trained.checkpoints).out)
        assert [row["status"] for row in rows] == ["completed"]

    def test_a_stopped_run_goes_on_to_its_end(self, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("charlstm.runs.worker_session._LOOK_SECONDS", 0.0)
        folder = RunDir(tmp_path / "run")
        folder.path.mkdir()
        folder.settings_file.write_bytes((trained.model / "config.json").read_bytes())
        run_training(folder, on_record=lambda record: folder.request(Control(stop=True)) if record.step == 20 else None)
        assert folder.control().stop is False, "a request that was done is taken back"
        code, out, err = run("resume", "run", "--checkpoints-dir", tmp_path)
        assert (code, err) == (0, "")
        assert "resumed at step 20" in out
        assert "completed at step 60" in out


class TestGenerate:
    def test_the_prompt_comes_first_and_the_asked_number_of_characters_after_it(self, trained: Trained):
        code, out, err = run("generate", trained.model, "--prompt", "the fox", "--num-chars", 40)
        assert (code, err) == (0, "")
        assert out.startswith("the fox")
        assert out.endswith("\n")
        assert len(out) == len("the fox") + 40 + 1

    def test_same_seed_same_text_and_another_seed_another(self, trained: Trained):
        texts = [run("generate", trained.model, "--num-chars", 60, "--seed", seed).out for seed in (7, 7, 8)]
        assert texts[0] == texts[1] != texts[2]
        assert len(texts[0]) == 61

    def test_a_held_unit_changes_what_is_written(self, trained: Trained):
        free, held = (run("generate", trained.model, *asked).out for asked in ((), ("--hold", "3=5,4=-5")))
        known = LanguageModel.load(trained.model)
        assert held == known.generate(holds=(Hold(3, 5.0), Hold(4, -5.0))) + "\n" != free
        for value, said in (("3", "'3' holds no unit"), ("99999=1", "no unit 99999")):
            code, out, err = run("generate", trained.model, "--hold", value)
            assert (code, out) == (2, "")
            assert_one_sentence(err)
            assert said in err

    def test_the_model_file_alone_is_enough(self, trained: Trained, tmp_path: Path):
        copy = tmp_path / "only.safetensors"
        copy.write_bytes((trained.model / "model.safetensors").read_bytes())
        assert run("generate", copy, "--prompt", "box").out == run("generate", trained.model, "--prompt", "box").out

    def test_a_character_the_model_never_saw_is_named(self, trained: Trained):
        code, _, err = run("generate", trained.model, "--prompt", "日")
        assert code == 1
        assert_one_sentence(err)
        assert "'日'" in err

    def test_a_missing_model_is_refused_in_one_sentence(self, tmp_path: Path):
        code, out, err = run("generate", tmp_path / "nowhere")
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert str(tmp_path / "nowhere") in err

    def test_a_missing_compiler_is_said_once_where_the_text_is_long_and_nowhere_else(
        self, trained: Trained, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("charlstm.kernel.build.compiler_note", lambda: "there is none")
        long = run("generate", trained.model, "--num-chars", 10_000)
        assert (long.code, long.err) == (0, "there is none\n")
        assert run("generate", trained.model, "--num-chars", 20).err == ""


class TestEvaluate:
    def test_the_json_has_exactly_these_figures_and_they_are_the_models_own(self, trained: Trained, pangrams: str):
        code, out, err = run("evaluate", trained.model, "--corpus", trained.text, "--json")
        assert (code, err) == (0, "")
        figures = json.loads(out)
        provenance = provenance_of(trained.model)
        assert figures.keys() == {"stateful", "windows", "method", "characters", "model", "corpus", "split"}
        assert figures["method"] == "stateful", "a text as short as this is read in one stream"
        for key in ("stateful", "windows"):
            assert figures[key].keys() == {"nats", "bpc"}
            assert figures[key]["nats"] == pytest.approx(provenance[f"val_{key}"], rel=1e-6)
            assert figures[key]["bpc"] == pytest.approx(figures[key]["nats"] / math.log(2), rel=1e-12)
        assert figures["characters"] == round(len(pangrams) * 0.1) - 1
        assert (figures["model"], figures["corpus"]) == (str(trained.model), "pangrams.txt")
        assert figures["split"] == "last 10%"

    def test_a_larger_share_measures_more_characters(self, trained: Trained, pangrams: str):
        out = run("evaluate", trained.model, "--corpus", trained.text, "--val-fraction", 0.5, "--json").out
        assert json.loads(out)["characters"] == round(len(pangrams) * 0.5) - 1
        assert json.loads(out)["split"] == "last 50%"

    def test_a_share_out_of_bounds_is_wrong_usage(self, trained: Trained):
        code, out, err = run("evaluate", trained.model, "--corpus", trained.text, "--val-fraction", 0.9)
        assert (code, out) == (2, "")
        assert_one_sentence(err)
        assert "val_fraction" in err

    def test_the_plain_lines_name_both_figures(self, trained: Trained):
        code, out, _ = run("evaluate", trained.model, "--corpus", trained.text)
        provenance = provenance_of(trained.model)
        assert code == 0
        assert re.search(rf"stateful +{provenance['val_stateful']:.4f} nats", out)
        assert re.search(rf"windows of 256 +{provenance['val_windows']:.4f} nats", out)

    def test_a_text_that_can_not_be_found_again_is_refused_in_one_sentence(
        self, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        code, out, err = run("evaluate", trained.model)
        assert (code, out) == (1, "")
        assert_one_sentence(err)
        assert "pangrams.txt" in err


class TestRuns:
    def test_the_json_tells_name_state_step_and_final_validation(self, trained: Trained):
        code, out, err = run("runs", "--json", "--checkpoints-dir", trained.checkpoints)
        assert (code, err) == (0, "")
        final = lines_of(trained.model)[-1]["val_stateful"]
        assert json.loads(out) == [{"name": "tiny", "status": "completed", "step": 60, "val_loss": final}]

    def test_the_plain_list_has_a_line_for_each_run(self, trained: Trained):
        code, out, _ = run("runs", "--checkpoints-dir", trained.checkpoints)
        assert code == 0
        assert out.count("\n") == 1
        assert re.match(r"tiny +completed +step +60 +validation \d\.\d{4}", out)

    def test_where_there_are_none_it_says_how_to_start_one(self, tmp_path: Path):
        code, out, _ = run("runs", "--checkpoints-dir", tmp_path / "c")
        assert code == 0
        assert "charlstm train" in out
        assert json.loads(run("runs", "--json", "--checkpoints-dir", tmp_path / "c").out) == []


def test_the_module_is_a_program_that_ends_with_the_commands_exit_code(repository: Path, tmp_path: Path):
    command = [sys.executable, "-m", "charlstm", "stop", "nobody", "--checkpoints-dir", str(tmp_path)]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert_one_sentence(ended.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_on_a_terminal_a_bar_shows_share_rate_and_time_left(trained: Trained, tmp_path: Path, repository: Path):
    import fcntl
    import os
    import pty
    import termios

    command = [sys.executable, "-m", "charlstm", "train", "--corpus", str(trained.text)]
    command += ["--checkpoints-dir", str(tmp_path), "--name", "shown", *TINY, "--log-every", "1", "--max-steps", "150"]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen(
        command, cwd=repository, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        output = b""
        with contextlib.suppress(OSError):  # what a terminal says when nobody is left on its other side
            while piece := os.read(ours, 65536):
                output += piece
        os.close(ours)
    text = output.decode()
    assert process.returncode == 0, text
    bars = re.findall(r"\r *(\d+)%\|.*?\| \d\d:\d\d gone, (\S+) left, step (\d+), loss \d\.\d+, [\d,]+ chars/s", text)
    assert len(bars) >= 2, text
    shares = [int(share) for share, _, _ in bars]
    assert all(one <= other for one, other in itertools.pairwise(shares))
    assert shares[-1] == 100
    assert any(re.fullmatch(r"\d\d:\d\d", left) for _, left, _ in bars)
    assert "completed at step 150" in text


@pytest.mark.parametrize("named", ["folder", "pattern", "list"])
def test_a_run_on_several_files_goes_on_wherever_it_is_resumed_from(
    tmp_path: Path, pangrams: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapters = tmp_path / "chapters"
    chapters.mkdir()
    parts = [chapters / f"{number}.txt" for number in range(2)]
    for part in parts:
        part.write_text(pangrams, encoding="utf-8")
    corpus = {"folder": "chapters", "pattern": "chapters/*.txt", "list": os.pathsep.join(map(str, parts))}[named]
    runs = ["--checkpoints-dir", str(tmp_path / "runs")]
    monkeypatch.chdir(tmp_path)
    short = ["--hidden-size", "4", "--max-minutes", "0", "--max-steps", "2", "--sample-chars", "5"]
    assert main(["train", "--corpus", corpus, "--name", "novel", *short, *runs]) == 0
    monkeypatch.chdir("/")
    assert main(["resume", "novel", "--more-steps", "2", *runs]) == 0


class TestAMovedText:
    def test_a_run_goes_on_from_where_its_text_is_now_and_only_from_that_text(self, tmp_path: Path, pangrams: str):
        begun, moved, other = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "other.txt"
        begun.write_text(pangrams, encoding="utf-8")
        other.write_text(pangrams.replace("lazy", "ZEAL"), encoding="utf-8")
        where = ["--checkpoints-dir", tmp_path / "runs"]
        assert run("train", "--corpus", begun, "--name", "a", *TINY, "--max-steps", 20, *where).code == 0
        folder = RunDir(tmp_path / "runs" / "a")
        begun.rename(moved)
        before, begun_at = folder.events_file.read_bytes(), folder.creation_time()
        for refused in ([], ["--corpus", other], ["--corpus", begun]):
            code, _, err = run("resume", "a", "--more-steps", 5, *refused, *where)
            assert code == 1
            assert_one_sentence(err)
            assert (folder.status(), folder.events_file.read_bytes()) == ("completed", before)
            assert folder.extensions() == ()
        code, out, err = run("resume", "a", "--corpus", moved, "--more-steps", 5, *where)
        assert (code, err) == (0, "")
        assert "completed at step 25" in out
        assert folder.creation_time() == begun_at
        assert run("resume", "a", "--more-steps", 5, *where).code == 0, "the place is kept"
