"""What is said of a whole network that was compressed: its layers, their sensitivity, what was measured."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any, TypeAlias

from lrcompress.errors import first_three
from lrcompress.reporting.tables import Column, Parts, grid, of
from lrcompress.reporting.words import count, points, saved, share, small

# A layer's path, points of its curve, and the one that was chosen.
Points: TypeAlias = "list[tuple[float, float]]"
Line: TypeAlias = "tuple[str, Points, tuple[float, float] | None]"
# Layers that are shown of a large model before it is compressed.
_MOST = 12
# Lines of a figure with a line a layer.
MOST_LINES = 12
# What scales each feature by itself has no matrix that one could miss.
_VECTORS = "Normalization"
# At these shares of a layer's weights its sensitivity is told.
SHARES = (0.25, 0.5, 0.75, 0.9)
# How far the error on real data was above that estimated on synthetic inputs, where it was checked.
UP_TO = "up to 1.6 times"
BUDGETS = {
    "reduction": "save {} of the model's parameters",
    "multiplications": "save {} of the multiplications",
    "energy": "keep {} of each kernel's energy",
    "target_size": "reach a file of {} bytes",
    "max_drop": "lose at most {} points",
    "max_perplexity_rise": "lose at most {} % of perplexity",
    "changed": "change at most {} % of the decisions",
}


def columns(layers: Sequence[dict[str, Any]]) -> list[Column]:
    """Return the columns of a table of changed layers."""
    found: list[Column] = [
        ("layer", lambda x: x.get("path") or x["name"]),
        ("kind", of("kind")),
        ("form", of("form")),
        ("size", lambda x: f"{count(x['size'])} of {count(x['largest'])}"),
        ("parameters", lambda x: _change(x, "parameters")),
        ("saved", lambda x: saved(x["parameters_before"], x["parameters_after"], count)[1]),
    ]
    if any(x.get("multiplications_before") is not None for x in layers):
        found.append(("multiplications", lambda x: _change(x, "multiplications")))
    if any(x.get("share") is not None for x in layers):
        return [*found, ("error added", lambda x: small(x.get("share")))]
    return [*found, ("kernel error", lambda x: small(x.get("error")))]


def sensitivity_columns() -> list[Column]:
    """Return the columns of the table of sensitivities."""
    return [
        ("layer", of("path")),
        ("class", of("class_name")),
        ("parameters", of("parameters", count)),
        *((f"{share_:.0%} saved".replace("%", " %"), _at(share_)) for share_ in SHARES),
    ]


def sensitivity(network: dict[str, Any], most: int | None = None) -> list[dict[str, Any]]:
    """Return the curves of the layers with their paths, the largest layers first."""
    curves = sorted(network["curves"].items(), key=lambda item: -item[1]["parameters"])
    return [{**curve, "path": path} for path, curve in curves[:most]]


def sensitivity_lines(
    network: dict[str, Any], chosen: dict[str, dict[str, Any]], most: int
) -> list[Line]:
    """Return of each curve of a figure its path, the least errors at shares saved from less to more, and the choice."""
    found: list[Line] = []
    for curve in sensitivity(network, most):
        path, lowest, points = curve["path"], math.inf, []
        for part, error in sorted(_candidates(curve), reverse=True):
            if part > 0 and error < lowest:
                lowest = error
                points.append((part, error))
        if not any(error > 0 for _, error in points):
            continue
        layer, mark = chosen.get(path), None
        if layer is not None and layer.get("share") is not None:
            before = max(layer["parameters_before"], 1)
            mark = (1 - layer["parameters_after"] / before, layer["share"])
        found.append((path, [p for p in reversed(points) if p[1] > 0], mark))
    return found


def _candidates(curve: dict[str, Any]) -> list[tuple[float, float]]:
    """Return what each candidate saves, as a share of the layers that it changes, and its error."""
    return [
        (less / form["parameters"], error)
        for form in curve["forms"].values()
        for less, error in zip(form["parameters_saved"], form["error"], strict=True)
        if form["parameters"] > 0
    ]


def error_name(network: dict[str, Any]) -> str:
    """Return what the errors of a network's curves are."""
    return f"error of the {'kernel' if network['inputs'] == 'none' else 'outputs'}"


def budget_in_words(network: dict[str, Any]) -> str:
    """Return the budget in words."""
    budget = network.get("budget")
    if not budget:
        return "cautiously, as no budget was given"
    name, value = budget["name"], budget["value"]
    told = share(value) if name in ("reduction", "multiplications", "energy") else count(value)
    if name in ("max_drop", "max_perplexity_rise"):
        told = f"{value:g}"
    name = "changed" if counts_changes(network) else name
    default = " (the default)" if budget.get("default") else ""
    return f"to {BUDGETS.get(name, '{}').format(told)}{default}"


def counts_changes(network: dict[str, Any]) -> bool:
    """Return whether a largest drop is one of decisions that change: nobody knows what is right of synthetic inputs."""
    drop = (network.get("budget") or {}).get("name") == "max_drop"
    return drop and network.get("inputs") == "synthetic"


def measured_lines(network: dict[str, Any], original: str, output: str) -> list[str]:
    """Say what was measured and on which inputs, or that nothing was and which command would."""
    inputs, found = network["inputs"], network.get("measured")
    if inputs == "none" or not found:
        return [
            *unmeasured(original, output),
            "with --dataset DATA, `lrcompress factorize` lets the data choose, and measures",
        ]
    told = f"output error {small(found['output_error'])}"
    if network.get("predicted") is not None:
        told += f" (the layers' shares add up to {small(network['predicted'])})"
    if found.get("agreement") is not None:
        told += f", {found['agreement']:.2f} % of the decisions are the original's"
    if found.get("drop") is not None and inputs == "data set":
        told += f", {points(found['drop'])}"
    if inputs == "data set":
        return [f"on held-out inputs: {told}"]
    return [
        "no data: synthetic inputs, made to match the statistics in the network's BatchNormalization layers, "
        "were calibrated and measured on",
        f"estimated on others of them: {told}",
        f"where this was checked, the error on real data was {UP_TO} the estimated one; "
        f"on data of your own: {_evaluate(original, output)}",
    ]


def places_shown(document: dict[str, Any]) -> tuple[Parts, list[str]]:
    """Show what --layers all would look at, those that save most first, and what it leaves as it is."""
    places = [place for place in document["places"] if place["quarter"]["parameters_saved"] > 0]
    places.sort(key=lambda place: -place["quarter"]["parameters_saved"])
    shown = [
        ("layer", of("path")),
        ("kind", of("kind")),
        ("form", lambda place: place["quarter"]["form"]),
        ("size", lambda place: count(place["quarter"]["size"])),
        ("of", lambda place: count(place["forms"][place["quarter"]["form"]])),
        ("parameters", of("parameters", count)),
        ("saved", lambda place: count(place["quarter"]["parameters_saved"])),
        ("of the model", lambda place: share(place["quarter"]["model_reduction"])),
    ]
    lines = []
    if len(places) > _MOST:
        lines.append(f"{count(len(places) - _MOST)} more layers save less; --json lists all")
    lines += left_out(document["refused"])
    if len(places) < 2:
        return [], lines
    title = "What a quarter of each layer's size would save"
    return [grid(title, shown, places[:_MOST], left=3)], [
        "saved: of all layers that the form changes, those behind a narrower one among them",
        *lines,
        f"all of them under one budget: lrcompress factorize {document['model']} --layers all",
    ]


def unmeasured(original: str, output: str) -> list[str]:
    """Say that nobody knows what the outputs lose, and which command tells."""
    return [
        "nothing was measured: the weights alone decided, and what the outputs lose is not known",
        f"to measure it (inputs without labels are enough): {_evaluate(original, output)}",
    ]


def _evaluate(original: str, output: str) -> str:
    return f"lrcompress evaluate {shlex.quote(original)} {shlex.quote(output)} --dataset DATA"


def left_out(refused: dict[str, str], most: int = 6) -> list[str]:
    """Say why layers cannot be factorized, a line a reason."""
    reasons: dict[str, list[str]] = {}
    for path, why in refused.items():
        if _VECTORS not in why:
            reasons.setdefault(why, []).append(path)
    if not reasons:
        return []
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    lines = [f"  {why}: {first_three(paths)}" for why, paths in ordered[:most]]
    if len(ordered) > most:
        rest = sum(len(paths) for _, paths in ordered[most:])
        lines.append(f"  and {count(rest)} more layers for other reasons")
    return ["layers that cannot be factorized:", *lines]


def _change(layer: dict[str, Any], what: str) -> str:
    before, after = layer.get(f"{what}_before"), layer.get(f"{what}_after")
    return "-" if before is None else f"{count(before)} -> {count(after)}"


def _at(at: float) -> Any:  # noqa: ANN401  # what writes one value of a row
    # The least error among the candidates that save at least so much.
    return lambda row: small(min((e for part, e in _candidates(row) if part >= at), default=None))
