"""Write docs/results.md from the committed figures: `python docs/make_results.py`.

Every number on that page comes from a JSON file in benchmarks/results, each with its command.
A test compares the page with what this prints.
"""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drawing import compared, errors, first_page, times, training
from drawing.sheet import NETWORKS, committed, read


def each(pattern: str, section: Callable[[str], str], title: str = "") -> str:
    """Return a section for each committed result that a pattern finds, below one title."""
    parts = [section(name) for name in committed(pattern)]
    return "\n\n".join([title, *parts] if title and parts else parts)


def made(document: dict[str, Any], name: str) -> str:
    """Return the command that made a result, and where its numbers are."""
    # Variables of the shell stay as they were typed.
    words = (
        shlex.quote(word).replace("'\"'\"'", "'\\''") if " " in word else word
        for word in document["command"]
    )
    return f"`{' '.join(words)}` ([{name}](../benchmarks/results/{name}))"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rate(row: dict[str, Any]) -> str:
    """Return an error rate with its interval."""
    if row.get("error_rate") is None:
        return "-"
    return f"{row['error_rate']:.2f} [{row['error_rate_low']:.2f}, {row['error_rate_high']:.2f}]"


def scratch_table(name: str) -> str:
    """Return the paper's table beside ours."""
    document = read(name)
    settings = document["settings"]
    # A row has a seed of its own from the second version of such files on.
    seeds = sorted({row.get("seed", settings.get("seed")) for row in document["rows"]})
    rows = []
    for row in document["rows"]:
        published = row["published"] or dict.fromkeys(("error_rate", "parameters", "seconds"), "-")
        rows.append(
            [
                str(row["rank"] or "full") + (f", seed {row['seed']}" if len(seeds) > 1 else ""),
                rate(row),
                _digits(published["error_rate"], ".2f"),
                f"{row['paper_parameters']:,}",
                _digits(published["parameters"], ","),
                f"{row['layer_parameters']:,}",
                f"{row['model_parameters']:,}",
                f"{row['seconds']:.0f}",
                f"{published['seconds']}",
            ]
        )
    columns = [
        "rank", "test error %, [95 %]", "published", "parameters by the paper's rule", "printed",
        "final layer, true", "model, true", "seconds", "published",
    ]  # fmt: skip
    title = NETWORKS[settings["dataset"]]
    rule = """

The paper's parameter rule leaves out the first convolution and every bias, and counts Flatten -> Dense as channels x units;
by that rule full rank is 19,968 (printed 19,962, a slip). In fact rank 4 saves 58.2 % of the final layer and 0.13 % of the
model: the paper's "7.5 %" is neither."""
    return f"""## From scratch: the paper's {title} table

{made(document, name)}: {settings["epochs"]} epochs, batch {settings["batch_size"]}, {"seed" if len(seeds) == 1 else "seeds"}
{", ".join(map(str, seeds))}, trained on all training images; {document["device"]}; {versions(document)}.

{table(columns, rows)}

{compared.scratch(name).markdown}

One seed a row: differences of a few tenths of a point are noise, as the intervals say (sampling of the test set alone).
The seconds are wall time on two shared cores that were also doing other work: they do not compare the ranks.{rule if title == "MNIST" else ""}"""


def _digits(value: float | str, digits: str) -> str:
    return value if isinstance(value, str) else format(value, digits)


def main_job() -> str:
    """Return the stages of the main job."""
    document = read("mnist-rank4.json")
    rows = []
    for stage in document["stages"]:
        drop = stage.get("drop")
        points = (
            f"{drop['difference']:+.2f} [{drop['low']:+.2f}, {drop['high']:+.2f}]" if drop else "-"
        )
        cells = [
            stage["name"],
            rate(stage),
            points,
            f"{stage['parameters']:,}",
            f"{stage['bytes']:,}",
        ]
        rows.append(cells)
    commands = "\n".join(f"    {' '.join(command)}" for command in document["commands"])
    image = compared.main_job().markdown
    tuned = document["finetune"][-1]
    history = ", ".join(
        f"{entry['what']} {entry['validation_error_rate']:.2f} %" for entry in tuned["history"]
    )
    return f"""## Compressing the trained network instead: rank 4, two epochs

{commands}

{table(["stage", "test error %, [95 %]", "against the original, points, [95 %]", "parameters", "bytes"], rows)}

{image}

All of it is in [mnist-rank4.json](../benchmarks/results/mnist-rank4.json). Validation error: {history}. {tuned["seconds"]:.0f} s for re-fitting and training, {tuned["images_per_second"]:,.0f}
samples/s, {tuned["device"]}. One seed. The original's bytes hold {document["optimizer_bytes"]:,} bytes of optimizer state,
which have nothing to do with the factorization."""


def choices(name: str) -> str:
    """Return the variants of fine-tuning on one data set."""
    document = read(name)
    text = (_variants if "summary" in document else _one_seed)(document, name)
    return f"{text}\n\n{training.choices(name).markdown}"


def _variants(document: dict[str, Any], name: str) -> str:
    """Return the means over seeds, a row a rank and variant."""
    rows = [
        [
            str(entry["rank"]),
            entry["variant"],
            str(entry["seeds"]),
            f"{entry['validation_error_rate']:.2f}",
            f"{entry['validation_loss']:.4f}",
            f"{entry['test_error_rate']:.2f}",
            f"{entry['test_loss']:.4f}",
        ]
        for entry in document["summary"]
    ]
    columns = [
        "rank",
        "variant",
        "seeds",
        "validation error %",
        "validation loss",
        "test error %",
        "test loss",
    ]
    original = document["rows"][0]["original_test_error_rate"]
    return f"""{made(document, name)}: {document["samples"]:,} training samples, {document["epochs"]} epochs;
means over seeds, validation after the last epoch, test data with the best one (original: {original:.2f} %). Only the
validation part chooses.

{table(columns, rows)}"""


def _one_seed(document: dict[str, Any], name: str) -> str:
    """Return the variants of one seed, epoch by epoch."""
    rows = []
    for row in document["rows"]:
        teacher = (
            f"{row['teacher_weight']:g}, T = {row['temperature']:g}"
            if row["teacher_weight"]
            else "none"
        )
        last = [entry for entry in row["validation"] if entry[0] == "trained"]
        rows.append(
            [
                f"{row['learning_rate']:g}",
                teacher,
                "yes" if row["head_refitted"] else "no",
                "on" if row["dropout"] else "off",
                " / ".join(f"{entry[1]:.2f}" for entry in last),
                " / ".join(f"{entry[2]:.4f}" for entry in last),
                f"{row['test_error_rate']:.2f}",
            ]
        )
    columns = [
        "rate", "teacher's weight", "head re-fitted first", "dropout", "validation error %, by epoch",
        "validation loss, by epoch", "test error %",
    ]  # fmt: skip
    return f"""{made(document, name)}: rank {document["rank"]}, {document["epochs"]} epochs, judged on 5,000 held-out
validation images; the test error stands beside and chose nothing (original: {document["rows"][0]["original_test_error_rate"]:.2f} %).

{table(columns, rows)}

The first row is the default. Differences of 0.1 point between variants are within the noise of one seed; the validation
loss is what tells them apart."""


def head_alone(name: str) -> str:
    """Return what training the head alone brings, and how long it takes."""
    document = read(name)
    rows = [
        [
            str(row["rank"]), f"{row['error_rate_before']:.2f}", f"{row['error_rate_after']:.2f}",
            f"{row['training_seconds']:.1f}", f"{row['wall_seconds']:.1f}", f"{row['cpu_seconds']:.1f}",
        ]
        for row in document["rows"]
    ]  # fmt: skip
    columns = [
        "rank",
        "test error before",
        "after",
        "of it training, s",
        "whole command, s",
        "CPU, s",
    ]
    return f"""## The head alone

{made(document, name)}: `finetune --scope head` on the {NETWORKS[name[14:-5]]} network (test error {document["rows"][0]["error_rate_original"]:.2f} %),
after Keras has started; the pass of the network over its training, validation and test images is included. The machine was
quiet; the first of the four also compiles. Five seconds are the aim; they are missed.

{table(columns, rows)}

{training.head_alone(name).markdown}"""


def speed(name: str) -> str:
    """Return the comparison of whole processes."""
    document = read(name)
    medians = document["median_seconds"]
    return f"""## `factorize` as a whole process

{made(document, name)}: wall seconds of fresh processes taken in turns, median of
{len(document["seconds"]["keras"])}, {document["cores"]} cores: lrcompress **{medians["lrcompress"]:.2f} s**, loading with Keras,
`numpy.linalg.svd` and saving **{medians["keras"]:.2f} s**; ratio **{document["ratio"]:.3f}**.

{times.processes(name).markdown}"""


def before_and_after(name: str) -> str:
    """Return two versions of lrcompress timed in pairs."""
    document = read(name)
    rows = [
        [f"`{row['job']}`", *(f"{row[key]:.2f}" for key in ("before_seconds", "after_seconds")),
         f"{row['median_ratio']:.2f}"]
        for row in document["rows"]
    ]  # fmt: skip
    return f"""## Before and after the restructuring

{made(document, name)}: commit 8af2fa5 against the packages that [contributing](contributing.md) shows, CPU seconds of whole processes (the
least of {document["pairs"]}) on {document["cores"]} cores that were also doing other work, and the median of the ratios of the pairs.

{table(["job", "before", "after", "ratio"], rows)}

`factorize --layers dense` is another job now: fewer units are tried beside lower ranks, and the share is one of the whole network."""


def grouped(
    document: dict[str, Any], key: Callable[[dict[str, Any]], Any]
) -> list[list[dict[str, Any]]]:
    """Return the rows of a document that are alike but for their seed, together."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in document.values():
        if isinstance(row, dict):
            found.setdefault(key(row), []).append(row)
    return list(found.values())


def mean(rows: list[dict[str, Any]], key: str) -> float:
    """Return the mean of a figure over seeds."""
    return float(sum(row[key] for row in rows) / len(rows))


def mean_lost(rows: list[dict[str, Any]]) -> str:
    """Return the mean of the points lost, and each of several."""
    spread = ", ".join(f"{row['lost']:+.2f}" for row in rows)
    return f"{mean(rows, 'lost'):+.2f}{f' ({spread})' if len(rows) > 1 else ''}"


def whole_networks(name: str) -> str:
    """Return what whole networks lost, with data and without, beside the goals and other methods."""
    document = read(name)
    rows = []
    for found in grouped(document, lambda row: (row["goal"], row["without_data"])):
        first = found[0]
        known = [row["measured"] / row["true_error"] for row in found if row["true_error"]]
        estimate = f"{sum(known) / len(known):.2f}" if known else "-"
        rows.append(
            [
                f"{first['goal']}{', without data' if first['without_data'] else ''}", f"{100 * first['saved']:.1f} %",
                f"{first['before']:.2f}", mean_lost(found),
                f"{first['may_lose']:+.2f}", f"{first['prototype']:+.2f}", estimate,
                f"{mean(found, 'cpu_seconds'):.0f}",
            ]
        )  # fmt: skip
    return f"""## Whole networks

{made(document, name)}: nothing trained, no labels, at most 3,000 calibration inputs (20,000 windows of the autoencoder, 2,000 images of
ResNet8), scored on the whole test data. Points of error, for the autoencoder (`ad01`) 100 (1 - AUC); of several calibration seeds
the mean, and each. The CPU seconds are those of the compression, calibration and choice included. Without data the first row of a
network also has those of making its inputs. The estimate is the output error on held-out calibration inputs over that on test inputs.

{table(["network and share saved", "parameters saved", "before", "lost", "goal", "prototype", "estimate / true", "CPU, s"], rows)}"""


def tuned_networks(name: str) -> str:
    """Return what whole networks lost before and after fine-tuning, beside the goals."""
    document = read(name)

    def way(row: dict[str, Any]) -> tuple[Any, ...]:
        settings = row["settings"]
        return row["goal"], row["labels"], row["rate"], settings["dropout"], settings["distill"]

    rows = []
    for found in grouped(document, way):
        first = found[0]
        labels = "no" if not first["labels"] else "yes" if first["settings"]["distill"] else "alone"
        rows.append(
            [
                first["goal"], f"{first['inputs']:,}", labels, str(first["epochs"]),
                f"{first['settings']['learning_rate']:g}{' (given)' if first['rate'] else ''}"
                f"{', dropout' if first['settings']['dropout'] else ''}",
                f"{first['original']:.2f}", f"{mean(found, 'lost_before'):+.2f}", mean_lost(found),
                f"{first['may_lose']:+.2f}", f"{first['prototype']:+.2f}",
                f"{mean(found, 'seconds'):.0f}", f"{mean(found, 'cpu_seconds'):.0f}",
            ]
        )  # fmt: skip
    columns = [
        "network, share saved", "inputs", "labels", "epochs", "learning rate", "original", "lost before", "after",
        "goal", "prototype", "s", "CPU, s",
    ]  # fmt: skip
    return f"""### Fine-tuned

{made(document, name)}: the networks made smaller on 3,000 inputs, then `lrcompress.finetune` with its
defaults but for the epochs, and for learning rates, dropout and labels alone (without the original) where it says so; points of
error on the whole test data, of several calibration seeds the mean, and each. A tenth of the inputs chooses the epoch. The seconds
are those of training and of measuring that tenth, the CPU seconds those of the whole command, on two cores that were also doing
other work.

{table(columns, rows)}"""


def whole_speed(name: str) -> str:
    """Return how fast a whole network is at half the multiplications."""
    document = read(name)
    before, after = (sum(pair[i] for pair in document["multiplications"].values()) for i in (0, 1))
    rows = [
        [
            precision, *(f"{1e6 * document['timings'][f'{model}, {precision}']['median']:,.0f}" for model in ("original", "half")),
            *(f"{document['bytes'][f'{model}, {precision}'] / 1000:,.0f}" for model in ("original", "half")),
            f"{found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}]",
        ]
        for precision, found in document["speed"].items()
    ]  # fmt: skip
    columns = [
        "LiteRT, one thread",
        "before, µs",
        "after, µs",
        "before, kB",
        "after, kB",
        "times as fast, [95 %]",
    ]
    error = document["test_error"]
    return f"""### Speed at half the multiplications

{made(document, name)}: the CIFAR-100 ResNet with `--multiplications 0.5 --multiple {document["multiple"]}` on {document["inputs"]:,} inputs. The layers
that change have {before / after:.2f} times fewer multiplications; test error {error["original"]:.2f} % before, {error["half"]:.2f} % after, in float.
One image a call, in turns, the interpreter alone; {versions(document)}. `int8` has weights of 8 bits (`--int8`), `int8 full` computes in integers.

{table(columns, rows)}"""


def whole_cost(name: str) -> str:
    """Return the time and memory of whole networks without data."""
    document = read(name)
    rows = [
        [
            case, f"{row['bytes_before'] / 1e6:,.1f}", f"{row['bytes_after'] / 1e6:,.1f}",
            f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_bytes'] / 1e6:,.0f}",
        ]
        for case, row in document.items()
        if "seconds" in row
    ]  # fmt: skip
    ratios = document["VGG16"]
    return f"""### Time and memory without data

{made(document, name)}: `factorize --layers all --reduction 0.5` by the weights alone, each in a process of its own, beside
`--layers dense` of a checkout from before there were other kinds of layers. VGG16 takes {ratios["cpu_seconds_of_dense_before"]:.2f} times the CPU
time of that, and {ratios["peak_of_largest_layer"]:.2f} times its largest layer (411 MB) at the peak (before: {ratios["peak_of_largest_layer_before"]:.2f} times).

{table(["network", "before, MB", "after, MB", "s", "CPU, s", "peak, MB"], rows)}"""


def baselines(name: str) -> str:
    """Return what other methods lose on some of these networks."""
    document = read(name)
    found: dict[str, dict[str, str]] = {}
    for row in document.values():
        if isinstance(row, dict):
            lost = row["lost"] if isinstance(row["lost"], str) else f"{row['lost']:+.2f}"
            found.setdefault(row["goal"], {})[row["way"]] = lost
    ways = list(dict.fromkeys(way for cells in found.values() for way in cells))
    rows = [[goal, *(cells.get(way, "-") for way in ways)] for goal, cells in found.items()]
    return f"""### Other methods on the same networks

{made(document, name)}: points of error lost, by methods reimplemented for this comparison. `uniform` is plain SVD at one share of every rank, `greedy` one
threshold for the error of every layer alone (as in AIMET), `BALF` whitened factors with ranks by retained energy (arXiv 2509.25136),
`dense` every Dense layer only.

{table(["network and share saved", *ways], rows)}"""


def scale() -> str:
    """Return time and memory by file size."""
    name = "scale.json"
    document = read(name)
    rows = []
    for case in document["cases"]:
        cells = [case["name"], f"{case['bytes'] / 1e6:,.0f}", str(case["rank"])]
        for way in ("lrcompress", "copy", "keras"):
            found = case[way]
            cells.append(f"{found['median_seconds']:.2f} s, {found['peak_megabytes']:,.0f} MB")
        rows.append(cells)
    columns = ["model, layer", "file, MB", "rank", "lrcompress", "`cp`", "Keras, SVD, save"]
    image = times.scale().markdown
    return f"""## Time and memory by file size

{made(document, name)}: whole processes, median seconds and peak resident memory, the three ways taken in
turns on {document["cores"]} cores that were also doing other work; Python with NumPy and h5py alone takes
{document["interpreter_megabytes"]:.0f} MB.

{table(columns, rows)}

{image}"""


def fuzzing() -> str:
    """Return what became of mutated files."""
    name = "fuzz.json"
    document = read(name)
    groups: dict[str, int] = {}
    for outcome, number in document["outcomes"].items():
        groups[outcome.removeprefix("refused: ")] = number
    rows = [[name, f"{number:,}"] for name, number in sorted(groups.items(), key=lambda g: -g[1])]
    limits, image = document["limits"], times.fuzzing().markdown
    return f"""## Hostile and damaged files

{made(document, name)}: {document["cases"]:,} files made from {document["files"]} real ones by changing bytes, JSON,
archive members and HDF5 objects; each is inspected, factorized, modernized and merged in a process with {limits["megabytes"]:,} MB more memory
than it starts with and {limits["seconds"]:g} s of time. **{len(document["findings"])}** ended in a traceback, a hang, a crash, too much memory, a file
left behind or a changed input. The slowest took {document["slowest"]["seconds"]:.1f} s, the largest process {document["peak_megabytes"]:.0f} MB.

{table(["outcome of factorize", "files"], rows)}

By the kind of damage, with the number of files; a file with several kinds counts at each.

{image}"""


def attacked(name: str) -> str:
    """Return what attacks by kind came to."""
    document = read(name)
    rows = []
    for kind, found in document["kinds"].items():
        counts = {word.replace("_", " "): f"{number:,}" for word, number in found["counts"].items()}
        fine = ", ".join(f"{n} {word}" for word, n in counts.items() if not word.startswith("bad "))
        bad = ", ".join(f"{n} {word[4:]}" for word, n in counts.items() if word.startswith("bad "))
        rows.append([kind, fine, bad])
    return f"""## Attacks

{made(document, name)}: hostile inputs, races and kills, made by the script. The
last column counts what must not happen. Of mutated HDF5 files the first word is the layout, as `libver` or `track_order` sets it.

{table(["kind", "what was done, and what became of it", "what must be 0"], rows)}"""


def field(name: str) -> str:
    """Return the table of sweeps of what people's models and data look like."""
    document = read(name)
    ends = ("right", "refused", "wrong")
    rows = [
        [f"`{sweep}`", *(str(found["counts"].get(end, 0)) for end in ends)]
        for sweep, found in document["sweeps"].items()
    ]
    return f"""## What people's models and data look like

{made(document, name)}: each sweep is a table of cases; the file has the outcome of each. *Right* means that the result agrees with Keras
itself, or with the data; *refused* means a one-line error that says why; *wrong* would be a false number.

{table(["sweep", *ends], rows)}"""


def heads() -> str:
    """Return what each method loses, and how long it takes."""
    name = "heads.json"
    document, image = read(name), errors.heads().markdown
    parts = []
    for key, network in document["networks"].items():
        ranks = list(network["all"][0]["ranks"])

        def points(row: dict[str, Any], label: str, ranks: list[str] = ranks) -> list[str]:
            cells = [
                f"{row['ranks'][rank]['drop']:+.2f}"
                + (
                    "*"
                    if row["ranks"][rank]["method"]
                    != row.get("asked", row["ranks"][rank]["method"])
                    else ""
                )
                for rank in ranks
            ]
            return [label, *cells, f"{row['seconds']:.1f}"]

        rows = [
            points(row, f"{row['asked']}, all {network['inputs']:,} inputs")
            for row in network["all"]
        ]
        rows += [
            points(row, f"{row['asked']}, {network['few_inputs']:,} inputs")
            for row in network["few"]
            if row["asked"] in ("whitened", "refined")
        ]
        refined = network["all"][-1]["ranks"]
        rows.append(
            [
                "95 % interval of refined",
                *(f"±{refined[rank]['drop_interval']:.2f}" for rank in ranks),
                "",
            ]
        )
        columns = ["method", *(f"r = {rank}" for rank in ranks), "seconds"]
        steps = [points(row, row["variant"]) for row in network["ablation"]]
        passing, every = network["pass"], network["every_rank"]
        m, n = network["kernel"]
        parts.append(
            f"""### {NETWORKS[key]}, {m} x {n}, test error {network["error_rate"]:.2f} %

{table(columns, rows)}

The way from `svd` to `refined`, step by step, on all inputs:

{table(["variant", *columns[1:]], steps)}

`svd`, `centered` and `whitened` at all {every["ranks"]} ranks, the test error of each on {every["test_samples"]:,} images included:
{every["seconds"]:.1f} s. One refined pass through the ranks {", ".join(passing["ranks"])}: {passing["seconds"]:.1f} s."""
        )
    body = "\n\n".join(parts)
    return f"""## Heads without labels and without training

{made(document, name)}: points of test error over the network's own full rank, after the methods alone: no labels, no
training. Seconds are for all ranks of a row together, after the activations; {document["cores"]} cores, {document["blas_threads"] or "all"} of them used by
matrix products, which were also doing other work. A star: on the held-out inputs this method lost to `centered`, which was
returned. Defaults were judged on held-out training inputs; the test errors were visible during tuning, so they are not blind.

{image}

Bars are 95 % intervals of the difference to full rank on these test images.

{body}"""


def held_out() -> str:
    """Return which ranks are chosen on data that the original was trained on, rule by rule."""
    name = "held-out.json"
    document = read(name)
    rows = []
    for network in document["networks"]:
        for allowed in (0.5, 1.0, 2.0):
            found = {
                c["rule"]: c for c in network["choices"]
                if c["method"] == "refined" and c["allowed"] == allowed
            }  # fmt: skip
            cells = [
                f"{c['rank']}: {c['test']:+.2f}, {c['saved']:.0%}"
                if (c := found[rule]).get("rank")
                else "none"
                for rule in ("labels", "probabilities", "calibrated", "disagreement", "test")
            ]
            rows.append([network["network"], f"{allowed:g}", *cells])
    columns = [
        "network", "points allowed", "labels", "probabilities", "calibrated, in use", "disagreement",
        "with the test data, which no rule sees",
    ]  # fmt: skip
    return f"""## Choices on data that the original was trained on

{made(document, name)}: the rank that each rule chooses on held-out training data by `refined`, the points it loses on the
test data, and what it saves of the layer. The rules, and how far each is off: [data sets](datasets.md#validation-and-test).

{table(columns, rows)}"""


def fresh_heads() -> str:
    """Return `refined` on networks that no choice has seen."""
    name = "heads-fresh-mnist.json"
    document, image = read(name), errors.fresh().markdown
    ranks = list(document["rows"][0]["all"])
    inputs = {"all": "all inputs", "few": "2,000 inputs"}
    rows = [
        [row["model"], f"{row['error_rate']:.2f}", inputs[part]]
        + [f"{row[part][rank]['drop']:+.2f}" for rank in ranks]
        for part in inputs
        for row in document["rows"]
    ]
    for part, label in inputs.items():
        means = [
            f"{sum(row[part][rank]['drop'] for row in document['rows']) / len(document['rows']):+.2f}"
            for rank in ranks
        ]
        rows.append(["**mean**", "", label, *means])
    return f"""### The same on fresh networks

{made(document, name)}: MNIST networks of other seeds, on which nothing had been tried when this was run; `refined`, points of test error
over each network's own full rank.

{table(["network", "test error %", "calibrated on", *(f"r = {rank}" for rank in ranks)], rows)}

{image}"""


def dense_layers(name: str) -> str:
    """Return what the whole network loses when its Dense layers share a reduction."""
    document = read(name)
    rows = []
    for row in document["rows"]:
        (rule, value), drop = next(iter(row["rule"].items())), row["drop"]
        asked = f"--reduction {value:g}" if rule == "reduction" else f"--max-drop {value:g}"
        rows.append(
            [
                f"`{asked}`",
                ", ".join(f"{name} {rank}" for name, rank in row["ranks"].items()),
                f"{100 * row['saved_of_model']:.1f}",
                f"{row['parameters']:,}",
                f"{row['error_rate']:.2f}",
                f"{drop['difference']:+.2f} [{drop['low']:+.2f}, {drop['high']:+.2f}]",
            ]
        )
    columns = [
        "asked",
        "ranks",
        "model saved, %",
        "parameters",
        "test error %",
        "points over the original, [95 %]",
    ]
    return f"""## All Dense layers of the {NETWORKS[name[13:-5]]} network

{made(document, name)}: `factorize --layers dense`, no labels and no training; ranks are chosen on held-out data. The
original has {document["parameters"]:,} parameters.

{table(columns, rows)}

{errors.dense_layers(name).markdown}"""


# What a reader must know of one comparison, and no field of its document tells.
REMARKS = {
    "compare-cifar100.json": """The file is of `python benchmarks/train_cifar100.py --output cifar100-adam.keras`: the paper's network after ten epochs of Adam,
far from the 50 epochs of RMSprop as published, for which two cores take hours. It still learns fast: two more epochs improve
every arm, full rank included, and the fair comparison is with that row. What a low rank costs after the same two epochs is
0.2 points at rank 75, 0.5 at 60, 1.1 at 40, 3.0 at 20 and 7.3 at 10. From scratch, the same network with Adam had twelve epochs,
by calls with `--scratch --arms scratch --ranks 75`, `40`, `20` and `10`. SVD and two epochs are better at ranks 75, 40 and 10, by
3.9, 1.4 and 1.0 points; at rank 20 there is no measurable difference (+0.19 [-0.70, +1.07]). They have seen 15 % of its samples, 98 %
together with those of the file. The intervals are those of the test samples: another seed from scratch may differ by as much
as ranks 75 and 40 do here.

""",
    "compare-mnist.json": """Ranks 4 and 2 have five seeds, rank 1 four, ranks 8 and 6 two; those were added by calls with `--seed 3 --seeds 2
--ranks 8,6,4,2,1`. From scratch there are ranks 4, 2 and 1 of seed 3, by `--arms scratch`, with five times the images of
SVD and two epochs. **At rank 2 from scratch is the better one**, by 0.29 points [0.04, 0.54]; at ranks 4 and 1 there is no
measurable difference (-0.12 [-0.28, +0.05] and -0.11 [-0.74, +0.53]). Every rank has
[another seed from scratch](#from-scratch-the-papers-mnist-table).

""",
    "compare-mnist-anew.json": """Five networks trained anew, of the same five seeds, by later code. At rank 2 training from scratch, which
reached 1.29 % in the comparison above, is still the better one.

""",
}


def comparison(name: str) -> str:
    """Return the arms of `compare` at each rank."""
    document = read(name)
    settings, summary = document["settings"], document["summary"]
    extra = settings["finetune_epochs"]
    arms = {
        "full": "full rank", "full-finetuned": f"full rank, {extra} more epochs",
        "svd": "SVD, nothing trained", "refined": "best head, nothing trained",
        "finetuned": f"SVD, then {extra} epochs", "scratch": "from scratch",
    }  # fmt: skip
    rows = [
        [
            str(entry["rank"] or "full"),
            arms[entry["arm"]],
            rate(entry),
            paired(entry["against_full"]),
            paired(entry["against_scratch"]),
            f"{(entry['published'] or {}).get('error_rate', '-')}",
            f"{entry['layer_parameters']:,}",
            f"{entry['model_parameters']:,}",
            "-" if entry["seconds"] is None else f"{entry['seconds']:,.0f}",
            "-" if entry["images"] is None else f"{entry['images']:,.0f}",
        ]
        for entry in summary
    ]
    columns = [
        "rank", "arm", "test error %, [95 %]", "against full rank, points", "against from scratch, points",
        "published", "layer", "model", "seconds", "images seen",
    ]  # fmt: skip
    full = settings.get("full_epochs")
    training = "full rank a file that was given" if full is None else f"full rank {full} epochs"
    if any(entry["arm"] == "scratch" for entry in summary):
        training += f", from scratch {settings['scratch_epochs']}"
    if full is not None or "from scratch" in training:
        training += f", batch {settings['batch_size']}"
    seeds = len({seed for entry in summary for seed in entry["seeds"] if seed is not None})
    devices = sorted({row["device"] for row in document["rows"] if row.get("device")})
    anew = ", anew" if "anew" in name else ""
    return f"""## Compressing against training: {settings["dataset"]}{anew}

{made(document, name)}: {training}; {seeds} {"seed" if seeds == 1 else "seeds"}; {", ".join(devices)}; {versions(document)}. What the columns mean: [comparing](comparing.md).

{table(columns, rows)}

{REMARKS.get(name, "")}{compared.comparison(name).markdown}"""


def paired(found: dict[str, Any] | None) -> str:
    """Return a difference with its interval and McNemar's p."""
    if found is None:
        return "-"
    p = found["p_value"]
    text = f"p {p:.2g}" if p >= 1e-16 else "p < 1e-16"
    return f"{found['difference']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}], {text}"


def decompositions() -> str:
    """Return the truncated SVD beside its peers."""
    name = "svd-peers.json"
    document, image = read(name), times.decompositions().markdown
    clocks = {"cpu_seconds": "median_cpu_seconds", "seconds": "median_seconds"}
    titles = {
        "numpy_gesdd": "NumPy `svd`", "scipy_gesdd": "SciPy `svd`", "scipy_svds": "SciPy `svds`",
        "sklearn_randomized_svd": "scikit-learn `randomized_svd`", "fbpca": "fbpca `pca`",
        "torch_svd_lowrank": "`torch.svd_lowrank`", "tensorflow_svd": "`tf.linalg.svd`",
    }  # fmt: skip

    def number(seconds: float) -> str:
        return f"{seconds:.4f}" if seconds < 0.1 else f"{seconds:.2f}"

    short, long, others = [], [], []
    for case in document["cases"]:
        verdict, peers = case["verdict"], case["peers"]
        clock = clocks[verdict["clock"]]
        m, n = case["shape"]
        label = f"{m} x {n}, r = {case['rank']}, {case['kind']}"
        fastest, _, more = (verdict["fastest_peer"] or "none").partition(",")
        ours = peers["lrcompress"]
        others += [
            used for figures in peers.values() for used in figures.get("cores_used_by_others", [])
        ]
        short.append(
            [
                label,
                f"{number(verdict['lrcompress'])} ({ours['error_over_optimum']:.5f}, {ours['algorithm']})",
                titles.get(fastest, fastest) + ("," + more if more else ""),
                number(verdict["its"]) if verdict["its"] else "-",
                f"{verdict['over_gram_product']:.2f}",
            ]
        )
        cells = []
        for peer in titles:
            runs = {name: found for name, found in peers.items() if name.split(",")[0] == peer}
            cells.append(
                "<br>".join(
                    found.get("skipped")
                    or (f"{name.split(', ')[1]}: " if "," in name else "")
                    + f"{number(found[clock])} ({found['error_over_optimum']:.4f})"
                    for name, found in runs.items()
                )
            )
        long.append([label, *cells])
    memory = document["peak_memory"]
    note = " " + document["note"] if "note" in document else ""
    threads = sorted({case["threads"] for case in document["cases"]})
    found = document["libraries"]
    # OpenMP, a pool of threads like them, has neither version nor architecture.
    pools = [pool for world in found.values() for pool in world["pools"] if pool["version"]]
    blas = ", ".join(
        dict.fromkeys(f"{p['internal_api']} {p['version']} for {p['architecture']}" for p in pools)
    )
    libraries = ", ".join(
        f"{name} {version}"
        for world in found.values()
        for name, version in world["versions"].items()
    )
    return f"""## The truncated SVD beside others

{made(document, name)}: float32 kernels in memory, warmed up, all peers in turns; threads: {", ".join(map(str, threads))}.
Seconds are CPU time of the process where one thread is used, medians: others used {statistics.median(others):.1f} cores of {document["cores"]} meanwhile
(median), so that wall time says little; it is in the JSON. Error over the least possible in brackets. {libraries};
{blas}. Gaussian kernels have independent normal entries, the flattest spectrum there is;
decaying ones `sigma_i ~ i^-0.7` and a fifth of noise, as trained layers.{note}

{table(["kernel", "`truncated_svd`", "fastest peer within 1.001", "its seconds", "ours over one Gram product"], short)}

{image}

The Gram product is NumPy's `A @ A.T` of the short side, of which it computes one half.

{table(["kernel", *titles.values()], long)}

Randomized peers that miss 1.001 with their default are called again with 4, 8 and 16 iterations as long as a run takes less
than ours.

The aim was to be faster than every peer that reaches 1.001, and to take at most 1.5 Gram products at the three large
shapes (4096 x 1000 and up). The first is met wherever both were measured. The second is not: the last column says by how
much, [the mathematics](mathematics.md#the-truncated-svd) why.

Peak memory of a process that factorizes {memory["shape"][0]:,} x {memory["shape"][1]:,} float32 ({memory["kernel_megabytes"]:,.0f} MB) at rank {memory["rank"]}, interpreter
and libraries included: **{memory["array_peak_megabytes"]:,.0f} MB** with the kernel loaded, **{memory["memory_map_peak_megabytes"]:,.0f} MB** read from its file in blocks."""


def language_model() -> str:
    """Return what a rank costs and saves where the head is most of the network."""
    name = "language-model.json"
    document, image = read(name), training.language_model().markdown
    text, settings = document["text"], document["text"]["settings"]
    m, n = document["kernel"]
    closed, refined = document["ranks"], document.get("refined", {"rows": [], "seconds": {}})
    wanted = [row["rank"] for row in closed["rows"] if row["method"] == "svd"]

    def cell(method: str, rank: int) -> str:
        for row in closed["rows"] + refined["rows"]:
            if (row["method"], row["rank"]) == (method, rank):
                return f"{row['perplexity']:.2f}, {row['error_rate']:.2f}"
        return ""

    seconds = closed["seconds"] | refined["seconds"]
    methods = list(seconds)
    sweep = []
    for rank in wanted:
        row = next(row for row in closed["rows"] if row["rank"] == rank)
        shares = [f"{100 * row[key]:.1f}" for key in ("layer_reduction", "model_reduction")]
        sweep.append([str(rank), *shares, *(cell(method, rank) for method in methods)])
    times = ", ".join(f"{method} {seconds[method]:.0f} s" for method in methods)
    full = document["recovery"]["original"]
    trained = settings["epochs"] * text["train_samples"]

    def stage(label: str, found: dict[str, Any]) -> list[str]:
        above = 100 * (found["perplexity"] / full["perplexity"] - 1)
        return [
            label,
            f"{found['parameters']:,}",
            f"{100 * (1 - found['parameters'] / document['parameters']):.1f}",
            f"{found['perplexity']:.2f}",
            "-" if found is full else f"{above:+.2f} %",
            rate(found),
        ]

    found, rank = document["recovery"], document["recovery"]["rank"]
    rows = [
        stage("full rank", full),
        stage(f"rank {rank}, {document['method']}", found["before"]),
        stage(f"rank {rank}, fine-tuned", found["after"]),
    ]
    looks, note = found["history"], ""
    if "full_again" in document:
        again = document["full_again"]
        rows.append(stage("full rank, the same extra samples", again["after"]))
        before, after = (again["history"][k]["validation_loss"] for k in (0, -1))
        note = (
            f" For full rank it was {before:.3f}, then {after:.3f}: the full network has no original beside\nit and "
            "learns from the labels alone, so what the low rank gains may be the teacher's doing, not the rank's."
        )
    speeds = [
        [
            name, f"{1000 * timed['seconds_before']:,.2f}", f"{1000 * timed['seconds_after']:,.2f}",
            "{1:.2f} [{0:.2f}, {2:.2f}]".format(*timed["ratio_quartiles"]),
        ]
        for name, timed in document["speed"].items()
    ]  # fmt: skip
    samples = found["samples"]
    return f"""## A language model: the head is most of the network

{made(document, name)}: ten books, {text["words"]:,} words, a vocabulary of {text["vocabulary"]:,}; embedding of
{settings["embedding"]}, LSTM of {settings["units"]}, `Dense` {m} x {n:,} with softmax at each of {settings["steps"]} steps: {document["parameters"]:,} parameters,
{100 * m * n / document["parameters"]:.0f} % of them in that kernel. Trained for {settings["epochs"]} epochs; {document["cores"]} cores that were also doing other work; {versions(document)}.
One seed.

Without training: perplexity and next-word error in % on {closed["test_words"]:,} words of test text, full rank {closed["original"]["perplexity"]:.2f}, {closed["original"]["error_rate"]:.2f};
{closed["calibration_inputs"]:,} inputs of the layer to calibrate on, unlabelled.

{table(["rank", "head saved, %", "model saved, %", *methods], sweep)}

All ranks of a column together took {times} of a busy machine.

Recovery: `finetune --epochs 1` on {samples:,} samples, {100 * samples / trained:.0f} % of the {trained:,} that the training went through,
some of them held out to choose by. On all {full["samples"]:,} words of test text:

{table(["model", "parameters", "saved, %", "perplexity", "over full rank", "next-word error %, [95 %]"], rows)}

Loss on the held-out samples at the start and after the epoch: {looks[0]["validation_loss"]:.3f}, then {looks[-1]["validation_loss"]:.3f}; the better is kept.{note}

Milliseconds before and after, rank {rank}, in turns; how many times as fast, median and quartiles of the turns:

{table(["what", "before", "after", "times as fast"], speeds)}

{image}

Perplexities are set beside the full rank's on the same words. Lines at the right join the quartiles."""


def export(name: str) -> str:
    """Return what factors and 8-bit weights save in the exported files of one network and of its head."""
    document = read(name)
    names = {
        ("original", False): "original", ("factorized", False): "low rank alone",
        ("original", True): "8 bits alone", ("factorized", True): "both",
    }  # fmt: skip
    measured = any("error" in row for row in document["rows"])
    rows = []
    for row in document["rows"]:
        first = next(other for other in document["rows"] if other["what"] == row["what"])
        ratio = row["speed"]
        cells = [
            {"model": "whole", "head": "head"}[row["what"]],
            names[row["model"], row["int8"]],
            f"{row['parameters']:,}",
            f"{row['bytes']:,}",
            "-" if row is first else f"{100 * (1 - row['bytes'] / first['bytes']):.1f}",
            f"{1e6 * row['median']:,.1f} [{1e6 * row['q1']:,.1f}, {1e6 * row['q3']:,.1f}]",
            "-"
            if ratio is None
            else f"{ratio['ratio']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]",
        ]
        if measured:
            error = row.get("error")
            cells += [rate(error or {}), "-" if error is None else f"{error['loss']:.4f}"]
        rows.append(cells)
    columns = [
        "part", "variant", "parameters", "bytes", "saved, %", "latency, µs, [quartiles]", "times as fast, [95 %]",
    ]  # fmt: skip
    m, n = document["kernel"]
    folded = [row for row in document["rows"] if row.get("factors", "two") != "two"]
    factors = (
        f"Not two products everywhere: {len(folded)} of the factorized files" if folded
        else "In all factorized files the two products are still two"
    )  # fmt: skip
    head = (
        f"{made(document, name)}: LiteRT files, weights of "
        f"8 bits by dynamic-range quantization; the head {m} x {n:,} alone, and the whole network, at rank\n"
        f"{document['rank']}. One sample a call, the head one prediction, in turns; {document['runtime']}, {document['threads']} thread{'s' if document['threads'] != 1 else ''};\n"
        f"{versions(document)}. {factors}."
    )
    table_text = table(
        [*columns, "test error %, [95 %]", "test loss"] if measured else columns, rows
    )
    return f"### {document['name']}\n\n{head}\n\n{table_text}\n\n{times.export(name).markdown}"


def versions(document: dict[str, Any]) -> str:
    """Return the versions that made a result."""
    found = document["versions"]
    return f"Keras {found['keras']} on {found['backend']}, Python {found['python']}"


def summary() -> str:
    """Return what is known, one line a question, each with its section."""
    mnist = read("heads.json")["networks"]["mnist"]["all"]
    svd, refined = (
        next(row for row in mnist if row["asked"] == way)["ranks"]["4"]
        for way in ("svd", "refined")
    )
    job = {stage["name"]: stage for stage in read("mnist-rank4.json")["stages"]}
    words = read("language-model.json")["recovery"]
    largest = read("scale.json")["cases"][-1]
    fuzz = read("fuzz.json")
    networks = [row for row in read("whole-network.json").values() if isinstance(row, dict)]

    def network(goal: str, *, without_data: bool = False) -> str:
        found = [
            row for row in networks if (row["goal"], row["without_data"]) == (goal, without_data)
        ]
        lost = sum(row["lost"] for row in found) / len(found)
        return f"{100 * found[0]['saved']:.0f} % of the parameters saved, {lost:+.2f} points"

    rows = [
        ["A whole LSTM classifier, nothing trained", network("lstm-93"), "whole-networks"],
        ["A whole transformer classifier, nothing trained", network("transformer-75"), "whole-networks"],
        ["A CIFAR-100 ResNet, nothing trained", network("resnet-50"), "whole-networks"],
        ["The same without any data", network("resnet-50", without_data=True), "whole-networks"],
        [
            "MNIST's final layer at rank 4, nothing trained",
            f"`refined` {refined['drop']:+.2f} points, the paper's plain SVD {svd['drop']:+.2f}",
            "heads-without-labels-and-without-training",
        ],
        [
            "The same fine-tuned for two epochs",
            f"test error {job['original']['error_rate']:.2f} % → {job['finetuned']['error_rate']:.2f} %",
            "compressing-the-trained-network-instead-rank-4-two-epochs",
        ],
        [
            "A language model with 10,000 words, nothing trained",
            f"{100 * (1 - words['before']['parameters'] / words['original']['parameters']):.0f} % saved, perplexity "
            f"{words['original']['perplexity']:.1f} → {words['before']['perplexity']:.1f}",
            "a-language-model-the-head-is-most-of-the-network",
        ],
        [
            f"Time and memory for a file of {largest['bytes'] / 1e9:.0f} GB",
            f"{largest['lrcompress']['median_seconds']:.0f} s and {largest['lrcompress']['peak_megabytes']:,.0f} MB; through Keras "
            f"{largest['keras']['median_seconds']:.0f} s and {largest['keras']['peak_megabytes']:,.0f} MB",
            "time-and-memory-by-file-size",
        ],
        [
            f"{fuzz['cases']:,} damaged or hostile files",
            f"{len(fuzz['findings'])} crashes, hangs, leftovers or changed inputs",
            "hostile-and-damaged-files",
        ],
    ]  # fmt: skip
    cells = [[what, found, f"[more](#{anchor})"] for what, found, anchor in rows]
    return f"""## In short

{table(["what", "measured", "section"], cells)}

Points are of test error. Every section names its command, its seeds and its limits."""


def stages() -> str:
    """Return the four exported files of the first page, with their intervals."""
    name = "first-page.json"
    document = read(name)
    rows = [
        [
            row["name"], f"{row['parameters']:,}", f"{row['bytes']:,}", rate(row["error"]),
            f"{1e6 * row['median']:.1f} [{1e6 * row['q1']:.1f}, {1e6 * row['q3']:.1f}]",
        ]
        for row in first_page.stages()
    ]  # fmt: skip
    columns = [
        "LiteRT file",
        "parameters",
        "bytes",
        "test error %, [95 %]",
        "latency, µs, [quartiles]",
    ]
    return f"""## One command, four files

{made(document, name)}: {document["network"][0].lower() + document["network"][1:]}, by `{" ".join(document["job"]["command"])}`
({document["job"]["cpu_seconds"]:.0f} s of CPU time; the Keras file {document["bytes_before"]:,} bytes without optimizer state before, {document["bytes_after"]:,}
after), and the original exported the same way; latency in turns on {document["cores"]} cores that were also doing other work; {versions(document)}.

{table(columns, rows)}"""


def five_jobs(name: str) -> str:
    """Return what five jobs of a new user took and gave, each one command."""
    document = read(name)
    titles = {
        "mnist": "an MNIST file for a phone", "cifar100": "which rank for a CIFAR-100 network",
        "text": "an LSTM on one's own texts", "mobilenet": "MobileNetV2, random weights, no data",
        "vgg16": "VGG16, random weights, no data", "jax": "a live model at the end of a script under JAX",
    }  # fmt: skip
    rows = []
    for job, found in document["jobs"].items():
        before, after = found["parameters"]
        errors = [
            found["error_rate"][0],
            found.get("exported_error_rate") or found["error_rate"][1],
        ]
        told = "not measured" if None in errors else f"{errors[0]:.2f} → {errors[1]:.2f}"
        if found.get("estimated") and None in errors:
            told = f"estimated: {found['estimated']['agreement']:.1f} % of decisions kept"
        size = found.get("exported_bytes") or found.get("bytes", [0, 0])[1]
        rows.append([
            titles[job], f"`{found['command'].removesuffix(' --json')}`", f"{before:,} → {after:,}",
            f"{size:,}" if size else "-", told,
            f"{found['seconds']:.0f}, {found['cpu_seconds']:.0f}", f"{found['silence']:.0f}",
        ])  # fmt: skip
    columns = [
        "job", "command", "parameters", "bytes written", "test error %", "seconds: wall, CPU",
        "longest silence, s",
    ]  # fmt: skip
    return f"""## Five jobs of a new user

{made(document, name)}: each by one command, or one call in a script, in an empty folder. Bytes are those of the exported file
where one was asked for, else of the Keras file. The machine was also doing other work.

{table(columns, rows)}"""


def vocabularies(name: str) -> str:
    """Return what low ranks cost networks of words, nothing trained."""
    document = read(name)
    titles = {
        "words-10000": "language model, 10,000 words",
        "words-30000": "language model, 30,000 words",
        "recommender": "recommender, 10,000 words",
    }
    rows = []
    for network, found in document["networks"].items():
        for row in found["rows"]:
            several = "top1_error_rate" in row
            figure = f"{row['top1_error_rate' if several else 'perplexity']:.2f}"
            before = found["original"]["top1_error_rate" if several else "perplexity"]
            # Of several layers under one budget, what each got and how much of it is left.
            ranks = str(row["rank"]) if "rank" in row else ", ".join(
                f"{layer['name']} {layer['size']} ({100 * layer['parameters_after'] / layer['parameters_before']:.0f} % left)"
                for layer in row["layers"]
            )  # fmt: skip
            rows.append([
                f"{titles[network]}: {before:.2f}", f"{100 * row['saved']:.0f}", ranks, row["method"],
                figure, f"{row['risen']:+.2f}", f"{row['seconds']:.0f}, {row['cpu_seconds']:.0f}",
                f"{row['peak_megabytes']:,.0f}",
            ])  # fmt: skip
    columns = [
        "network: full rank", "model saved, %", "rank", "method", "perplexity, or top-1 error %",
        "perplexity, or loss, risen by, %", "seconds: wall, CPU", "peak MB",
    ]  # fmt: skip
    return f"""## Networks of words, nothing trained, inputs without labels

{made(document, name)}: networks on ten books, most of each its last layer. A language model predicts the next word at each of 40
steps, by the softmax; a recommender which words are among the next 70, by a sigmoid each, the 200 commonest left out. Each
factorization is a process of its own: loading, calibration and choice are in its seconds and memory.
`whitened` is what there was before. {document["cores"]} cores; {versions(document)}.

{table(columns, rows)}"""


def head_methods(name: str) -> str:
    """Return what the methods for large heads cost, and how near they come on fresh inputs."""
    document = read(name)
    rows = []
    for case in document["cases"]:
        (m, n), title = case["kernel"], f"rank {case['rank']}, {case['inputs']:,} inputs"
        title = f"{m} x {n:,}, {title}"
        for when, method in dict.fromkeys((row["when"], row["method"]) for row in case["rows"]):
            found = [row for row in case["rows"] if (row["when"], row["method"]) == (when, method)]
            means = [
                sum(row[key] for row in found) / len(found)
                for key in ("fresh_kl", "seconds", "cpu_seconds", "peak_megabytes")
            ]
            rows.append([
                title, f"`{method}`{' before' if when == 'before' else ''}", f"{means[0]:.4f}",
                f"{means[1]:.1f}", f"{means[2]:.1f}", f"{means[3]:,.0f}", str(len(found)),
            ])  # fmt: skip
            title = ""
    columns = ["head", "method", "KL on fresh inputs", "seconds", "CPU seconds", "peak MB", "seeds"]
    return f"""## Large heads: the methods

{made(document, name)}: drawn heads whose classes are as frequent as words, each factorization a process of its own, means over the seeds;
the KL is to the original's outputs, on inputs that nothing was fitted to. {document["cores"]} cores.

{table(columns, rows)}"""


def large_heads(name: str) -> str:
    """Return time and memory of the commands on large heads."""
    document = read(name)
    rows = []
    for found in document["cases"].values():
        case = found["settings"]
        steps = f" at {case['steps']} steps" if case["steps"] > 1 else ""
        title = f"{case['features']} x {case['classes']:,}, {case['ending']}{steps}, {case['train']:,} samples"
        for verb, row in found["commands"].items():
            failed = f", exit {row['exit']}" if row["exit"] else ""
            rows.append([
                title, f"`{verb}`{failed}", f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}",
                f"{row['peak_megabytes']:,.0f}",
            ])  # fmt: skip
            title = ""
    return f"""## The commands on large heads

{made(document, name)}: untrained networks whose classes are as frequent as words, each command a process of its own, the start of
Keras included; `max-drop` is `factorize --max-drop`, `finetune` one epoch of `--scope head`. {document["cores"]} cores.

{table(["head", "command", "seconds", "CPU seconds", "peak MB"], rows)}"""


def head_speed(name: str) -> str:
    """Return how fast heads alone are."""
    document = read(name)
    rows = [
        [
            f"{row['features']} x {row['classes']:,}, rank {row['rank']}", str(row["batch"]), row["runtime"],
            f"{1e6 * row['before']['median']:,.0f}", f"{1e6 * row['after']['median']:,.0f}", f"{row['fewer']:.2f}",
            f"{row['speed']['ratio']:.2f} [{row['speed']['low']:.2f}, {row['speed']['high']:.2f}]",
            f"{100 * row['share']:.0f}",
        ]
        for row in document["rows"]
    ]  # fmt: skip
    columns = [
        "head", "inputs", "runtime", "before, µs", "after, µs", "times fewer multiplications",
        "times as fast, [95 %]", "share, %",
    ]  # fmt: skip
    return f"""## Heads alone: what of the multiplications saved is saved in time

{made(document, name)}: softmax included, in turns on {document["cores"]} cores; {versions(document)}.

{table(columns, rows)}"""


def render() -> str:
    """Return the page."""
    head = """# Results

Every number on this page was measured by the command beside it and is committed in `benchmarks/results`. The page is written by
`python docs/make_results.py`, its figures by `python docs/make_figures.py`. Data sets are found by [the usual rules](datasets.md).
How other people's model files fare is on a page of its own: [compatibility](compatibility.md)."""
    parts = [
        head,
        summary(),
        stages(),
        each("five-jobs.json", five_jobs),
        heads(),
        fresh_heads(),
        held_out(),
        each("dense-layers-*.json", dense_layers),
        each("compare-*.json", comparison),
        language_model(),
        each("vocabularies.json", vocabularies),
        each("head-methods.json", head_methods),
        each("large-heads.json", large_heads),
        each("head-speed.json", head_speed),
        each("scratch-*.json", scratch_table),
        main_job(),
        each("finetune-choices-*.json", choices, "## How fine-tuning's defaults were chosen"),
        each("finetune-head-*.json", head_alone),
        each("factorize-vs-keras-*.json", speed),
        each("before-and-after.json", before_and_after),
        each("whole-network.json", whole_networks),
        each("whole-finetune.json", tuned_networks),
        each("whole-network-baselines.json", baselines),
        each("whole-speed.json", whole_speed),
        each("whole-cost.json", whole_cost),
        each("export-*.json", export, "## Exported: low rank, 8 bits, both"),
        scale(),
        decompositions(),
        fuzzing(),
        each("attack.json", attacked),
        each("field.json", field),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(render())
    else:
        Path(__file__).with_name("results.md").write_text(render(), encoding="utf-8")
