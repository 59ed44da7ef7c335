"""`lrcompress datasets`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.console import show, show_json
from lrcompress.cli.options import output_options


@click.command("datasets")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Folder with NAME.npz files, searched first.")  # fmt: skip
@output_options
def command(data_dir: Path | None, as_json: bool, quiet: bool, verbose: bool) -> None:
    """List the data sets known by name, and where each was found or would be sought.

    \b
    Example:
        lrcompress datasets
    """  # noqa: D301
    from lrcompress.data.named import NAMED, locate, search_folders
    from lrcompress.reporting.listed import render_datasets

    searched = [str(folder) for folder in search_folders(data_dir)]
    entries = []
    for name, description in NAMED.items():
        found = locate(name, data_dir)
        entries.append(
            {
                "name": name,
                "description": description,
                "found": None if found is None else str(found),
                "searched": searched,
            }
        )
    if as_json:
        show_json({"schema_version": 1, "datasets": entries})
    else:
        show(render_datasets(entries))
