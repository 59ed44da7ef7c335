"""Whether a document from a file has the shape that its reader counts on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

NUMBER = (int, float)
_MEASURES = ("error_rate", "binary_error", "rmse")


@dataclass(frozen=True)
class Maybe:
    """What may be missing or null, and has this shape otherwise."""

    shape: Any


def parse(text: str) -> Any:  # noqa: ANN401
    """Return what a text of JSON holds.

    Raises:
        ValueError: If it is not JSON; NaN and infinity are not, though Python's own reader takes them.
    """
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def fits(value: object, shape: Any) -> bool:  # noqa: ANN401
    """Tell whether a value of JSON has a shape.

    Args:
        value: As read.
        shape: A type or several, where True, NaN and infinity are no numbers; ``[shape]``, a
            list; ``{key: shape}``, keys that must be there; ``{str: shape}``, any keys; ``{a, b, None}``,
            one of these; ``Maybe(shape)``, which may be missing or null; or a function that tells.
    """
    if isinstance(shape, Maybe):
        return value is None or fits(value, shape.shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(fits(item, shape[str]) for item in value.values())
        return all(
            fits(value[key], wanted) if key in value else isinstance(wanted, Maybe)
            for key, wanted in shape.items()
        )
    if isinstance(shape, set):
        return isinstance(value, (str, type(None))) and value in shape
    if not isinstance(shape, (type, tuple)):
        return bool(shape(value))
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))


def number_or_none(value: object) -> bool:
    """Tell whether a value is a number or missing."""
    return value is None or fits(value, NUMBER)


def pair(value: object) -> bool:
    """Tell whether a value is two whole numbers."""
    return fits(value, [int]) and len(value) == 2  # type: ignore[arg-type]


def evaluation(value: object) -> bool:
    """Tell whether a value is what an evaluation found: a figure with its interval, or outputs with theirs."""
    if not isinstance(value, dict):
        return False
    names = [f"{key}{end}" for key in _MEASURES for end in ("", "_low", "_high")]
    names += [f"held_out_{key}" for key in (*_MEASURES, "outputs")] + ["padding"]
    if not all(number_or_none(value.get(key)) for key in names):
        return False
    if value.get("measure") == "outputs":
        return _each(value.get("outputs"), evaluation)
    return fits(value.get("measure"), {*_MEASURES, None})


def difference(value: object) -> bool:
    """Tell whether a value is a paired difference with its interval, or those of several outputs, or missing."""
    if isinstance(value, dict) and "outputs" in value:
        return _each(value["outputs"], difference)
    return value is None or fits(value, {"difference": NUMBER, "low": NUMBER, "high": NUMBER, "p_value": NUMBER})


def _each(outputs: object, check: Any) -> bool:  # noqa: ANN401
    return isinstance(outputs, dict) and all(map(check, outputs.values()))
