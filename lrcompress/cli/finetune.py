"""`lrcompress finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.console import keras_starter, note, progress_bar, show, show_json
from lrcompress.cli.options import (
    data_options,
    model_argument,
    output_option,
    output_options,
    overwrite_option,
    seed_option,
)


@click.command("finetune")
@model_argument("model", required=False)
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True,
              help="Passes over the training data.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
              help="Peak of the warm-up and cosine decay of Adam; default 0.001.")  # fmt: skip
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples a step; default 128, fewer for small data sets.",
)
@click.option("--run", type=click.Path(path_type=Path), metavar="FILE",
              help="Run record; default: the newest here.")  # fmt: skip
@data_options
@output_option("<stem>-finetuned<suffix> beside the factorized model")
@overwrite_option
@seed_option
@output_options
@click.pass_obj
def command(
    arguments: list[str],
    /,
    model: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Recover the accuracy of MODEL, or of the last factorized model, on its data set.

    Trains on the training data, keeps the best epoch by a held-out part of them, and measures on the
    test data before and after. Uses a GPU where Keras sees one.

    \b
    Example:
        lrcompress finetune --epochs 2
    """  # noqa: D301
    from lrcompress import runs
    from lrcompress.api.finetuning import finetune
    from lrcompress.reporting.trained import render_finetune

    if model is None and options["run"] is None:
        # Found before Keras starts, so that an empty folder is refused at once.
        options["run"] = runs.newest(Path()).path
        note(f"Taking the newest run here: {options['run']}", quiet=quiet)
    with progress_bar(quiet=quiet) as bar:
        result = finetune(
            model,
            command=arguments,
            progress=bar,
            before_keras=keras_starter(quiet=quiet, verbose=verbose),
            **options,
        )
    for warning in result.warnings:
        note(f"Note: {warning}", quiet=quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(render_finetune(result.to_json()))
    note("Next: lrcompress report", quiet=quiet)
