"""Errors without labels and without training: heads.json, heads-fresh-mnist.json, dense-layers."""

from __future__ import annotations

from typing import Any

from drawing.sheet import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    METHODS,
    NETWORKS,
    SOFT,
    Drawing,
    ends,
    plain_log,
    rank_axis,
    read,
)


def heads() -> Drawing:
    """Return the errors of each method by rank, a panel a network."""
    numbers = []
    for name, network in read("heads.json")["networks"].items():
        lines = [_line(row, network["inputs"]) for row in network["all"]]
        lines += [
            _line(row, network["few_inputs"]) for row in network["few"] if row["asked"] == "refined"
        ]
        numbers.append(
            {
                "name": name,
                "kernel": network["kernel"],
                "original": network["error_rate"],
                "lines": lines,
            }
        )
    seen = []
    for network in numbers:
        svd, refined = network["lines"][0]["points"], network["lines"][-2]["points"]
        seen.append(
            f"{NETWORKS[network['name']]}, full rank {network['original']:.2f} %: at rank {svd[-1][0]} svd has "
            f"{svd[-1][1]:.1f} %, refined {refined[-1][1]:.1f} %; at rank {svd[0][0]} {svd[0][1]:.2f} and {refined[0][1]:.2f} %"
        )
    alt = f"Test error by rank, a line a method; refined is lowest nearly everywhere. {'. '.join(seen)}."
    return Drawing("heads", alt, numbers, _draw_heads, (8.0, 4.2))


def _line(row: dict[str, Any], inputs: int) -> dict[str, Any]:
    points = [
        [int(rank), at["error_rate"], at["drop_interval"]] for rank, at in row["ranks"].items()
    ]
    return {"method": row["asked"], "inputs": inputs, "points": points}


def _draw_heads(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    panels = figure.subplots(1, len(numbers), squeeze=False)[0]
    for panel, network in zip(panels, numbers, strict=True):
        most = max(line["inputs"] for line in network["lines"])
        for line in network["lines"]:
            few = line["inputs"] < most
            needs = line["method"] in ("whitened", "refined")
            ranks, errors, intervals = zip(*line["points"], strict=True)
            panel.errorbar(
                ranks, errors, yerr=intervals, capsize=2, elinewidth=0.8, linestyle="--" if few else "-",
                label=line["method"] + ((", few inputs" if few else ", all inputs") if needs else ""),
                markerfacecolor="white" if few else None, **METHODS[line["method"]],
            )  # fmt: skip
        panel.axhline(network["original"], color=SOFT, linestyle=":", label="full rank")
        m, n = network["kernel"]
        few = min(line["inputs"] for line in network["lines"])
        panel.set(
            title=f"{NETWORKS[network['name']]}, {m} × {n}; {most:,} inputs or {few:,}",
            ylabel="test error, %",
        )
        if (
            max(p[1] for line in network["lines"] for p in line["points"])
            > 10 * network["original"]
        ):
            plain_log(panel, "y")
        rank_axis(panel, [point[0] for point in network["lines"][0]["points"]])
        panel.grid()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def fresh() -> Drawing:
    """Return refined on networks that no choice has seen, a panel a number of inputs."""
    numbers = [
        {
            "name": row["model"].split("/")[0].replace("-", " "), "original": row["error_rate"],
            **{part: [[int(rank), at["error_rate"], at["drop_interval"]] for rank, at in row[part].items()]
               for part in ("all", "few")},
        }
        for row in read("heads-fresh-mnist.json")["rows"]
    ]  # fmt: skip
    at = {part: [{p[0]: p[1] for p in row[part]}[4] for row in numbers] for part in ("all", "few")}
    alt = (
        f"Test error of {len(numbers)} fresh MNIST networks by rank, refined. Their lines lie close together: rank 4 ends at "
        f"{min(at['all']):.2f} to {max(at['all']):.2f} % with all inputs, {min(at['few']):.2f} to {max(at['few']):.2f} % with 2,000."
    )
    return Drawing("heads-fresh-mnist", alt, numbers, _draw_fresh, (8.0, 3.8))


def _draw_fresh(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    panels = figure.subplots(1, 2, sharey=True)
    marks = ((BLUE, "o"), (AMBER, "s"), (GREEN, "^"), (INK, "D"))
    for panel, part, title in zip(
        panels, ("all", "few"), ("calibrated on all inputs", "on 2,000 inputs"), strict=True
    ):
        for (color, marker), row in zip(marks, numbers, strict=False):
            ranks, errors, intervals = zip(*row[part], strict=True)
            panel.errorbar(ranks, errors, yerr=intervals, capsize=2, elinewidth=0.8, color=color, marker=marker,
                           label=f"{row['name']}, full rank {row['original']:.2f} %")  # fmt: skip
            panel.axhline(row["original"], color=color, linestyle=":", linewidth=1)
        panel.set_title(title)
        plain_log(panel, "y")
        rank_axis(panel, list(ranks))
        panel.grid()
    panels[0].set_ylabel("test error, %")
    panels[0].legend()


def dense_layers(name: str) -> Drawing:
    """Return errors against what the whole network saves."""
    document = read(name)
    rows = [
        {
            "rule": next(iter(row["rule"])), "asked": next(iter(row["rule"].values())),
            "saved": 100 * row["saved_of_model"], "error": row["error_rate"],
            "drop": [row["drop"][key] for key in ("low", "difference", "high")],
        }
        for row in document["rows"]
    ]  # fmt: skip
    first, last = (pick(rows, key=lambda row: row["saved"]) for pick in (min, max))
    original = first["error"] - first["drop"][1]
    alt = (
        f"Test error against what is saved of the whole network, with 95 % intervals: {first['error']:.2f} % with "
        f"{first['saved']:.0f} % saved, {last['error']:.2f} % with {last['saved']:.0f} % saved; the original has {original:.2f} %."
    )
    return Drawing(name.removesuffix(".json"), alt, rows, _draw_dense, (6.4, 3.4))


def _draw_dense(rows: Any, figure: Any) -> None:  # noqa: ANN401
    axis = figure.subplots()
    for rule, label, color, marker in (
        ("reduction", "asked for a reduction", BLUE, "o"), ("max_drop", "asked for a largest drop", AMBER, "s"),
    ):  # fmt: skip
        mine = sorted((row for row in rows if row["rule"] == rule), key=lambda row: row["saved"])
        for row in mine:
            low, drop, high = row["drop"]
            axis.errorbar([row["saved"]], [row["error"]], yerr=ends(low, drop, high), color=color, marker=marker,
                          capsize=3, linestyle="", label=label if row is mine[0] else None)  # fmt: skip
    original = rows[0]["error"] - rows[0]["drop"][1]
    axis.axhline(original, color=SOFT, linestyle=":", label="original")
    axis.set(xlabel="parameters of the whole network saved, %", ylabel="test error, %")
    axis.set_ylim(bottom=0)
    axis.grid()
    axis.legend(loc="lower left")
