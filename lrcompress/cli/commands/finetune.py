"""Recover the accuracy of the last factorized model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.console import note
from lrcompress.cli.values import OneOf
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain, table
from lrcompress.reporting.words import metric, padding, seconds


@click.command("finetune")
@shared.model_argument("model", required=False)
@click.option("--scope", type=OneOf(["model", "head"]), default="model", show_default=True,
              help="Train the whole model, or only the two factors and the bias, in seconds.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1),
              help="Passes over the training data; default 2, 5 for the head, up to 10 without labels.")  # fmt: skip
@click.option("--patience", type=click.IntRange(min=1), metavar="EPOCHS",
              help="Stop after so many epochs without improvement; default: never.")  # fmt: skip
@click.option("--distill/--no-distill", default=None,
              help="Learn from the original too; default: if it is available.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, min_open=True),
              help="Of the original's outputs as a teacher; default 2.")  # fmt: skip
@click.option("--optimizer", type=OneOf(["adam", "original"]), default="adam",
              show_default=True,
              help="Adam with warm-up and cosine decay, or what the model was compiled with.")  # fmt: skip
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
              help="Peak of Adam's schedule, default 0.001, 0.0003 for a whole network that starts close to the "
                   "original; or instead of the original's own.")  # fmt: skip
@click.option("--batch-size", type=click.IntRange(min=1),
              help="Samples per step; default 128, fewer for small data sets.")  # fmt: skip
@click.option("--dropout", is_flag=True,
              help="Train with the network's own dropout; default: it is off.")  # fmt: skip
@click.option("--batch-statistics", is_flag=True,
              help="Batch normalization as in training; default: its statistics stay.")  # fmt: skip
@click.option("--precision", type=OneOf(["auto", "float32", "mixed"]), default="auto",
              show_default=True,
              help="While training: mixed is bfloat16, auto is float32.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Continue the unfinished run of the same command.")  # fmt: skip
@click.option("--tensorboard", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder for the figures of each epoch, for TensorBoard or as CSV.")  # fmt: skip
@shared.run_option("Run record; default: the newest here.")
@shared.data_options
@shared.validation_option
@shared.output_option("<stem>-finetuned<suffix> beside the factorized model")
@shared.overwrite_option
@shared.distribute_option
@shared.seed_option
@verb
def command(model: Path | None, run: Path | None, **options: Any) -> Answer:  # noqa: ANN401
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
    from lrcompress.verbs.finetune import finetune

    if model is None and run is None:
        # Found before Keras starts, so that an empty folder is refused at once.
        run = runs.newest(Path()).path
        note(f"Taking the newest run here: {run}")
    result = finetune(model, run=run, **options)
    # Broken off is not done, whatever was kept.
    code = 1 if result.interrupted else 0
    return Answer(result, render, ["Next: lrcompress report"], exit_code=code)


def render(result: dict[str, Any]) -> Parts:
    """Show each look at the held-out part, and what it came to on the test data."""
    measure, how = result["measure"], metric(result["measure"])
    rows = [
        [
            entry["what"] if entry["epoch"] == 0 else f"epoch {entry['epoch']}",
            _number(entry.get("loss")),
            _number(entry.get(f"validation_{measure}"), 2 if how.unit else 4) + how.unit,
            _number(entry["validation_loss"]),
            "kept" if entry["kept"] else "",
        ]
        for entry in result["history"]
    ]
    if how.by_original:
        teacher = "the original's outputs alone"
    else:
        teacher = "labels and the original's outputs" if result["distilled"] else "labels alone"
    lines = [
        *_tested(result),
        *padding(result["after"]),
        f"{result['trained']} trained on {teacher} of {result['dataset']}, scaling {result['scaling']}"
        f"{_how(result['settings'])}: "
        f"{seconds(result['seconds'])}, {result['images_per_second']:,.0f} samples/s on "
        f"{result['device']}, {result['settings']['precision']}",
        f"wrote {result['output']}",
        f"wrote {result['record']}",
    ]
    if result["resumed_from"]:
        lines.insert(0, f"went on after epoch {result['resumed_from']} of an unfinished run")
    columns = ["", "loss", f"validation {how.name}", "validation loss", ""]
    return [table("Fine-tuning", columns, rows), plain(lines)]


def _how(settings: dict[str, Any]) -> str:
    """Say how inputs were changed, and how far steps went."""
    ways = [
        {"shift": "shifted", "mirror": "mirrored"}[way] for way in settings["augmentation"] or ()
    ]
    rate = settings["learning_rate"]
    changed = f", inputs {' and '.join(ways)}" if ways else ""
    return changed + ("" if rate is None else f", learning rate up to {rate:g}")


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _tested(result: dict[str, Any]) -> list[str]:
    """Return a line on the test data, one an output where there are several."""
    figures = [result["before"], result["after"], result["original"]]
    if result["measure"] != "outputs":
        return [_line("test", figures, result["drop"])]
    drops = (result["drop"] or {}).get("outputs", {})
    return [
        _line(f"test, {name}:", [f and f["outputs"][name] for f in figures], drops.get(name))
        for name in result["after"]["outputs"]
    ]


def _line(what: str, figures: list[dict[str, Any]], lost: dict[str, Any] | None) -> str:
    before, after, original = figures
    how, key = metric(after["measure"]), after["measure"]
    digits = ".2f" if how.unit else ".4f"
    text = f"{what} {how.name} {before[key]:{digits}}{how.unit} -> {after[key]:{digits}}{how.unit}"
    if not original or lost is None:
        return text
    difference, low, high = (f"{lost[part]:+{digits}}" for part in ("difference", "low", "high"))
    return f"{text} (original {original[key]:{digits}}{how.unit}, {difference}{how.step} [{low}, {high}])"
