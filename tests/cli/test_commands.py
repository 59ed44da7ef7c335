"""A command is one file, which is found by its name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

from lrcompress import cli

GREET = '''"""Say how many layers a model has."""

from pathlib import Path

import click

from lrcompress.cli.options import model_argument
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import plain


@click.command("count-layers")
@model_argument("model")
@verb
def command(model: Path) -> Answer:
    """Say how many layers MODEL has."""
    from lrcompress import inspect

    found = {"model": str(model), "layers": len(inspect(model)["layers"])}
    return Answer(found, render, then=["Next: lrcompress inspect"])


def render(found: dict) -> list:
    return [plain([f"{found['model']} has {found['layers']} layers"])]
'''


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[None]:
    """A folder of a user's own with one more command."""
    (tmp_path / "count_layers.py").write_text(GREET, encoding="utf-8")
    cli.FOLDERS.append(str(tmp_path))
    cli.known_commands.cache_clear()
    yield
    cli.FOLDERS.remove(str(tmp_path))
    cli.known_commands.cache_clear()
    sys.modules.pop("lrcompress.cli.commands.count_layers", None)


@pytest.mark.usefixtures("counting")
def test_a_file_is_a_command(run: Callable[..., Result], examples: Path) -> None:
    """It stands in the list behind those of ours, and has what all commands have: --json, -q and notes."""
    model = str(examples / "digits_cnn.h5")

    listed, text = run("--help").stdout, run("count-layers", model)
    quiet, document = run("count-layers", model, "-q"), run("count-layers", model, "--json")

    assert listed.rstrip().endswith("count-layers        Say how many layers a model has.")
    assert text.stdout.endswith("digits_cnn.h5 has 9 layers\n") and "Next:" in text.stderr
    assert quiet.stdout == text.stdout and quiet.stderr == ""
    assert json.loads(document.stdout) == {"model": model, "layers": 9}
    assert run("count-layer").stderr.count("Did you mean 'count-layers'?") == 1


@pytest.mark.parametrize(
    "name", ["evaluate", "inspect", "factorize", "compress", "export", "merge"]
)
def test_a_model_that_is_missing_is_asked_for(run: Callable[..., Result], name: str) -> None:
    """A command of one model or of several is refused as a matter of usage without one."""
    done = run(name)

    assert done.exit_code == 2
    assert "Missing argument 'MODEL" in done.stderr
