"""Write docs/compatibility.md from the committed figures: `python docs/make_compatibility.py`.

The figures are made by benchmarks/compatibility.py. A test compares the page with what this prints.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
RUNTIMES = {"keras": "Keras 3", "tf_keras": "tf_keras"}
# As in benchmarks/compatibility.py.
MODERN_TOLERANCE, HALF_TOLERANCE = 1e-4, 1e-2
COLUMNS = [
    "file", "Keras", "format", "what was done", "original loads in Keras 3", "in tf_keras",
    "compressed loads in", "largest relative difference", "modernized loads in Keras 3",
    "its largest relative difference",
]  # fmt: skip


def code(text: str) -> str:
    """Return a stranger's text as inert code, in a table too."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def plain(text: str) -> str:
    """Return a stranger's text with everything escaped that Markdown would act on."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return re.sub(r"([\\`*_\[\](){}<>|&#~])", r"\\\1", text)


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cells(row: dict[str, Any]) -> list[str]:
    """Return one file's line."""
    loads = [name for key, name in RUNTIMES.items() if row[key].get("compressed_loads") is True]
    apart = [row[key].get("relative_difference") for key in RUNTIMES]
    known = [value for value in apart if value is not None]
    if row["status"] == "compressed":
        done = f"compressed: {code(row['layer'])} {' x '.join(map(str, row['kernel_shape']))}"
        done += ", float16" if row["dtype"] == "float16" else ""
        where = " and ".join(loads) or "neither"
        difference = f"{max(known):.1e}" if known else "-"
    else:
        done, where, difference = f"{row['status']}: {row['code']}", "-", "-"
    if row["verdict"] == "differs":
        difference = f"**differs** {difference}"
    return [
        code(row["file"]),
        plain(row["keras_version"] or "-"),
        {"hdf5": "HDF5", "keras": "archive"}.get(row["format"], "-"),
        done,
        *("yes" if row[key].get("original_loads") is True else "no" for key in RUNTIMES),
        where,
        difference,
        *modernized(row),
    ]


def modernized(row: dict[str, Any]) -> list[str]:
    """Return the cells about the file in the terms of Keras 3."""
    if "refused" in row["modernized"]:
        return [f"refused: {row['modernized']['refused']}", "-"]
    loads = "yes" if row["keras"].get("modernized_loads") is True else "no"
    apart = row["modern_difference"]
    return [loads, "-" if apart is None else f"{apart:.1e}"]


def sentences(rows: list[dict[str, Any]]) -> str:
    """Return what was said of each file that was not compressed, by code."""
    parts = []
    for reason in sorted({row["code"] for row in rows if row["status"] != "compressed"}):
        said = [plain(row["sentence"]) for row in rows if row.get("code") == reason]
        parts.append("\n".join([f"### {reason} ({len(said)})", "", *(f"- {s}" for s in said)]))
    return "\n\n".join(parts)


def exceptions(rows: list[dict[str, Any]]) -> str:
    """Name the files whose modernized copy computes otherwise."""
    odd = [row for row in rows if row["modern_same"] is False]
    named = "; ".join(f"{code(row['file'])} by {row['modern_difference']:.1e}" for row in odd)
    return f" The others: {named}." if odd else ""


def tested(spread: dict[str, float], still: list[str]) -> str:
    """Return in how many comparisons the output depends on the input, without which none tells much."""
    smallest = min((value for name, value in spread.items() if name not in still), default=0.0)
    sentence = (
        f"In {len(spread) - len(still)} of {len(spread)} comparisons the output depends on the input: it varies "
        f"by at least {smallest:.1e} of its largest value."
    )
    names = ", ".join(f"`{name}`" for name in still)
    return f"{sentence} On these random inputs it does not in {names}." if still else sentence


def whole_networks() -> str:
    """Return what all layers of the files can save, and whether every form of them computes the same."""
    document = json.loads((RESULTS / "zoo-forms.json").read_text(encoding="utf-8"))
    totals, written = document["totals"], document["totals"]["written"]
    read = totals["read, with weights"]
    rows = [
        [f"{share}", f"{count} of {read}", f"{100 * count / read:.0f} %"]
        for share, count in totals["saves"].items()
    ]
    apart = [
        (row["file"], turn["relative_difference"])
        for row in document["rows"]
        for turn in row.get("turns", [])
        if turn["outcome"] == "differs"
    ]
    named = "; ".join(f"{code(name)} by {worst:.1e}" for name, worst in apart)
    loads = [row["quarter"].get("compressed_loads") for row in document["rows"] if "quarter" in row]
    known = sum(row.get("quarter", {}).get("original_loads") is True for row in document["rows"])
    return f"""## All layers: `--layers all`

{read} of the {totals["files"]} files can be read and have weights. With every layer that has a form at a quarter of its largest
size (rank, units, dimensions of heads), in the form that alone saves most, so many files lose at least this share of
all their parameters (what a file may lose before it answers worse is another question, which only data answers):

{table(["saved, at least", "files", "share"], rows)}

Keras 3 loads {sum(found is True for found in loads)} of these small files, and {known} of their originals as they are or modernized.

Every form of every layer, {totals["forms"]} in all, is also written at full size, where it must compute what the layer did:
{written["same"]} files with different forms compute in Keras 3 what the original does, {written["differs"]} do not ({named}); {written["not comparable"]} cannot be compared,
because they need their authors' own layers or did not come to an end in time; {written["refused"]} are refused.

    {" ".join(document["command"])}

The figures are in [zoo-forms.json](../benchmarks/results/zoo-forms.json).
"""


def without_data() -> str:
    """Return what `compress` saves of the files when it has nothing but them."""
    document = json.loads((RESULTS / "compress-zoo.json").read_text(encoding="utf-8"))
    totals = document["totals"]
    able, readable = totals["can be made smaller"], totals["readable"]
    short = [
        f"{code(row['file'])} {100 * saved:.0f} %"
        for row in document["rows"]
        if row["readable"] and 0 < (saved := share_saved(row["share"])) < 0.2
    ]
    late = sum(row["bare"]["status"] in ("late", "crashed") for row in document["rows"])
    return f"""## `lrcompress compress FILE`, and nothing else

{readable} of the {totals["files"]} files can be read, and {able} have a layer that can be made smaller. Without data and without a budget,
{totals["smaller, bare"]} of these {able} come out smaller, as far as their weights alone justify, and {totals["smaller file, bare"]} as smaller files;
measured on inputs made from their own statistics: {totals["measured on synthetic inputs"]}. {late} end in a crash or not in time.
With `--reduction 0.2`, {totals["reached with --reduction 0.2"]} save 20 % of their parameters. The others save what they can: {", ".join(short)}.

    {" ".join(document["command"])}

The figures are in [compress-zoo.json](../benchmarks/results/compress-zoo.json).
"""


def share_saved(found: dict[str, Any]) -> float:
    """Return the share of the parameters that was saved."""
    if found["status"] != "compressed":
        return 0.0
    before, after = found["parameters"]
    return float(1 - after / before)


def render() -> str:
    """Return the page."""
    document = json.loads((RESULTS / "compatibility.json").read_text(encoding="utf-8"))
    found, totals, rows = document["versions"], document["totals"], document["rows"]
    odd = sum(
        row["status"] == "compressed"
        and any(
            row[key].get("original_loads") is True and row[key].get("compressed_loads") is not True
            for key in RUNTIMES
        )
        for row in rows
    )
    spread = {
        row["file"]: min(
            row[key]["output_spread"] for key in RUNTIMES if "output_spread" in row[key]
        )
        for row in rows
        if any("output_spread" in row[key] for key in RUNTIMES)
    }
    still = [name for name, value in spread.items() if value < MODERN_TOLERANCE]
    return f"""# Compatibility

What lrcompress does with {totals["files"]} files that other people wrote and published. Each one is compressed at full
rank, which changes the file but must not change what the model computes. Then the original and the compressed file are
loaded, in safe mode and without custom objects, in Keras {found["keras"]} and in tf_keras {found["tf_keras"]} (both on
TensorFlow {found["tensorflow"]}), and get the same random inputs of three sizes. The last column is the largest difference of any
output, relative to that output's largest value: more than 1e-05 counts as different, more than 1e-02 where the kernel is float16.

    {" ".join(document["command"])}

This page is written by `python docs/make_compatibility.py` from what that command found
([compatibility.json](../benchmarks/results/compatibility.json)). Files are loaded under a name whose ending fits their
content, since some names say the wrong format.

- {totals["compressed"]} of {totals["files"]} files are compressed, {totals["refused"]} are refused with a reason, {totals["crashed"]} end in a crash.
- {totals["same"]} of {totals["compressed"]} compressed files compute the same in every runtime that loads the original; {totals["differs"]} do not.
- {odd} compressed files do not load where the original does; {totals["only_compressed_loads"]} load where the original does not.
- {totals["not_comparable"]} of {totals["compressed"]} cannot be compared, because neither runtime loads or runs the original.
- Keras 3 loads {totals["original_loads_keras"]} of {totals["files"]} originals, tf_keras {totals["original_loads_tf_keras"]}, neither of them {totals["original_loads_nowhere"]}.
- With `--modernize` (alone for files that cannot be compressed) Keras 3 loads {totals["modernized_loads_keras"]} of {totals["files"]} files,
  {totals["modernized_only"]} of them only so. {totals["modernized_compared"]} can be compared with what the original computes in the runtime of its own
  time (tf_keras where that loads it); {totals["modernized_same"]} agree to {MODERN_TOLERANCE:g} ({HALF_TOLERANCE:g} where the kernel is float16).{exceptions(rows)}
- {tested(spread, still)}

{table(COLUMNS, [cells(row) for row in rows])}

{whole_networks()}
{without_data()}
## What the refusals say

{sentences(rows)}
"""


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(render())
    else:
        Path(__file__).with_name("compatibility.md").write_text(render(), encoding="utf-8")
