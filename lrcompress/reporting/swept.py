"""Text of `sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.errors import printable
from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import (
    BY_ORIGINAL,
    change,
    count,
    held_out,
    padding,
    points,
    rate,
    seconds,
    share,
    small,
    test_column,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

_KERNEL = ["rank", "parameters", "layer saved", "model saved", "energy", "spectral error"]


def render_sweep(document: dict[str, Any]) -> list[RenderableType]:
    """Show one table a method."""
    m, n = document["kernel_shape"]
    measured = document["dataset"] is not None
    parts: list[RenderableType] = []
    for method in dict.fromkeys(row["method"] for row in document["rows"]):
        rows = [row for row in document["rows"] if row["method"] == method]
        parts.append(
            table(
                f"{document['layer']}: Dense {m} x {n}, {method}",
                _KERNEL + (_outputs(rows) if measured else []),
                [_cells(row, measured=measured) for row in rows],
                left=0,
            )
        )
    lines = _replaced(document["rows"])
    original = document["original"]
    lines += [
        f"the model has {count(document['parameters'])} parameters; ranks up to {document['break_even_rank']} "
        "save some; layer saved: share of its kernel, without bias"
    ]
    if original:
        lines.append(
            f"the original: {held_out(original)} held out, {rate(original)} test"
            f" ({count(original['samples'])} samples); choose by the held-out column, report the test error"
            if original.get("measure") not in BY_ORIGINAL
            else f"no labels: everything is compared with the original on {count(original['samples'])} test samples; "
            "choose by the held-out column, report the test column"
        )
        if document["dataset"] and document["dataset"].get("trained_on_held_out"):
            lines.append(
                "the original was trained on the held-out part: give data new to it with --validation"
            )
    if measured:
        data = document["dataset"]
        if data.get("test_given") is False:
            lines.append(
                f"no test part was given: {count(data['test_samples'])} samples, drawn by the seed, serve as one"
            )
        lines.append(f"data set: {printable(data['name'])}, scaling {printable(data['scaling'])}")
    lines += padding(document["dataset"] or {})
    times = ", ".join(f"{name} {seconds(value)}" for name, value in document["seconds"].items())
    return [*parts, plain([*lines, f"time: {times}"])]


def _outputs(rows: list[dict[str, Any]]) -> list[str]:
    """Return the columns on outputs."""
    column = test_column(rows)
    chosen_by = (
        "drop, held out"
        if any(row.get("held_out_drop") is not None for row in rows)
        else "held out"
    )
    return ["output error", "agreement", chosen_by, column, "drop [95 %]"]


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


def _cells(row: dict[str, Any], *, measured: bool) -> list[str]:
    cells = [
        str(row["rank"]),
        count(row["parameters_after"]),
        share(row["layer_reduction"]),
        share(row["model_reduction"]),
        share(row["energy"]),
        small(row["spectral_error"]),
    ]
    if not measured:
        return cells
    drop = row["drop"]
    return [
        *cells,
        small(row["output_error"]),
        "-" if row["agreement"] is None else f"{row['agreement']:.2f} %",
        held_out(row) if row.get("held_out_drop") is None else points(row["held_out_drop"]),
        rate(row),
        "-" if drop is None else change(drop),
    ]
