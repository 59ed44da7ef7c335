"""`lrcompress report`."""

from __future__ import annotations

from pathlib import Path

import click

from lrcompress.cli.console import note, show, show_json
from lrcompress.cli.options import output_options


@click.command("report")
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option("--run", "run_option", type=click.Path(path_type=Path), metavar="FILE",
              help="The same as the argument RUN.")  # fmt: skip
@output_options
def command(
    run: Path | None, run_option: Path | None, as_json: bool, quiet: bool, verbose: bool
) -> None:
    """Show the whole story of RUN, a run record, or of the newest run in this directory.

    Original, factorized, fine-tuned and from scratch: error rates with 95 % intervals, parameters,
    bytes, errors of the factorization with its certificate, times.

    \b
    Example:
        lrcompress report
    """  # noqa: D301
    from lrcompress.api.reporting import report
    from lrcompress.reporting.compressed import render_report

    wanted = run or run_option
    story = report(wanted)
    if wanted is None:
        note(f"Taking the newest run here: {story['record']}", quiet=quiet)
    if as_json:
        show_json(story)
    else:
        show(render_report(story))
