"""`lrcompress merge`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.completing import layers
from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.options import model_argument, output_option, output_options, overwrite_option


@click.command("merge")
@model_argument("model")
@click.option("--layer", metavar="NAME", multiple=True, shell_complete=layers,
              help="Another layer than the final one; repeat it for several.")  # fmt: skip
@output_option("<stem>-merged<suffix> in the current directory")
@overwrite_option
@output_options
def command(
    model: Path,
    layer: tuple[str, ...],
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Multiply two Dense layers of MODEL that are factors B and C back into one.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed, and none of it is run. The two are
    what factorize writes, or any Dense without activation that feeds another Dense alone. The
    final ones are merged unless --layer names others, by either name.

    \b
    Example:
        lrcompress merge model-rank4.h5
        lrcompress merge model-rank4.h5 -o model-whole.h5
    """  # noqa: D301
    from lrcompress.reporting.merged import render_merge
    from lrcompress.verbs.merge import merge

    result = merge(model, layer=layer, output=output, overwrite=overwrite)
    for warning in result.warnings:
        note(f"Note: {warning}", quiet=quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(render_merge(result.to_json()))
