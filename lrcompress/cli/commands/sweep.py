"""Measure what every rank would save and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.values import METHODS, names_of, numbers_of, words_among
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting import words
from lrcompress.reporting.network import error_name, left_out, sensitivity, sensitivity_columns
from lrcompress.reporting.tables import Column, Parts, grid, of, plain

KERNEL = [
    ("rank", of("rank")),
    ("parameters", of("parameters_after", words.count)),
    ("layer saved", of("layer_reduction", words.share)),
    ("model saved", of("model_reduction", words.share)),
    ("energy", of("energy", words.share)),
    ("spectral error", of("spectral_error", words.small)),
]


@click.command("sweep")
@shared.model_argument("model")
@shared.architecture_option("")
@click.option("--method", default="auto", show_default=True, metavar="LIST",
              callback=names_of("methods", METHODS), shell_complete=words_among(METHODS),
              help="For example svd,centered,whitened,refined.")  # fmt: skip
@click.option("--ranks", callback=numbers_of("ranks", "75,60,40"), metavar="LIST",
              help="For example 75,60,40. Default: all that save something, or fewer in even "
              "ratios if one takes seconds.")  # fmt: skip
@shared.layer_option("Another Dense layer than the final one.")
@shared.layers_option(", under one budget")
@shared.data_options
@shared.validation_option
@shared.samples_option
@shared.synthetic_option
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Draw the errors: .png, .svg or .pdf.")  # fmt: skip
@shared.overwrite_option
@shared.seed_option
@verb
def command(
    model: Path,
    plot: Path | None,
    overwrite: bool,
    synthetic: str,
    **options: Any,  # noqa: ANN401
) -> Answer:
    """Measure what every rank of MODEL's final Dense layer would save and cost; write no model.

    Choose by the held-out column; report the test error. Without --dataset only the kernel is
    judged, and Keras is not started. With --layers the sensitivity of every layer is shown: what
    the outputs lose if only that layer is made smaller.

    \b
    Example:
        lrcompress sweep model.h5 --dataset mnist --method svd,refined --plot sweep.png
        lrcompress sweep model.h5 --layers all --dataset mnist
    """  # noqa: D301
    if options["layers"] and (
        options["layer"] or options["ranks"] or options["method"] != ("auto",)
    ):
        msg = "--layers shows all forms of several layers; leave out --layer, --ranks and --method."
        raise click.UsageError(msg)
    from lrcompress.reporting.charts.plots import check_figure, draw_network_sweep, draw_sweep
    from lrcompress.verbs.sweep import sweep

    if plot is not None:
        check_figure(plot, inputs=(model,), overwrite=overwrite)
    result = sweep(model, synthetic=synthetic == "auto", **options)
    shown, draw = render, draw_sweep
    if options["layers"]:
        shown, draw = render_network, draw_network_sweep
    if plot is None:
        return Answer(result, shown)
    draw(result.to_json(), plot, overwrite=overwrite)
    return Answer(result, shown, [f"wrote {plot}"])


def render_network(document: dict[str, Any]) -> Parts:
    """Show the sensitivity of every layer."""
    title = f"{error_name(document).capitalize()} with one layer alone made smaller"
    lines = [
        f"the model has {words.count(document['parameters'])} parameters; --json has every form and size"
    ]
    if document["inputs"] == "none":
        lines += [
            "nothing was measured: there are no data, and these are errors of the kernels alone",
            f"to measure it: lrcompress sweep {document['model']} --layers all --dataset DATA",
        ]
    elif document["inputs"] == "synthetic":
        lines.append(
            "measured on synthetic inputs, made to match the BatchNormalization statistics"
        )
    else:
        lines += _data(document["dataset"])
    lines += [*left_out(document["kept"]), _times(document)]
    return [grid(title, sensitivity_columns(), sensitivity(document), left=2), plain(lines)]


def _times(document: dict[str, Any]) -> str:
    each = document["seconds"].items()
    return f"time: {', '.join(f'{name} {words.seconds(value)}' for name, value in each)}"


def render(document: dict[str, Any]) -> Parts:
    """Show one table a method."""
    m, n = document["kernel_shape"]
    measured = document["dataset"] is not None
    parts: Parts = []
    for method in dict.fromkeys(row["method"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["method"] == method]
        columns = [*KERNEL, *(_outputs(rows) if measured else [])]
        parts.append(grid(f"{document['layer']}: Dense {m} x {n}, {method}", columns, rows, left=0))
    lines = [
        *_replaced(document["rows"]),
        f"the model has {words.count(document['parameters'])} parameters; ranks up to {document['break_even_rank']} "
        "save some; layer saved: share of its kernel, without bias",
        *(_original(document["original"], document["dataset"]) if document["original"] else []),
        *(_data(document["dataset"]) if measured else []),
        _times(document),
    ]
    return [*parts, plain(lines)]


def _original(original: dict[str, Any], data: dict[str, Any] | None) -> list[str]:
    samples = words.count(original["samples"])
    lines = [
        f"no labels: everything is compared with the original on {samples} test samples; "
        "choose by the held-out column, report the test column"
        if words.metric(original.get("measure")).by_original
        else f"the original: {words.held_out(original)} held out, {words.rate(original)} test"
        f" ({samples} samples); choose by the held-out column, report the test error"
    ]
    if data and data.get("trained_on_held_out"):
        lines.append(
            "the original was trained on the held-out part: give data new to it with --validation"
        )
    return lines


def _data(data: dict[str, Any]) -> list[str]:
    lines = [f"data set: {data['name']}, scaling {data['scaling']}", *words.padding(data)]
    if data.get("test_given") is False:
        lines.insert(
            0,
            f"no test part was given: {words.count(data['test_samples'])} samples, drawn by the seed, serve as one",
        )
    return lines


def _replaced(rows: list[dict[str, Any]]) -> list[str]:
    """Say where a simpler method was better on held-out inputs and is shown instead."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["method_used"] != row["method"]:
            found.setdefault((row["method"], row["method_used"]), []).append(str(row["rank"]))
    return [
        f"{method} at rank {', '.join(ranks)}: {used} was better on held-out inputs and is shown instead"
        for (method, used), ranks in found.items()
    ]


def _outputs(rows: list[dict[str, Any]]) -> list[Column]:
    drops = any(row.get("held_out_drop") is not None for row in rows)
    return [
        ("output error", of("output_error", words.small)),
        ("agreement", of("agreement", lambda same: "-" if same is None else f"{same:.2f} %")),
        ("drop, held out" if drops else "held out", _chosen_by),
        (words.test_column(rows), words.rate),
        ("drop [95 %]", of("drop", lambda lost: "-" if lost is None else words.change(lost))),
    ]


def _chosen_by(row: dict[str, Any]) -> str:
    lost, rise = row.get("held_out_drop"), row.get("held_out_perplexity_rise")
    if row.get("measure") == "perplexity" and rise is not None:
        return f"{rise:+.2f} %"
    return words.held_out(row) if lost is None else words.points(lost)
