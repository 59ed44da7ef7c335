"""`lrcompress finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import (
    OneOf,
    data_options,
    distribute_option,
    model_argument,
    output_option,
    output_options,
    overwrite_option,
    seed_option,
    validation_option,
)


@click.command("finetune")
@model_argument("model", required=False)
@click.option("--scope", type=OneOf(["model", "head"]), default="model", show_default=True,
              help="Train the whole model, or only the two factors and the bias, in seconds.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="Passes over the training data; default 2, and 5 for the head.")  # fmt: skip
@click.option("--patience", type=click.IntRange(min=1), metavar="EPOCHS",
              help="Stop after so many without a better one; default: never.")  # fmt: skip
@click.option("--distill/--no-distill", default=None,
              help="Learn from the original too; default: if it is available.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, min_open=True),
              help="Of the original's outputs as a teacher; default 2.")  # fmt: skip
@click.option("--optimizer", type=OneOf(["adam", "original"]), default="adam",
              show_default=True,
              help="Adam with warm-up and cosine decay, or what the model was compiled with.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
              help="Peak of Adam's schedule, default 0.001; or in place of the original's own.")  # fmt: skip
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Samples a step; default 128, fewer for small data sets.",
)
@click.option("--precision", type=OneOf(["auto", "float32", "mixed"]), default="auto",
              show_default=True,
              help="While training: mixed is bfloat16, auto where the device gains from it.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Go on with the unfinished run of the same command.")  # fmt: skip
@click.option("--tensorboard", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder that gets each epoch's figures for TensorBoard.")  # fmt: skip
@click.option("--run", type=click.Path(path_type=Path), metavar="FILE",
              help="Run record; default: the newest here.")  # fmt: skip
@data_options
@validation_option
@output_option("<stem>-finetuned<suffix> beside the factorized model")
@overwrite_option
@distribute_option
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

    Trains on the training data, keeps the epoch that is best on validation data, and measures on the
    test data before and after. Uses a GPU where Keras sees one. After Control-C the best epoch so far
    is saved; --resume continues an interrupted or killed run.

    \b
    Example:
        lrcompress finetune --epochs 2
        lrcompress finetune --scope head
    """  # noqa: D301
    from lrcompress.records import runs
    from lrcompress.reporting.finetuned import render_finetune
    from lrcompress.verbs.finetune import finetune

    if model is None and options["run"] is None:
        # Found before Keras starts, so that an empty folder is refused at once.
        options["run"] = runs.newest(Path()).path
        note(f"Taking the newest run here: {options['run']}", quiet=quiet)
    with following(
        quiet=quiet, verbose=verbose, command=arguments, distribute=options["distribute"]
    ):
        result = finetune(
            model,
            **options,
        )
    for warning in result.warnings:
        note(f"Note: {warning}", quiet=quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(render_finetune(result.to_json()))
    if result.interrupted:
        # Broken off is not done, whatever was kept.
        click.get_current_context().exit(1)
    note("Next: lrcompress report", quiet=quiet)
