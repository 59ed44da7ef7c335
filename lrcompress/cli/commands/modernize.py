"""Rewrite an old model file so that Keras 3 loads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import model_argument, output_option, overwrite_option
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain
from lrcompress.reporting.words import changes, size


@click.command("modernize")
@model_argument("model")
@output_option("<stem>-keras3<suffix> in the current directory")
@click.option("--check", is_flag=True, help="Load the new file in Keras before it is put in place.")
@overwrite_option
@verb
def command(model: Path, **options: Any) -> Answer:  # noqa: ANN401
    """Rewrite an old MODEL in the terms of Keras 3, so that plain Keras 3 loads it.

    MODEL is a .h5, .hdf5 or .keras file of any Keras; it is not changed, and none of it is run.
    Every change is listed, and a warning names what may compute differently. Keras is started only
    with --check, and where --output asks for the other format.

    \b
    Example:
        lrcompress modernize model.h5 --check
        lrcompress modernize model.h5 -o model.keras
    """  # noqa: D301
    from lrcompress.verbs.modernize import modernize

    return Answer(modernize(model, **options), render, warning="Warning")


def render(result: dict[str, Any]) -> Parts:
    """Show what had to change."""
    version = result["keras_version"]
    lines = [
        f"{result['input']}: written by {f'Keras {version}' if version else 'a Keras that left no version'}",
        *(changes(result["changes"]) or ["nothing had to change for Keras 3"]),
    ]
    if result["optimizer_bytes"]:
        lines.append(f"{size(result['optimizer_bytes'])} of optimizer state are dropped")
    if result["checked"]:
        lines.append("Keras loads the new file")
    return [plain([*lines, f"wrote {result['output']}"])]
