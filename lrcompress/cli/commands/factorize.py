"""Factorize the final Dense layer of a model file, or all layers of its network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.values import DROP, METHODS, SIZE, OneOf
from lrcompress.cli.verb import Answer, data_set_of, given, quoted, verb
from lrcompress.reporting import words
from lrcompress.reporting.layers import certificate, kernel_errors, layers_changed, named_shape
from lrcompress.reporting.tables import Parts, grid, plain, table

if TYPE_CHECKING:
    from lrcompress.records.results import FactorizeResult

RULES = ("rank", "energy", "reduction", "multiplications", "target_size", "max_drop")
# Layers that are shown of a large network; `report` shows all.
MOST = 30
# Below this share of the model's parameters a layer alone is not worth it.
SMALL = 0.05


@click.command("factorize")
@shared.model_argument("model")
@shared.architecture_option("; both become <stem>-whole.h5 or .keras")
@click.option("--rank", type=click.IntRange(min=1), help="Rank r of the two factors.")
@click.option("--energy", type=click.FloatRange(0, 1, min_open=True),
              help="Smallest rank that keeps this share of the squared singular values.")  # fmt: skip
@click.option("--reduction", type=click.FloatRange(0, 1, min_open=True),
              help="Save at least this share: of the model's parameters with --layers, of the "
              "layer's without.")  # fmt: skip
@click.option("--multiplications", type=click.FloatRange(0, 1, min_open=True),
              help="Save at least this share of the multiplications, with --layers.")  # fmt: skip
@click.option("--target-size", type=SIZE, metavar="SIZE",
              help="Make a file of at most this size, with --layers: 200kB, 1.5MB, ...")  # fmt: skip
@click.option("--max-drop", type=DROP, metavar="DROP",
              help="Lose at most so many points on held-out data (0.5), or of a language model so "
              "much of its perplexity (1%).")  # fmt: skip
@click.option("--multiple", type=click.IntRange(min=1), default=1,
              help="With --layers, ranks and other sizes are multiples of this where they can be.")  # fmt: skip
@click.option("--method", default="auto", show_default=True,
              type=OneOf(METHODS),
              help="What the factors minimise; auto takes the best method that the data allow.")  # fmt: skip
@shared.layer_option(
    "Another Dense layer than the final one; repeat it for several.", multiple=True
)
@shared.layers_option(", under one budget")
@click.option("--add-bias", is_flag=True,
              help="Allow adding a bias to a layer without one, with --dataset.")  # fmt: skip
@shared.data_options
@shared.validation_option
@shared.samples_option
@shared.synthetic_option
@shared.output_option("<stem>-rank<r><suffix>, or <stem>-lowrank<suffix>, in the current directory")
@shared.overwrite_option
@click.option("--force", is_flag=True, help="Allow a rank that saves nothing.")
@click.option("--modernize", is_flag=True,
              help="Convert an old file to the terms of Keras 3; every change is listed.")  # fmt: skip
@shared.seed_option
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
    shared.check_one(options, *RULES)
    shared.check_one(options, "layer", "layers")
    for name in ("multiplications", "target_size", "multiple"):
        if options[name] not in (None, 1) and not (options["layers"] or len(options["layer"]) > 1):
            msg = f"--{name.replace('_', '-')} is of a whole network; give --layers all with it."
            raise click.UsageError(msg)
    from lrcompress.verbs.factorize import factorize

    result = factorize(model, synthetic=synthetic == "auto", **options)
    return Answer(result, partial(render, verbose=given("verbose")), _next(model, result))


def _next(model: Path, result: FactorizeResult) -> list[str]:
    """Return the command that recovers accuracy, and the one that makes a model smaller whose head is small."""
    record = result.record or Path()
    run = "" if record.absolute().parent == Path.cwd() else f" --run {quoted(record)}"
    name = data_set_of(record)
    tune = f"Next: lrcompress finetune --epochs 2{run}"
    if name is None:
        tune += " --dataset DATA (no data set is known; labels are optional)"
    lines = [tune]
    before = result.parameters_before
    if result.network is None and before - result.parameters_after < SMALL * before:
        lines.append(
            f"Or: lrcompress compress {quoted(model)} --dataset {name or 'DATA'} makes all layers smaller: "
            "this one holds little of the model"
        )
    return lines


def render(result: dict[str, Any], *, verbose: bool = False) -> Parts:
    """Show what became of the layers; the errors of the kernel itself only where more is asked for."""
    parts, lines = _network(result) if result["network"] else _matrices(result, verbose=verbose)
    if result["optimizer_bytes"]:
        dropped = words.size(result["optimizer_bytes"])
        lines.append(
            f"{dropped} of the input are optimizer state, which is dropped and not counted as saved"
        )
    lines += [*_measured(result), *words.changes(result["modernized"])]
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
    number = f"{words.count(changed)} layer{'' if changed == 1 else 's'}"
    title = f"{number} made smaller {budget_in_words(found)}"
    parts = [
        grid(title, columns(layers), ordered[:MOST], left=3),
        table("Together", TOTALS, [_parameters("model", result), *_files(result)]),
    ]
    lines = []
    if len(layers) > MOST:
        lines.append(
            f"{words.count(len(layers) - MOST)} more layers: lrcompress report {result['record']}"
        )
    lines.append(f"method {result['method']}: {result['method_reason']}")
    lines += measured_lines(found, str(result["input"]), str(result["output"]))
    return parts, [*lines, *left_out(found["kept"])]


TOTALS = ["", "before", "after", "saved", ""]


def _row(name: str, before: int, after: int, write: Callable[[Any], str]) -> list[str]:
    return [name, write(before), write(after), *words.saved(before, after, write)]


def _parameters(name: str, found: dict[str, Any]) -> list[str]:
    before, after = found["parameters_before"], found["parameters_after"]
    return _row(f"parameters, {name}", before, after, words.count)


def _files(result: dict[str, Any]) -> list[list[str]]:
    """Return the sizes of the files; optimizer state that is dropped is no credit to us."""
    before, after, state = result["bytes_before"], result["bytes_after"], result["optimizer_bytes"]
    if not state:
        return [_row("file", before, after, words.size)]
    less, rest = before - state, after - result["optimizer_bytes_after"]
    return [
        ["file", words.size(before), words.size(after), "", ""],
        _row("without optimizer state", less, rest, words.size),
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
        if words.metric(key).by_original:
            lines.append(
                f"against the original on test data{name or ':'} {words.rate(new)} (the data have no labels)"
            )
            continue
        what = "test error" if key == "error_rate" else "test data"
        others = ("balanced_error", "auc") if old.get("balanced_error") else ()
        if key == "perplexity":
            others = ("error_rate", "top5_error_rate")
        lines.append(
            f"{what}{name} {words.figure(key, old[key])} -> {words.figure(key, new[key])} ({words.change(lost)})"
        )
        lines += [
            f"  {'top-1 error ' if k == 'error_rate' else ''}{words.figure(k, old[k])} -> {words.bare(k, new[k])}"
            for k in others if k in old and k in new
        ]  # fmt: skip
    measure = before["measure"]
    allowed = words.allowed_drop(result, measure)
    if allowed is not None and len(groups) == 1:
        rise = words.balanced_rise(before, after)
        lines.append(
            f"drop on the test data: {words.allowance(result['drop'], allowed, rise, measure)}"
        )
    return [*lines, *words.padding(before)]
