"""What a reader of the page can look up of a sweep: every rank of every method, in words."""

from __future__ import annotations

import shlex
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.charts.figures import by_method
from lrcompress.reporting.headline import interval, minus, saved_share, sentence, stage_of
from lrcompress.reporting.layers import layers_name, spectrum_of
from lrcompress.reporting.words import bare, change, count, held_out, metric, rate, share, small


def explorer_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the slider of a page shows, None without a sweep; everything but places and ranks is text."""
    document = story.get("sweep")
    if not document or not document["rows"]:
        return None
    (layer,) = (x for x in story["layers"] if x.get("path", x["name"]) == document["layer"])
    rows = by_method(document)
    names = list(rows)
    return {
        "layer": printable(document["layer"]),
        "names": _names(document, layer),
        "first": names.index(layer["method"]) if layer["method"] in names else 0,
        "rank": layer["rank"],
        "command": _command(story, layer),
        "methods": [
            {"name": name, "rows": [_row(document, layer, row) for row in rows[name]]}
            for name in names
        ],
    }


def _command(story: dict[str, Any], layer: dict[str, Any]) -> str:
    """Return the command that factorizes at a rank by a method, with RANK and METHOD for those."""
    original = stage_of(story, "original") or {}
    words = ["lrcompress", "factorize", str(original.get("path"))]
    if not layer.get("is_head", True):
        words += ["--layer", layer.get("path", layer["name"])]
    data = story["dataset"]
    if data and data["name"] != "in memory":
        words += ["--dataset", data["name"], "--scaling", data["scaling"]]
    return f"{printable(shlex.join(words))} --rank RANK --method METHOD"


def _names(document: dict[str, Any], layer: dict[str, Any]) -> list[str]:
    """Return what each figure of a row is called."""
    measure = document["original"].get("measure", "error_rate")
    known = {"error_rate": "test error", "outputs": "on test data"}
    what = sentence(known.get(measure, metric(measure).label).strip())
    measured = [what, "Against the original", "Held out"] if document["original"] else []
    return [*measured, sentence(layers_name([layer])), "Whole model", "Energy", "Spectral error"]


def _row(document: dict[str, Any], layer: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Return one rank: a line for those who listen, and the figures."""
    whole, before = document["parameters"], layer["parameters_before"]
    less = whole - row["parameters_after"]
    of_layer, of_model = (saved_share(less / part if part else None) for part in (before, whole))
    used = row.get("method_used", row["method"])
    pairs = [
        *(_measured(row) if document["original"] else []),
        (of_layer, f"{count(before)} → {count(before - less)} parameters"),
        (of_model, f"{count(whole)} → {count(row['parameters_after'])} parameters"),
        (share(row["energy"]), f"of the {spectrum_of(used) or 'kernel'}" if row["energy"] is not None else ""),
        (small(row["spectral_error"]), "of the kernel’s norm"),
    ]  # fmt: skip
    here = ", the chosen one" if row["rank"] == layer["rank"] else ""
    better = f" {sentence(used)} was better on held-out inputs and stands here."
    stands = "" if used == row["method"] else better
    measure = row.get("measure", "error_rate")
    found = "" if measure != "outputs" and row.get(measure) is None else (
        f"{'test error ' if measure == 'error_rate' else ''}{rate(row)}, "
    )  # fmt: skip
    return {
        "rank": row["rank"],
        "said": _kept(f"Rank {count(row['rank'])}{here}, {row['method']}: {found}{layers_name([layer])} "
                      f"{of_layer}, model {of_model}.{stands}"),
        "figures": [[_kept(value), printable(under)] for value, under in pairs],
    }  # fmt: skip


def _kept(words: str) -> str:
    """Return text that can be shown, in which a unit stays with its number."""
    return printable(words).replace(" %", "\N{NO-BREAK SPACE}%")


def _measured(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figure on test data, its paired difference, and the one to choose by."""
    measure, lost = row.get("measure", "error_rate"), row.get("drop")
    if measure == "outputs":
        several, lost_here = (
            f"{count(len(row['outputs']))} outputs",
            minus(change(lost)) if lost else "",
        )
        return [(several, rate(row)), (several, lost_here), (held_out(row), "")]
    found = ("-", "") if row.get(measure) is None else (
        bare(measure, row[measure]), _ends(rate(row))
    )  # fmt: skip
    words = change(lost) if lost else "-"
    return [found, (minus(words.partition(" [")[0]), _ends(words)), (held_out(row), "to choose by")]


def _ends(words: str) -> str:
    """Return the interval of a figure in words, nothing without one."""
    return interval(words.partition(" [")[2])
