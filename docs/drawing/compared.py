"""Compressing against training, and the main job: compare-*, scratch-* and mnist-rank4.json."""

from __future__ import annotations

import math
from typing import Any

from drawing.sheet import (
    BLUE,
    INK,
    METHODS,
    NETWORKS,
    SOFT,
    Drawing,
    committed,
    ends,
    plain_log,
    read,
)
from lrcompress.reporting.charts.figures import STAGES, draw_arms, draw_stages
from lrcompress.reporting.words import arm_names

_INTERVAL = ("error_rate", "error_rate_low", "error_rate_high")


def comparison(name: str) -> Drawing:
    """Return the arms of one comparison by rank."""
    document = read(name)
    numbers = {
        "dataset": document["settings"]["dataset"],
        "epochs": document["settings"]["finetune_epochs"],
        "summary": [
            {key: entry[key] for key in ("arm", "rank", *_INTERVAL)}
            | {"published": (entry["published"] or {}).get("error_rate")}
            for entry in document["summary"]
        ],
    }
    names = arm_names(numbers["epochs"])
    said = []
    for arm in dict.fromkeys(entry["arm"] for entry in numbers["summary"]):
        mine = sorted(
            (e for e in numbers["summary"] if e["arm"] == arm), key=lambda e: e["rank"] or math.inf
        )
        ends_of = [mine[-1], mine[0]] if len(mine) > 1 else mine
        errors = (
            f"{e['error_rate']:.2f} % at {'full rank' if e['rank'] is None else 'rank ' + str(e['rank'])}"
            for e in ends_of
        )
        said.append(f"{names[arm]}: {', '.join(errors)}")
    alt = f"Test error by rank on {NETWORKS.get(numbers['dataset'], numbers['dataset'])}, one line a way to get there. {'; '.join(said)}."
    return Drawing(name.removesuffix(".json"), alt, numbers, _draw_comparison, (8.0, 4.2))


def _draw_comparison(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    axis = figure.subplots()
    draw_arms(numbers, arm_names(numbers["epochs"]), axis)
    printed = {
        e["rank"]: e["published"]
        for e in numbers["summary"]
        if e["rank"] and e["published"] is not None
    }
    if printed:
        axis.plot(list(printed), list(printed.values()), color=INK, marker="x", markersize=6, linestyle="",
                  label="published, from scratch")  # fmt: skip
    axis.grid()
    figure.legend(loc="outside right upper")


def scratch(name: str) -> Drawing:
    """Return networks trained from scratch beside the published errors."""
    rows = [
        {"rank": row["rank"], **{key: row[key] for key in _INTERVAL},
         "published": (row["published"] or {}).get("error_rate")}
        for row in read(name)["rows"]
    ]  # fmt: skip
    said = "; ".join(
        ("full rank" if row["rank"] is None else f"rank {row['rank']}") + f" {row['error_rate']:.2f} %"
        + ("" if row["published"] is None else f", published {row['published']:.2f} %")
        for row in rows
    )  # fmt: skip
    alt = f"Test error from scratch with 95 % intervals, and the published ones. {said}."
    return Drawing(name.removesuffix(".json"), alt, rows, _draw_scratch, (6.4, 3.2))


def _draw_scratch(rows: Any, figure: Any) -> None:  # noqa: ANN401
    axis = figure.subplots()
    names = [
        "full" if rank is None else str(rank) for rank in dict.fromkeys(row["rank"] for row in rows)
    ]
    for row in rows:
        x = names.index("full" if row["rank"] is None else str(row["rank"]))
        value, low, high = (row[key] for key in _INTERVAL)
        first = row is rows[0]
        axis.errorbar([x - 0.1], [value], yerr=ends(low, value, high), color=BLUE, marker="o", capsize=3,
                      linestyle="", label="ours, with 95 % interval" if first else None)  # fmt: skip
        if row["published"] is not None:
            axis.plot([x + 0.1], [row["published"]], color=INK, marker="x", markersize=6, linestyle="",
                      label="published" if first else None)  # fmt: skip
    axis.set_xticks(range(len(names)), names)
    axis.set(xlabel="rank", ylabel="test error, %")
    errors = [row["error_rate"] for row in rows]
    if max(errors) > 10 * min(errors):
        plain_log(axis, "y")
    axis.grid(axis="y")
    axis.legend()


def main_job() -> Drawing:
    """Return the stages of the main job."""
    stages = [
        {key: stage[key] for key in ("name", *_INTERVAL)}
        for stage in read("mnist-rank4.json")["stages"]
    ]
    said = "; ".join(
        "{} {:.2f} % ({:.2f} to {:.2f})".format(
            STAGES[stage["name"]], *(stage[key] for key in _INTERVAL)
        )
        for stage in stages
    )
    alt = f"Test error of the MNIST network before and after, with 95 % intervals: {said}."
    return Drawing("mnist-rank4", alt, stages, _draw_main_job, (6.4, 2.4))


def _draw_main_job(stages: Any, figure: Any) -> None:  # noqa: ANN401
    draw_stages(stages, "error_rate", None, figure)
    if figure.axes[0].get_xscale() == "log":
        plain_log(figure.axes[0], "x")


def paper() -> Drawing:
    """Return the figure of docs/paper.md: from scratch, published and ours, beside our heads.

    The published numbers are in lrcompress/training, which starts Keras.
    """
    from lrcompress.studies.networks import RECIPES

    numbers = []
    for name, network in read("heads.json")["networks"].items():
        published = RECIPES[name].published
        lines = [
            [
                "published, from scratch",
                sorted([rank, error] for rank, (error, *_) in published.items() if rank),
            ]
        ]
        if f"scratch-{name}.json" in committed("scratch-*.json"):
            lines.append(["ours, from scratch", _mean_errors(read(f"scratch-{name}.json"))])
        lines += [
            [
                row["asked"],
                sorted([int(rank), at["error_rate"]] for rank, at in row["ranks"].items()),
            ]
            for row in network["all"]
        ]
        numbers.append({"name": name, "kernel": network["kernel"], "lines": lines})
    alt = (
        "Test error against rank. On MNIST, the refined head stays near the networks trained from scratch down to rank 4, while the "
        "truncated SVD fails below rank 8. On CIFAR-100, methods with inputs lose less than the truncated SVD at every rank."
    )
    return Drawing("error-by-rank", alt, numbers, _draw_paper, (8.4, 4.0))


def _mean_errors(document: dict[str, Any]) -> list[list[float]]:
    """Return the mean error over seeds by rank."""
    errors: dict[int, list[float]] = {}
    for row in document["rows"]:
        if row["rank"]:
            errors.setdefault(row["rank"], []).append(row["error_rate"])
    return sorted([rank, sum(values) / len(values)] for rank, values in errors.items())


def _draw_paper(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    styles = METHODS | {
        "published, from scratch": {"color": SOFT, "marker": "x", "linestyle": "--"},
        "ours, from scratch": {"color": INK, "marker": "v"},
    }
    panels = figure.subplots(1, len(numbers), squeeze=False)[0]
    for panel, network in zip(panels, numbers, strict=True):
        for label, points in network["lines"]:
            ranks, errors = zip(*points, strict=True)
            panel.plot(ranks, errors, label=label, **styles[label])
        m, n = network["kernel"]
        panel.set(
            title=f"{NETWORKS[network['name']]}, {m} × {n}", xlabel="rank", ylabel="test error, %"
        )
        panel.set_xscale("log", base=2)
        ranks = [rank for rank, _ in network["lines"][0][1]]
        ticks = [a for a, b in zip(ranks, [*ranks[1:], math.inf], strict=True) if b > 1.3 * a]
        panel.set_xticks(ticks, [str(rank) for rank in ticks])
        panel.set_xticks([], minor=True)
        panel.grid()
    # Errors from one percent to eighty.
    plain_log(panels[0], "y")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
