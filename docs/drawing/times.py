"""What takes how long: svd-peers, scale, factorize-vs-keras, export; and what became of files: fuzz."""

from __future__ import annotations

from typing import Any

from drawing.sheet import (
    AMBER,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    SKY,
    SOFT,
    Drawing,
    plain_log,
    read,
)

# Name in svd-peers.json to the name in pictures, colour and mark.
PEERS = {
    "numpy_gesdd": ("NumPy svd", INK, "o"),
    "scipy_gesdd": ("SciPy svd", BLUE, "s"),
    "scipy_svds": ("SciPy svds", GREEN, "^"),
    "sklearn_randomized_svd": ("scikit-learn randomized_svd", ORANGE, "D"),
    "fbpca": ("fbpca", AMBER, "v"),
    "torch_svd_lowrank": ("torch svd_lowrank", PINK, "P"),
    "tensorflow_svd": ("TensorFlow svd", SKY, "X"),
}
# What counts as reaching the least possible error, and the most Gram products that were aimed at.
REACHED, AIM = 1.001, 1.5
WAYS = {
    "lrcompress": ("lrcompress", BLUE, "o"),
    "copy": ("cp, a plain copy", SOFT, "x"),
    "keras": ("Keras, SVD, save", ORANGE, "s"),
}


def decompositions() -> Drawing:
    """Return how long peers take beside `truncated_svd`, and that in Gram products."""
    numbers = []
    for case in read("svd-peers.json")["cases"]:
        verdict = case["verdict"]
        clock = f"median_{verdict['clock']}"
        peers = [
            [name.split(",")[0], found[clock] / verdict["lrcompress"], found["error_over_optimum"]]
            for name, found in case["peers"].items()
            if name.split(",")[0] in PEERS and "skipped" not in found
        ]
        m, n = case["shape"]
        label = f"{m} × {n}, r = {case['rank']}, {case['kind']}"
        numbers.append({"label": label, "peers": peers, "gram": verdict["over_gram_product"]})
    reached = [ratio for case in numbers for _, ratio, error in case["peers"] if error <= REACHED]
    grams = [case["gram"] for case in numbers]
    alt = (
        f"Left: seconds of each peer over those of truncated_svd, by shape. Peers that reach the least error within 0.1 % "
        f"take {min(reached):.2f} to {max(reached):.0f} times as long; hollow marks, left and right of 1, miss it. Right: truncated_svd "
        f"takes {min(grams):.2f} to {max(grams):.1f} Gram products, least for the largest kernels; {AIM} was the aim."
    )
    return Drawing("svd-peers", alt, numbers, _draw_decompositions, (8.4, 4.8))


def _draw_decompositions(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
    for place, case in enumerate(numbers):
        for name, ratio, error in case["peers"]:
            _, color, marker = PEERS[name]
            hollow = error > REACHED
            left.plot([ratio], [place], color=color, marker=marker, markersize=6,
                      markerfacecolor="white" if hollow else color, alpha=0.9)  # fmt: skip
        right.plot([case["gram"]], [place], color=BLUE, marker="o", markersize=6)
        right.annotate(f"{case['gram']:.2f}", (case["gram"], place), xytext=(7, 0), va="center",
                       textcoords="offset points")  # fmt: skip
    left.set_yticks(range(len(numbers)), [case["label"] for case in numbers])
    left.set_ylim(len(numbers) - 0.4, -0.6)
    left.axvline(1, color=SOFT, linestyle="--", linewidth=1)
    right.axvline(AIM, color=SOFT, linestyle="--", linewidth=1)
    left.set_xlabel("seconds over those of truncated_svd (dashed: as fast)")
    right.set_xlabel(f"Gram products (dashed: {AIM})")
    for axis in (left, right):
        plain_log(axis, "x")
        axis.grid(axis="x")
    left.set_xticks([0.5, 1, 2, 5, 10, 20, 50])
    right.set_xticks([1, 2, 5, 10, 20])
    right.set_xlim(1, 30)
    for label, color, marker in PEERS.values():
        left.plot([], [], color=color, marker=marker, linestyle="", markersize=6, label=label)
    left.plot([], [], color=SOFT, marker="o", markerfacecolor="white", linestyle="", markersize=6,
              label=f"hollow: error above {REACHED} of the least")  # fmt: skip
    figure.legend(loc="outside lower center", ncols=4)


def scale() -> Drawing:
    """Return seconds and memory of whole processes, a line a file."""
    numbers = [
        {
            "label": f"{case['name']}\n{case['bytes'] / 1e6:,.0f} MB, r = {case['rank']}",
            **{way: [case[way]["median_seconds"], case[way]["peak_megabytes"]] for way in WAYS},
        }
        for case in read("scale.json")["cases"]
    ]
    said = "; ".join(
        "{}: {:.1f} s and {:,.0f} MB against {:.1f} s and {:,.0f} MB".format(
            case["label"].replace("\n", ", "), *case["lrcompress"], *case["keras"]
        )
        for case in numbers
    )
    alt = f"Seconds, left, and peak memory, right, of lrcompress, a copy and Keras. lrcompress against Keras, {said}."
    return Drawing("scale", alt, numbers, _draw_scale, (8.0, 3.6))


def _draw_scale(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    panels = figure.subplots(1, 2, sharey=True)
    for panel, index, label in zip(panels, (0, 1), ("seconds", "peak memory, MB"), strict=True):
        for way, (name, color, marker) in WAYS.items():
            panel.plot([case[way][index] for case in numbers], range(len(numbers)), color=color, marker=marker,
                       markersize=6, linestyle="", label=name)  # fmt: skip
        plain_log(panel, "x")
        panel.set_xlabel(label)
        panel.grid()
    panels[0].set_yticks(range(len(numbers)), [case["label"] for case in numbers])
    panels[0].set_ylim(len(numbers) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def processes(name: str) -> Drawing:
    """Return the seconds of each run of `factorize` and of its Keras twin."""
    found = read(name)["seconds"]
    numbers = {way: sorted(found[way]) for way in ("lrcompress", "keras")}
    ours, theirs = numbers.values()
    alt = (
        f"Seconds of each whole process, a dot a run: lrcompress {ours[0]:.2f} to {ours[-1]:.2f}, "
        f"Keras {theirs[0]:.2f} to {theirs[-1]:.2f}."
    )
    return Drawing(name.removesuffix(".json"), alt, numbers, _draw_processes, (6.4, 1.7))


def _draw_processes(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    axis = figure.subplots()
    for place, (way, seconds) in enumerate(numbers.items()):
        _, color, marker = WAYS[way]
        axis.plot(
            seconds,
            [place] * len(seconds),
            color=color,
            marker=marker,
            linestyle="",
            markersize=6,
            alpha=0.6,
        )
    axis.set_yticks(range(len(numbers)), [WAYS[way][0] for way in numbers])
    axis.set_ylim(len(numbers) - 0.5, -0.5)
    axis.set_xlim(left=0)
    axis.set_xlabel("seconds of a whole process")
    axis.grid(axis="x")


def export(name: str) -> Drawing:
    """Return bytes and latency of exported files."""
    document = read(name)
    numbers = [
        {key: row[key] for key in ("what", "model", "int8", "bytes", "median", "q1", "q3")}
        for row in document["rows"]
    ]  # fmt: skip
    said = "; ".join(
        f"{_export_name(row)}: {row['bytes']:,} bytes, {1e6 * row['median']:,.1f} µs"
        for row in numbers
    )
    alt = f"Bytes, left, and latency with its middle half, right, of exported files of {document['name']}. {said}."
    return Drawing(name.removesuffix(".json"), alt, numbers, _draw_export, (8.0, 3.2))


def _export_name(row: dict[str, Any]) -> str:
    kinds = {
        ("original", False): "original", ("factorized", False): "low rank",
        ("original", True): "8 bits", ("factorized", True): "low rank and 8 bits",
    }  # fmt: skip
    what = {"model": "whole model", "head": "head"}[row["what"]]
    return f"{what}, {kinds[row['model'], row['int8']]}"


def _draw_export(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(numbers):
        color = ORANGE if row["model"] == "original" else BLUE
        filled = "white" if row["int8"] else color
        left.plot(
            [row["bytes"] / 1e3],
            [place],
            color=color,
            marker="s",
            markersize=6,
            markerfacecolor=filled,
            linestyle="",
        )
        right.plot([1e6 * row["q1"], 1e6 * row["q3"]], [place, place], color=color, linewidth=2)
        right.plot(
            [1e6 * row["median"]],
            [place],
            color=color,
            marker="o",
            markersize=6,
            markerfacecolor=filled,
            linestyle="",
        )
    left.set_yticks(range(len(numbers)), [_export_name(row) for row in numbers])
    left.set_ylim(len(numbers) - 0.5, -0.5)
    left.set_xlabel("file, kB (hollow: 8 bits)")
    right.set_xlabel("µs a call: median and middle half")
    if max(row["bytes"] for row in numbers) > 10 * min(row["bytes"] for row in numbers):
        plain_log(left, "x")
    else:
        left.set_xlim(left=0)
    if max(row["median"] for row in numbers) > 10 * min(row["median"] for row in numbers):
        plain_log(right, "x")
    else:
        right.set_xlim(left=0)
    for axis in (left, right):
        axis.grid(axis="x")


def fuzzing() -> Drawing:
    """Return what became of damaged files, by the kind of damage."""
    found = read("fuzz.json")["mutations"]
    numbers = [[name, at.get("compressed", 0), at.get("refused", 0)] for name, at in found.items()]
    shares = []
    for group, title in _DAMAGED.items():
        mine = [row for row in numbers if row[0].split()[0] == group]
        shares.append(
            f"{title} {100 * sum(row[1] for row in mine) / sum(row[1] + row[2] for row in mine):.0f} %"
        )
    alt = f"Share of files still compressed, by the kind of damage; all others were refused. By what was damaged: {', '.join(shares)}."
    return Drawing("fuzz", alt, numbers, _draw_fuzzing, (8.4, 3.8))


_DAMAGED = {"bytes": "bytes", "hdf5": "HDF5 objects", "json": "JSON", "zip": "archive members"}


def _draw_fuzzing(numbers: Any, figure: Any) -> None:  # noqa: ANN401
    panels = figure.subplots(1, len(_DAMAGED))
    groups = {group: [row for row in numbers if row[0].split()[0] == group] for group in _DAMAGED}
    most = max(len(rows) for rows in groups.values())
    for panel, (group, rows) in zip(panels, groups.items(), strict=True):
        places = range(len(rows))
        shares = [100 * row[1] / (row[1] + row[2]) for row in rows]
        panel.barh(places, shares, color=BLUE, height=0.7, label="compressed")
        panel.barh(
            places,
            [100 - share for share in shares],
            left=shares,
            color=AMBER,
            height=0.7,
            label="refused",
        )
        names = [f"{row[0].removeprefix(group).strip()}, {row[1] + row[2]:,}" for row in rows]
        panel.set_yticks(places, names)
        panel.set_ylim(most - 0.5, -0.6)
        panel.set_xlim(0, 100)
        panel.set(title=_DAMAGED[group], xlabel="share of files, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
