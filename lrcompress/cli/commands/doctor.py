"""Say what is installed, what computes, and what is missing for which command."""

from __future__ import annotations

from typing import Any

import click

from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import size


@click.command("doctor")
@verb
def command() -> Answer:
    """Say what is installed, what computes, and what is missing for which command.

    Nothing is started: which devices Keras sees is said by every command that starts it.

    \b
    Example:
        lrcompress doctor
    """  # noqa: D301
    from lrcompress.verbs.doctor import doctor

    return Answer(doctor(), render)


def render(found: dict[str, Any]) -> Parts:
    """Show versions, devices, and what each command lacks."""
    installed = ", ".join(f"{name} {v}" for name, v in found["versions"].items() if v)
    absent = ", ".join(name for name, v in found["versions"].items() if not v)
    engine, devices = found["engine"], found["devices"]
    memory = "" if devices["memory_bytes"] is None else f", {size(devices['memory_bytes'])} memory"
    lines = [
        f"lrcompress {found['lrcompress']}, Python {found['python']}, {found['platform']}",
        f"installed: {installed}",
        f"not installed: {absent or 'nothing'}",
        f"Keras computes with {engine['name']} ({engine['chosen_by']})"
        + ("" if engine["installed"] else ", which is not installed"),
        f"devices: {devices['cores']} cores{memory}; "
        + ("; ".join(devices["gpus"]) or "no GPU that an NVIDIA driver lists"),
    ]
    columns = [
        ("command", of("command")),
        ("missing", of("missing", lambda names: ", ".join(names) or "nothing")),
        ("", lambda need: need["install"] or need["note"] or ""),
    ]
    return [
        plain(lines),
        grid("What is missing for which command", columns, found["needs"], left=3),
    ]
