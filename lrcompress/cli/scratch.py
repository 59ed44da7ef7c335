"""`lrcompress train-from-scratch`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lrcompress.cli.completing import datasets, files, scalings
from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import (
    OneOf,
    distribute_option,
    known_scaling,
    output_options,
    seeds_options,
    words_of,
)
from lrcompress.errors import TrainingError


def parse_ranks(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int | None, ...] | None:
    """Return comma-separated ranks; `full` (None) is the network without a low-rank layer."""
    if value is None:
        return None
    words = words_of(value)
    if not words or any(w != "full" and not (w.isdecimal() and int(w) >= 1) for w in words):
        msg = f"{value!r} is not a list of ranks; expected for example full,8,4."
        raise click.BadParameter(msg, ctx, param)
    return tuple(dict.fromkeys(None if word == "full" else int(word) for word in words))


@contextlib.contextmanager
def resumable(folder: Path | None) -> Iterator[None]:
    """Say what a Control-C leaves, and that the same command goes on with it.

    Raises:
        TrainingError: In the place of KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        msg = (
            f"Interrupted; {folder or 'the folder'} holds the rows that are done and the state of the one in work: "
            "the same command goes on there."
        )
        raise TrainingError(msg, code="interrupted") from None


@click.command("train-from-scratch")
@click.option("--dataset", required=True, metavar="DATA", shell_complete=datasets,
              help="mnist or cifar100 for the paper's networks, digits for a small one of the same "
                   "shape; any other data set with --model.")  # fmt: skip
@click.option("--model", metavar="NETWORK", shell_complete=files,
              help="Your own: module:function returning a Keras model, or a model file whose "
                   "architecture is trained anew.")  # fmt: skip
@click.option(
    "--ranks",
    callback=parse_ranks,
    metavar="LIST",
    help="For example full,8,4; default: the published ones.",
)
@click.option("--epochs", type=click.IntRange(min=1),
              help="Default: as published, 10 for mnist, 50 for cifar100; 20 for digits, 10 with "
                   "--model.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: as published, 32.")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder with NAME.npz files, searched first.")  # fmt: skip
@click.option("--scaling", metavar="NAME", shell_complete=scalings, callback=known_scaling,
              help="With --model: as-is, /255, /127.5-1, standardized, caffe, torch, ...; default: "
                   "as the file records or shows, /255 for bytes.")  # fmt: skip
@click.option("--format", "file_format", type=OneOf(["keras", "h5"]), default="keras",
              show_default=True, help="Of the saved models.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder for models and results.json. Default: scratch-<dataset>.")  # fmt: skip
@distribute_option
@seeds_options
@output_options
@click.pass_obj
def command(
    arguments: list[str],
    /,
    dataset: str,
    output: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Train networks of full and low rank from random weights, and print the paper's table.

    Every model and the results are saved as each is done, and the state of training after each
    epoch: the same command again goes on where an interrupted one stopped, and several at once
    share the rows.

    \b
    Example:
        lrcompress train-from-scratch --dataset mnist --seeds 5
        lrcompress train-from-scratch --dataset data.npz --model mine:build --ranks full,20
    """  # noqa: D301
    from lrcompress.reporting.compared import render_scratch
    from lrcompress.verbs.train_from_scratch import default_folder, train_from_scratch

    folder = output or default_folder(dataset)
    note(f"Results go to {folder}", quiet=quiet)
    with (
        resumable(folder),
        following(
            quiet=quiet, verbose=verbose, command=arguments, distribute=options["distribute"]
        ),
    ):
        results = train_from_scratch(
            dataset, output=folder,
            **options,
        )  # fmt: skip
    if as_json:
        show_json(results)
    else:
        show(render_scratch(results))
    full = next((row["model"] for row in results["rows"] if row["rank"] is None), None)
    if full:
        note(f"Next: lrcompress factorize {folder / full} --rank 4", quiet=quiet)
