"""`report`: the whole story of a run, from its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress import runs
from lrcompress.reporting.story import tell


def report(run: str | Path | None = None) -> dict[str, Any]:
    """Return the story of a run: a JSON-ready document with its stages.

    Args:
        run: A run record; default the newest in the current directory.

    Raises:
        RunRecordError: If there is none, or it cannot be read.
    """
    record = runs.newest(Path()) if run is None else runs.read(Path(run))
    return tell(record)
