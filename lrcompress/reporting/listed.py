"""Text of `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import plain, table

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_datasets(entries: list[dict[str, Any]]) -> list[RenderableType]:
    """Show the data sets and where each was found or would be sought."""
    rows = [
        [
            entry["name"],
            entry["description"],
            entry["found"] or f"not found; sought as {entry['name']}.npz, then downloaded by Keras",
        ]
        for entry in entries
    ]
    folders = ", ".join(entries[-1]["searched"])
    return [
        table("Data sets", ["name", "what it is", "where"], rows, left=3),
        plain([f"searched: {folders}"]),
    ]
