"""A report in each of its formats, as text or as a file."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError
from lrcompress.files import replacing

# Format to the suffixes that tell it; each but JSON has a module here, by its name.
FORMATS = {
    "html": (".html", ".htm"),
    "markdown": (".md", ".markdown"),
    "json": (".json",),
    "csv": (".csv",),
    # A name like any other's: no suffix tells it.
    "model-card": (),
}


def format_of(path: Path) -> str:
    """Return the format that a file's suffix tells."""
    found = [name for name, ends in FORMATS.items() if path.suffix.lower() in ends]
    if not found:
        ends = ", ".join(ends[0] for ends in FORMATS.values() if ends)
        msg = f"Report {path} has no suffix that tells a format ({ends}); give one, or --format."
        raise OutputError(msg, code="output_suffix")
    return found[0]


def render(story: dict[str, Any], kind: str) -> str:
    """Return what `lrcompress.report` returns as text, in one of `FORMATS`."""
    if kind == "json":
        return json.dumps(story, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    text: str = import_module(f"lrcompress.reporting.{kind.replace('-', '_')}").render(story)
    return text


def write(text: str, path: Path, *, overwrite: bool, like: Path) -> None:
    """Write a report, whole or not at all, with the permissions of its record."""
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        # Of names that are not UTF-8, in command lines for example.
        temporary.write_bytes(text.encode("utf-8", "replace"))
