"""`lrcompress modernize`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import model_argument, output_option, output_options, overwrite_option


@click.command("modernize")
@model_argument("model")
@output_option("<stem>-keras3<suffix> in the current directory")
@click.option("--check", is_flag=True, help="Load the new file in Keras before it is put in place.")
@overwrite_option
@output_options
def command(
    model: Path,
    output: Path | None,
    check: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Rewrite an old MODEL in the terms of Keras 3, so that plain Keras 3 loads it.

    MODEL is a .h5, .hdf5 or .keras file of any Keras; it is not changed, and none of it is run.
    Every change is listed, and a warning names what may compute differently. Keras is started only
    with --check, and where --output asks for the other format.

    \b
    Example:
        lrcompress modernize model.h5 --check
        lrcompress modernize model.h5 -o model.keras
    """  # noqa: D301
    from lrcompress.reporting.compressed import render_modernize
    from lrcompress.verbs.modernize import modernize

    with following(quiet=quiet, verbose=verbose):
        result = modernize(model, output=output, check=check, overwrite=overwrite)
    for warning in result.warnings:
        note(f"Warning: {warning}", quiet=quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(render_modernize(result.to_json()))
