"""`lrcompress factorize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.completing import layers
from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import (
    OneOf,
    data_options,
    model_argument,
    output_option,
    output_options,
    overwrite_option,
    seed_option,
    validation_option,
)

RULES = ("rank", "energy", "reduction", "max_drop")


@click.command("factorize")
@model_argument("model")
@click.option("--rank", type=click.IntRange(min=1), help="Rank r of the two factors.")
@click.option("--energy", type=click.FloatRange(0, 1, min_open=True),
              help="Smallest rank that keeps this share of the squared singular values.")  # fmt: skip
@click.option("--reduction", type=click.FloatRange(0, 1, min_open=True),
              help="Largest rank that saves at least this share of the layer.")  # fmt: skip
@click.option("--max-drop", type=click.FloatRange(min=0),
              help="Smallest rank that loses at most so many points on held-out data.")  # fmt: skip
@click.option("--method", default="auto", show_default=True,
              type=OneOf(["auto", "svd", "centered", "whitened", "refined"]),
              help="What the factors are best at; auto takes the best that the data allow.")  # fmt: skip
@click.option("--layer", metavar="NAME", multiple=True, shell_complete=layers,
              help="Another Dense layer than the final one; repeat it for several.")  # fmt: skip
@click.option("--layers", type=OneOf(["dense"]),
              help="Every Dense layer that can be made smaller.")  # fmt: skip
@click.option("--add-bias", is_flag=True,
              help="Allow a layer without bias to be given one, with --dataset.")  # fmt: skip
@data_options
@validation_option
@click.option(
    "--samples", type=click.IntRange(min=2), help="Calibration inputs; default: as many as pay off."
)
@output_option("<stem>-rank<r><suffix> in the current directory")
@overwrite_option
@click.option("--force", is_flag=True, help="Allow a rank that saves nothing.")
@click.option("--modernize", is_flag=True,
              help="Put an old file in the terms of Keras 3; every change is listed.")  # fmt: skip
@seed_option
@output_options
@click.pass_obj
def command(
    arguments: list[str],
    /,
    model: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Factorize the final Dense layer of MODEL into two smaller Dense layers.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed. Writes the compressed model, which plain
    Keras loads, and its run record. At most one of --rank, --energy, --reduction and --max-drop.
    Keras is started only with --dataset, which allows better methods.

    \b
    Example:
        lrcompress factorize model.h5 --rank 4
    """  # noqa: D301
    given = [f"--{rule.replace('_', '-')}" for rule in RULES if options[rule] is not None]
    if len(given) > 1:
        msg = f"Received {' and '.join(given)}; give one of them."
        raise click.UsageError(msg)
    if options["layer"] and options["layers"]:
        msg = "Received --layer and --layers; give one of them."
        raise click.UsageError(msg)
    from lrcompress.reporting.compressed import render_factorize
    from lrcompress.verbs.factorize import factorize

    with following(quiet=quiet, verbose=verbose, command=arguments):
        result = factorize(
            model,
            **options,
        )
    for warning in result.warnings:
        note(f"Note: {warning}", quiet=quiet)
    if as_json:
        show_json(result.to_json())
    else:
        show(render_factorize(result.to_json(), verbose=verbose))
    note("Next: lrcompress finetune --epochs 2", quiet=quiet)
