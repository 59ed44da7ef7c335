"""Time the predictions of models, whole, and their factorized layers or heads alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import model_argument, run_option
from lrcompress.cli.values import numbers_of
from lrcompress.cli.verb import Answer, verb
from lrcompress.errors import printable
from lrcompress.reporting.latency import WHAT, duration, middle_half, short_names, times, verdicts
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import count


@click.command("benchmark")
@model_argument("models", nargs=-1, required=False, metavar="[MODEL]...")
@run_option("Run record that names the models. Default: the newest here.")
@click.option("--batch-sizes", default="1,32,256", show_default=True, metavar="LIST",
              callback=numbers_of("batch sizes", "1,32,256"), help="Samples per call.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0), default=2.0, show_default=True,
              help="Time for each model at each batch size; at least 7 runs.")  # fmt: skip
@verb
def command(models: tuple[Path, ...], run: Path | None, **options: Any) -> Answer:  # noqa: ANN401
    """Time predictions: whole models, and the layers that were factorized or the heads alone.

    Each MODEL is compared with the first.

    Models take turns, so that other load slows all alike. Without MODEL the original of the last
    run is timed against the compressed model, and the report shows the result. Models use all cores
    that the process may use; for one core: taskset -c 0 lrcompress benchmark.

    \b
    Example:
        lrcompress benchmark
        lrcompress benchmark model.h5 model-rank4.h5 --batch-sizes 1,8
    """  # noqa: D301
    from lrcompress.verbs.benchmark import benchmark

    if models and run is not None:
        msg = "--run names a record for models that are not named; leave out the one or the other."
        raise click.UsageError(msg)
    result = benchmark(models, run=run, **options)
    return Answer(result, render, [f"added to {result.record}"] if result.record else [])


def render(result: dict[str, Any]) -> Parts:
    """Show what was measured, and what it comes to in words."""
    names = short_names(result)
    columns = [
        ("", of("what", WHAT.__getitem__)),
        ("batch", of("batch_size", count)),
        ("model", of("model", names.__getitem__)),
        ("median", of("median", duration)),
        ("middle half", middle_half),
        ("samples/s", of("samples_per_second", count)),
        ("times as fast [95 %]", of("speed", lambda found: "-" if found is None else times(found))),
        ("runs", of("runs", count)),
    ]
    lines = [*verdicts(result), *_counted(result), *_computed(result)]
    return [grid("Latency, measured in turns", columns, result["rows"], left=3), plain(lines)]


def _counted(result: dict[str, Any]) -> list[str]:
    """Return the multiplications of each model."""
    layers = any(row["what"] == "layers" for row in result["rows"])
    part = "the factorized layers" if layers else "the head"
    lines = []
    for name, entry in zip(short_names(result), result["models"], strict=True):
        total, head = entry["multiplications"], entry["head_multiplications"]
        if total is None:
            missing = ", ".join(printable(kind) for kind in entry["not_counted"])
            text = f"whole model not counted ({missing})"
        else:
            text = count(total)
        alone = "" if head is None else f", of them {count(head)} by {part}"
        lines.append(f"multiplications a sample, {printable(name)}: {text}{alone}")
    return lines


def _computed(result: dict[str, Any]) -> list[str]:
    """Return what computed, and on what."""
    cores, versions, length = result["cores"], result["versions"], result["open_length"]
    lines = [
        f"{result['device']}, {cores} core{'s' if cores > 1 else ''} to use; "
        f"Keras {versions['keras']}, {versions['backend']}; random inputs"
    ]
    if length is not None:
        lines.append(f"the models leave a length of their inputs open: {length} was taken")
    return lines
