"""`progress=True`: what a verb is doing, on stderr."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import lrcompress
from lrcompress.events import line, listening


def test_a_line_is_drawn_over_and_goes(
    examples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal nothing of it is left; without the word nothing is said."""
    monkeypatch.setattr(line, "DRAW_SECONDS", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    heard: list[str] = []

    with listening(remark=heard.append):
        lrcompress.factorize(
            examples / "digits_cnn.h5", layers="all", reduction=0.3, synthetic=False,
            output=tmp_path / "small.h5", progress=True,
        )  # fmt: skip

    said = capsys.readouterr()
    assert said.out == ""
    assert "factorize: " in said.err
    assert said.err.startswith("\r")
    assert said.err.rsplit("\r", 2)[1].strip() == ""
    lrcompress.inspect(examples / "digits_cnn.h5")
    lrcompress.sweep(examples / "digits_cnn.h5")
    assert capsys.readouterr().err == ""


def test_a_log_gets_whole_lines(
    examples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing can be drawn over."""
    monkeypatch.setattr(line, "LOG_SECONDS", 0.0)
    # Another test may have run a notebook in this process.
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)

    lrcompress.factorize(
        examples / "digits_cnn.h5", layers="all", reduction=0.3, synthetic=False, progress=True,
        output=tmp_path / "small.h5",
    )  # fmt: skip

    said = capsys.readouterr().err
    assert "\r" not in said
    assert " elapsed\n" in said
