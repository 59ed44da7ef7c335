"""A report as Markdown: for a pull request, or a model card."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.exported import flat
from lrcompress.reporting.headline import sentence
from lrcompress.reporting.page import Cell, page_of

# What Markdown, or the HTML in it, would take for its own.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")
# Where GitHub and others make links and mentions of bare text, also of escaped characters: people,
# issues, addresses of pages and of mail. A space without width parts what they look for.
_LIVE = re.compile(r"@|#(?=\d)|:(?=//)|\bwww\.", re.IGNORECASE)


def render(story: dict[str, Any]) -> str:
    """Return the story of a run as Markdown, GitHub's tables included."""
    page = page_of(story, has_figures=False)
    target, results, timed = page["target"], page["results"], page["timed"]
    lines = [f"## {plain(page['title'])}", "", f"**{plain(sentence(page['headline']))}**"]
    if target:
        lines += ["", plain(f"Asked: {target['asked']}. Reached: {target['reached']}.")]
    if page["verdict"]:
        lines += ["", page["verdict"]]
    rows = [[row["name"], *(_cell(cell) for cell in row["cells"])] for row in results["rows"]]
    lines += ["", *table(["Model", *results["columns"]], rows), "", plain(results["caption"])]
    lines += ["", *_exported(page["exports"]), *_network(page["network"])]
    if page["layers"]:
        lines += ["### How the rank was chosen", ""]
    for layer in page["layers"]:
        lines += [f"**{plain(layer['title'])}**", ""]
        lines += [*(f"- {plain(name)}: {plain(value)}" for name, value in layer["facts"]), ""]
    if timed:
        said = [*timed["said"], f"Measured in turns on {story['benchmark']['device']}."]
        lines += ["### Speed", "", *(f"- {plain(line)}" for line in said), ""]
    if page["layers"]:
        norms, found = (
            "Errors of the factors as stored. The norms are of A - B C, relative to A:",
            page["certificate"],
        )
        lines += ["### Certificate", "", norms, ""]
        lines += [*table(found["columns"], found["rows"], left=2), ""]
    lines += ["### Data and environment", ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in page["environment"]]
    lines += [f"- Note: {plain(line)}" for line in page["notes"]]
    commands = [printable(line) for line in page["commands"]]
    if commands:
        fence = _fence(commands)
        lines += ["", "### To repeat it", "", f"{fence}sh", *commands, fence]
    return "\n".join(lines) + "\n"


def _exported(found: dict[str, Any] | None) -> list[str]:
    """Return the table of exported files; nothing without."""
    if found is None:
        return []
    rows = table(found["columns"], flat(found["rows"]), left=2)
    return ["### Exported files", "", *rows, "", plain(found["caption"]), ""]


def _network(found: dict[str, Any] | None) -> list[str]:
    """Return how the layers of a network were chosen together; nothing of others."""
    if found is None:
        return []
    lines = ["### Layers", ""]
    lines += [f"- {plain(line)}" for line in (found["chosen"], *found["measured"])]
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
