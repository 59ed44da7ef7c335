"""Text of `factorize`, `inspect` and `report`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lrcompress.reporting.benchmarked import verdicts
from lrcompress.reporting.tables import certificate, drop, kernel_errors, plain, saved, table
from lrcompress.reporting.words import (
    BY_ORIGINAL,
    NAMES,
    allowance,
    allowed_drop,
    balanced_rise,
    change,
    count,
    figure,
    padding,
    rate,
    seconds,
    share,
    size,
    small,
    test_column,
)

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_factorize(result: dict[str, Any], *, verbose: bool = False) -> list[RenderableType]:
    """Show what `factorize` did; the errors of the kernel itself only where more is asked for."""
    layers = result["layers"]
    whole = [
        _line("parameters, model", result["parameters_before"], result["parameters_after"], count),
        *_file_lines(result),
    ]
    columns = ["", "before", "after", "saved", ""]
    if len(layers) == 1:
        own = _line("parameters, layer", *_parameters(layers[0]), count)
        parts: list[RenderableType] = [table(_shapes(layers[0]), columns, [own, *whole])]
    else:
        rows = [
            _line(f"parameters, {layer['name']}", *_parameters(layer), count) for layer in layers
        ]
        parts = [table(f"{len(layers)} Dense layers", columns, [*rows, *whole])]
    lines: list[str] = []
    for layer in layers:
        prefix = "" if len(layers) == 1 else f"{_shapes(layer)}: "
        lines += [
            f"{prefix}{layer['rank_choice']['message']}; method {layer['method']}: {layer['method_reason']}",
            certificate(layer),
            *([kernel_errors(layer)] if verbose else []),
        ]
    lines += _optimizer_lines(result)
    lines += _measured_lines(result)
    lines += _changes(result["modernized"])
    return [*parts, plain([*lines, f"wrote {result['output']}", f"wrote {result['record']}"])]


def _measured_lines(result: dict[str, Any]) -> list[str]:
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
        if key in BY_ORIGINAL:
            lines.append(
                f"against the original on test data{name or ':'} {rate(new)} (the data have no labels)"
            )
            continue
        what = "test error" if key == "error_rate" else "test data"
        lines.append(
            f"{what}{name} {figure(key, old[key])} -> {figure(key, new[key])} ({change(lost)})"
        )
        lines += [
            f"  {figure(k, old[k])} -> {figure(k, new[k]).removeprefix(NAMES[k])}"
            for k in ("balanced_error", "auc") if old.get("balanced_error") and k in old and k in new
        ]  # fmt: skip
    allowed = allowed_drop(result["layers"])
    if allowed is not None and len(groups) == 1:
        rise, measure = balanced_rise(before, after), before["measure"]
        lines.append(f"drop on the test data: {allowance(result['drop'], allowed, rise, measure)}")
    return [*lines, *padding(before)]


def _shapes(layer: dict[str, Any]) -> str:
    m, n = layer["kernel_shape"]
    return f"{layer['name']}: Dense {m} x {n} -> {m} x {layer['rank']} x {n}"


def _parameters(layer: dict[str, Any]) -> tuple[int, int]:
    return layer["parameters_before"], layer["parameters_after"]


def _line(name: str, before: int, after: int, unit: Callable[[float], str]) -> list[str]:
    return [name, unit(before), unit(after), *saved(before, after, unit)]


def _file_lines(result: dict[str, Any]) -> list[list[str]]:
    """Return the sizes of the files; optimizer state that is dropped is no credit to us."""
    before, after = result["bytes_before"], result["bytes_after"]
    if not result["optimizer_bytes"]:
        return [_line("file", before, after, size)]
    less = before - result["optimizer_bytes"], after - result["optimizer_bytes_after"]
    return [
        ["file", size(before), size(after), "", ""],
        _line("without optimizer state", *less, size),
    ]


def _optimizer_lines(result: dict[str, Any]) -> list[str]:
    """Say what became of the optimizer's state."""
    if not result["optimizer_bytes"]:
        return []
    before = size(result["optimizer_bytes"])
    return [f"{before} of the input are optimizer state, which is dropped and not counted as saved"]


def _changes(changes: list[str]) -> list[str]:
    """List what was put in the terms of Keras 3."""
    return ["in the terms of Keras 3:", *(f"  {change}" for change in changes)] if changes else []


def render_modernize(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `modernize` did."""
    version = result["keras_version"]
    lines = [
        f"{result['input']}: written by {f'Keras {version}' if version else 'a Keras that left no version'}",
        *(_changes(result["changes"]) or ["nothing had to change for Keras 3"]),
    ]
    if result["optimizer_bytes"]:
        lines.append(f"{size(result['optimizer_bytes'])} of optimizer state are dropped")
    if result["checked"]:
        lines.append("Keras loads the new file")
    return [plain([*lines, f"wrote {result['output']}"])]


def render_inspect(document: dict[str, Any]) -> list[RenderableType]:
    """Show what is in a model file."""
    version = (
        f"Keras {document['keras_version']}"
        if document["keras_version"]
        else "Keras of unknown age"
    )
    optimizer = document["optimizer_bytes"]
    parts: list[RenderableType] = [
        plain(
            [
                f"{document['model']}: {document['class_name']}, {version}, {document['format']}, "
                f"{count(document['parameters'])} parameters, {size(document['bytes'])}"
                + (f" (of them {size(optimizer)} optimizer state)" if optimizer else "")
            ]
        ),
        table(
            "Layers",
            ["layer", "class", "parameters", "share"],
            [
                [
                    layer["path"],
                    layer["class_name"],
                    count(layer["parameters"]),
                    share(layer["parameters"] / document["parameters"])
                    if document["parameters"]
                    else "-",
                ]
                for layer in document["layers"]
            ],
            left=2,
        ),
    ]
    wrong = [
        f"{x['path']} ({count(x['not_finite'])})" for x in document["layers"] if x["not_finite"]
    ]
    if wrong:
        parts.append(plain([f"NaN or infinity among the weights of: {', '.join(wrong)}"]))
    head = document["head"]
    if head is None:
        others = ", ".join(dense["path"] for dense in document["dense_layers"])
        lines = [f"no final Dense layer to factorize: {document['reason']['message']}"]
        if others:
            lines.append(f"Dense layers that --layer could name: {others}")
        return [*parts, plain(lines)]
    m, n = head["kernel_shape"]
    follows = f", followed by {', '.join(head['following'])}" if head["following"] else ""
    spectrum = ", ".join(
        f"{100 * float(k):g} % at rank {r}" for k, r in head["energy_ranks"].items()
    )
    parts.append(
        plain(
            [
                f"final Dense layer: {head['path']}, {m} x {n}, {head['dtype']}, {head['activation']}{follows}"
                + (f", already split at rank {head['rank']}" if head["rank"] else ""),
                f"  {count(head['parameters'])} parameters, {share(head['share_of_model'])} of the model; "
                + (
                    f"ranks up to {head['break_even_rank']} save parameters"
                    if head["break_even_rank"]
                    else "no rank makes it smaller"
                ),
                f"  energy {spectrum}",
                *_elsewhere(document, head),
            ]
        )
    )
    if head["ranks"]:
        parts.append(
            table(
                "What a rank would save",
                ["rank", "parameters", "of the layer", "of the model", "energy", "spectral error"],
                [
                    [
                        str(row["rank"]),
                        count(row["parameters_saved"]),
                        share(row["layer_reduction"]),
                        share(row["model_reduction"]),
                        share(row["energy"]),
                        small(row["spectral_error"]),
                    ]
                    for row in head["ranks"]
                ],
                left=0,
            )
        )
        parts.append(
            plain(
                [
                    "of the layer: share of its kernel, without bias; energy and spectral error: of method svd"
                ]
            )
        )
    return parts


def _elsewhere(document: dict[str, Any], head: dict[str, Any]) -> list[str]:
    """Say which Dense layers hold more of the model than the final one does."""
    larger = [
        dense
        for dense in document["dense_layers"]
        if dense["path"] != head["path"]
        and dense["parameters"] > head["parameters"]
        and dense["break_even_rank"]
    ]
    return [
        f"  more parameters are in {dense['path']}, {share(dense['parameters'] / document['parameters'])} "
        f"of the model: --layer {dense['path']}, or --layers dense for all"
        for dense in sorted(larger, key=lambda dense: -dense["parameters"])[:3]
    ]


def render_report(story: dict[str, Any]) -> list[RenderableType]:
    """Show the story of a run."""
    parts: list[RenderableType] = [
        table(
            f"Report of {story['record']}",
            [
                "",
                test_column(story["stages"]),
                "against original",
                "parameters",
                "saved",
                "file",
                "saved",
            ],
            [
                [
                    stage["name"],
                    rate(stage),
                    drop(stage),
                    count(stage["parameters"]),
                    share(stage["parameters_reduction"]),
                    size(stage["bytes"]),
                    share(stage["bytes_reduction"]),
                ]
                for stage in story["stages"]
            ],
        )
    ]
    lines: list[str] = []
    for layer in story["layers"]:
        before, after = _parameters(layer)
        reason = layer.get("method_reason", story["method_reason"])
        lines += [
            f"layer {_shapes(layer)}, parameters "
            f"{count(before)} -> {count(after)}, saved {' = '.join(saved(before, after, count))}",
            f"  {layer['rank_choice']['message']}; method {layer['method']}: {reason}",
            f"  {certificate(layer)}",
            f"  {kernel_errors(layer)}",
        ]
    lines += _data_lines(story)
    lines.append(_time_line(story))
    if story.get("benchmark"):
        lines += [f"speed: {line}" for line in verdicts(story["benchmark"])]
    if story["optimizer_bytes"]:
        kept = story["optimizer_bytes_after"]
        lines.append(
            f"files: {size(story['optimizer_bytes'])} of the original "
            + (f"and {size(kept)} of the factorized model " if kept else "")
            + "are optimizer state, not counted as saved"
        )
    lines += [f"note: {warning}" for warning in story["warnings"]]
    return [*parts, plain(lines)]


def _data_lines(story: dict[str, Any]) -> list[str]:
    data = story["dataset"]
    if not data:
        return ["data set: none named; give --dataset to measure errors"]
    stage: dict[str, Any] = next((s for s in story["stages"] if s.get("samples")), {})
    samples = stage.get("samples")
    measured = f", {count(samples)} test samples" if samples else ", nothing measured yet"
    return [f"data set: {data['name']}, scaling {data['scaling']}{measured}", *padding(stage)]


def _time_line(story: dict[str, Any]) -> str:
    parts = [f"factorize {seconds(story['seconds'].get('total'))}"]
    for entry in story["finetune"]:
        parts.append(
            f"finetune {seconds(entry['seconds'])} ({entry['epochs']} epoch{'' if entry['epochs'] == 1 else 's'}, "
            f"{entry['images_per_second']:,.0f} samples/s, {entry['device']})"
        )
    return "time: " + "; ".join(parts)
