"""Text of `finetune`, `evaluate` and `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import drop, plain, table
from lrcompress.reporting.words import count, points, rate, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_finetune(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `finetune` did."""
    rows = [
        [
            entry["what"] if entry["epoch"] == 0 else f"epoch {entry['epoch']}",
            f"{entry['loss']:.4f}" if "loss" in entry else "-",
            f"{entry['validation_error_rate']:.2f} %",
            f"{entry['validation_loss']:.4f}",
            "kept" if entry["kept"] else "",
        ]
        for entry in result["history"]
    ]
    teacher = "labels and the original's outputs" if result["distilled"] else "labels alone"
    original = result["error_rate_original"]
    drop = result["drop"]
    lines = [
        f"test error {result['error_rate_before']:.2f} % -> {result['error_rate_after']:.2f} %"
        + (f" (original {original:.2f} %" if original is not None else "")
        + (
            f", {points(drop['difference'])} [{drop['low']:+.2f}, {drop['high']:+.2f}])"
            if drop
            else ""
        ),
        f"trained on {teacher} of {result['dataset']}, scaling {result['scaling']}: {seconds(result['seconds'])}, "
        f"{result['images_per_second']:,.0f} images/s on {result['device']}",
        f"wrote {result['output']}",
        f"wrote {result['record']}",
    ]
    return [
        table("Fine-tuning", ["", "loss", "validation error", "validation loss", ""], rows),
        plain(lines),
    ]


def render_evaluate(results: list[dict[str, Any]]) -> list[RenderableType]:
    """Show what `evaluate` measured."""
    rows = [
        [
            entry["model"],
            rate(entry),
            "-" if entry["difference"] is None else drop({"drop": entry["difference"]}),
            "-" if entry["difference"] is None else f"{entry['difference']['p_value']:.3g}",
            f"{entry['loss']:.4f}",
            count(entry["samples"]),
        ]
        for entry in results
    ]
    columns = ["model", "test error [95 %]", "against the first", "p (McNemar)", "loss", "samples"]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [table("Evaluation", columns, rows), plain([note])]


def render_datasets(entries: list[dict[str, Any]]) -> list[RenderableType]:
    """Show the data sets and where each was found or would be sought."""
    rows = [
        [
            entry["name"],
            entry["description"],
            entry["found"] or f"not found; sought as {entry['name']}.npz, then downloaded by Keras",
        ]
        for entry in entries
    ]
    folders = ", ".join(entries[-1]["searched"])
    return [
        table("Data sets", ["name", "what it is", "where"], rows, left=3),
        plain([f"searched: {folders}"]),
    ]
