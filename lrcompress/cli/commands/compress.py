"""Make a model smaller in one step: layers, fine-tuning, export, report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.commands.export import FORMAT
from lrcompress.cli.values import DROP, SIZE, Int8Command
from lrcompress.cli.verb import Answer, data_set_of, quietly, quoted, verb
from lrcompress.records.compressed import CompressResult
from lrcompress.reporting import words
from lrcompress.reporting.network import UP_TO, budget_in_words
from lrcompress.reporting.tables import Parts, plain


@click.command("compress", cls=Int8Command)
@shared.model_argument("model")
@shared.architecture_option("; both become <stem>-whole.h5 or .keras")
@shared.data_options
@shared.validation_option
@click.option("--max-drop", type=DROP, metavar="DROP",
              help="Lose at most so many points on held-out data, or of a language model so much of "
              "its perplexity (1%); default with data: 0.5, or 1%.")  # fmt: skip
@click.option("--reduction", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
              help="Save at least this share of the parameters, such as 0.5.")  # fmt: skip
@click.option("--target-size", type=SIZE, metavar="SIZE",
              help="Make a file of at most this size: 200kB, 1.5MB, ...")  # fmt: skip
@click.option("--multiplications", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
              help="Save at least this share of the multiplications.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=0),
              help="Of fine-tuning; default 2, up to 10 without labels; 0 for none.")  # fmt: skip
@click.option("--export", type=FORMAT, help="Export the result, too.")
@shared.int8_option("LiteRT if --export is not given")
@shared.output_option("<stem>-compressed<suffix> in the current directory")
@shared.overwrite_option
@shared.seed_option
@verb
def command(model: Path, **options: Any) -> Answer:  # noqa: ANN401
    """Make MODEL smaller in one step: all layers, fine-tuning that helps, export, report.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed. With --dataset (labels are optional)
    layers get as small as held-out data allow, and the result is fine-tuned and measured on test
    data. Without it, a network with BatchNormalization is measured on inputs made to match it; for
    other networks the weights alone decide, and nothing is measured. Writes the compressed model,
    its run record, an HTML report and the exported file. Run the same command again to continue a
    job that was interrupted.

    \b
    Example:
        lrcompress compress model.h5
        lrcompress compress model.h5 --dataset data.npz --max-drop 0.5
        lrcompress compress model.h5 --dataset mnist --export litert --int8
    """  # noqa: D301
    shared.check_one(options, "max_drop", "reduction", "target_size", "multiplications")
    from lrcompress.verbs.compress import compress

    result = compress(model, quietly=quietly, **options)
    return Answer(result, render, [*_about_int8(result), _next(model, result)])


def _next(model: Path, result: CompressResult) -> str:
    """Return the command that times what was measured; of what was not, what data would bring."""
    record = result.record or Path()
    if result.measured_after is not None:
        return f"Next: lrcompress benchmark --run {quoted(record)}"
    name = data_set_of(record)
    again = f"Next: lrcompress compress {quoted(model)} --dataset {name or 'DATA.npz'} --overwrite"
    needs = "" if name else " (DATA.npz: x_train, a few thousand inputs; labels are optional)"
    return f"{again}{needs}: data say how small it may get, measure what it loses, and win it back"


def _about_int8(result: CompressResult) -> list[str]:
    """Warn of 8-bit integers that lose more than chance explains."""
    errors = (result.export or {}).get("errors")
    if not errors or not result.export or not result.export["int8"]:
        return []
    lost = errors["difference"]
    if "outputs" in lost or lost["low"] <= 0:
        return []
    line = f"Note: the 8-bit integers of the exported file lose {words.change(lost)} more than the Keras model does"
    others = (
        "leave out --int8"
        if result.export["int8"] == "full"
        else "take --int8 full, or leave it out"
    )
    return [f"{line}; {others}."]


def render(result: dict[str, Any]) -> Parts:
    """Show the job in five lines."""
    lines = [_gained(result), _lost(result), _tuned(result), _exported(result), _written(result)]
    return [plain([line for line in lines if line])]


def _gained(result: dict[str, Any]) -> str:
    """Return what got smaller, and by which budget."""
    parts = []
    for what, key, unit in (
        ("parameters", "parameters", words.count),
        ("file", "bytes", words.size),
    ):
        before, after = result[f"{key}_before"], result[f"{key}_after"]
        less = words.share((before - after) / before if before else None)
        parts.append(f"{what} {unit(before)} -> {unit(after)}, {less} saved")
    return f"gained   {'; '.join(parts)} ({budget_in_words(result)})"


def _lost(result: dict[str, Any]) -> str:
    """Return what the outputs lose: measured, estimated, or that nobody knows."""
    before, after, found = result["measured_before"], result["measured_after"], result["estimated"]
    if before is not None and after is not None:
        return f"lost     {_measured(result, before, after)}"
    if result["inputs"] == "none" or not found:
        return "lost     not known: there are no data, so the weights alone decided and nothing was measured"
    kept = (
        "" if found.get("agreement") is None else f", {found['agreement']:.2f} % of decisions kept"
    )
    return (
        f"lost     estimated on synthetic inputs: output error {words.small(found['output_error'])}{kept}; "
        f"on real data {UP_TO} that"
    )


def _measured(result: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> str:
    key, lost = before["measure"], result["drop"]
    if key == "outputs":
        return f"on test data: {words.rate(before)} -> {words.rate(after)}"
    if words.metric(key).by_original:
        return f"against the original on test data: {words.rate(after)} (the data have no labels)"
    what = "test error" if key == "error_rate" else "test data"
    text = f"{what} {words.figure(key, before[key])} -> {words.bare(key, after[key])}"
    if lost is None:
        return text
    allowed = words.allowed_drop({"network": {"budget": result["budget"]}, "layers": []}, key)
    said = "" if allowed is None else f": {words.allowance(lost, allowed, None, key)}"
    return f"{text} ({words.change(lost)} on {words.count(after['samples'])} samples){said}"


def _tuned(result: dict[str, Any]) -> str:
    found = result["finetune"]
    if found is None:
        return ""
    if not found["kept"]:
        return f"tuned    not kept: {found['why']}"
    key, values = found["measure"], (found["before"], found["after"])
    told = ""
    if key != "outputs" and None not in values:
        told = (
            f" ({words.metric(key).name} {' -> '.join(words.bare(key, value) for value in values)})"
        )
    return f"tuned    kept: {found['why']}{told}"


def _exported(result: dict[str, Any]) -> str:
    found = result["export"]
    if found is None:
        return ""
    text = f"exported {Path(found['path']).name}, {words.size(found['bytes_after'])}"
    beside = found["original"]
    if beside is not None:
        text += f" (the original exported the same way: {words.size(beside['bytes_after'])}"
        text += f"; {beside['speed']['ratio']:.2f} times as fast)"
    if found["errors"] is not None:
        errors = found["errors"]
        text += f", {words.rate(errors['exported'])} ({words.change(errors['difference'])} against the Keras model)"
    elif found["difference"].get("agreement") is not None:
        text += f", {found['difference']['agreement']:.2f} % of predictions as in Keras"
    return text


def _written(result: dict[str, Any]) -> str:
    made = (result[key] for key in ("output", "record", "report", "exported"))
    return f"wrote    {', '.join(str(path) for path in made if path)}"
