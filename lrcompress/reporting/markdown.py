"""A report as Markdown: for a pull request, or a model card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.exported import exports_of, flat
from lrcompress.reporting.headline import headline, sentence, verdict
from lrcompress.reporting.latency import verdicts
from lrcompress.reporting.layers import matrices
from lrcompress.reporting.page import (
    CERTIFICATE,
    Cell,
    certificate_rows,
    commands_of,
    environment_of,
    layer_of,
    network_of,
    notes_of,
    results_of,
    title_of,
)
from lrcompress.reporting.target import target_of

# What Markdown, or the HTML in it, would take for its own.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")
# Where GitHub and others make links and mentions of bare text, also of escaped characters: people,
# issues, addresses of pages and of mail. A space without width parts what they look for.
_LIVE = re.compile(r"@|#(?=\d)|:(?=//)|\bwww\.", re.IGNORECASE)


def render(story: dict[str, Any]) -> str:
    """Return the story of a run as Markdown, GitHub's tables included."""
    found = headline(story)
    lines = [f"## {plain(title_of(story))}", "", f"**{plain(sentence(found['text']))}**"]
    target = target_of(story)
    if target:
        lines += ["", plain(f"Asked: {target['asked']}. Reached: {target['reached']}.")]
    judged = verdict(found | {"allowed": None} if target else found)
    if judged:
        lines += ["", judged]
    results = results_of(story)
    rows = [[row["name"], *(_cell(cell) for cell in row["cells"])] for row in results["rows"]]
    lines += ["", *table(["Model", *results["columns"]], rows), "", plain(results["caption"])]
    lines += ["", *_exported(story), *_network(story)]
    if matrices(story):
        lines += ["### How the rank was chosen", ""]
    for layer in (layer_of(story, layer) for layer in matrices(story)):
        lines += [f"**{plain(layer['title'])}**", ""]
        lines += [*(f"- {plain(name)}: {plain(value)}" for name, value in layer["facts"]), ""]
    if story.get("benchmark"):
        device = story["benchmark"]["device"]
        said = [*verdicts(story["benchmark"]), f"Measured in turns on {device}."]
        lines += ["### Speed", "", *(f"- {plain(line)}" for line in said), ""]
    if matrices(story):
        norms = "Errors of the factors as stored. The norms are of A - B C, relative to A:"
        lines += ["### Certificate", "", norms, ""]
        lines += [*table(CERTIFICATE, certificate_rows(story), left=2), ""]
    lines += ["### Data and environment", ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in environment_of(story)]
    lines += [f"- Note: {plain(line)}" for line in notes_of(story)]
    commands = [printable(line) for line in commands_of(story)]
    if commands:
        fence = _fence(commands)
        lines += ["", "### To repeat it", "", f"{fence}sh", *commands, fence]
    return "\n".join(lines) + "\n"


def _exported(story: dict[str, Any]) -> list[str]:
    """Return the table of exported files; nothing without."""
    found = exports_of(story)
    if found is None:
        return []
    rows = table(found["columns"], flat(found["rows"]), left=2)
    return ["### Exported files", "", *rows, "", plain(found["caption"]), ""]


def _network(story: dict[str, Any]) -> list[str]:
    """Return how the layers of a network were chosen together; nothing of others."""
    found = network_of(story)
    if found is None:
        return []
    lines: list[str] = [
        "### Layers",
        "",
        *(f"- {plain(line)}" for line in [found["chosen"], *found["measured"]]),
    ]
    lines += ["", *table(found["columns"], found["rows"], left=3), ""]
    if found["sensitivity"]:
        lines += [f"Sensitivity, {found['error']} with one layer alone made smaller:", ""]
        lines += [*table(found["looked_at"], found["sensitivity"], left=2), ""]
    if found["kept"]:
        lines += [*(f"- {plain(line.strip())}" for line in found["kept"]), ""]
    return lines


def plain(text: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    escaped = _SPECIAL.sub(r"\\\1", printable(text)).replace("&", "&amp;")
    return _LIVE.sub(lambda match: f"{match[0]}&#8203;", escaped)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> list[str]:
    """Return the lines of a table whose first `left` columns are words and the others numbers."""
    sides = [":--" if index < left else "--:" for index in range(len(columns))]
    cells = [columns, *rows]
    lines = ["| " + " | ".join(plain(cell) for cell in row) + " |" for row in cells]
    return [lines[0], "| " + " | ".join(sides) + " |", *lines[1:]]


def _cell(cell: Cell) -> str:
    text = "; ".join(cell.lines)
    return f"{text} ({cell.beside})" if cell.beside else text


def _fence(lines: list[str]) -> str:
    """Return a fence longer than any row of backticks inside."""
    longest = max((len(ticks) for line in lines for ticks in re.findall("`+", line)), default=0)
    return "`" * max(3, longest + 1)
