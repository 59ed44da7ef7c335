"""What a row holds of a measured classifier, and lines of a table from the rows of several seeds."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure import Evaluation, mean_interval, paired_difference
from lrcompress.records import ARMS
from lrcompress.studies.rows import Row

# Arms that begin from the trained full-rank network.
FROM_FULL = ("full-finetuned", "svd", "refined", "finetuned")
# The same for every seed.
_COUNTS = ("layer_parameters", "model_parameters", "paper_parameters", "published")
_MEANS = ("loss", "seconds", "images")


def figures(found: Evaluation) -> dict[str, Any]:
    """Return the figures of a classifier with one output, the packed predictions as ``wrong``."""
    if found.wrong is None:
        what = "weighted samples" if found.measure == "error_rate" else found.measure
        msg = (
            f"The model is measured by its {what}; expected a classifier with one output and samples "
            "that weigh alike: networks are compared by which samples each gets wrong."
        )
        raise DatasetError(msg, code="not_a_classifier")
    return {**found.to_json(), "wrong": pack(found.wrong)}


def pack(wrong: NDArray[np.bool_]) -> str:
    """Return the bits of `wrong`, (samples,), as base64 of zlib of one bit a sample, first bit high."""
    return base64.b64encode(zlib.compress(np.packbits(wrong).tobytes(), 9)).decode("ascii")


def unpack(text: str, samples: int) -> NDArray[np.bool_]:
    """Return what `pack` was given, (samples,)."""
    reason: Exception | None = None
    try:
        # One byte more than asked for shows what is too long.
        compressed = base64.b64decode(text, validate=True)
        data = zlib.decompressobj().decompress(compressed, samples // 8 + 2)
    except (ValueError, TypeError, zlib.error) as error:
        data, reason = b"", error
    if len(data) != -(-samples // 8):
        msg = f"The wrong predictions of a row are not those of {samples} samples; work the row out again."
        raise DatasetError(msg, code="results_unreadable") from reason
    return np.unpackbits(np.frombuffer(data, np.uint8), count=samples).astype(np.bool_)


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
    """Return what rows that differ in their seed alone say together: means, with the interval of the error rate."""
    rates = [row["error_rate"] for row in rows]
    low, high, kind = rows[0]["error_rate_low"], rows[0]["error_rate_high"], "wilson"
    if len(rows) > 1:
        low, high, _ = mean_interval(rates)
        low, high, kind = max(low, 0.0), min(high, 100.0), "t"
    known = {key: [row[key] for row in rows if row.get(key) is not None] for key in _MEANS}
    return {
        "seeds": [row["seed"] for row in rows],
        "error_rate": float(np.mean(rates)) if len(rows) > 1 else rates[0],
        "error_rate_low": low,
        "error_rate_high": high,
        "interval": kind,
        **{key: float(np.mean(values)) if values else None for key, values in known.items()},
        **{key: rows[0].get(key) for key in _COUNTS},
    }


def summarize_arms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one entry an arm and rank: what `summarize` says, its whole price, and paired differences."""
    groups = _groups(rows, "arm", "rank")
    full = groups.get(("full", None), [])
    summary = []
    for (arm, rank), members in groups.items():
        entry = {"arm": arm, "rank": rank, **summarize(members)}
        # The training of the full-rank network is part of the price of what begins from it.
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
