"""Lines of a table from the rows of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.measure import Interval, mean_interval, paired_difference
from lrcompress.records import ARMS
from lrcompress.studies.predictions import unpack

Row = dict[str, Any]

# Arms that begin from the trained full-rank network: its training is part of their price.
FROM_FULL = ("full-finetuned", "svd", "refined", "finetuned")
# The same for every seed.
_COUNTS = ("layer_parameters", "model_parameters", "paper_parameters", "published")
_MEANS = ("loss", "seconds", "images")


def summarize_ranks(document: dict[str, Any]) -> None:
    """Order the rows of `train-from-scratch`, and add what they say together; see `summarize`."""
    document["rows"].sort(key=lambda row: (-(row["rank"] or np.inf), row["seed"]))
    groups = _groups(document["rows"], "rank")
    document["summary"] = [{"rank": rank, **summarize(rows)} for (rank,), rows in groups.items()]


def summarize_comparison(document: dict[str, Any]) -> None:
    """Order the rows of `compare`, and add what they say together; see `summarize_arms`."""

    def place(row: Row) -> tuple[int, int, int]:
        rank, seed = row["rank"], row["seed"]
        return (-(rank or 2**31), ARMS.index(row["arm"]), -1 if seed is None else seed)

    document["rows"].sort(key=place)
    document["summary"] = summarize_arms(document["rows"])


def _groups(rows: Sequence[Row], *fields: str) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows by the values of some fields, in the order of their first rows."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in fields), []).append(row)
    return groups


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what rows that differ in their seed alone say together.

    These are ``seeds``, their list; ``error_rate`` in percent with its 95 % interval
    ``error_rate_low``, ``error_rate_high`` of ``interval`` kind; means of loss, seconds and images;
    counts of parameters.
    """
    found = _interval(rows)
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in _MEANS}
    return {
        "seeds": [row["seed"] for row in rows],
        "error_rate": found.mean,
        "error_rate_low": found.low,
        "error_rate_high": found.high,
        "interval": found.kind,
        **{key: float(np.mean(values)) if values else None for key, values in known.items()},
        **{key: rows[0].get(key) for key in _COUNTS},
    }


def _interval(rows: Sequence[Row]) -> Interval:
    if len(rows) > 1:
        found = mean_interval([row["error_rate"] for row in rows])
        return Interval(found.mean, max(found.low, 0.0), min(found.high, 100.0), "t")
    row = rows[0]
    return Interval(row["error_rate"], row["error_rate_low"], row["error_rate_high"], "wilson")


def summarize_arms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one entry an arm and rank: means over seeds and paired differences.

    An entry holds what `summarize` says, with ``arm``, ``rank``; ``images_total`` and
    ``seconds_total``, the training of the full-rank network included where the arm begins from it;
    ``against_full`` and, where both are there, ``against_scratch``, as `seeds.paired_difference`
    gives them for the seeds that both have.
    """
    groups = _groups(rows, "arm", "rank")
    full = groups.get(("full", None), [])
    summary = []
    for (arm, rank), members in groups.items():
        entry = {"arm": arm, "rank": rank, **summarize(members)}
        base = summarize(full) if arm in FROM_FULL and full else None
        for key in ("images", "seconds"):
            parts = [entry[key]] if base is None else [entry[key], base[key]]
            entry[f"{key}_total"] = None if None in parts else sum(parts)
        entry["against_full"] = None if arm == "full" else _paired(full, members)
        scratch = groups.get(("scratch", rank), []) if arm != "scratch" and rank else []
        entry["against_scratch"] = _paired(scratch, members)
        summary.append(entry)
    return summary


def _paired(first: Sequence[Row], second: Sequence[Row]) -> dict[str, Any] | None:
    """Compare rows seed by seed; a row without a seed serves every seed."""
    pairs = [(a, b) for b in second if (a := _of_seed(first, b["seed"])) is not None]
    if all(b["seed"] is None for _, b in pairs):
        # Nothing here depends on a seed: once is enough.
        pairs = pairs[:1]
    if not pairs:
        return None
    wrong = [[unpack(row["wrong"], row["samples"]) for row in pair] for pair in pairs]
    return paired_difference([a for a, _ in wrong], [b for _, b in wrong])


def _of_seed(rows: Sequence[Row], seed: int | None) -> Row | None:
    return next((row for row in rows if row["seed"] in (seed, None) or seed is None), None)
