"""Figures that a run record holds by itself: stages, spectrum, spectral norm, fine-tuning."""

from __future__ import annotations

from typing import Any

from lrcompress.reporting.layers import break_even, energy_at, spectral_pairs
from lrcompress.reporting.words import PERCENT

# Told apart by colour-blind readers, and against paper; see figures.py for the methods.
INK, SOFT, ACCENT, SERIES = "#000000", "#4d4d4d", "#8250df", "#0072b2"
# Of several models side by side, each with a mark of its own too.
MODELS = ((SERIES, "o"), ("#d55e00", "s"), ("#009e73", "D"), ("#cc79a7", "^"))
NAMES = {
    "original": "original", "factorized": "factorized", "finetuned": "fine-tuned",
    "scratch": "from scratch",
}  # fmt: skip
# Spectra of more values are drawn over a logarithmic axis, where low ranks have room.
MANY = 64


def unit_of(measure: str) -> str:
    """Return how an axis names a figure on test data."""
    names = {
        "error_rate": "test error, %", "binary_error": "binary test error, %",
        "disagreement": "disagreement with the original on test data, %",
        "deviation": "RMS deviation from the original on test data",
    }  # fmt: skip
    return names.get(measure, "RMSE on test data")


def draw_stages(stages: list[dict[str, Any]], measure: str, figure: Any) -> None:  # noqa: ANN401
    """Draw the main figure of each stage with its 95 % interval, one line a stage."""
    axis = figure.subplots()
    values = [stage[measure] for stage in stages]
    for place, stage in enumerate(stages):
        value = stage[measure]
        low, high = (stage.get(f"{measure}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            axis.plot([low, high], [place, place], color=SERIES, linewidth=2)
        axis.plot([value], [place], color=SERIES, marker="o", markersize=7)
        axis.annotate(
            f"{value:.2f}" if measure in PERCENT else f"{value:.4g}", (value, place),
            xytext=(0, 8), textcoords="offset points", ha="center",
        )  # fmt: skip
    axis.set_yticks(range(len(stages)), [NAMES[stage["name"]] for stage in stages])
    axis.set_ylim(len(stages) - 0.5, -0.6)
    axis.set_xlabel(f"{unit_of(measure)}, with 95 % interval")
    if max(values) > 10 * max(min(values), 0.1):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.3)


def draw_spectrum(layer: dict[str, Any], figure: Any) -> None:  # noqa: ANN401
    """Draw singular values and, below, the energy that each rank keeps."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    ranks, sigma = layer["singular_value_ranks"], layer["singular_values"]
    marker = "o" if len(ranks) <= MANY else ""
    upper.plot(ranks, [s / sigma[0] for s in sigma], color=SERIES, marker=marker, markersize=4)
    upper.set_ylabel("σᵢ / σ₁")
    upper.set_ylim(0, 1.08)
    lower.plot(ranks, [100 * e for e in layer["energy"]], color=SERIES, marker=marker, markersize=4)
    lower.set_ylabel("energy, %")
    lower.set_ylim(0, 108)
    lower.set_xlabel("rank")
    kept, even = energy_at(layer, layer["rank"]), break_even(layer)
    if kept is not None:
        lower.plot([layer["rank"]], [100 * kept], color=ACCENT, marker="D", markersize=6)
        lower.annotate(
            f"{100 * kept:.1f} %", (layer["rank"], 100 * kept), xytext=(7, -11),
            textcoords="offset points", color=ACCENT,
        )  # fmt: skip
    # Two names at one place would cover each other.
    has_room = even > layer["rank"]
    _mark(upper, lower, layer["rank"], "chosen", ACCENT, "right" if has_room else "center")
    if has_room:
        _mark(upper, lower, even, "break-even", SOFT, "left")
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    if len(ranks) > MANY:
        lower.set_xscale("log")
        lower.xaxis.set_major_formatter("{x:g}")
    elif len(ranks) <= 16:
        lower.set_xticks(ranks)


def _mark(upper: Any, lower: Any, rank: int, word: str, color: str, side: str) -> None:  # noqa: ANN401
    """Draw a line at a rank through both axes, with its name above them."""
    for axis in (upper, lower):
        axis.axvline(rank, color=color, linestyle="--", linewidth=1.2)
    upper.annotate(
        f"{word}: {rank:,}", (rank, 1), xycoords=("data", "axes fraction"),
        xytext=({"left": 3, "right": -3}.get(side, 0), 3),
        textcoords="offset points", ha=side, va="bottom", color=color,
    )  # fmt: skip


def draw_spectral_error(layer: dict[str, Any], figure: Any) -> None:  # noqa: ANN401
    """Draw the least spectral error that each rank allows, and that of the factors."""
    axis = figure.subplots()
    pairs = spectral_pairs(layer)
    marker = "o" if len(pairs) <= MANY else ""
    axis.plot([r for r, _ in pairs], [e for _, e in pairs], color=SERIES, marker=marker,
              markersize=4, label="least possible, σᵣ₊₁ / σ₁")  # fmt: skip
    axis.axvline(layer["rank"], color=ACCENT, linestyle="--", linewidth=1.2,
                 label=f"chosen: rank {layer['rank']:,}")  # fmt: skip
    # Refinement serves the outputs and goes far from A: its norm would hide the line.
    if layer["spectrum_of"] == "kernel" and layer["method"] != "refined":
        axis.plot([layer["rank"]], [layer["spectral_error"]], color=ACCENT, marker="D", markersize=6,
                  linestyle="", label="measured, A − B C")  # fmt: skip
    axis.set_xlabel("rank")
    axis.set_ylabel(f"spectral error of the {layer['spectrum_of']}")
    axis.set_ylim(bottom=0)
    if len(pairs) > MANY:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    elif len(pairs) <= 16:
        axis.set_xticks([r for r, _ in pairs])
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)


def draw_finetuning(entry: dict[str, Any], key: str, figure: Any) -> None:  # noqa: ANN401
    """Draw what each look at the held-out part found; the one that was kept stands out."""
    axis = figure.subplots()
    looks = [look for look in entry["history"] if look.get(key) is not None]
    places = list(range(len(looks)))
    values = [look[key] for look in looks]
    axis.plot(places, values, color=SERIES, marker="o", markersize=5)
    kept = [place for place in places if looks[place].get("kept")]
    axis.plot(kept, [values[place] for place in kept], color=ACCENT, marker="D", markersize=8,
              linestyle="", label="kept")  # fmt: skip
    step = max(len(looks) // 10, 1)
    shown = [p for p in places if p % step == 0 or looks[p]["epoch"] == 0]
    axis.set_xticks(shown, [look_name(looks[place]) for place in shown])
    axis.set_xlabel("epoch")
    axis.set_ylabel(held_out_name(key))
    if values and max(values) > 10 * max(min(values), 1e-12):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("")
    else:
        axis.set_ylim(0, 1.1 * max(values) or 1)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)


def draw_latency(document: dict[str, Any], names: list[str], figure: Any) -> None:  # noqa: ANN401
    """Draw median and middle half of each call: a line a batch size, a mark a model."""
    axis = figure.subplots()
    rows = document["rows"]
    places = list(dict.fromkeys((row["what"], row["batch_size"]) for row in rows))
    places.sort(key=lambda place: (place[0] == "head", place[1]))
    apart = 0.5 / max(len(names), 1)
    for row in rows:
        color, mark = MODELS[row["model"] % len(MODELS)]
        y = places.index((row["what"], row["batch_size"])) + apart * (
            row["model"] - (len(names) - 1) / 2
        )
        axis.plot([1e3 * row["q1"], 1e3 * row["q3"]], [y, y], color=color, linewidth=2)
        label = names[row["model"]] if (row["what"], row["batch_size"]) == places[0] else None
        axis.plot(
            [1e3 * row["median"]],
            [y],
            color=color,
            marker=mark,
            markersize=5,
            linestyle="",
            label=label,
        )
    words = {"model": "whole model", "head": "head alone"}
    axis.set_yticks(
        range(len(places)), [f"{words[what]}, batch {batch:,}" for what, batch in places]
    )
    axis.set_ylim(len(places) - 0.5, -0.5)
    axis.set_xlabel("milliseconds a call")
    values = [row["median"] for row in rows]
    if max(values) > 10 * min(values):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
    else:
        axis.set_xlim(left=0)
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", frameon=False, ncols=2)


def look_name(look: dict[str, Any]) -> str:
    """Return how a look at the held-out part is called."""
    return str(look["epoch"]) if look["epoch"] else str(look["what"]).replace("head ", "")


def held_out_name(key: str) -> str:
    """Return how a figure of the held-out part is called."""
    names = {
        "error_rate": "held-out error, %", "binary_error": "held-out binary error, %",
        "rmse": "held-out RMSE", "disagreement": "held-out disagreement, %", "deviation": "held-out deviation",
    }  # fmt: skip
    return names.get(key.removeprefix("validation_"), "held-out loss")
