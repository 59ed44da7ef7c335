"""`lrcompress report`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.options import OneOf, output_options, overwrite_option


@click.command("report")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--run", "run_option", type=click.Path(path_type=Path), metavar="FILE",
              help="The same as the argument RUN.")  # fmt: skip
@click.option("--format", "kind", type=OneOf(["html", "markdown", "json", "csv"]),
              help="Default: by the suffix of --output; else a table.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Default: stdout.")  # fmt: skip
@click.option("--plots", type=click.Path(path_type=Path), metavar="DIR",
              help="Write the figures there, each as PNG and SVG.")  # fmt: skip
@click.option("--sweep", type=click.Path(path_type=Path), metavar="FILE",
              help="Errors of every rank, from `lrcompress sweep MODEL --json`.")  # fmt: skip
@click.option("--compare", "comparison", type=click.Path(path_type=Path), metavar="FILE",
              help="Rows from scratch, from a compare.json.")  # fmt: skip
@overwrite_option
@output_options
def command(
    run: Path | None,
    run_option: Path | None,
    kind: str | None,
    output: Path | None,
    plots: Path | None,
    sweep: Path | None,
    comparison: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Show the whole story of RUN, a run record, or of the newest run in this directory.

    Original, factorized, fine-tuned and from scratch: error rates with 95 % intervals, parameters,
    bytes, errors of the factorization with its certificate, times. As HTML it is one page with
    figures, in one file that loads nothing from anywhere.

    \b
    Example:
        lrcompress report
        lrcompress report --sweep sweep.json -o report.html
    """  # noqa: D301
    from lrcompress.reporting.compressed import render_report
    from lrcompress.verbs.report import report, write_report

    if as_json and kind not in (None, "json"):
        msg = f"--json prints JSON; --format {kind} asks for another document."
        raise click.UsageError(msg)
    wanted = run or run_option
    story = report(wanted, sweep=sweep, comparison=comparison)
    if wanted is None:
        note(f"Taking the newest run here: {story['record']}", quiet=quiet)
    inputs = tuple(file for file in (sweep, comparison) if file is not None)
    written = write_report(
        story, output=output, kind=kind, plots=plots, overwrite=overwrite, inputs=inputs
    )
    if output is None and kind not in (None, "json"):
        from lrcompress.reporting.formats import render

        click.echo(render(story, str(kind)), nl=False)
    elif as_json or (output is None and kind == "json"):
        show_json(story)
    elif output is None:
        show(render_report(story))
    for path in written:
        note(f"wrote {path}", quiet=quiet)
