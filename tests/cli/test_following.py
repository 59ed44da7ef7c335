"""The next command that is named works, or says what it needs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]


def test_without_a_known_data_set_the_next_command_says_so(
    run: Run, trained_file: Path, tmp_path: Path
) -> None:
    """And where the record is, unless it is found by itself."""
    (tmp_path / "made").mkdir()

    here = run("factorize", trained_file, "--rank", 3).stderr
    there = run("factorize", trained_file, "--rank", 3, "-o", "made/small one.keras").stderr

    assert "Next: lrcompress finetune --epochs 2 --dataset DATA (no data set is known" in here
    record = shlex.quote("made/small one.lrcompress.json")
    assert f"finetune --epochs 2 --run {record} --dataset DATA" in there


def test_a_known_data_set_is_named(run: Run, examples: Path) -> None:
    """A model whose head is small is better made smaller as a whole."""
    model = examples / "digits_cnn.keras"

    said = run("factorize", model, "--rank", 4).stderr.splitlines()

    assert said[-2] == "Next: lrcompress finetune --epochs 2"
    assert said[-1].startswith(f"Or: lrcompress compress {model} --dataset digits ")
    assert f"Next: lrcompress compress {model} --dataset digits" in run("inspect", model).stderr
    done = run("compress", model)
    assert f"Next: lrcompress compress {model} --dataset digits --overwrite: " in done.stderr


def test_layers_without_parameters_are_shown_when_asked_for(run: Run, examples: Path) -> None:
    """Their number is always told."""
    model = examples / "digits_cnn.keras"

    few, every = run("inspect", model).stdout, run("inspect", model, "--all").stdout

    assert "more layers have no parameters; --all shows them" in few
    assert "Flatten" not in few
    assert "Flatten" in every
    assert "--all" not in every
