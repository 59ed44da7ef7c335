"""Text of `finetune`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import BY_ORIGINAL, padding, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

# Measure to (its name, unit of a figure, unit of a difference).
NAMES = {
    "error_rate": ("error", " %", " pt"),
    "binary_error": ("error", " %", " pt"),
    "rmse": ("RMSE", "", ""),
    "disagreement": ("disagreement", " %", " pt"),
    "deviation": ("deviation", "", ""),
}


def render_finetune(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `finetune` did."""
    measure = result["measure"]
    name, unit, _ = NAMES.get(measure, ("loss", "", ""))
    key = f"validation_{measure}"
    rows = [
        [
            entry["what"] if entry["epoch"] == 0 else f"epoch {entry['epoch']}",
            _number(entry.get("loss")),
            _number(entry.get(key), 2 if unit else 4) + unit,
            _number(entry["validation_loss"]),
            "kept" if entry["kept"] else "",
        ]
        for entry in result["history"]
    ]
    settings = result["settings"]
    labels = "the original's outputs alone" if measure in BY_ORIGINAL else "labels alone"
    teacher = (
        "labels and the original's outputs"
        if result["distilled"] and measure not in BY_ORIGINAL
        else labels
    )
    lines = [
        *_tested(result),
        *padding(result["after"]),
        f"{result['trained']} trained on {teacher} of {result['dataset']}, scaling {result['scaling']}: "
        f"{seconds(result['seconds'])}, {result['images_per_second']:,.0f} samples/s on "
        f"{result['device']}, {settings['precision']}",
        f"wrote {result['output']}",
        f"wrote {result['record']}",
    ]
    if result["resumed_from"]:
        lines.insert(0, f"went on after epoch {result['resumed_from']} of an unfinished run")
    columns = ["", "loss", f"validation {name}", "validation loss", ""]
    return [table("Fine-tuning", columns, rows), plain(lines)]


def _tested(result: dict[str, Any]) -> list[str]:
    """Return a line on the test data, one an output where there are several."""
    figures = [result["before"], result["after"], result["original"]]
    if result["measure"] != "outputs":
        return [_line("test", figures, result["drop"])]
    drops = (result["drop"] or {}).get("outputs", {})
    return [
        _line(f"test, {name}:", [f and f["outputs"][name] for f in figures], drops.get(name))
        for name in result["after"]["outputs"]
    ]


def _line(
    what: str, figures: list[dict[str, Any] | None], difference: dict[str, Any] | None
) -> str:
    before, after, original = (found or {} for found in figures)
    measure = after["measure"]
    name, unit, step = NAMES[measure]
    digits = 2 if unit else 4
    text = f"{what} {name} {before[measure]:.{digits}f}{unit} -> {after[measure]:.{digits}f}{unit}"
    if not original or difference is None:
        return text
    low, high = difference["low"], difference["high"]
    return (
        f"{text} (original {original[measure]:.{digits}f}{unit}, "
        f"{difference['difference']:+.{digits}f}{step} [{low:+.{digits}f}, {high:+.{digits}f}])"
    )


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
