"""What stands beside the models of a run: the weights of each layer, what was timed, what was exported."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from lrcompress.reporting.headline import minus, saved_share
from lrcompress.reporting.latency import WHAT, duration, middle_half, short_names, verdicts
from lrcompress.reporting.words import change, count, rate, size

# Bars of a picture; the smallest layers of a deep network are one.
MOST_BARS = 28
_WEIGHTS = ", 8-bit weights"
_INT8 = {True: _WEIGHTS, "dynamic": _WEIGHTS, "full": ", 8-bit integers throughout"}
EXPORTED = ("Model", "Format", "Size", "Test error", "Latency, one sample", "Times as fast")
# A cell, and what stands under it.
Under = tuple[str, str]


def bars_of(story: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the weights of each layer before and after, with widths in percent of the largest."""
    rows = story.get("parameters_by_layer") or []
    kept = sorted(rows, key=lambda row: -max(row["parameters_before"], row["parameters_after"]))
    small = kept[MOST_BARS - 1 :] if len(kept) > MOST_BARS else []
    shown = [row for row in rows if row not in small]
    if small:
        both = ("parameters_before", "parameters_after")
        added = {key: sum(row[key] for row in small) for key in both}
        shown.append({"path": f"{len(small)} smaller layers", "class_name": None, **added})
    pairs = [(row["parameters_before"], row["parameters_after"]) for row in shown]
    most = max(map(max, pairs), default=0) or 1
    return [
        {
            "name": row["path"],
            "class_name": row["class_name"] or "",
            "before": f"{100 * before / most:.2f}",
            "after": f"{100 * after / most:.2f}",
            "figures": count(before) if before == after else f"{count(before)} → {count(after)}",
            "saved": "" if before in (0, after) else saved_share((before - after) / before),
        }
        for row, (before, after) in zip(shown, pairs, strict=True)
    ]


def timed_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table of what `benchmark` timed, a row a part and batch size, and what it means; None without."""
    document = story.get("benchmark")
    if not document:
        return None
    names = short_names(document)
    rows: dict[tuple[str, int], dict[int, dict[str, Any]]] = {}
    for row in document["rows"]:
        rows.setdefault((row["what"], row["batch_size"]), {})[row["model"]] = row
    ordered = sorted(rows.items(), key=lambda item: (item[0][0] != "model", item[0][1]))
    cells = [
        [WHAT[what], count(batch), *(cell for place in range(len(names)) for cell in _timed(of, place))]
        for (what, batch), of in ordered
    ]  # fmt: skip
    others = [column for name in names[1:] for column in (name, "Times as fast")]
    said = (
        f"Time of a call on {document['device']}, {document['cores']} cores to use, models in turns: medians, "
        "below them the middle half, or a 95 % interval."
    )
    columns = ["Part", "Batch", names[0], *others]
    return {"columns": columns, "rows": cells, "said": verdicts(document), "caption": said}


def _timed(rows: dict[int, dict[str, Any]], place: int) -> list[str | Under]:
    """Return what was timed of a model, and for all but the first how many times as fast it is."""
    row = rows.get(place)
    if row is None:
        return ["-"] if place == 0 else ["-", "-"]
    found: list[str | Under] = [(duration(row["median"]), middle_half(row))]
    return found if place == 0 else [*found, _ratio(row["speed"])]


def _ratio(speed: dict[str, Any] | None) -> str | Under:
    if speed is None:
        return "-"
    return f"{speed['ratio']:.2f}", f"{speed['low']:.2f} to {speed['high']:.2f}"


def exports_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return the table of exported files, each after the original exported the same way; None without."""
    rows: list[list[str | Under]] = []
    for entry in story.get("exports") or []:
        how = entry["format"] + _INT8.get(entry["int8"], "")
        original = entry.get("original")
        if original:
            rows.append([
                (PurePosixPath(original["model"]).name, "the original, exported the same way"), how,
                size(original["bytes_after"]), "-", _latency(original), "-",
            ])  # fmt: skip
        rows.append([
            PurePosixPath(entry["path"]).name, how, _size(entry, original), _error(entry),
            _latency(entry), _ratio(original["speed"] if original else None),
        ])  # fmt: skip
    if not rows:
        return None
    runtimes = dict.fromkeys(entry["runtime"] for entry in story["exports"])
    said = f"Measured in {', '.join(runtimes)}; below medians the middle half, below other figures 95 % intervals."
    return {"columns": EXPORTED, "rows": rows, "caption": said}


def _latency(entry: dict[str, Any]) -> Under:
    return duration(entry["latency"]["median"]), middle_half(entry["latency"])


def _size(entry: dict[str, Any], original: dict[str, Any] | None) -> str | Under:
    own = size(entry["bytes_after"])
    whole = original["bytes_after"] if original else entry.get("bytes_before")
    return (own, saved_share(1 - entry["bytes_after"] / whole)) if whole else own


def _error(entry: dict[str, Any]) -> str | Under:
    """Return the error of an exported file, and its difference to the Keras file that it was made of."""
    errors = entry.get("errors")
    if not errors:
        return "-"
    return rate(errors["exported"]), minus(f"{change(errors['difference'])} against Keras")


def flat(rows: list[list[str | Under]]) -> list[list[str]]:
    """Return cells on one line, for text."""
    return [
        [cell if isinstance(cell, str) else f"{cell[0]} ({cell[1]})" for cell in row]
        for row in rows
    ]
