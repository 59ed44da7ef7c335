"""Train the paper's low-rank networks, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.console import note
from lrcompress.cli.values import OneOf, datasets, files, list_of, number, scalings
from lrcompress.cli.verb import Answer, resumable, verb
from lrcompress.reporting.tables import Column, Parts, grid, of, plain
from lrcompress.reporting.words import count, rank_name, rate, seeds_name

# `full` is the network without a low-rank layer.
RANKS = list_of("ranks", "full,8,4", lambda w: None if w == "full" else number(w))


@click.command("train-from-scratch")
@click.option("--dataset", required=True, metavar="DATA", shell_complete=datasets,
              help="mnist or cifar100 for the paper's networks, digits for a small one of the same "
                   "shape; any other data set with --model.")  # fmt: skip
@click.option("--model", metavar="NETWORK", shell_complete=files,
              help="Your own: module:function returning a Keras model, or a model file whose "
                   "architecture is trained from random weights.")  # fmt: skip
@click.option("--ranks", callback=RANKS, metavar="LIST",
              help="For example full,8,4; default: the published ones.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="Default: as published, 10 for mnist, 50 for cifar100; 20 for digits, 10 with "
                   "--model.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: as published, 32.")
@shared.data_dir_option
@click.option("--scaling", metavar="NAME", shell_complete=scalings, callback=shared.known_scaling,
              help="With --model: as-is, /255, /127.5-1, standardized, caffe, torch, ...; default: "
                   "as the file records or shows, /255 for bytes.")  # fmt: skip
@click.option("--format", "file_format", type=OneOf(["keras", "h5"]), default="keras",
              show_default=True, help="Of the saved models.")  # fmt: skip
@shared.folder_option("Folder for models and results.json. Default: scratch-<dataset>.")
@shared.distribute_option
@shared.seeds_options
@verb
def command(dataset: str, output: Path | None, **options: Any) -> Answer:  # noqa: ANN401
    """Train networks of full and low rank from random weights, and print the paper's table.

    Every model and result is saved when it is done, and the state of training after each epoch. Run
    the same command again to continue; several at once share the rows.

    \b
    Example:
        lrcompress train-from-scratch --dataset mnist --seeds 5
        lrcompress train-from-scratch --dataset data.npz --model mine:build --ranks full,20
    """  # noqa: D301
    from lrcompress.verbs.train_from_scratch import default_folder, train_from_scratch

    folder = output or default_folder(dataset)
    note(f"Results go to {folder}")
    with resumable(folder):
        results = train_from_scratch(dataset, output=folder, **options)
    full = next((row["model"] for row in results["rows"] if row["rank"] is None), None)
    following = [f"Next: lrcompress factorize {folder / full} --rank 4"] if full else []
    return Answer(results, render, following)


def render(results: dict[str, Any]) -> Parts:
    """Show a table of the networks, beside the published one where there is one."""
    settings, summary = results["settings"], results["summary"]
    columns: list[Column] = [
        ("rank", of("rank", rank_name)),
        ("test error [95 %]", rate),
        ("layer, true", of("layer_parameters", count)),
        ("model, true", of("model_parameters", count)),
        ("seconds", of("seconds", count)),
    ]
    if any(entry["published"] for entry in summary):
        columns[2:2] = [
            ("published", _published("error_rate", "{:.2f} %".format)),
            ("parameters, paper's count", of("paper_parameters", count)),
            ("published", _published("parameters", count)),
        ]
        columns.append(("published", _published("seconds", count)))
    name = settings.get("network")
    title = (
        f"From scratch: {settings['dataset']}{f', {name}' if name else ''}, "
        f"{settings['epochs']} epochs, batch {settings['batch_size']}, "
        f"{seeds_name(sorted({seed for entry in summary for seed in entry['seeds']}))}"
    )
    lines = [f"device: {results['device']}"]
    if any(entry["interval"] == "t" for entry in summary):
        lines.insert(0, "test error: mean over seeds with Student's interval; seconds: mean")
    return [grid(title, columns, summary), plain(lines)]


def _published(key: str, write: Callable[[Any], str]) -> Callable[[dict[str, Any]], str]:
    """Return what writes a published figure of an entry, if there is one."""

    def written(entry: dict[str, Any]) -> str:
        value = (entry["published"] or {}).get(key)
        return "-" if value is None else write(value)

    return written
