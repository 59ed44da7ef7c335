"""One line of a table from the rows of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.training.seeds import Interval, mean_interval

# The same for every seed.
_COUNTS = ("layer_parameters", "model_parameters", "paper_parameters", "published")
_MEANS = ("loss", "seconds", "images")


def group_rows(
    rows: Sequence[dict[str, Any]], fields: tuple[str, ...]
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return the rows by the values of some fields, in the order of their first rows."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[field] for field in fields), []).append(row)
    return groups


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what rows that differ in their seed alone say together.

    Returns:
        ``seeds``, their list; ``error_rate`` in percent with its 95 % interval ``error_rate_low``,
        ``error_rate_high`` of ``interval`` kind; means of loss, seconds and images; counts of
        parameters.
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


def _interval(rows: Sequence[dict[str, Any]]) -> Interval:
    if len(rows) > 1:
        found = mean_interval([row["error_rate"] for row in rows])
        return Interval(found.mean, max(found.low, 0.0), min(found.high, 100.0), "t")
    row = rows[0]
    return Interval(row["error_rate"], row["error_rate_low"], row["error_rate_high"], "wilson")
