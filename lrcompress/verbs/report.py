"""`report`: the whole story of a run, from its record."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcompress.errors import ModelFileError, OutputError
from lrcompress.records import runs
from lrcompress.reporting.story import tell
from lrcompress.verbs.context import record_of
from lrcompress.verbs.in_memory.memory import record_at


def report(
    run: Any = None,  # noqa: ANN401  # a path, a result, or a Keras model
    *,
    sweep: str | Path | None = None,
    comparison: str | Path | None = None,
    output: str | Path | None = None,
    plots: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Return the story of a run: a JSON-ready document with its stages; see docs/report.md.

    Args:
        run: A run record, a model or an exported file beside its record, what `factorize` or `finetune`
            returned, or the Keras model in it; default the newest record in the current directory.
        sweep: What `lrcompress sweep --json` printed of the same layer: errors against rank.
        comparison: A `compare.json` on the same data: rows from scratch.
        output: Where to write the report: `.html`, `.md`, `.json` or `.csv`.
        plots: Folder for its figures, each as `.png` and `.svg`; made if it is not there.
        overwrite: Whether files that exist may be replaced.

    Raises:
        RunRecordError: If there is no record, or one of the documents cannot be read or is of
            another layer or data set.
        OutputError: If a file cannot be written, or its suffix tells no format.
    """
    with record_at(run) as path:
        record = record_of(path)
        inputs = [None if file is None else Path(file) for file in (sweep, comparison)]
        story = tell(record, sweep=inputs[0], comparison=inputs[1])
        if output is not None or plots is not None:
            write_report(story, output=output, plots=plots, overwrite=overwrite, inputs=inputs)
    if not record.path.exists():
        story["record"] = None
    return story


def write_report(
    story: dict[str, Any],
    *,
    output: str | Path | None = None,
    kind: str | None = None,
    plots: str | Path | None = None,
    overwrite: bool = False,
    inputs: Sequence[Path | None] = (),
) -> list[Path]:
    """Write a story as a file, and its figures, never in the place of a record, a model or an input of it."""
    from lrcompress.files import check_output
    from lrcompress.reporting.formats import format_of, render, write

    written: list[Path] = []
    path = None if output is None else Path(output)
    record = Path(story["record"])
    kept = (record, *_files_of(story), *filter(None, inputs))
    if path is not None:
        kind = kind or format_of(path)
        check_output(path, inputs=kept, overwrite=overwrite)
        _check_no_model(path)
    if plots is not None:
        from lrcompress.reporting.charts import charts_of
        from lrcompress.reporting.charts.plots import check_plots, write_plots

        charts = charts_of(story)
        written = check_plots(Path(plots), charts, inputs=kept, overwrite=overwrite)
        write_plots(charts, written, overwrite=overwrite, like=record)
    if path is not None and kind is not None:
        write(render(story, kind), path, overwrite=overwrite, like=record)
        written.insert(0, path)
    return written


def _files_of(story: dict[str, Any]) -> list[Path]:
    """Return the models that the record of a story speaks of."""
    stages = runs.read(Path(story["record"])).document["stages"]
    folder = Path(story["record"]).parent
    return [folder / stage["path"] for stage in stages if isinstance(stage.get("path"), str)]


def _check_no_model(path: Path) -> None:
    """Refuse a report in the place, or by the name, of a model."""
    from lrcompress.modelfile.untrusted import SUFFIXES, sniff

    is_model = path.suffix.lower() in [suffix for ends in SUFFIXES.values() for suffix in ends]
    with contextlib.suppress(ModelFileError):
        is_model = is_model or bool(sniff(path))
    if is_model:
        msg = f"Report {path} would replace a model; give another name with --output."
        raise OutputError(msg, code="output_suffix")
