"""Write the numbers of README, docs/index.md and docs/comparison.md from committed results: `python docs/make_first_page.py`.

What stands between two marks in each file is made here; a test compares it with what this prints. Draw the picture first,
by `python docs/make_figures.py`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from drawing import first_page
from drawing.sheet import read
from make_results import table

DOCS = Path(__file__).parent
# Each page with the folder that its links lead through.
PAGES = {DOCS.parent / "README.md": "docs/", DOCS / "index.md": ""}
TOOLS = DOCS / "comparison.md"
# Goals of whole-network.json: what one has, and its data.
NETWORKS = {
    "resnet8-30": ("MLPerf Tiny image classification: ResNet8", "cifar10"),
    "ad01-50": ("MLPerf Tiny anomaly detection: autoencoder", "sounds.npz"),
    "resnet-50": ("ResNet for CIFAR-100", "cifar100"),
    "lstm-93": ("LSTM text classifier", "texts.npz"),
    "transformer-75": ("Transformer text classifier", "texts.npz"),
    "mnist-93": ("MNIST network of the paper", "mnist"),
}
START, END = "<!-- {}: made by docs/make_first_page.py -->", "<!-- end of {} -->"


def stages(folder: str) -> str:
    """Return the picture of one network by stage, and what made it."""
    document, picture = read("first-page.json"), first_page.picture()
    rows = first_page.stages()
    first, last = rows[0], rows[-1]
    words = " ".join(document["job"]["command"])
    lost = last["difference"]
    interval = (
        f"{lost['difference']:+.2f} points, 95 % interval {lost['low']:+.2f} to {lost['high']:+.2f}"
    )
    if lost["low"] <= 0 <= lost["high"]:
        interval += ", no measurable difference"
    return f"""![{picture.alt}]({folder}figures/{picture.name}.svg)

{document["network"]}, by one command: `{words}`.
From {_kilobytes(first)} to **{_kilobytes(last)}**, test error {first["error"]["error_rate"]:.2f} % to {last["error"]["error_rate"]:.2f} %
({interval}), one image in {_micro(first)} to {_micro(last)}; {document["job"]["cpu_seconds"]:.0f} s of CPU time. \
All four are LiteRT files on {document["cores"]} CPU cores, measured on all {first["error"]["samples"]:,} test images."""


def _kilobytes(row: dict[str, Any]) -> str:
    kilo = row["bytes"] / 1000
    return f"{kilo / 1000:.2f} MB" if kilo > 1000 else f"{kilo:.1f} kB"


def _micro(row: dict[str, Any]) -> str:
    return f"{1e6 * row['median']:.0f} µs"


def gains(folder: str) -> str:
    """Return the table of what one has, runs and gets."""
    measured = read("whole-network.json")
    rows = []
    for goal, (name, data) in NETWORKS.items():
        found = [
            row for row in measured.values()
            if isinstance(row, dict) and row["goal"] == goal and not row["without_data"]
        ]  # fmt: skip
        first = found[0]
        before, after = (sum(row[key] for row in found) / len(found) for key in ("before", "after"))
        what = f"error {before:.2f} → {after:.2f} %"
        if not first["unit"].endswith("error"):
            what = f"AUC {1 - before / 100:.3f} → {1 - after / 100:.3f}"
        run = f"`factorize M --layers all --reduction {first['value']:g} --dataset {data}`"
        rows.append(
            [name, run, _saved(first["parameters_before"], first["parameters_after"]), what]
        )
    rows.append(_language_model())
    text = read("five-jobs.json")["jobs"]["text"]
    left, wrong = text["parameters"][1] / text["parameters"][0], text["error_rate"]
    columns = ["you have", "you run", "parameters", "on test data"]
    return f"""{table(columns, rows)}

Nothing was trained and no labels were used. `compress` also fine-tunes: its defaults make the LSTM {100 * (1 - left):.0f} % smaller, error
{wrong[0]:.2f} → {wrong[1]:.2f} %. With 8-bit weights an exported file is about four times smaller again. More: [results]({folder}results.md)."""


def _language_model() -> list[str]:
    found = read("vocabularies.json")["networks"]["words-10000"]
    first = found["rows"][0]
    run = f"`factorize M --rank {first['rank']} --dataset words.npz`"
    change = f"perplexity {found['original']['perplexity']:.1f} → {first['perplexity']:.1f}"
    kernel, rank = found["kernel"], first["rank"]
    after = found["parameters"] - kernel[0] * kernel[1] + rank * sum(kernel)
    return ["Language model, 10,000 words", run, _saved(found["parameters"], after), change]


def _saved(before: int, after: int) -> str:
    return f"{before:,} → {after:,} (−{100 * (1 - after / before):.0f} %)"


def measured() -> str:
    """Return what other tools make of the same networks."""
    found, ours = read("other-tools.json"), read("whole-network.json")
    others = read("whole-network-baselines.json")
    methods = {name.partition(", ")[2]: None for name in found["fasterai"]}
    rows = []
    for goal in dict.fromkeys(row["goal"] for row in found["fasterai"].values()):
        lost = [
            row["lost"]
            for row in ours.values()
            if isinstance(row, dict) and row["goal"] == goal and not row["without_data"]
        ]
        theirs = [
            _fasterai(found["fasterai"].get(f"{goal}, {method}", {"lost": "-"}))
            for method in methods
        ]
        ways = [others.get(f"{goal}, {way}", {}).get("lost", "-") for way in ("BALF", "uniform")]
        network, _, saved = goal.rpartition("-")
        rows.append([network, f"{saved} %", *map(_points, [sum(lost) / len(lost), *ways]), *theirs])
    columns = [
        "network",
        "saved",
        "lrcompress",
        "BALF's method",
        "plain SVD",
        *(f"fasterai, {method}" for method in methods),
    ]
    quantized = [
        [name, f"{row['bytes_before']:,}", f"{row['bytes_after']:,}", f"{row['ratio']:.3f}", _points(row["lost"]),
         ", ".join(row["quantized"])]
        for name, row in found["keras"].items()
    ]  # fmt: skip
    versions = found["versions"]
    text = f"""Points of error lost when a share of the parameters is saved ([other-tools.json](../benchmarks/results/other-tools.json), \
[whole-network-baselines.json](../benchmarks/results/whole-network-baselines.json)):

{table(columns, rows)}

fasterai {versions["fasterai"]} got the weights in PyTorch {versions["torch"]}, one share for all layers, and calibration inputs for its Linear layers. It
chooses no share for each layer and expects fine-tuning afterwards, so that these figures show how much the choice of sizes and \
the data are worth, not how good its results can be. *fails*: it raised an error on the first convolution, whose three channels \
leave a smaller core than the rank. BALF's method was reimplemented from the paper.

`model.quantize("int8")` of Keras {versions["keras"]}, the sizes of the files that Keras saves without optimizer:

{table(["network", "bytes before", "after", "ratio", "points lost", "layers quantized"], quantized)}"""
    if "tfmot" in found:
        text += _accepted(found["tfmot"]["LeNet"])
    return text


def _accepted(row: dict[str, Any]) -> str:
    """Return how lrcompress does in the acceptance test of TensorFlow Model Optimization."""
    ratios = ", ".join(
        f"{name} {row[key]['ratio']:.1f} times smaller ({row['asked'][key]} asked)"
        for name, key in (("the SavedModel", "saved-model"), ("the LiteRT file", "litert"))
    )
    return f"""

The acceptance test of TensorFlow Model Optimization's SVD takes a small network for MNIST at rank 16 and asks for a SavedModel
below a third and a LiteRT file below a sixth; its source notes that the second fails. lrcompress at as many parameters \
({row["parameters_before"]:,} → {row["parameters_after"]:,}) makes {ratios}."""


def _fasterai(row: dict[str, Any]) -> str:
    """Return what was lost, and what was saved where that is more than was asked."""
    more = row.get("saved", 0) - row.get("value", 0) > 0.02
    return _points(row["lost"]) + (f" ({100 * row['saved']:.0f} % saved)" if more else "")


def _points(lost: float | str) -> str:
    return lost if isinstance(lost, str) else f"{lost:+.2f}"


def render(path: Path) -> str:
    """Return a page with its numbers anew."""
    text = path.read_text(encoding="utf-8")
    parts = {"measured": measured()} if path == TOOLS else {
        "stages": stages(PAGES[path]), "gains": gains(PAGES[path])
    }  # fmt: skip
    for name, made in parts.items():
        start, end = START.format(name), END.format(name)
        part = f"{start}\n\n{made}\n\n{end}"
        text, count = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}", lambda _, p=part: p, text, flags=re.S
        )
        if count != 1:
            msg = f"{path} has {count} parts between {start} and {end}; expected one."
            raise ValueError(msg)
    return text


if __name__ == "__main__":
    for page in (*PAGES, TOOLS):
        page.write_text(render(page), encoding="utf-8")
