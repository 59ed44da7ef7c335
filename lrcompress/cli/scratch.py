"""`lrcompress train-from-scratch`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.console import keras_starter, note, progress_bar, show, show_json
from lrcompress.cli.options import output_options, seed_option, words_of


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


@click.command("train-from-scratch")
@click.option("--dataset", required=True, type=click.Choice(["mnist", "cifar100", "digits"]),
              help="Which network of the paper; digits is a small one of the same shape.")  # fmt: skip
@click.option(
    "--ranks",
    callback=parse_ranks,
    metavar="LIST",
    help="For example full,8,4; default: the published ones.",
)
@click.option("--epochs", type=click.IntRange(min=1),
              help="Default: as published, 10 for mnist, 50 for cifar100; 20 for digits.")  # fmt: skip
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder with NAME.npz files, searched first.")  # fmt: skip
@click.option("--format", "file_format", type=click.Choice(["keras", "h5"]), default="keras",
              show_default=True, help="Of the saved models.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder for models and results.json. Default: scratch-<dataset>.")  # fmt: skip
@seed_option
@output_options
@click.pass_obj
def command(
    arguments: list[str],
    dataset: str,
    ranks: tuple[int | None, ...] | None,
    epochs: int | None,
    data_dir: Path | None,
    file_format: str,
    output: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train the paper's networks from random weights at full and low rank, and print its table.

    Every model and the results are saved as each is done; the same command again goes on where an
    interrupted one stopped.

    \b
    Example:
        lrcompress train-from-scratch --dataset mnist
    """  # noqa: D301
    from lrcompress.training import datasets

    start = keras_starter(quiet=quiet, verbose=verbose)
    data = datasets.load(dataset, data_dir, before_keras=start)
    folder = output or Path(f"scratch-{dataset}")
    start()
    from lrcompress.reporting.trained import render_scratch
    from lrcompress.training import scratch

    note(f"Results go to {folder}", quiet=quiet)
    settings = scratch.default_settings(dataset, epochs, seed)
    with progress_bar(quiet=quiet) as bar:
        results = scratch.train_rows(
            data, settings, folder,
            ranks=ranks, suffix=f".{file_format}", command=arguments, progress=bar,
        )  # fmt: skip
    if as_json:
        show_json(results)
    else:
        show(render_scratch(results))
    full = next((row["model"] for row in results["rows"] if row["rank"] is None), None)
    if full:
        note(f"Next: lrcompress factorize {folder / full} --rank 4", quiet=quiet)
