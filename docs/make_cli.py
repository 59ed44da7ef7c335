"""Write docs/cli.md from the commands' own help: `python docs/make_cli.py`.

A test compares the file with what this prints, so that the page cannot go stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lrcompress.cli import main

HEADER = """# The command line

This page is written by `python docs/make_cli.py` from each command's `--help`.

Results go to stdout: tables for people, or one JSON document with `--json`. Progress and notes go
to stderr; `-q` silences them. Exit codes: 0 done, 2 the command line is wrong, 1 anything else,
each error in one line. With `--json` an error is also a document on stdout:
`{"schema_version": 1, "error": {"code": "...", "message": "..."}}`.
"""


def render() -> str:
    """Return the page."""
    width = {"terminal_width": 88, "max_content_width": 88}
    # make_context, not Context: it brings the command's own settings, such as -h.
    context = main.make_context("lrcompress", [], resilient_parsing=True, **width)
    pages = [("lrcompress", main.get_help(context))]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        inner = command.make_context(name, [], context, resilient_parsing=True, **width)
        pages.append((f"lrcompress {name}", command.get_help(inner)))
    parts = [f"## {title}\n\n```text\n{text.rstrip()}\n```\n" for title, text in pages]
    return "\n".join([HEADER, *parts])


if __name__ == "__main__":
    target = Path(__file__).with_name("cli.md")
    if "--print" in sys.argv:
        sys.stdout.write(render())
    else:
        target.write_text(render(), encoding="utf-8")
