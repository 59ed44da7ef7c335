"""What training adds: finetune-choices-*, finetune-head-* and language-model.json."""

from __future__ import annotations

import math
from typing import Any

from drawing.sheet import (
    AMBER,
    BLUE,
    INK,
    METHODS,
    ORANGE,
    SOFT,
    Drawing,
    plain_log,
    rank_axis,
    read,
)


def choices(name: str) -> Drawing:
    """Return the held-out loss of each variant of fine-tuning."""
    document = read(name)
    several = "summary" in document
    numbers = {
        "several_ranks": several and len({entry["rank"] for entry in document["summary"]}) > 1,
        "rows": [_variant(row, several=several) for row in document["rows"]],
    }
    named: dict[str, list[float]] = {}
    for row in numbers["rows"]:
        named.setdefault(_choice_name(row, numbers), []).append(row["losses"][-1])
    said = "; ".join(f"{label}: {sum(found) / len(found):.4f}" for label, found in named.items())
    alt = f"Held-out loss after the last epoch by variant, a dot a run. Means: {said}."
    height = 1.1 + 0.3 * len(named)
    return Drawing(name.removesuffix(".json"), alt, numbers, _draw_choices, (8.0, height))


def _variant(row: dict[str, Any], *, several: bool) -> dict[str, Any]:
    """Return a run's name, rank, and held-out losses by epoch."""
    if several:
        label = row["variant"]
    else:
        taught = (
            f"teacher {row['teacher_weight']:g}, T = {row['temperature']:g}"
            if row["teacher_weight"]
            else "labels alone"
        )
        label = f"rate {row['learning_rate']:g}, {taught}"
        label += "" if row["head_refitted"] else ", head not re-fitted"
        label += ", dropout" if row["dropout"] else ""
    losses = [entry[2] for entry in row["validation"] if entry[0] == "trained"]
    return {"label": label, "rank": row.get("rank"), "losses": losses}


def _choice_name(row: dict[str, Any], numbers: dict[str, Any]) -> str:
    return f"rank {row['rank']}, {row['label']}" if numbers["several_ranks"] else str(row["label"])


def _draw_choices(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    axis = figure.subplots()
    names = list(dict.fromkeys(_choice_name(row, numbers) for row in numbers["rows"]))
    for place, name in enumerate(names):
        runs = [row["losses"] for row in numbers["rows"] if _choice_name(row, numbers) == name]
        color = BLUE if place == 0 else SOFT
        for losses in runs:
            axis.plot(losses[:-1], [place] * (len(losses) - 1), color=color, marker="o", markerfacecolor="white",
                      linestyle="", markersize=5)  # fmt: skip
            axis.plot(losses[-1:], [place], color=color, marker="o", linestyle="", markersize=5)
        if len(runs) > 1:
            mean = sum(losses[-1] for losses in runs) / len(runs)
            axis.plot([mean, mean], [place - 0.3, place + 0.3], color=ORANGE, linewidth=2)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(left=0)
    runs = "; bars: means of the last" if len(numbers["rows"]) > len(names) else ""
    axis.set_xlabel(f"held-out loss after the last epoch (hollow: after earlier ones{runs})")
    axis.grid(axis="x")


def head_alone(name: str) -> Drawing:
    """Return errors before and after training the head alone, and the seconds."""
    keys = ("rank", "error_rate_before", "error_rate_after", "training_seconds", "wall_seconds")
    document = read(name)
    numbers = {
        "original": document["rows"][0]["error_rate_original"],
        "rows": sorted([row[key] for key in keys] for row in document["rows"]),
    }
    said = "; ".join(
        f"rank {row[0]}: {row[1]:.2f}, then {row[2]:.2f} %, {row[4]:.0f} s"
        for row in numbers["rows"]
    )
    alt = f"Test error before and after training the head alone, and seconds. {said}."
    return Drawing(name.removesuffix(".json"), alt, numbers, _draw_head_alone, (8.0, 3.2))


def _draw_head_alone(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    ranks, before, after, trained, whole = zip(*numbers["rows"], strict=True)
    left.plot(ranks, before, color=ORANGE, marker="o", label="before: factors of the kernel alone")
    left.plot(ranks, after, color=BLUE, marker="s", label="after training the head")
    left.axhline(numbers["original"], color=SOFT, linestyle=":", label="original")
    left.set_ylabel("test error, %")
    plain_log(left, "y")
    rank_axis(left, list(ranks))
    left.grid()
    left.legend()
    names = [str(rank) for rank in ranks]
    right.bar(names, trained, color=BLUE, width=0.6, label="training")
    right.bar(names, [w - t for w, t in zip(whole, trained, strict=True)], bottom=trained, color=AMBER, width=0.6,
              label="passes of the network, the rest")  # fmt: skip
    right.set(xlabel="rank", ylabel="seconds")
    right.set_ylim(top=1.35 * max(whole))
    right.grid(axis="y")
    right.legend(loc="upper right")


def language_model() -> Drawing:
    """Return perplexity against parameters, and what the rank brings in speed."""
    document = read("language-model.json")
    sweep, recovery = document["ranks"], document["recovery"]
    whole, base = document["parameters"], document["ranks"]["original"]["perplexity"]
    rows = sweep["rows"] + document.get("refined", {"rows": []})["rows"]
    lines: dict[str, list[list[float]]] = {}
    for row in rows:
        left = (1 - row["model_reduction"]) * whole
        lines.setdefault(row["method"], []).append(
            [row["rank"], left, 100 * (row["perplexity"] / base - 1)]
        )
    # On more test text than the sweep: each is set beside the full rank on the same words.
    full = recovery["original"]["loss"]
    tuned = [
        recovery["rank"],
        recovery["after"]["parameters"],
        100 * (math.exp(recovery["after"]["loss"] - full) - 1),
    ]
    numbers = {
        "lines": lines, "whole": whole, "tuned": tuned,
        "speed": [[name, timed["ratio_quartiles"]] for name, timed in document["speed"].items()],
    }  # fmt: skip
    last = {method: points[-1] for method, points in lines.items()}
    said = "; ".join(
        f"{method} {point[2]:+.1f} % at rank {point[0]}" for method, point in last.items()
    )
    speed = "; ".join(f"{name} {ratio[1]:.2f}" for name, ratio in numbers["speed"])
    alt = (
        f"Left: perplexity over full rank against parameters of the model, a line a method: {said}; after fine-tuning "
        f"{tuned[2]:+.1f} % at rank {tuned[0]}. Right: how many times as fast at that rank: {speed}."
    )
    return Drawing("language-model", alt, numbers, _draw_language_model, (8.4, 3.8))


def _draw_language_model(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for method, points in numbers["lines"].items():
        # svd and centered lie upon one another.
        ring = {"markersize": 8, "markerfacecolor": "none"} if method == "svd" else {}
        left.plot(
            [p[1] / 1e6 for p in points],
            [p[2] for p in points],
            label=method,
            **METHODS[method] | ring,
        )
    rank, parameters, above = numbers["tuned"]
    left.plot([parameters / 1e6], [above], color=INK, marker="*", markersize=9, linestyle="",
              label=f"rank {rank}, one epoch of fine-tuning")  # fmt: skip
    left.axhline(0, color=SOFT, linestyle=":")
    left.plot(
        [numbers["whole"] / 1e6], [0], color=SOFT, marker="o", linestyle="", label="full rank"
    )
    left.yaxis.set_major_formatter("{x:+g}")
    left.set(xlabel="parameters of the model, millions", ylabel="perplexity over full rank, %")
    left.grid()
    left.legend()
    for place, (_, (low, middle, high)) in enumerate(numbers["speed"]):
        right.plot([low, high], [place, place], color=BLUE, linewidth=2)
        right.plot([middle], [place], color=BLUE, marker="o", markersize=6)
    right.set_yticks(range(len(numbers["speed"])), [name for name, _ in numbers["speed"]])
    right.set_ylim(len(numbers["speed"]) - 0.5, -0.5)
    right.axvline(1, color=SOFT, linestyle="--", linewidth=1)
    right.set_xlim(left=0)
    right.set_xlabel(f"times as fast, rank {rank}")
    right.grid(axis="x")
