"""`lrcompress export`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from lrcompress.cli.console import show, show_json
from lrcompress.cli.engine import following, nothing_on
from lrcompress.cli.options import (
    OneOf,
    data_options,
    existing_model,
    model_argument,
    output_option,
    output_options,
    overwrite_option,
)


@click.command("export")
@model_argument("model")
@click.option("--format", type=OneOf(["litert", "onnx", "saved-model"]),
              help="Default: by the suffix of --output (.tflite, .onnx, none), or litert.")  # fmt: skip
@click.option("--int8", is_flag=True, help="LiteRT: weights as 8-bit integers (dynamic range).")
@click.option("--against", type=click.Path(path_type=Path), callback=existing_model, metavar="FILE",
              help="The original, exported the same way and timed in turns. Default: as recorded.")  # fmt: skip
@data_options
@output_option("<stem>.tflite, <stem>.onnx or <stem>-saved-model beside MODEL")
@overwrite_option
@output_options
def command(
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Write MODEL for a phone or a server: LiteRT, ONNX or a SavedModel.

    The exported model runs in its runtime, on test data where they are named or at hand, and its
    outputs are compared with those of MODEL; what became of factorized layers is shown, and sizes
    and latency beside those of the original. Nothing is written if the outputs differ.

    \b
    Example:
        lrcompress export model-rank4.h5
        lrcompress export model-rank4.h5 --int8
        lrcompress export model-rank4.h5 -o model.onnx --dataset mnist
    """  # noqa: D301
    from lrcompress.reporting.exported import render_export
    from lrcompress.verbs.export import export

    def quietly() -> AbstractContextManager[None]:
        # Converters and runtimes write to stderr from native code.
        return nullcontext() if verbose else nothing_on(2)

    with following(quiet=quiet, verbose=verbose):
        result = export(
            quietly=quietly,
            **options,
        )
    if as_json:
        show_json(result.to_json())
    else:
        show(render_export(result.to_json()))
