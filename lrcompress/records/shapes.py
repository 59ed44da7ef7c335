"""Whether a document from a file has the shape that its reader counts on."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

NUMBER = (int, float)
# Documents of ours have a handful of levels, and numbers that a float can hold.
MOST_LEVELS, MOST_DIGITS = 50, 30
_MEASURES = ("error_rate", "binary_error", "rmse", "disagreement", "deviation")


@dataclass(frozen=True)
class Maybe:
    """What may be missing or null, and has this shape otherwise."""

    shape: Any


def parse(text: str) -> Any:  # noqa: ANN401
    """Return what a text of JSON holds.

    Raises:
        ValueError: If it is not JSON (NaN, infinity and lone surrogates are not, though Python's own
            reader takes them), or is deeper or has longer numbers than any document of ours.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_int=_whole)
        # 1e999 is read as infinity, and "\\ud800" as a lone surrogate: neither can be written again.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        msg = "nested too deep"
        raise ValueError(msg) from error
    if deeper(value, MOST_LEVELS):
        msg = f"nested deeper than {MOST_LEVELS} levels"
        raise ValueError(msg)
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(digits[:MOST_DIGITS])
    return int(digits)


def deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested deeper than some levels, without recursion."""
    inside: list[object] = [value]
    for _ in range(levels):
        inside = [
            item
            for outer in inside
            if isinstance(outer, (dict, list))
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not inside:
            break
    return bool(inside)


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


def look(value: object) -> bool:
    """Tell whether a value is a look at the held-out part: its figures are numbers, or were none."""
    if not fits(value, {"epoch": int, "what": Maybe(str)}):
        return False
    figures = [v for k, v in value.items() if k.startswith(("loss", "validation_"))]  # type: ignore[attr-defined]
    return all(map(number_or_none, figures))


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
    names += [f"held_out_{key}" for key in (*_MEASURES, "outputs")] + [
        "padding",
        "balanced_error",
        "auc",
    ]
    if not all(number_or_none(value.get(key)) for key in names):
        return False
    if value.get("measure") == "outputs":
        return _each(value.get("outputs"), evaluation)
    return fits(value.get("measure"), {*_MEASURES, None})


def place(value: object) -> bool:
    """Tell whether a value is a path that a system can look for."""
    parts = value.replace("\\", "/").split("/") if isinstance(value, str) else ["\0"]
    return sum(map(len, parts)) < 4000 and all(
        len(part.encode()) < 256 and "\0" not in part for part in parts
    )


def counted(value: object) -> bool:
    """Tell whether a value is a number of samples."""
    return fits(value, int) and 0 < value < 2**40  # type: ignore[operator]


# A row of `train-from-scratch` or `compare`: what tables and figures are made of.
ROW: dict[str, Any] = {
    "rank": Maybe(int), "seed": Maybe(int), "arm": Maybe(str), "model": Maybe(place),
    "error_rate": NUMBER, "error_rate_low": NUMBER, "error_rate_high": NUMBER, "samples": Maybe(counted),
    "wrong": Maybe(str), "loss": Maybe(NUMBER), "seconds": Maybe(NUMBER), "images": Maybe(NUMBER),
    "layer_parameters": Maybe(NUMBER), "model_parameters": Maybe(NUMBER), "paper_parameters": Maybe(NUMBER),
    "published": Maybe({"error_rate": NUMBER, "parameters": Maybe(NUMBER), "seconds": Maybe(NUMBER)}),
}  # fmt: skip


def difference(value: object) -> bool:
    """Tell whether a value is a paired difference with its interval, or those of several outputs, or missing."""
    if isinstance(value, dict) and "outputs" in value:
        return _each(value["outputs"], difference)
    return value is None or fits(
        value, {"difference": NUMBER, "low": NUMBER, "high": NUMBER, "p_value": NUMBER}
    )


def _each(outputs: object, check: Any) -> bool:  # noqa: ANN401
    return isinstance(outputs, dict) and all(map(check, outputs.values()))
