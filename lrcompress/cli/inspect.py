"""`lrcompress inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.completing import layers
from lrcompress.cli.console import show, show_json
from lrcompress.cli.options import model_argument, output_options


@click.command("inspect")
@model_argument("model")
@click.option("--layer", metavar="NAME", shell_complete=layers,
              help="Another Dense layer than the final one.")  # fmt: skip
@output_options
def command(model: Path, layer: str | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the layers of MODEL, find its final Dense layer and say what each rank would save.

    MODEL is a .h5, .hdf5 or .keras file; none of it is run.

    \b
    Example:
        lrcompress inspect model.h5
    """  # noqa: D301
    from lrcompress.reporting.compressed import render_inspect
    from lrcompress.verbs.inspect import inspect

    document = inspect(model, layer=layer)
    if as_json:
        show_json(document)
    else:
        show(render_inspect(document))
