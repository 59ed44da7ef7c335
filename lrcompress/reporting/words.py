"""Numbers and names as people read them, the same in every table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Metric(NamedTuple):
    """A figure's name and unit."""

    name: str
    unit: str = ""
    label: str = ""  # before the figure where it is not the usual one
    sentence: str = ""  # its name in one; empty for what is only told beside another figure
    tested: str = ""  # what an axis calls it on test data
    held_out: str = "held-out loss"
    by_original: bool = False  # by what the original says, where there are no labels
    relative: bool = False  # whether a difference is in percent of the first figure

    @property
    def digits(self) -> str:
        """The format of the figure."""
        return ".2f" if self.unit or self.relative else ".4g"

    @property
    def step(self) -> str:
        """The unit of a difference."""
        return " %" if self.relative else " pt" if self.unit else ""


_AGAINST = "disagreement with the original", "RMS deviation from the original"
# What a model may be measured by; where there is no label this is the rule.
MAIN = {
    "perplexity": Metric(
        "perplexity", "", "perplexity ", "perplexity", "test perplexity", "held-out perplexity", relative=True
    ),
    "error_rate": Metric("error", " %", "", "error", "test error, %", "held-out error, %"),
    "binary_error": Metric(
        "error", " %", "binary error ", "binary error", "binary test error, %", "held-out binary error, %"
    ),
    "rmse": Metric("RMSE", "", "RMSE ", "RMSE", "RMSE on test data", "held-out RMSE"),
    "disagreement": Metric(
        "disagreement", " %", "disagreement ", _AGAINST[0], f"{_AGAINST[0]} on test data, %",
        "held-out disagreement, %", by_original=True,
    ),
    "deviation": Metric(
        "deviation", "", "RMS deviation ", _AGAINST[1], f"{_AGAINST[1]} on test data",
        "held-out deviation", by_original=True,
    ),
}  # fmt: skip
# What is told beside it, where it is not the main figure.
BESIDE = {
    "top1_error_rate": Metric("top-1 error", " %", "top-1 error "),
    "top5_error_rate": Metric("top-5 error", " %", "top-5 error "),
    "balanced_error": Metric("balanced error", " %", "balanced error "),
    "auc": Metric("AUC", "", "AUC "),
    "mae": Metric("MAE", "", "MAE "),
    "top5_disagreement": Metric("top-5 disagreement", " %", "top-5 disagreement "),
    "balanced_disagreement": Metric("balanced disagreement", " %", "balanced disagreement "),
    "mean_deviation": Metric("mean deviation", "", "mean deviation "),
}
# A loss, and several outputs together.
OTHER = Metric("loss")


def metric(key: str | None) -> Metric:
    """Return how a figure is written, by its key in an evaluation."""
    return MAIN.get(key or "") or BESIDE.get(key or "") or OTHER


def count(value: int | float | None) -> str:
    """Return an integer with thousands separators."""
    return "-" if value is None else f"{value:,.0f}"


def size(value: int | float | None) -> str:
    """Return a number of bytes with its unit, 1 kB being 1,000 bytes."""
    if value is None:
        return "-"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= step:
            return f"{value / step:,.2f} {unit}"
    return f"{value:.0f} bytes"


def share(value: float | None) -> str:
    """Return a share as a percentage, with enough digits to tell 0.13 % from 0."""
    if value is None:
        return "-"
    percent = 100 * value
    return f"{percent:.2f} %" if abs(percent) < 10 else f"{percent:.1f} %"


def rate(stage: dict[str, Any]) -> str:
    """Return the main figure of an evaluation with its 95 % interval; those of several outputs."""
    key = stage.get("measure", "error_rate")
    if key == "outputs":
        return "; ".join(f"{name}: {rate(found)}" for name, found in stage["outputs"].items())
    if stage.get(key) is None:
        return "not measured"
    text = figure(key, stage[key])
    low, high = stage.get(f"{key}_low"), stage.get(f"{key}_high")
    if low is None or high is None:
        return text
    digits = metric(key).digits
    return f"{text} [{low:{digits}}, {high:{digits}}]"


def test_column(entries: list[dict[str, Any]]) -> str:
    """Return what a column of figures on test data is called."""
    errors = all(entry.get("measure", "error_rate") == "error_rate" for entry in entries)
    if any(metric(entry.get("measure")).by_original for entry in entries):
        return "against the original, test data [95 %]"
    return "test error [95 %]" if errors else "on test data [95 %]"


def figure(key: str, value: float) -> str:
    """Return a figure with its unit, and its name where it is no top-1 error."""
    return metric(key).label + bare(key, value)


def bare(key: str, value: float) -> str:
    """Return a figure with its unit alone."""
    how = metric(key)
    return f"{value:{how.digits}}{how.unit}"


def held_out(row: dict[str, Any]) -> str:
    """Return the main figure of a rank of a sweep on held-out data."""
    for key in (*MAIN, "outputs"):
        value = row.get(f"held_out_{key}")
        if value is not None:
            return f"loss {value:.4g}" if key == "outputs" else figure(key, value)
    return "-"


def beside(stage: dict[str, Any]) -> str:
    """Return what else an evaluation tells: top-5 error, balanced error, area under the curve, absolute error."""
    if stage.get("measure") == "outputs":
        parts = ((name, beside(found)) for name, found in stage["outputs"].items())
        return "; ".join(f"{name}: {text}" for name, text in parts if text)
    found = {key: stage[key] for key in BESIDE if stage.get(key) is not None}
    texts = [figure(key, value) for key, value in found.items()]
    if stage.get("perplexity") is None:
        return ", ".join(texts)
    if stage.get("measure") == "perplexity":
        return ", ".join([f"top-1 error {bare('error_rate', stage['error_rate'])}", *texts])
    return ", ".join([*texts, figure("perplexity", stage["perplexity"])])


def change(paired: dict[str, Any]) -> str:
    """Return a paired difference with its 95 % interval; those of several outputs."""
    if "outputs" in paired:
        return "; ".join(f"{name}: {change(found)}" for name, found in paired["outputs"].items())
    low, high, how = paired["low"], paired["high"], metric(paired.get("measure", "error_rate"))
    if how.step:
        return f"{paired['difference']:+.2f}{how.step} [{low:+.2f}, {high:+.2f}]"
    return f"{paired['difference']:+.4g} [{low:+.4g}, {high:+.4g}]"


def chance(paired: dict[str, Any]) -> str:
    """Return the p-value of a paired difference; those of several outputs."""
    if "outputs" in paired:
        return "; ".join(f"{name}: {chance(found)}" for name, found in paired["outputs"].items())
    return f"{paired['p_value']:.3g}"


def padding(stage: dict[str, Any]) -> list[str]:
    """Return a line on the positions that a model's mask left out, if any."""
    found = [one.get("padding") for one in (stage, *stage.get("outputs", {}).values())]
    parts = list(filter(None, found))[:1]
    return [f"padding left out, by the model's mask: {part:.0f} % of positions" for part in parts]


def balanced_rise(before: dict[str, Any], after: dict[str, Any]) -> float | None:
    """Return by how many points balanced error rises; None where no class is rare."""
    key = "balanced_disagreement" if "balanced_disagreement" in after else "balanced_error"
    old, new = before.get(key), after.get(key)
    return None if old is None or new is None else new - old


def allowance(
    paired: dict[str, Any], allowed: float, rise: float | None, measure: str | None = None
) -> str:
    """Return in words whether a drop is what was allowed, by its 95 % interval, and `balanced_rise`."""
    unit = "point" if allowed == 1 else "points"
    most = f"{allowed:g} {'% of perplexity' if metric(measure).relative else unit}"
    if rise is not None and rise > allowed >= paired["low"]:
        name = f"balanced {'disagreement' if metric(measure).by_original else 'error'}"
        return f"{name} rises by {rise:.2f} points, {allowed:g} were allowed"
    if paired["high"] <= allowed:
        return f"within the {most} allowed"
    if paired["low"] > allowed:
        return f"exceeds the {most} allowed"
    return f"too few test samples to tell whether it is within the {most} allowed"


def allowed_drop(document: dict[str, Any], measure: str | None) -> float | None:
    """Return the points, or percent of perplexity, that `--max-drop` allowed; None where something else decided."""
    rule = "max_perplexity_rise" if metric(measure).relative else "max_drop"
    budget = (document.get("network") or {}).get("budget") or {}
    if budget.get("name") == rule:
        return float(budget["value"])
    choices = [layer.get("rank_choice") or {} for layer in document["layers"]]
    return next((c["asked"] for c in choices if c.get("rule") == rule), None)


def lost_of(measure: str, before: float, after: float) -> float:
    """Return what a figure lost: points, or of perplexity percent."""
    lost = after - before
    return 100 * lost / before if metric(measure).relative else lost


def allowed_figure(measure: str, before: float, allowed: float) -> float:
    """Return the highest figure that an allowance leaves."""
    return before * (1 + allowed / 100) if metric(measure).relative else before + allowed


def points(value: float | None) -> str:
    """Return a difference of error rates, signed."""
    return "-" if value is None else f"{value:+.2f} pt"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def small(value: float | None) -> str:
    """Return a relative error."""
    return "-" if value is None else f"{value:.4g}"


def saved(before: float, after: float, unit: Callable[[float], str]) -> list[str]:
    """Return what was saved: in units, and as a share."""
    return [unit(before - after), share((before - after) / before if before else None)]


def drop(stage: dict[str, Any]) -> str:
    """Return the difference to the original's figure, with its interval where it was paired."""
    paired = stage.get("drop")
    return change(paired) if isinstance(paired, dict) else points(stage["drop_points"])


def changes(listed: list[str]) -> list[str]:
    """Return lines on what was put in the terms of Keras 3, if anything."""
    return ["in the terms of Keras 3:", *(f"  {change}" for change in listed)] if listed else []


def rank_name(rank: int | None) -> str:
    """Return a rank as tables write it."""
    return "full" if rank is None else str(rank)


def seeds_name(seeds: list[int]) -> str:
    """Return which seeds a table is of."""
    if not seeds:
        return "any seed"
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    in_a_row = len(seeds) == seeds[-1] - seeds[0] + 1
    return f"seeds {seeds[0]} to {seeds[-1]}" if in_a_row else f"seeds {', '.join(map(str, seeds))}"


def arm_names(extra: int) -> dict[str, str]:
    """Return how tables and figures call the arms; `extra` epochs are those of fine-tuning."""
    epochs = f"{extra} epoch" if extra == 1 else f"{extra} epochs"
    return {
        "full": "full rank",
        "full-finetuned": f"full rank + {epochs}",
        "svd": "SVD, nothing trained",
        "refined": "best head, nothing trained",
        "finetuned": f"SVD + {epochs}",
        "scratch": "from scratch",
    }
