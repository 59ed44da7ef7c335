"""`lrcompress compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.completing import files, words_among
from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.engine import following
from lrcompress.cli.options import (
    data_options,
    distribute_option,
    existing_model,
    names_of,
    numbers_of,
    output_options,
    seeds_options,
)
from lrcompress.cli.scratch import resumable
from lrcompress.files import check_output
from lrcompress.reporting.compared import ARMS


def parse_model(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a model file that exists, or ``module:function`` as it is."""
    is_function = value is not None and ":" in value and not Path(value).exists()
    if value is not None and not is_function:
        existing_model(ctx, param, Path(value))
    return value


@click.command("compare")
@click.argument("model", required=False, callback=parse_model, shell_complete=files)
@click.option("--ranks", callback=numbers_of("ranks", "75,60,40"), metavar="LIST",
              help="For example 8,4,2; default: the published ones.")  # fmt: skip
@click.option("--arms", metavar="LIST",
              callback=names_of("arms", ARMS), shell_complete=words_among(ARMS),
              help=f"Some of {','.join(ARMS)}; default: all, without scratch for a model "
                   "file.")  # fmt: skip
@click.option("--scratch", is_flag=True,
              help="For a model file: train its architecture from scratch at each rank too.")  # fmt: skip
@click.option("--budget", type=click.IntRange(min=2),
              help="Epochs in all, the same for every arm: full rank gets so many less the "
                   "fine-tuning, from scratch all of them.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="Of full rank and from scratch; default: as published, 10 for a network of "
                   "your own.")  # fmt: skip
@click.option("--finetune-epochs", type=click.IntRange(min=1), default=2, show_default=True,
              help="The extra epochs.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1),
              help="Of full rank and from scratch; default: as published, 32.")  # fmt: skip
@data_options
@click.option("--rows-from", multiple=True, metavar="DIR",
              type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Take over rows of an earlier train-from-scratch or compare; may be "
                   "repeated.")  # fmt: skip
@click.option("--keep-models", is_flag=True, help="Keep the fine-tuned models too.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder for compare.json, compare.png and models. Default: "
                   "compare-<dataset>.")  # fmt: skip
@distribute_option
@seeds_options
@output_options
@click.pass_obj
def command(
    arguments: list[str],
    /,
    model: str | None,
    arms: tuple[str, ...] | None,
    scratch: bool,
    output: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Measure compressing a trained network against training a small one, rank by rank.

    MODEL is a trained full-rank model file, or module:function building a network; without it the
    paper's network for the data set is trained. At each rank and seed: full rank, its head
    factorized, the same fine-tuned, low rank from scratch, and full rank given the same extra
    epochs. Every row is saved as it ends: the same command again goes on where an interrupted one
    stopped, and several at once share the rows.

    \b
    Example:
        lrcompress compare --dataset mnist --ranks 8,4,2 --seeds 5 --budget 10
        lrcompress compare model.keras --dataset data.npz --ranks 40,20,10
    """  # noqa: D301
    from lrcompress.live.processes import is_follower
    from lrcompress.reporting.compared import arm_names, render_compare
    from lrcompress.reporting.figures import draw_compare
    from lrcompress.verbs.compare import compare, default_folder

    if scratch:
        arms = tuple(dict.fromkeys([*(arms or ARMS), "scratch"]))
    dataset = options["dataset"]
    folder = output or (None if dataset is None else default_folder(dataset))
    if folder is not None and folder.is_dir():
        # The figure is replaced where the table that it shows is ours.
        is_ours = (folder / "compare.json").exists()
        check_output(folder / "compare.png", overwrite=is_ours)
    with (
        resumable(folder),
        following(
            quiet=quiet, verbose=verbose, command=arguments, distribute=options["distribute"]
        ),
    ):
        results = compare(
            model, arms=arms, output=output,
            **options,
        )  # fmt: skip
    folder = folder or default_folder(results["settings"]["dataset"])
    names = arm_names(results["settings"]["finetune_epochs"])
    if is_follower(options["distribute"]):
        return
    draw_compare(results, names, folder / "compare.png")
    if as_json:
        show_json(results)
    else:
        show(render_compare(results))
    for name in ("compare.json", "compare.png"):
        note(f"wrote {folder / name}", quiet=quiet)
