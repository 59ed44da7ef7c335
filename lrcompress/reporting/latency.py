"""What `benchmark` measured, in words."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.words import share

WHAT = {"model": "Whole model", "head": "Head alone", "layers": "Factorized layers alone"}


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
        own = [row for row in result["rows"] if row["model"] == index]
        rows = {what: [row for row in own if row["what"] == what] for what in WHAT}
        lines += [f"{lead}{WHAT[w]}, {_by_batch(found)}." for w, found in rows.items() if found]
        slower = [row for row in rows["model"] if row["speed"]["verdict"] == "slower"]
        lines += [lead + line for line in _bound(first, entry, slower)]
    return lines


def _by_batch(rows: list[dict[str, Any]]) -> str:
    """Return what each batch size gave, in one clause where all gave the same."""
    found = [_compared(row["speed"]) for row in rows]
    if len(set(found)) == 1:
        where = "every batch size" if len(rows) > 1 else f"batch {rows[0]['batch_size']:,}"
        return f"at {where}: {found[0]}"
    return "; ".join(
        f"at batch {row['batch_size']:,}: {text}" for row, text in zip(rows, found, strict=True)
    )


def _compared(speed: dict[str, Any]) -> str:
    """Return one comparison in words that promise nothing that was not measured."""
    return {
        "faster": f"{speed['ratio']:.2f} times as fast",
        "slower": f"slower, {speed['ratio']:.2f} times as fast",
        "same": "as fast as before",
        "unclear": "no measurable difference",
    }[speed["verdict"]]


def _bound(first: dict[str, Any], entry: dict[str, Any], slower: list[dict[str, Any]]) -> list[str]:
    """Return how much faster the multiplications saved could make the whole model at most, or why it is slower."""
    before, after = first["multiplications"], entry["multiplications"]
    if before is None or not after:
        return []
    if after > before:
        return [
            f"It takes {after / before:.3g} times as many multiplications: the rank is above break-even."
        ]
    part = (before - after) / before
    text = f"{share(part)} of the multiplications of a sample are saved"
    if slower:
        batches = ", ".join(f"{row['batch_size']:,}" for row in slower)
        why = f"at batch {batches} that is less than what more, smaller layers cost by themselves"
        return [f"{text}: {why}."]
    hardly = ": however fast these layers get, the whole model can hardly be faster"
    return [f"{text}{hardly if part < 0.05 else ''}."]


def times(speed: dict[str, Any]) -> str:
    """Return a ratio with its 95 % interval."""
    return f"{speed['ratio']:.2f} [{speed['low']:.2f}, {speed['high']:.2f}]"


def middle_half(timed: dict[str, Any]) -> str:
    """Return between which durations half of the calls are."""
    return f"{duration(timed['q1'])} to {duration(timed['q3'])}"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them, three digits."""
    for unit, step in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= step:
            return f"{seconds / step:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
