"""Steps of an exchange are said where there is no terminal: seldom, but for as long as it goes on."""

from types import SimpleNamespace

import pytest

from charlstm.cli import progress
from charlstm.cli.progress import StepBar, TrainingBar
from charlstm.events import Sampled


def _shown(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> None:
    clock = iter([0.0, *seconds])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with StepBar() as bar:
        for number, _ in enumerate(seconds):
            bar.show(f"sending a file ({number} s)", number * 1_000_000, 9_000_000)


def test_of_what_a_sample_continues_the_last_line_is_shown_and_marked(capsys: pytest.CaptureFixture[str]) -> None:
    sample = Sampled(step=1024, text="First.\n\nROMEO:\nBut soft", temperature=1, seed=1)
    with TrainingBar() as bar:
        bar.show(sample.model_copy(update={"prompt_chars": 15, "quick_loss": 1.934}))
        bar.show(sample)  # as older versions recorded it
    lines = capsys.readouterr().out.splitlines()
    head = "---- step 1,024, quick estimate of validation 1.93 ----"
    assert lines[:4] == [head, "> ROMEO:", "But soft", "----"]
    assert lines[4:] == ["---- step 1,024 ----", "First.", "", "ROMEO:", "But soft", "----"]


def test_what_ends_soon_is_not_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _shown(monkeypatch, [1.0, 2.0, 4.9])
    assert capsys.readouterr() == ("", "")


def test_what_goes_on_is_said_now_and_then_beside_the_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _shown(monkeypatch, [1.0, 5.0, 6.0, 9.0, 10.0])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "sending a file (1 s), 1.0 of 9.0 MB",
        "sending a file (4 s), 4.0 of 9.0 MB",
    ]
