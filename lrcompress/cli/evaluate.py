"""`lrcompress evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.console import show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import data_options, model_argument, output_options, seed_option


@click.command("evaluate")
@model_argument("models", nargs=-1, metavar="MODEL...")
@data_options
@seed_option
@output_options
def command(
    models: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Measure the test error of each MODEL, with a 95 % interval.

    Top-1 error for classes, and top-5 from 100 classes up; balanced error where a class is rare;
    binary error and AUC for multi-label models; RMSE for regression. Several models are compared with
    the first, paired on the same samples (McNemar's test for top-1 errors).

    \b
    Example:
        lrcompress evaluate model.h5 model-rank4.h5 --dataset mnist
    """  # noqa: D301
    from lrcompress.reporting.measured import render_evaluate
    from lrcompress.verbs.evaluate import evaluate

    with following(quiet=quiet, verbose=verbose):
        found = evaluate(
            list(models),
            **options,
        )
    results = [entry.to_json() for entry in found]
    if as_json:
        show_json(results)
    else:
        show(render_evaluate(results))
