"""`lrcompress sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.completing import layers, words_among
from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import (
    data_options,
    model_argument,
    names_of,
    numbers_of,
    output_options,
    overwrite_option,
    seed_option,
    validation_option,
)

METHODS = ("auto", "svd", "centered", "whitened", "refined")


@click.command("sweep")
@model_argument("model")
@click.option("--method", "methods", default="auto", show_default=True, metavar="LIST",
              callback=names_of("methods", METHODS), shell_complete=words_among(METHODS),
              help="For example svd,centered,whitened,refined.")  # fmt: skip
@click.option("--ranks", callback=numbers_of("ranks", "75,60,40"), metavar="LIST",
              help="For example 75,60,40. Default: all that save something, or fewer in even "
              "ratios where one takes seconds.")  # fmt: skip
@click.option("--layer", metavar="NAME", shell_complete=layers,
              help="Another Dense layer than the final one.")  # fmt: skip
@data_options
@validation_option
@click.option(
    "--samples", type=click.IntRange(min=2), help="Calibration inputs; default: as many as pay off."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Draw the errors: .png, .svg or .pdf.")  # fmt: skip
@overwrite_option
@seed_option
@output_options
def command(
    model: Path,
    methods: tuple[str, ...],
    plot: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Measure what every rank of MODEL's final Dense layer would save and cost; write no model.

    Choose by the held-out column; the test error is there to be reported. Without --dataset only the
    kernel is judged, and Keras is not started.

    \b
    Example:
        lrcompress sweep model.h5 --dataset mnist --method svd,refined --plot sweep.png
    """  # noqa: D301
    from lrcompress.reporting.figures import check_figure, draw_sweep
    from lrcompress.reporting.swept import render_sweep
    from lrcompress.verbs.sweep import sweep

    if plot is not None:
        check_figure(plot, inputs=(model,), overwrite=overwrite)
    with following(quiet=quiet, verbose=verbose):
        result = sweep(
            model,
            method=methods,
            **options,
        )
    document = result.to_json()
    if plot is not None:
        draw_sweep(document, plot, overwrite=overwrite)
    if as_json:
        show_json(document)
    else:
        show(render_sweep(document))
    if plot is not None:
        note(f"wrote {plot}", quiet=quiet)
