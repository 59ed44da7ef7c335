"""What stands on the axes of each figure, drawn with Matplotlib; labels are at 1, 2 and 5 times powers of ten."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrcompress.reporting.layers import break_even, energy_at, spectral_pairs, spectrum_of
from lrcompress.reporting.words import metric

# Matplotlib's axis, or figure.
Axis = Any

SOFT, ACCENT, SERIES, TARGET = "#4d4d4d", "#8250df", "#0072b2", "#d55e00"
# Okabe & Ito's colours, told apart by colour-blind readers too; markers tell them apart in print.
ARMS = {
    "svd": ("#D55E00", "o"), "refined": ("#CC79A7", "D"),
    "finetuned": ("#0072B2", "s"), "scratch": ("#009E73", "^"),
}  # fmt: skip
STAGES = {
    "original": "original", "factorized": "factorized", "finetuned": "fine-tuned",
    "scratch": "from scratch",
}  # fmt: skip
LEAST = "least possible, σᵣ₊₁ / σ₁"
_STEPS = (1, 2, 5, 10)
# Of a note above an axis.
_TOP = ("data", "axes fraction")
# Spectra of more values are drawn over a logarithmic axis, where low ranks have room.
MANY = 64


def look_name(look: dict[str, Any]) -> str:
    """Return how a look at the held-out part is called."""
    return str(look["epoch"]) if look["epoch"] else str(look["what"]).replace("head ", "")


def draw_stages(
    stages: list[dict[str, Any]], measure: str, most: float | None, figure: Axis
) -> None:
    """Draw the main figure of each stage with its 95 % interval, one line a stage, and the `most` that was allowed."""
    axis, how = figure.subplots(), metric(measure)
    values = [stage[measure] for stage in stages]
    for place, stage in enumerate(stages):
        value = stage[measure]
        low, high = (stage.get(f"{measure}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            axis.plot([low, high], [place, place], color=SERIES, linewidth=2)
        axis.plot([value], [place], color=SERIES, marker="o", markersize=7)
        _note(axis, f"{value:{how.digits}}", (value, place), (0, 8), ha="center")
    axis.set_yticks(range(len(stages)), [STAGES[stage["name"]] for stage in stages])
    axis.set_ylim(len(stages) - 0.5, -0.6)
    axis.set_xlabel(f"{how.tested}, with 95 % interval")
    if most is not None:
        axis.axvline(most, color=TARGET, linestyle=":", linewidth=1.5)
        said = f"allowed: {most:{how.digits}}"
        _note(axis, said, (most, 1), (3, 3), xycoords=_TOP, va="bottom", color=TARGET)
    if max(values) > 10 * max(min(values), 0.1):
        logarithmic(axis, "x")
    else:
        axis.set_xlim(left=0)
        linear(axis, "x")
    axis.grid(axis="x", alpha=0.3)


def _note(
    axis: Axis, text: str, at: tuple[float, float], offset: tuple[int, int], **style: Any  # noqa: ANN401
) -> None:  # fmt: skip
    axis.annotate(text, at, xytext=offset, textcoords="offset points", **style)


def draw_spectrum(layer: dict[str, Any], figure: Axis) -> None:
    """Draw singular values and, below, the energy that each rank keeps."""
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    ranks, sigma = layer["singular_value_ranks"], layer["singular_values"]
    style = {"color": SERIES, "marker": "o" if len(ranks) <= MANY else "", "markersize": 4}
    upper.plot(ranks, [s / sigma[0] for s in sigma], **style)
    upper.set(ylabel="σᵢ / σ₁", ylim=(0, 1.08))
    lower.plot(ranks, [100 * e for e in layer["energy"]], **style)
    lower.set(xlabel="rank", ylabel="energy, %", ylim=(0, 108))
    chosen, kept, even = layer["rank"], energy_at(layer, layer["rank"]), break_even(layer)
    if kept is not None:
        lower.plot([chosen], [100 * kept], color=ACCENT, marker="D", markersize=6)
        _note(lower, f"{100 * kept:.1f} %", (chosen, 100 * kept), (7, -11), color=ACCENT)
    # Two names at one place would cover each other.
    has_room = even > chosen
    _mark(upper, lower, chosen, "chosen", ACCENT, "right" if has_room else "center")
    if has_room:
        _mark(upper, lower, even, "break-even", SOFT, "left")
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    _rank_ticks(lower, ranks)


def _mark(upper: Axis, lower: Axis, rank: int, word: str, color: str, side: str) -> None:
    """Draw a line at a rank through both axes, with its name above them."""
    for axis in (upper, lower):
        axis.axvline(rank, color=color, linestyle="--", linewidth=1.2)
    offset = ({"left": 3, "right": -3}.get(side, 0), 3)
    said = f"{word}: {rank:,}"
    _note(upper, said, (rank, 1), offset, xycoords=_TOP, ha=side, va="bottom", color=color)


def _rank_ticks(axis: Axis, ranks: list[int]) -> None:
    if len(ranks) > MANY:
        logarithmic(axis, "x")
    elif len(ranks) <= 16:
        axis.set_xticks(ranks)
    else:
        linear(axis, "x", whole=True)


def draw_least_error(layer: dict[str, Any], axis: Axis) -> None:
    """Draw the least spectral error that each rank allows, and that of the factors."""
    ranks, errors = map(list, zip(*spectral_pairs(layer), strict=True))
    marker = "o" if len(ranks) <= MANY else ""
    axis.plot(ranks, errors, color=SERIES, marker=marker, markersize=4, label=LEAST)
    axis.axvline(layer["rank"], color=ACCENT, linestyle="--", linewidth=1.2,
                 label=f"chosen: rank {layer['rank']:,}")  # fmt: skip
    # Refinement serves the outputs and goes far from A: its norm would hide the line.
    if layer["spectrum_of"] == "kernel" and spectrum_of(layer["method"]):
        axis.plot([layer["rank"]], [layer["spectral_error"]], color=ACCENT, marker="D", markersize=6,
                  linestyle="", label="measured, A − B C")  # fmt: skip
    axis.set(xlabel="rank", ylabel=f"spectral error of the {layer['spectrum_of']}", ylim=(0, None))
    _rank_ticks(axis, ranks)


def draw_finetuning(looks: list[dict[str, Any]], key: str, axis: Axis) -> None:
    """Draw what each look at the held-out part found; the one that was kept stands out."""
    places, values = list(range(len(looks))), [look[key] for look in looks]
    axis.plot(places, values, color=SERIES, marker="o", markersize=5)
    kept = [place for place in places if looks[place].get("kept")]
    axis.plot(kept, [values[place] for place in kept], color=ACCENT, marker="D", markersize=8,
              linestyle="", label="kept")  # fmt: skip
    step = max(len(looks) // 10, 1)
    shown = [p for p in places if p % step == 0 or looks[p]["epoch"] == 0]
    axis.set_xticks(shown, [look_name(looks[place]) for place in shown])
    axis.set(xlabel="epoch", ylabel=metric(key.removeprefix("validation_")).held_out)
    if values and max(values) > 10 * max(min(values), 1e-12):
        logarithmic(axis, "y")
    else:
        axis.set_ylim(0, 1.1 * max(values) or 1)
        linear(axis, "y")


def measure_of(document: dict[str, Any]) -> str:
    """Return the key of what a sweep measured."""
    return str(document["original"].get("measure", "error_rate"))


def draw_errors(
    document: dict[str, Any],
    key: str,
    label: str,
    mark: tuple[float, str] | None,
    allowed: float | None,
    axis: Axis,
) -> None:
    """Draw errors on test data with their intervals, the original's, what was `allowed` above it, and a mark."""
    scale, measure = 100 if key.endswith("reduction") else 1, measure_of(document)
    for method, rows in by_method(document).items():
        x, style = [scale * row[key] for row in rows], _line(method)
        axis.plot(x, [row[measure] for row in rows], **style)
        low, high = ([row[f"{measure}_{end}"] for row in rows] for end in ("low", "high"))
        axis.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    original = document["original"]
    if original:
        axis.axhline(original[measure], color="0.3", linestyle="--", label="original")
        if allowed is not None:
            most = original[measure] + allowed
            axis.axhline(most, color=TARGET, linestyle=":", label=f"allowed: +{allowed:g} points")
    axis.set(xlabel=label, ylabel=metric(measure).tested)
    highest = max(row[measure] for row in document["rows"])
    smallest = 0.1 if metric(measure).unit else 0.0
    if original and highest > 10 * max(original[measure], smallest):
        logarithmic(axis, "y")
    else:
        linear(axis, "y")
    linear(axis, "x", whole=key == "rank")
    if mark is not None:
        axis.axvline(mark[0], color=ACCENT, linestyle="--", linewidth=1.2, label=mark[1])


def draw_spectral(document: dict[str, Any], axis: Axis) -> None:
    """Draw the spectral norm of A - B C, relative to A's, and the least that a rank allows."""
    sigma = document["singular_values"]
    ranks = range(1, min(document["break_even_rank"] or len(sigma), len(sigma) - 1) + 1)
    if sigma and sigma[0] > 0:
        axis.plot(list(ranks), [sigma[r] / sigma[0] for r in ranks], color="0.3", linestyle="--",
                  label=LEAST)  # fmt: skip
    for method, rows in by_method(document).items():
        # Refinement serves the outputs only and goes far from A: its norms would hide all others.
        if spectrum_of(method):
            axis.plot([row["rank"] for row in rows], [row["spectral_error"] for row in rows],
                      **_line(method))  # fmt: skip
    axis.set(xlabel="rank", ylabel="spectral norm of A - B C over that of A", ylim=(0, None))
    linear(axis, "x", whole=True)


def _line(method: str) -> dict[str, Any]:
    """Return how the line of a method looks."""
    from lrcompress.lowrank import METHODS

    found = METHODS[method]
    return {"color": found.color, "marker": found.marker, "markersize": 4, "label": method}


def by_method(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a sweep by method, in the order of its rows, and by rank."""
    found: dict[str, list[dict[str, Any]]] = {row["method"]: [] for row in document["rows"]}
    for row in sorted(document["rows"], key=lambda row: row["rank"]):
        found[row["method"]].append(row)
    return found


def draw_arms(document: dict[str, Any], names: dict[str, str], axis: Axis) -> None:
    """Draw the arms of a comparison with 95 % intervals, rank by rank; full rank goes across."""
    entries = document["summary"]
    ranked = [entry for entry in entries if entry["rank"] is not None]
    for arm, (color, marker) in ARMS.items():
        of_arm = sorted((e for e in ranked if e["arm"] == arm), key=lambda e: e["rank"])
        if not of_arm:
            continue
        rates = [entry["error_rate"] for entry in of_arm]
        ends = [
            [abs(entry[f"error_rate_{end}"] - entry["error_rate"]) for entry in of_arm]
            for end in ("low", "high")
        ]
        axis.errorbar([e["rank"] for e in of_arm], rates, yerr=ends, color=color, marker=marker,
                      markersize=4, capsize=3, linewidth=1.2, label=names[arm])  # fmt: skip
    across = [entry for entry in entries if entry["rank"] is None]
    for entry, style in zip(across, ("--", ":", "-."), strict=False):
        label = names[entry["arm"]]
        if entry["arm"] == "scratch":
            label = f"full rank, {label}"
        axis.axhline(entry["error_rate"], color="0.3", linestyle=style, label=label)
        low, high = entry["error_rate_low"], entry["error_rate_high"]
        axis.axhspan(low, high, color="0.3", alpha=0.08, linewidth=0)
    axis.set(xlabel="rank of the final layer", ylabel="test error, %")
    lowest, highest = (f(entry["error_rate"] for entry in entries) for f in (min, max))
    if highest > 10 * max(lowest, 0.1):
        # An interval that reaches 0 would take the axis with it.
        axis.set_ylim(max(lowest, 0.1) / 2, 2 * highest)
        logarithmic(axis, "y")
    else:
        axis.set_ylim(bottom=0)
    ranks = sorted({entry["rank"] for entry in ranked})
    if ranks and ranks[-1] > 8 * ranks[0]:
        axis.set_xscale("log")
    axis.set_xticks(ranks, [str(rank) for rank in ranks], minor=False)
    axis.set_xticks([], minor=True)


def single(draw: Callable[..., None], *numbers: Any, legend: str | None = "inside") -> Any:  # noqa: ANN401
    """Return what draws one axis with its grid on an empty figure; a legend ``below`` is the figure's."""

    def on(figure: Axis) -> None:
        axis = figure.subplots()
        draw(*numbers, axis)
        axis.grid(alpha=0.3)
        if legend == "below":
            figure.legend(loc="outside lower center", frameon=False, ncols=2)
        else:
            axis.legend(frameon=False)

    return on


def linear(axis: Axis, side: str, *, whole: bool = False) -> None:
    """Label a linear axis, of ranks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator("auto", steps=_STEPS, integer=whole)
    getattr(axis, f"{side}axis").set_major_locator(ticks)


def logarithmic(axis: Axis, side: str) -> None:
    """Make an axis that shows all it is going to show logarithmic, and label it."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    getattr(axis, f"set_{side}scale")("log")
    low, high = getattr(axis, f"get_{side}lim")()
    of_side = getattr(axis, f"{side}axis")
    decades = high / low
    if decades < 8:
        of_side.set_major_locator(MaxNLocator(5, steps=_STEPS))
    else:
        of_side.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1000 else (1,)))
    of_side.set_minor_locator(NullLocator())
    of_side.set_major_formatter(lambda value, _: written(value))


def written(value: float) -> str:
    """Return a label: 0.05, 20, 1e−7."""
    digits, _, power = f"{value:g}".partition("e")
    return f"{digits}e{int(power)}".replace("-", "\N{MINUS SIGN}") if power else digits
