"""Pieces that every page of text is put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.errors import printable
from lrcompress.reporting.fitting import FittedTable
from lrcompress.reporting.words import change, points, share, small

if TYPE_CHECKING:
    from rich.console import RenderableType


def table(title: str, columns: list[str], rows: list[list[str]], left: int = 1) -> RenderableType:
    """Return a table whose first `left` columns are words and the others numbers."""
    return FittedTable(
        title="\n".join(printable(line) for line in title.split("\n")),
        columns=columns,
        rows=[[printable(cell) for cell in row] for row in rows],
        left=left,
    )


def plain(lines: list[str]) -> RenderableType:
    """Return lines of text, free of control characters and markup."""
    from rich.text import Text

    return Text("\n".join(printable(line).rstrip() for line in lines))


def saved(before: float, after: float, unit: Any) -> list[str]:  # noqa: ANN401  # count or size
    """Return what was saved: in units, and as a share."""
    return [unit(before - after), share((before - after) / before if before else None)]


def kernel_errors(layer: dict[str, Any]) -> str:
    """Return the errors of a factorized kernel, whatever its method minimises."""
    return (
        f"relative error of the kernel: Frobenius {small(layer['frobenius_error'])}, "
        f"spectral {small(layer['spectral_error'])}"
    )


def least_is_known(layer: dict[str, Any]) -> bool:
    """Return whether a layer's error has a known least: not once refinement has left least squares behind."""
    error, least = layer.get("minimised_error"), layer.get("minimised_optimum")
    return layer["method"] != "refined" or error is None or error <= 1.001 * (least or 0.0)


def certificate(layer: dict[str, Any]) -> str:
    """Return how near a layer comes to the best that its method could do at its rank."""
    # Older records measured every method against the kernel.
    what = layer.get("optimality_of") or "kernel"
    rank, error, least = layer["rank"], layer.get("minimised_error"), layer.get("minimised_optimum")
    if layer.get("exact"):
        return f"certificate: exact at rank {rank}, but for rounding ({layer['algorithm']})"
    if not least_is_known(layer):
        return (
            f"certificate: error of the {what} {small(error)}, {small(least)} by least squares at rank {rank}; "
            "refined minimises a different loss, whose optimum is not known"
        )
    return (
        f"certificate: {layer['optimality']:.6f} x the smallest possible error of the {what} at rank "
        f"{rank} ({layer['algorithm']})"
    )


def drop(stage: dict[str, Any]) -> str:
    """Return the difference to the original's figure, with its interval where it was paired."""
    paired = stage.get("drop")
    return change(paired) if isinstance(paired, dict) else points(stage["drop_points"])
