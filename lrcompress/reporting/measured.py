"""Text of `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import beside, chance, change, count, padding, rate, test_column

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_evaluate(results: list[dict[str, Any]]) -> list[RenderableType]:
    """Show what `evaluate` measured: a row a model, or a row a model and output."""
    rows = [_row(name, entry, paired) for found in results for name, entry, paired in _each(found)]
    paired = [entry["difference"] for entry in results if entry["difference"] is not None]
    exact = all("only_first_wrong" in entry for entry in paired)
    p_value = "p (McNemar)" if exact else "p"
    columns = ["model", test_column(results), "against the first", p_value, "loss", "samples"]
    if any(row[-1] for row in rows):
        columns.insert(2, "and")
        rows = [[*row[:2], row[-1], *row[2:-1]] for row in rows]
    else:
        rows = [row[:-1] for row in rows]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [table("Evaluation", columns, rows), plain([*padding(results[0]), note])]


def _each(found: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any] | None]]:
    """Return name, figures and difference of a model, or of each of its outputs."""
    paired = found["difference"]
    if found["measure"] != "outputs":
        return [(found["model"], found, paired)]
    return [
        (f"{found['model']}: {name}", entry, None if paired is None else paired["outputs"][name])
        for name, entry in found["outputs"].items()
    ]


def _row(name: str, entry: dict[str, Any], paired: dict[str, Any] | None) -> list[str]:
    return [
        name,
        rate(entry),
        "-" if paired is None else change(paired),
        "-" if paired is None else chance(paired),
        f"{entry['loss']:.4f}",
        count(entry["samples"]),
        beside(entry),
    ]
