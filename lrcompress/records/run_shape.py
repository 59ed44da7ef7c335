"""The shape of a run record: what its readers count on. What else it holds is nobody's concern."""

from __future__ import annotations

from typing import Any

from lrcompress.records.shapes import (
    NUMBER,
    Maybe,
    difference,
    evaluation,
    fits,
    look,
    number_or_none,
    pair,
    place,
)


def _command(value: object) -> bool:
    """Tell whether a value is a command line, in words or as one text."""
    return isinstance(value, str) or fits(value, [str])


def _timed(value: object) -> bool:
    """Tell whether a value is what `benchmark` measured: models, and rows beside the first of them."""
    if not fits(value, _BENCHMARK):
        return False
    last = len(value["models"]) - 1  # type: ignore[index]
    rows = [(row["model"], row["speed"]) for row in value["rows"]]  # type: ignore[index]
    return last >= 0 and all(0 <= model <= last and (model == 0 or speed) for model, speed in rows)


def _speed(value: object) -> bool:
    """Tell whether a value is a comparison of two times; the first model has none."""
    return value is None or fits(value, _SPEED)


def _outlined(value: object) -> bool:
    """Tell whether a value is a layer, its outlined spectrum of as many values as ranks."""
    if not fits(value, _LAYER):
        return False
    keys = ("singular_values", "singular_value_ranks", "energy")
    lengths = {len(value.get(key) or ()) for key in keys}  # type: ignore[attr-defined]
    return len(lengths) == 1 and (lengths == {0} or "spectrum_of" in value)  # type: ignore[operator]


_LAYER = {
    "name": str, "path": Maybe(str), "first_name": Maybe(str), "is_head": Maybe(bool), "kernel_shape": pair,
    "dtype": Maybe(str), "activation": str, "rank": int, "rank_choice": {"message": str},
    "method": str, "method_reason": Maybe(str), "parameters_before": int, "parameters_after": int,
    "frobenius_error": NUMBER, "spectral_error": NUMBER, "optimality": NUMBER, "algorithm": str,
    "optimality_of": Maybe(str), "minimised_error": Maybe(NUMBER), "minimised_optimum": Maybe(NUMBER),
    "exact": Maybe(bool),
    "spectrum_of": Maybe(str), "singular_values": Maybe([NUMBER]), "singular_value_ranks": Maybe([int]),
    "energy": Maybe([NUMBER]),
}  # fmt: skip
_STAGE = {
    "name": str, "path": place, "sha256": Maybe(str), "parameters": int, "bytes": int,
    "samples": Maybe(int), "errors": Maybe(NUMBER), "loss": Maybe(NUMBER), "drop": Maybe(difference),
}  # fmt: skip
_FINETUNE = {
    "epochs": int, "epochs_done": Maybe(int), "best_epoch": int, "seconds": NUMBER,
    "images_per_second": NUMBER, "device": str, "dataset": Maybe(str), "scaling": Maybe(str),
    "command": Maybe(_command), "versions": Maybe({str: str}), "settings": Maybe({}), "output": Maybe(place),
    "history": Maybe([look]), "warnings": Maybe([str]),
}  # fmt: skip
_SPEED = {
    "ratio": NUMBER, "low": NUMBER, "high": NUMBER,
    "verdict": {"faster", "slower", "same", "unclear"},
}  # fmt: skip

_BENCHMARK = {
    "device": str, "cores": int,
    "models": [{
        "model": str, "sha256": Maybe(str), "multiplications": number_or_none,
        "head_multiplications": number_or_none, "not_counted": Maybe([str]),
    }],
    "rows": [{
        "what": {"model", "head", "layers"}, "batch_size": int, "model": int, "median": NUMBER, "q1": NUMBER,
        "q3": NUMBER, "samples_per_second": NUMBER, "speed": _speed, "runs": int,
    }],
}  # fmt: skip
RECORD: dict[str, Any] = {
    "created": Maybe(str), "updated": Maybe(str), "command": Maybe(_command), "seed": Maybe(int),
    "versions": Maybe({str: str}), "method": Maybe(str), "method_reason": Maybe(str),
    "layers": [_outlined], "stages": [_STAGE], "finetune": [_FINETUNE],
    "parameters_before": Maybe(int), "parameters_after": Maybe(int),
    "optimizer_bytes": Maybe(int), "optimizer_bytes_after": Maybe(int),
    "dataset": Maybe({"name": str, "scaling": str, "data_dir": Maybe(place)}),
    "seconds": Maybe({str: NUMBER}), "warnings": Maybe([str]), "benchmark": Maybe(_timed), "modernized": Maybe([str]),
}  # fmt: skip


def is_record(document: object) -> bool:
    """Tell whether a document is a run record of this schema; see docs/run-record.md."""
    return fits(document, RECORD) and all(map(evaluation, document["stages"]))  # type: ignore[index]
