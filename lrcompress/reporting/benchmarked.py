"""Text of `benchmark`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from lrcompress.errors import printable
from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import count
from lrcompress.reporting.words import share as percent

if TYPE_CHECKING:
    from rich.console import RenderableType

WHAT = {"model": "Whole model", "head": "Head alone", "layers": "Factorized layers alone"}


def render_benchmark(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `benchmark` measured, and what it comes to in words."""
    names = short_names(result)
    rows = [
        [
            WHAT[row["what"]],
            count(row["batch_size"]),
            names[row["model"]],
            duration(row["median"]),
            f"{duration(row['q1'])} to {duration(row['q3'])}",
            count(row["samples_per_second"]),
            "-" if row["speed"] is None else times(row["speed"]),
            count(row["runs"]),
        ]
        for row in result["rows"]
    ]
    columns = [
        "",
        "batch",
        "model",
        "median",
        "middle half",
        "samples/s",
        "times as fast [95 %]",
        "runs",
    ]
    return [
        table("Latency, measured in turns", columns, rows, left=3),
        plain([*verdicts(result), *facts(result)]),
    ]


def short_names(result: dict[str, Any]) -> list[str]:
    """Return the models' file names, or their paths where two have the same."""
    paths = [str(entry["model"]) for entry in result["models"]]
    names = [PurePath(path).name for path in paths]
    return names if len(set(names)) == len(set(paths)) else paths


def verdicts(result: dict[str, Any]) -> list[str]:
    """Return in words how fast each model is beside the first, where there is a measurable difference, and why."""
    lines = []
    first, names = result["models"][0], short_names(result)
    for index, entry in enumerate(result["models"][1:], 1):
        lead = f"{printable(names[index])}: " if len(result["models"]) > 2 else ""
        for what, name in WHAT.items():
            rows = [row for row in result["rows"] if (row["what"], row["model"]) == (what, index)]
            if rows:
                lines.append(f"{lead}{name}, {_said(rows)}.")
        lines += [lead + line for line in _bound(first, entry)]
    return lines


def _said(rows: list[dict[str, Any]]) -> str:
    """Return what each batch size gave, in one clause where all gave the same."""
    found = [worded(row["speed"]) for row in rows]
    if len(set(found)) == 1:
        where = "every batch size" if len(rows) > 1 else f"batch {rows[0]['batch_size']:,}"
        return f"at {where}: {found[0]}"
    return "; ".join(
        f"at batch {row['batch_size']:,}: {text}" for row, text in zip(rows, found, strict=True)
    )


def worded(speed: dict[str, Any]) -> str:
    """Return one comparison in words that promise nothing that was not measured."""
    return {
        "faster": f"{speed['ratio']:.2f} times as fast",
        "slower": f"slower, {speed['ratio']:.2f} times as fast",
        "same": "as fast as before",
        "unclear": "no measurable difference",
    }[speed["verdict"]]


def facts(result: dict[str, Any]) -> list[str]:
    """Return what was counted, and what computed."""
    lines = []
    for name, entry in zip(short_names(result), result["models"], strict=True):
        total, head = entry["multiplications"], entry["head_multiplications"]
        if total is None:
            missing = ", ".join(printable(kind) for kind in entry["not_counted"])
            text = f"whole model not counted ({missing})"
        else:
            text = f"{count(total)}"
        alone = "" if head is None else f", of them {count(head)} by {_part(result)}"
        lines.append(f"multiplications a sample, {printable(name)}: {text}{alone}")
    cores = result["cores"]
    lines.append(
        f"{result['device']}, {cores} core{'s' if cores > 1 else ''} to use; "
        f"Keras {result['versions']['keras']}, {result['versions']['backend']}; random inputs"
    )
    if result["open_length"] is not None:
        lines.append(
            f"the models leave a length of their inputs open: {result['open_length']} was taken"
        )
    return lines


def _part(result: dict[str, Any]) -> str:
    """Return what was timed beside whole models."""
    layers = any(row["what"] == "layers" for row in result["rows"])
    return "the factorized layers" if layers else "the head"


def _bound(first: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    """Return how much faster the multiplications saved could make the whole model at most."""
    before, after = first["multiplications"], entry["multiplications"]
    if before is None or after is None or not after:
        return []
    if after > before:
        return [
            f"It takes {after / before:.3g} times as many multiplications: the rank is above break-even."
        ]
    share = (before - after) / before
    text = f"{percent(share)} of the multiplications of a sample are saved"
    if share < 0.05:
        return [f"{text}: however fast the head gets, the whole model can hardly be faster."]
    return [f"{text}."]


def times(speed: dict[str, Any]) -> str:
    """Return a ratio with its 95 % interval."""
    return f"{speed['ratio']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}]"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them, three digits."""
    for unit, step in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= step:
            return f"{seconds / step:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
