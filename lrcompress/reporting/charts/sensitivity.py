"""The sensitivity of each layer of a network: a small figure each, all on the same axes."""

from __future__ import annotations

from lrcompress.reporting.charts.figures import ACCENT, SERIES, Axis, linear, logarithmic
from lrcompress.reporting.network import Line

ACROSS = 3
# What is so much smaller than the largest error needs no room.
_RANGE = 1e5
# Of a name, in the width of a small figure.
_LETTERS = 19


def rows_of(lines: int) -> int:
    """Return how many rows so many small figures take."""
    return -(-lines // ACROSS)


def draw_sensitivity(lines: list[Line], what: str, figure: Axis) -> None:
    """Draw each layer's error against the share of its parameters that is saved, and what was chosen."""
    grid = figure.subplots(rows_of(len(lines)), ACROSS, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for axis, (name, points, chosen) in zip(axes, lines, strict=False):
        axis.plot(
            [100 * x for x, _ in points], [y for _, y in points], color=SERIES, marker="o", markersize=3, linewidth=1.2
        )  # fmt: skip
        if chosen is not None and chosen[1] > 0:
            axis.plot(
                [100 * chosen[0]], [chosen[1]], color=ACCENT, marker="D", markersize=6, linestyle=""
            )
        short = name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
        axis.set_title(short, loc="left", fontsize="medium", parse_math=False)
        axis.set_xlim(0, 100)
        axis.grid(alpha=0.3)
    for axis in axes[len(lines) :]:
        axis.set_visible(False)
    logarithmic(axes[0], "y")
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(max(low, high / _RANGE), high)
    linear(axes[0], "x")
    # The last figure of a column carries its labels, whether or not the row is full.
    for axis in axes[max(len(lines) - ACROSS, 0) : len(lines)]:
        axis.tick_params(labelbottom=True)
    figure.supxlabel("parameters of the layer saved, %", fontsize="medium")
    figure.supylabel(what, fontsize="medium")
