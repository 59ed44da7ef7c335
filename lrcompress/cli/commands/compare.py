"""Measure compressing a trained network against training a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.values import files, names_of, numbers_of, words_among
from lrcompress.cli.verb import Answer, resumable, verb
from lrcompress.files import check_output
from lrcompress.records import ARMS
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import arm_names, count, drop, rank_name, rate, seeds_name


def parse_model(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return a model file that exists, or ``module:function`` as it is."""
    is_function = value is not None and ":" in value and not Path(value).exists()
    if value is not None and not is_function:
        shared.existing_model(ctx, param, Path(value))
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
              help="Epochs in all, the same for every arm: full rank gets these minus the "
                   "fine-tuning, from scratch all of them.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="Of full rank and from scratch; default: as published, 10 for a network of "
                   "your own.")  # fmt: skip
@click.option("--finetune-epochs", type=click.IntRange(min=1), default=2, show_default=True,
              help="The extra epochs.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1),
              help="Of full rank and from scratch; default: as published, 32.")  # fmt: skip
@shared.data_options
@click.option("--rows-from", multiple=True, metavar="DIR",
              type=click.Path(path_type=Path, file_okay=False, exists=True),
              help="Reuse rows of an earlier train-from-scratch or compare; may be repeated.")  # fmt: skip
@click.option("--keep-models", is_flag=True, help="Keep the fine-tuned models too.")
@shared.folder_option(
    "Folder for compare.json, compare.png and models. Default: compare-<dataset>."
)
@shared.distribute_option
@shared.seeds_options
@verb
def command(
    model: str | None,
    arms: tuple[str, ...] | None,
    scratch: bool,
    output: Path | None,
    **options: Any,  # noqa: ANN401
) -> Answer | None:
    """Measure compressing a trained network against training a small one, rank by rank.

    MODEL is a trained full-rank model file, or module:function building a network; without it the
    paper's network for the data set is trained. At each rank and seed: full rank, its head
    factorized, the same fine-tuned, low rank from scratch, and full rank with the same extra
    epochs. Every row is saved when it is done. Run the same command again to continue; several at
    once share the rows.

    \b
    Example:
        lrcompress compare --dataset mnist --ranks 8,4,2 --seeds 5 --budget 10
        lrcompress compare model.keras --dataset data.npz --ranks 40,20,10
    """  # noqa: D301
    from lrcompress.live.environment import is_follower
    from lrcompress.reporting.charts.plots import draw_compare
    from lrcompress.verbs.compare import compare, default_folder

    if scratch:
        arms = tuple(dict.fromkeys([*(arms or ARMS), "scratch"]))
    dataset = options["dataset"]
    folder = output or (None if dataset is None else default_folder(dataset))
    if folder is not None and folder.is_dir():
        # The figure is replaced where the table that it shows is ours.
        is_ours = (folder / "compare.json").exists()
        check_output(folder / "compare.png", overwrite=is_ours)
    with resumable(folder):
        results = compare(model, arms=arms, output=output, **options)
    if is_follower(options["distribute"]):
        return None
    folder = folder or default_folder(results["settings"]["dataset"])
    draw_compare(results, folder / "compare.png")
    written = [f"wrote {folder / name}" for name in ("compare.json", "compare.png")]
    return Answer(results, render, written)


def render(results: dict[str, Any]) -> Parts:
    """Show the arms rank by rank, with their differences to full rank."""
    settings, summary = results["settings"], results["summary"]
    extra = settings["finetune_epochs"]
    names = arm_names(extra)
    before: list[Any] = ["", *(entry["rank"] for entry in summary)]
    entries = [
        entry | {"name": "" if entry["rank"] == last else rank_name(entry["rank"])}
        for entry, last in zip(summary, before, strict=False)
    ]
    columns = [
        ("rank", of("name")),
        ("arm", of("arm", names.__getitem__)),
        ("test error [95 %]", rate),
        ("against full rank [95 %]", of("against_full", lambda x: drop({"drop": x}) if x else "-")),
        ("p", of("against_full", lambda x: _p(x["p_value"]) if x else "-")),
        ("layer", of("layer_parameters", count)),
        ("model", of("model_parameters", count)),
        ("seconds", of("seconds", count)),
        ("samples", of("images", count)),
        ("samples in all", of("images_total", count)),
    ]
    seeds = sorted({seed for entry in summary for seed in entry["seeds"] if seed is not None})
    title = f"Comparison: {_subject(settings)}, {_epochs(results)}{seeds_name(seeds)}"
    return [grid(title, columns, entries, left=2), plain(_notes(results, names))]


def _subject(settings: dict[str, Any]) -> str:
    network = settings.get("network")
    return f"{settings['dataset']}, {network}" if network else str(settings["dataset"])


def _epochs(results: dict[str, Any]) -> str:
    settings = results["settings"]
    full = settings.get("full_epochs")
    parts = [] if full is None else [f"full rank {full} epochs"]
    if any(entry["arm"] == "scratch" for entry in results["summary"]):
        parts.append(f"from scratch {settings['scratch_epochs']} epochs")
    return "".join(f"{part}, " for part in parts)


def _p(value: float) -> str:
    """Return a p-value; what is beyond doubt is not told further."""
    return f"{value:.2g}" if value >= 1e-16 else "< 1e-16"


def _notes(results: dict[str, Any], names: dict[str, str]) -> list[str]:
    lines = [
        f"rank {entry['rank']}: {names['finetuned']} against from scratch "
        f"{drop({'drop': found})}, p {_p(found['p_value'])}{_images(entry, results['summary'])}"
        for entry in results["summary"]
        if entry["arm"] == "finetuned" and (found := entry["against_scratch"]) is not None
    ]
    several = any(entry["interval"] == "t" for entry in results["summary"])
    if several:
        lines.append(
            "several seeds: means over seeds, with Student's intervals and p-values; one seed: McNemar's test"
        )
    lines.append(
        "samples: seen in training; in all, with those that the full-rank network saw before"
    )
    return [*lines, f"device: {results['device']}"]


def _images(entry: dict[str, Any], summary: list[dict[str, Any]]) -> str:
    """Say what share of the images of training from scratch the arm saw."""
    scratch = next(
        e["images"] for e in summary if (e["arm"], e["rank"]) == ("scratch", entry["rank"])
    )
    if not scratch or entry["images"] is None:
        return ""
    text = f", {entry['images'] / scratch:.0%} of its samples"
    if entry["images_total"] is not None:
        text += f" ({entry['images_total'] / scratch:.0%} with full rank's)"
    return text
