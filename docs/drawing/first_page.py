"""The picture of the first page: size, error and speed of one network by stage."""

from __future__ import annotations

from typing import Any

from drawing.sheet import BLUE, GREEN, ORANGE, SOFT, Drawing, ends, read

STAGES = {
    ("original", False): "original",
    ("factorized", False): "low rank",
    ("original", True): "8-bit weights",
    ("factorized", True): "both",
}
_COLORS = (SOFT, BLUE, ORANGE, GREEN)


def stages() -> list[dict[str, Any]]:
    """Return the four exported files in order, each with its name."""
    rows = {(row["model"], row["int8"]): row for row in read("first-page.json")["rows"]}
    return [rows[key] | {"name": name} for key, name in STAGES.items()]


def picture() -> Drawing:
    """Return the picture."""
    numbers = [
        {
            "name": row["name"], "kilobytes": row["bytes"] / 1000,
            "error": [row["error"][key] for key in ("error_rate_low", "error_rate", "error_rate_high")],
            "microseconds": [1e6 * row[key] for key in ("q1", "median", "q3")],
        }
        for row in stages()
    ]  # fmt: skip
    seen = "; ".join(
        f"{row['name']}: {row['kilobytes']:,.0f} kB, {row['error'][1]:.2f} % error, {row['microseconds'][1]:.0f} µs"
        for row in numbers
    )
    name = read("first-page.json")["network"]
    alt = f"{name} as LiteRT files: size, test error, and latency of one image. {seen}."
    return Drawing("first-page", alt, numbers, _draw, (8.0, 2.1))


def _draw(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    size, error, speed = figure.subplots(1, 3, sharey=True)
    places = range(len(numbers))
    size.barh(places, [row["kilobytes"] for row in numbers], color=_COLORS, height=0.62)
    speed.barh(places, [row["microseconds"][1] for row in numbers], color=_COLORS, height=0.62)
    for place, row in enumerate(numbers):
        low, value, high = row["error"]
        error.errorbar(
            [value],
            [place],
            xerr=ends(low, value, high),
            color=_COLORS[place],
            marker="o",
            markersize=6,
            capsize=3,
        )
    written = (
        (size, lambda row: (row["kilobytes"], f"{row['kilobytes']:,.0f}")),
        (error, lambda row: (row["error"][2], f"{row['error'][1]:.2f}")),
        (speed, lambda row: (row["microseconds"][1], f"{row['microseconds'][1]:,.0f}")),
    )
    for axis, of in written:
        for place, row in enumerate(numbers):
            end, text = of(row)
            axis.annotate(
                text, (end, place), xytext=(4, 0), textcoords="offset points", va="center"
            )
        axis.set_xlim(0, 1.22 * max(of(row)[0] for row in numbers))
        axis.grid(axis="x")
        axis.tick_params(left=False)
    size.set_yticks(places, [row["name"] for row in numbers])
    size.set_ylim(len(numbers) - 0.5, -0.5)
    size.set_xlabel("file, kB")
    error.set_xlabel("test error, %, with 95 % interval")
    speed.set_xlabel("one image, µs")
