"""List the known data sets and where each is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import data_dir_option
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain, table


@click.command("datasets")
@data_dir_option
@verb
def command(data_dir: Path | None) -> Answer:
    """List the data sets known by name, and where each was found or would be looked for.

    \b
    Example:
        lrcompress datasets
    """  # noqa: D301
    from lrcompress.data.named import NAMED, locate, search_folders

    searched = [str(folder) for folder in search_folders(data_dir)]
    places = {name: locate(name, data_dir) for name in NAMED}
    entries = [
        {
            "name": name,
            "description": description,
            "found": None if places[name] is None else str(places[name]),
            "searched": searched,
        }
        for name, description in NAMED.items()
    ]
    return Answer({"schema_version": 1, "datasets": entries}, render)


def render(document: dict[str, Any]) -> Parts:
    """Show the data sets and where each was found or would be sought."""
    entries = document["datasets"]
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
