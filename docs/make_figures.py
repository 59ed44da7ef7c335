"""Draw the figures of docs/paper.md from the committed results: `python docs/make_figures.py`.

Each SVG names what it was drawn from by a hash, which a test compares with the results.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from lrcompress.training.networks import RECIPES

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
FIGURE = HERE / "figures" / "error-by-rank.svg"
STYLES = {
    "published, from scratch": {"color": "#555555", "marker": "s", "linestyle": "--"},
    "ours, from scratch": {"color": "#000000", "marker": "o"},
    "svd": {"color": "#d55e00", "marker": "v"},
    "centered": {"color": "#e69f00", "marker": "^"},
    "whitened": {"color": "#56b4e9", "marker": "D"},
    "refined": {"color": "#0072b2", "marker": "o"},
}
TITLES = {"mnist": "MNIST, 256 x 10", "cifar100": "CIFAR-100, 512 x 100"}

Curve = list[tuple[int, float]]


def curves() -> dict[str, dict[str, Curve]]:
    """Return (rank, test error in %) by data set and curve."""
    heads = json.loads((RESULTS / "heads.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, Curve]] = {}
    for name, network in heads["networks"].items():
        published = RECIPES[name].published
        found[name] = {
            "published, from scratch": sorted(
                (rank, error) for rank, (error, *_) in published.items() if rank
            )
        }
        path = RESULTS / f"scratch-{name}.json"
        if path.is_file():
            found[name]["ours, from scratch"] = mean_errors(json.loads(path.read_text("utf-8")))
        for row in network["all"]:
            found[name][row["asked"]] = sorted(
                (int(rank), at["error_rate"]) for rank, at in row["ranks"].items()
            )
    return found


def mean_errors(document: dict[str, Any]) -> Curve:
    """Return the mean error over seeds by rank."""
    errors: dict[int, list[float]] = {}
    for row in document["rows"]:
        if row["rank"]:
            errors.setdefault(row["rank"], []).append(row["error_rate"])
    return sorted((rank, sum(values) / len(values)) for rank, values in errors.items())


def digest(found: dict[str, dict[str, Curve]]) -> str:
    """Return what tells one set of curves from another."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def draw(found: dict[str, dict[str, Curve]], target: Path) -> None:
    """Write the figure: error against rank, a panel a data set."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "lrcompress", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(found), figsize=(9.5, 4), layout="constrained")
    for panel, (name, lines) in zip(panels, found.items(), strict=True):
        for label, points in lines.items():
            ranks, errors = zip(*points, strict=True)
            panel.plot(ranks, errors, label=label, markersize=4, linewidth=1.4, **STYLES[label])
        panel.set(title=TITLES[name], xlabel="rank", ylabel="test error, %")
        panel.set_xscale("log", base=2)
        panel.set_xticks([rank for rank, _ in lines["published, from scratch"]])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3)
    # Errors from one percent to eighty.
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_formatter("{x:g}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Description": digest(found)})


if __name__ == "__main__":
    draw(curves(), FIGURE)
