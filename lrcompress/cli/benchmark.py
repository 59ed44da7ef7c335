"""`lrcompress benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import model_argument, numbers_of, output_options


@click.command("benchmark")
@model_argument("models", nargs=-1, required=False, metavar="[MODEL]...")
@click.option("--run", type=click.Path(path_type=Path), metavar="FILE",
              help="Run record that names the models. Default: the newest here.")  # fmt: skip
@click.option("--batch-sizes", default="1,32,256", show_default=True, metavar="LIST",
              callback=numbers_of("batch sizes", "1,32,256"), help="Samples a call.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0), default=2.0, show_default=True,
              help="Time for each model at each batch size, whole and head; 7 runs at least.")  # fmt: skip
@output_options
def command(
    models: tuple[Path, ...],
    run: Path | None,
    batch_sizes: tuple[int, ...],
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Time predictions: whole models and their heads alone, each MODEL against the first.

    Runs take turns, so that what else the machine does slows all alike. Without MODEL the original
    of the last run is timed against what was made of it, and the report shows the result. Models use
    all cores that the process may use; for one core: taskset -c 0 lrcompress benchmark.

    \b
    Example:
        lrcompress benchmark
        lrcompress benchmark model.h5 model-rank4.h5 --batch-sizes 1,8
    """  # noqa: D301
    from lrcompress.reporting.benchmarked import render_benchmark
    from lrcompress.verbs.benchmark import benchmark

    if models and run is not None:
        msg = "--run names a record for models that are not named; leave out the one or the other."
        raise click.UsageError(msg)
    with following(quiet=quiet, verbose=verbose):
        result = benchmark(
            models,
            run=run,
            batch_sizes=batch_sizes,
            **options,
        )
    if as_json:
        show_json(result.to_json())
    else:
        show(render_benchmark(result.to_json()))
    if result.record is not None:
        note(f"added to {result.record}", quiet=quiet)
