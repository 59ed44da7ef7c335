"""Factorize the final Dense layer of a model file, or all layers of its network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lrcompress.cli.following import after_factorize
from lrcompress.cli.options import (
    architecture_option,
    data_options,
    layer_option,
    layers_option,
    model_argument,
    output_option,
    overwrite_option,
    samples_option,
    seed_option,
    synthetic_option,
    validation_option,
)
from lrcompress.cli.values import METHODS, Drop, OneOf, Size
from lrcompress.cli.verb import Answer, given, verb
from lrcompress.reporting.layers import certificate, kernel_errors, layers_changed, named_shape
from lrcompress.reporting.tables import Parts, grid, plain, table
from lrcompress.reporting.words import (
    allowance,
    allowed_drop,
    balanced_rise,
    bare,
    change,
    changes,
    count,
    figure,
    metric,
    padding,
    rate,
    saved,
    size,
)

RULES = ("rank", "energy", "reduction", "multiplications", "target_size", "max_drop")
# Layers that are shown of a large network; `report` shows all.
MOST = 30


@click.command("factorize")
@model_argument("model")
@architecture_option("; both become <stem>-whole.h5 or .keras")
@click.option("--rank", type=click.IntRange(min=1), help="Rank r of the two factors.")
@click.option("--energy", type=click.FloatRange(0, 1, min_open=True),
              help="Smallest rank that keeps this share of the squared singular values.")  # fmt: skip
@click.option("--reduction", type=click.FloatRange(0, 1, min_open=True),
              help="Save at least this share: of the model's parameters with --layers, of the "
              "layer's without.")  # fmt: skip
@click.option("--multiplications", type=click.FloatRange(0, 1, min_open=True),
              help="Save at least this share of the multiplications, with --layers.")  # fmt: skip
@click.option("--target-size", type=Size(), metavar="SIZE",
              help="Make a file of at most this size, with --layers: 200kB, 1.5MB, ...")  # fmt: skip
@click.option("--max-drop", type=Drop(), metavar="DROP",
              help="Lose at most so many points on held-out data (0.5), or of a language model so "
              "much of its perplexity (1%).")  # fmt: skip
@click.option("--multiple", type=click.IntRange(min=1), default=1,
              help="With --layers, ranks and other sizes are multiples of this where they can be.")  # fmt: skip
@click.option("--method", default="auto", show_default=True,
              type=OneOf(METHODS),
              help="What the factors minimise; auto takes the best method that the data allow.")  # fmt: skip
@layer_option("Another Dense layer than the final one; repeat it for several.", multiple=True)
@layers_option(", under one budget")
@click.option("--add-bias", is_flag=True,
              help="Allow adding a bias to a layer without one, with --dataset.")  # fmt: skip
@data_options
@validation_option
@samples_option
@synthetic_option
@output_option("<stem>-rank<r><suffix>, or <stem>-lowrank<suffix>, in the current directory")
@overwrite_option
@click.option("--force", is_flag=True, help="Allow a rank that saves nothing.")
@click.option("--modernize", is_flag=True,
              help="Convert an old file to the terms of Keras 3; every change is listed.")  # fmt: skip
@seed_option
@verb
def command(model: Path, synthetic: str, **options: Any) -> Answer:  # noqa: ANN401
    """Factorize the final Dense layer of MODEL, or with --layers all layers under one budget.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed. Writes the compressed model, which
    plain Keras loads, and its run record. Use at most one budget: --rank, --energy, --reduction,
    --multiplications, --target-size or --max-drop. Keras is started only with --dataset, which
    allows better methods, and with --layers if the network has BatchNormalization.

    \b
    Example:
        lrcompress factorize model.h5 --rank 4
        lrcompress factorize model.h5 --layers all --reduction 0.5 --dataset data.npz
    """  # noqa: D301
    rules = [f"--{rule.replace('_', '-')}" for rule in RULES if options[rule] is not None]
    if len(rules) > 1:
        msg = f"Received {' and '.join(rules)}; give one of them."
        raise click.UsageError(msg)
    if options["layer"] and options["layers"]:
        msg = "Received --layer and --layers; give one of them."
        raise click.UsageError(msg)
    for name in ("multiplications", "target_size", "multiple"):
        if options[name] not in (None, 1) and not (options["layers"] or len(options["layer"]) > 1):
            msg = f"--{name.replace('_', '-')} is of a whole network; give --layers all with it."
            raise click.UsageError(msg)
    from lrcompress.verbs.factorize import factorize

    result = factorize(model, synthetic=synthetic == "auto", **options)
    return Answer(result, partial(render, verbose=given("verbose")), after_factorize(model, result))


def render(result: dict[str, Any], *, verbose: bool = False) -> Parts:
    """Show what became of the layers; the errors of the kernel itself only where more is asked for."""
    parts, lines = _network(result) if result["network"] else _matrices(result, verbose=verbose)
    if result["optimizer_bytes"]:
        dropped = size(result["optimizer_bytes"])
        lines.append(
            f"{dropped} of the input are optimizer state, which is dropped and not counted as saved"
        )
    lines += [*_measured(result), *changes(result["modernized"])]
    lines += [f"wrote {result['output']}", f"wrote {result['record']}"]
    return [*parts, plain(lines)]


def _matrices(result: dict[str, Any], *, verbose: bool) -> tuple[Parts, list[str]]:
    """Show kernels that became two factors each."""
    layers = result["layers"]
    single = len(layers) == 1
    title = named_shape(layers[0]) if single else f"{len(layers)} Dense layers"
    rows = [
        *(_parameters("layer" if single else layer["name"], layer) for layer in layers),
        _parameters("model", result),
        *_files(result),
    ]
    lines: list[str] = []
    for layer in layers:
        prefix = "" if single else f"{named_shape(layer)}: "
        lines += [
            f"{prefix}{layer['rank_choice']['message']}; method {layer['method']}: {layer['method_reason']}",
            certificate(layer),
            *([kernel_errors(layer)] if verbose else []),
        ]
    if result["measured_before"] is None and not all(layer["is_head"] for layer in layers):
        from lrcompress.reporting.network import unmeasured

        lines += unmeasured(str(result["input"]), str(result["output"]))
    return [table(title, TOTALS, rows)], lines


def _network(result: dict[str, Any]) -> tuple[Parts, list[str]]:
    """Show the layers of a network that were chosen together, those that save most first."""
    from lrcompress.reporting.network import budget_in_words, columns, left_out, measured_lines

    found, layers = result["network"], result["layers"]
    ordered = sorted(layers, key=lambda x: x["parameters_after"] - x["parameters_before"])
    changed = layers_changed(layers)
    number = f"{count(changed)} layer{'' if changed == 1 else 's'}"
    title = f"{number} made smaller {budget_in_words(found)}"
    parts = [
        grid(title, columns(layers), ordered[:MOST], left=3),
        table("Together", TOTALS, [_parameters("model", result), *_files(result)]),
    ]
    lines = []
    if len(layers) > MOST:
        lines.append(
            f"{count(len(layers) - MOST)} more layers: lrcompress report {result['record']}"
        )
    lines.append(f"method {result['method']}: {result['method_reason']}")
    lines += measured_lines(found, str(result["input"]), str(result["output"]))
    return parts, [*lines, *left_out(found["kept"])]


TOTALS = ["", "before", "after", "saved", ""]


def _parameters(name: str, found: dict[str, Any]) -> list[str]:
    before, after = found["parameters_before"], found["parameters_after"]
    return [f"parameters, {name}", count(before), count(after), *saved(before, after, count)]


def _files(result: dict[str, Any]) -> list[list[str]]:
    """Return the sizes of the files; optimizer state that is dropped is no credit to us."""
    before, after, state = result["bytes_before"], result["bytes_after"], result["optimizer_bytes"]
    sizes = [size(before), size(after)]
    if not state:
        return [["file", *sizes, *saved(before, after, size)]]
    less, rest = before - state, after - result["optimizer_bytes_after"]
    return [
        ["file", *sizes, "", ""],
        ["without optimizer state", size(less), size(rest), *saved(less, rest, size)],
    ]


def _measured(result: dict[str, Any]) -> list[str]:
    """Say what was measured before and after."""
    before, after = result["measured_before"], result["measured_after"]
    if before is None or after is None:
        return []
    groups = [("", before, after, result["drop"])]
    if before["measure"] == "outputs":
        drops = result["drop"]["outputs"]
        groups = [
            (f", {k}:", before["outputs"][k], after["outputs"][k], drops[k])
            for k in before["outputs"]
        ]
    lines = []
    for name, old, new, lost in groups:
        key = old["measure"]
        if metric(key).by_original:
            lines.append(
                f"against the original on test data{name or ':'} {rate(new)} (the data have no labels)"
            )
            continue
        what = "test error" if key == "error_rate" else "test data"
        others = ("balanced_error", "auc") if old.get("balanced_error") else ()
        if key == "perplexity":
            others = ("error_rate", "top5_error_rate")
        lines.append(
            f"{what}{name} {figure(key, old[key])} -> {figure(key, new[key])} ({change(lost)})"
        )
        lines += [
            f"  {'top-1 error ' if k == 'error_rate' else ''}{figure(k, old[k])} -> {bare(k, new[k])}"
            for k in others if k in old and k in new
        ]  # fmt: skip
    measure = before["measure"]
    allowed = allowed_drop(result, measure)
    if allowed is not None and len(groups) == 1:
        rise = balanced_rise(before, after)
        lines.append(f"drop on the test data: {allowance(result['drop'], allowed, rise, measure)}")
    return [*lines, *padding(before)]
