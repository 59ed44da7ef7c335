"""Write the numbers of the README and of docs/index.md from the committed results: `python docs/make_first_page.py`.

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
PAGES = {DOCS.parent / "README.md": "docs/", DOCS / "index.md": ""}
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
    return f"""![{picture.alt}]({folder}figures/{picture.name}.svg)

{document["network"]}, by one command: `{words}`.
From {_kilobytes(first)} to **{_kilobytes(last)}**, test error {first["error"]["error_rate"]:.2f} % to {last["error"]["error_rate"]:.2f} %, one image \
in {_micro(first)} to {_micro(last)}; {document["job"]["cpu_seconds"]:.0f} s of CPU time.
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
    columns = ["you have", "you run", "parameters", "on test data"]
    return f"""{table(columns, rows)}

Nothing was trained and no labels were used. Fine-tuning recovers part of what is lost; 8-bit weights make the exported file
about four times smaller again. More, with intervals and commands: [results]({folder}results.md)."""


def _language_model() -> list[str]:
    found = read("language-model.json")["recovery"]
    before, after = found["original"], found["before"]
    run = f"`factorize M --rank {found['rank']} --method whitened --dataset words.npz`"
    change = f"perplexity {before['perplexity']:.1f} → {after['perplexity']:.1f}"
    name = "Language model, 10,000 words"
    return [name, run, _saved(before["parameters"], after["parameters"]), change]


def _saved(before: int, after: int) -> str:
    return f"{before:,} → {after:,} (−{100 * (1 - after / before):.0f} %)"


def render(path: Path) -> str:
    """Return a page with its numbers anew."""
    text = path.read_text(encoding="utf-8")
    for name, made in (("stages", stages), ("gains", gains)):
        start, end = START.format(name), END.format(name)
        part = f"{start}\n\n{made(PAGES[path])}\n\n{end}"
        text, count = re.subn(
            f"{re.escape(start)}.*?{re.escape(end)}", lambda _, p=part: p, text, flags=re.S
        )
        if count != 1:
            msg = f"{path} has {count} parts between {start} and {end}; expected one."
            raise ValueError(msg)
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page), encoding="utf-8")
