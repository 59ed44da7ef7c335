"""The line that tells what a command is doing: on a terminal, and in a log."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from lrcompress import events
from lrcompress.cli import bar, console
from lrcompress.cli.verb import following


def test_a_line_tells_the_step_the_share_and_the_time_within_its_columns() -> None:
    """Tasks within others follow; what does not fit is cut from the text, not from the time."""
    state = bar.State("compress", now=0.0)
    assert state.line(70.0, 80).endswith("1:10 elapsed")

    assert state.step("layers", 1, 4) == "[1/4] layers"
    state.tell("trying each layer alone", 5, 20, {}, now=10.0)
    state.tell("conv2d, channels 5", 100, 300, {"loss": 0.25}, now=11.0)
    state.tell("conv2d, channels 5", 200, 300, {"loss": 0.25}, now=20.0)

    line = state.line(20.0, 120)
    assert "[1/4] layers: trying each layer alone 25 %: conv2d, channels 5, loss 0.2500" in line
    assert line.endswith("0:20 elapsed, 0:30 left")
    for width in (40, 60, 80):
        assert len(state.line(20.0, width)) == width
        assert state.line(20.0, width).endswith("0:20 elapsed, 0:30 left")
    # Done with what was within; then with all of it.
    state.tell("trying each layer alone", 20, 20, {}, now=3700.0)
    assert state.line(3700.0) == "[1/4] layers: trying each layer alone 100 %  1:01:40 elapsed"
    state.step("fine-tuning", 2, 4)
    state.tell("fine-tuning, epoch 1/2", 1, 2, {}, now=3700.0)
    assert state.line(3700.0) == "[2/4] fine-tuning, epoch 1/2 50 %  1:01:40 elapsed"


def waited_for(capfd: pytest.CaptureFixture[str], words: str) -> str:
    """Return what stderr has got by the time that it holds some words."""
    said = ""
    for _ in range(500):
        said += capfd.readouterr().err
        if words in said:
            break
        time.sleep(0.01)
    return said


def test_a_log_hears_of_work_that_says_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line at each interval; a step says so at once, and a quiet command never does."""
    monkeypatch.setattr(bar, "LOG_SECONDS", 0.01)

    with closing(bar.Bar("factorize")) as told:
        assert "factorize  0:00 elapsed\n" in waited_for(capfd, "factorize  0:00 elapsed\n")
        told.step("export", 3, 4)
        assert "[3/4] export ...\n" in waited_for(capfd, "[3/4] export ...\n")
    with following("factorize", quiet=True, verbose=False):
        events.stage("export", 3, 4)
        events.progress("task", 1, 2)
        time.sleep(0.05)

    assert capfd.readouterr().err == ""


def test_a_terminal_has_one_line_that_gives_way_to_messages(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages stand above it, and nothing of it is left in the end."""
    monkeypatch.setattr(bar, "DRAW_SECONDS", 0.01)
    monkeypatch.setattr(bar, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(console, "is_dumb", lambda: False)

    with closing(bar.Bar("factorize")) as told:
        told("solving", 1, 4, {})
        said = waited_for(capfd, "solving 25 %")
        console.tell("a message")
        said += waited_for(capfd, "a message\n")
        said += waited_for(capfd, "solving 25 %")

    said += capfd.readouterr().err
    assert "\n" not in said.replace("a message\n", "")
    assert said.split("a message\n")[0].split("\r")[-2].isspace()
    assert said.endswith("\r")
    assert said.split("\r")[-2].isspace()
