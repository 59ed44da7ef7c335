"""A report in each of its formats, as text or as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError
from lrcompress.files import replacing

# Format to the suffix that tells it.
SUFFIXES = {
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown"),
    "json": (".json",),
    "csv": (".csv",),
}


def format_of(path: Path) -> str:
    """Return the format that a file's suffix tells.

    Raises:
        OutputError: If it tells none.
    """
    found = [name for name, ends in SUFFIXES.items() if path.suffix.lower() in ends]
    if not found:
        ends = ", ".join(ends[0] for ends in SUFFIXES.values())
        msg = f"Report {path} has no suffix that tells a format ({ends}); give one, or --format."
        raise OutputError(msg, code="output_suffix")
    return found[0]


def render(story: dict[str, Any], kind: str) -> str:
    """Return a report as text.

    Args:
        story: What `lrcompress.report` returns.
        kind: html, markdown, json or csv.
    """
    if kind == "html":
        from lrcompress.reporting.html import render_html

        return render_html(story)
    if kind == "markdown":
        from lrcompress.reporting.markdown import render_markdown

        return render_markdown(story)
    if kind == "csv":
        from lrcompress.reporting.csv import render_csv

        return render_csv(story)
    return json.dumps(story, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write(text: str, path: Path, *, overwrite: bool, like: Path) -> None:
    """Write a report, whole or not at all.

    Args:
        text: What it says.
        path: Its file.
        overwrite: Whether an existing file is replaced.
        like: The record, whose permissions it keeps.

    Raises:
        OutputError: If the file cannot be written.
    """
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        # Of names that are not UTF-8, in command lines for example.
        temporary.write_bytes(text.encode("utf-8", "replace"))
