"""Show the errors, the parameters and the times of a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.console import json_text, note
from lrcompress.cli.values import OneOf
from lrcompress.cli.verb import Answer, given, verb
from lrcompress.reporting import formats, words
from lrcompress.reporting.exported import exports_of, flat
from lrcompress.reporting.latency import verdicts
from lrcompress.reporting.layers import (
    certificate,
    changed_layers,
    kernel_errors,
    matrices,
    named_shape,
)
from lrcompress.reporting.network import (
    budget_in_words,
    error_name,
    left_out,
    measured_lines,
    sensitivity,
    sensitivity_columns,
)
from lrcompress.reporting.network import columns as layer_columns
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.target import target_of


@click.command("report")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@shared.run_option("The same as the argument RUN.", "named")
@click.option("--format", "kind", type=OneOf(list(formats.FORMATS)),
              help="Default: by the suffix of --output; else a table.")  # fmt: skip
@shared.output_option("stdout")
@click.option("--plots", type=click.Path(path_type=Path), metavar="DIR",
              help="Write the figures there, each as PNG and SVG.")  # fmt: skip
@click.option("--sweep", type=click.Path(path_type=Path), metavar="FILE",
              help="Errors of every rank, from `lrcompress sweep MODEL --json`.")  # fmt: skip
@click.option("--compare", "comparison", type=click.Path(path_type=Path), metavar="FILE",
              help="Rows from scratch, from a compare.json.")  # fmt: skip
@shared.overwrite_option
@verb
def command(
    run: Path | None,
    named: Path | None,
    kind: str | None,
    output: Path | None,
    sweep: Path | None,
    comparison: Path | None,
    **options: Any,  # noqa: ANN401
) -> Answer:
    """Show all that is known of RUN, or of the newest run in this directory.

    RUN is a run record, or a model or exported file with its record beside it.

    Original, factorized, fine-tuned and from scratch: errors with 95 % intervals, parameters,
    bytes, the certificate of the factorization, times. As HTML it is one page with figures, in one
    file that loads nothing else.

    \b
    Example:
        lrcompress report
        lrcompress report model-rank4.h5
        lrcompress report --sweep sweep.json -o report.html
    """  # noqa: D301
    from lrcompress.verbs.report import report, write_report

    if given("as_json") and kind not in (None, "json"):
        msg = f"--json prints JSON; --format {kind} asks for another document."
        raise click.UsageError(msg)
    wanted = run or named
    story = report(wanted, sweep=sweep, comparison=comparison)
    if wanted is None:
        note(f"Taking the newest run here: {story['record']}")
    written = write_report(story, output=output, kind=kind, inputs=(sweep, comparison), **options)
    return Answer(story, partial(_shown, kind), [f"wrote {path}" for path in written])


def _shown(kind: str | None, story: dict[str, Any]) -> Parts | str:
    """Return the story as a format has it, or for people; nothing where it went to a file."""
    if click.get_current_context().params["output"] is not None:
        return ""
    if kind is None:
        return render(story, verbose=given("verbose"))
    return json_text(story) if kind == "json" else formats.render(story, kind)


def render(story: dict[str, Any], *, verbose: bool = False) -> Parts:
    """Show the story of a run; the errors of a kernel itself only where more is asked for."""
    columns = [
        ("", of("name")),
        (words.test_column(story["stages"]), words.rate),
        ("against original", words.drop),
        ("parameters", of("parameters", words.count)),
        ("saved", of("parameters_reduction", words.share)),
        ("file", of("bytes", words.size)),
        ("saved", of("bytes_reduction", words.share)),
    ]
    target = target_of(story)
    lines: list[str] = []
    if target:
        lines.append(_letters(f"asked: {target['asked']}; reached: {target['reached']}"))
    for layer in matrices(story):
        before, after = layer["parameters_before"], layer["parameters_after"]
        reason = layer.get("method_reason", story["method_reason"])
        lines += [
            f"layer {named_shape(layer)}, parameters {words.count(before)} -> {words.count(after)}, "
            f"saved {' = '.join(words.saved(before, after, words.count))}",
            f"  {layer['rank_choice']['message']}; method {layer['method']}: {reason}",
            f"  {certificate(layer)}",
            *([f"  {kernel_errors(layer)}"] if verbose else []),
        ]
    lines += _data_lines(story)
    lines.append(_time_line(story))
    found = exports_of(story)
    for row in flat(found["rows"]) if found else []:
        lines.append("exported: " + _letters(", ".join(cell for cell in row if cell != "-")))
    if story.get("benchmark"):
        lines += [f"speed: {line}" for line in verdicts(story["benchmark"])]
    if story["optimizer_bytes"]:
        kept = story["optimizer_bytes_after"]
        lines.append(
            f"files: {words.size(story['optimizer_bytes'])} of the original "
            + (f"and {words.size(kept)} of the factorized model " if kept else "")
            + "are optimizer state, not counted as saved"
        )
    lines += [f"note: {warning}" for warning in story["warnings"]]
    stages = grid(f"Report of {story['record']}", columns, story["stages"])
    return [stages, *_network(story), plain([*_network_lines(story), *lines])]


def _letters(text: str) -> str:
    """Return text in letters that any terminal has."""
    return text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").replace("\N{MINUS SIGN}", "-")


def _network(story: dict[str, Any]) -> Parts:
    """Show the layers that were chosen together, and the sensitivity of all that were looked at."""
    layers, network = changed_layers(story), story["network"]
    parts = []
    if layers:
        parts.append(grid("Layers", layer_columns(layers), layers, left=3))
    if network and network["curves"]:
        title = f"Sensitivity: {error_name(network)} with one layer alone made smaller"
        parts.append(grid(title, sensitivity_columns(), sensitivity(network), left=2))
    return parts


def _network_lines(story: dict[str, Any]) -> list[str]:
    network = story["network"]
    if not network:
        return []
    paths = {stage["name"]: str(stage["path"]) for stage in story["stages"]}
    return [
        f"layers made smaller {budget_in_words(network)}; method {story['method']}: {story['method_reason']}",
        *measured_lines(network, paths.get("original", "MODEL"), paths.get("factorized", "SMALL")),
        *left_out(network["kept"]),
    ]


def _data_lines(story: dict[str, Any]) -> list[str]:
    data = story["dataset"]
    if not data:
        return ["data set: none named; give --dataset to measure errors"]
    stage: dict[str, Any] = next((s for s in story["stages"] if s.get("samples")), {})
    samples = stage.get("samples")
    measured = f", {words.count(samples)} test samples" if samples else ", nothing measured yet"
    return [f"data set: {data['name']}, scaling {data['scaling']}{measured}", *words.padding(stage)]


def _time_line(story: dict[str, Any]) -> str:
    parts = [f"factorize {words.seconds(story['seconds'].get('total'))}"]
    for entry in story["finetune"]:
        parts.append(
            f"finetune {words.seconds(entry['seconds'])} "
            f"({entry['epochs']} epoch{'' if entry['epochs'] == 1 else 's'}, "
            f"{entry['images_per_second']:,.0f} samples/s, {entry['device']})"
        )
    return "time: " + "; ".join(parts)
