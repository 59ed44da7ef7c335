"""Write docs/cli.md from the commands' own help: `python docs/make_cli.py`.

A test compares the file with what this prints, so that the page cannot go stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

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
    parts = [HEADER]
    context = click.Context(main, info_name="lrcompress", terminal_width=88, max_content_width=88)
    commands = [(["lrcompress"], main, context)]
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        commands.append(
            (
                ["lrcompress", name],
                command,
                click.Context(
                    command, info_name=name, parent=context, terminal_width=88, max_content_width=88
                ),
            )
        )
    for words, command, ctx in commands:
        parts.append(f"## {' '.join(words)}\n\n```text\n{command.get_help(ctx).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    target = Path(__file__).with_name("cli.md")
    if "--print" in sys.argv:
        sys.stdout.write(render())
    else:
        target.write_text(render(), encoding="utf-8")
