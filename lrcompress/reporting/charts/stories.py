"""Which figures a story has, each with its words: title, caption, and what there is to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting import layers, words
from lrcompress.reporting import network as networks
from lrcompress.reporting.charts import figures
from lrcompress.reporting.charts.figures import STAGES, by_method, look_name, measure_of, single
from lrcompress.reporting.charts.sensitivity import draw_sensitivity, rows_of
from lrcompress.reporting.headline import result_of, stage_of

# A report of a network with dozens of layers shows the spectra of the first ones.
MOST_SPECTRA = 6


@dataclass(frozen=True)
class Chart:
    """A figure that can be drawn, and the table of its numbers."""

    name: str  # its file's stem, and the prefix of its ids in a page; safe in both
    title: str
    caption: str  # how to read it
    description: str  # what there is to see, for those who do not see it
    draw: Callable[[Any], None]  # on an empty Matplotlib figure
    height: float = 3.3  # inches, at a width of 4.8
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    # Where the slider puts its mark: in the last axes by row of the sweep, method by method.
    points: list[list[tuple[float, float | None]]] = field(default_factory=list)


def charts_of(story: dict[str, Any]) -> list[Chart]:
    """Return the figures that a story has the numbers for, in the order of a page."""
    makers = (_stages, _finetuning, _sweep, _sensitivity, _spectra, _spectral, _comparison)
    return [chart for maker in makers for chart in maker(story)]


def _stages(story: dict[str, Any]) -> Iterator[Chart]:
    measure = (result_of(story) or {}).get("measure", "error_rate")
    found = [s for s in story["stages"] if measure != "outputs" and s.get(measure) is not None]
    if len(found) < 2:
        return
    seen = "; ".join(f"{STAGES[stage['name']]} {words.rate(stage)}" for stage in found)
    most, allowed = None, _allowed(story, measure)
    if allowed is not None and found[0]["name"] == "original":
        most = words.allowed_figure(measure, found[0][measure], allowed)
        seen = f"{seen}; allowed {words.figure(measure, most)}"
    yield Chart(
        "error-by-stage", "Before and after",
        "Dots are measured on the test data; lines are 95 % intervals for other test samples.",
        f"One dot with its interval a stage: {seen}.",
        partial(figures.draw_stages, found, measure, most),
    )  # fmt: skip


def _allowed(story: dict[str, Any], measure: str) -> float | None:
    """Return by how many points, or percent of perplexity, a figure was allowed to rise."""
    return words.allowed_drop(story, measure) if words.metric(measure).step else None


def _points(
    document: dict[str, Any], place: Callable[[dict[str, Any]], tuple[float, float | None]]
) -> list[list[tuple[float, float | None]]]:
    return [[place(row) for row in rows] for rows in by_method(document).values()]


def finetuning_of(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fine-tuning that made the stage `finetuned`, else the last one."""
    stage = stage_of(story, "finetuned") or {}
    entries: list[dict[str, Any]] = [entry for entry in story["finetune"] if entry.get("history")]
    made = [entry for entry in entries if entry.get("output") == stage.get("path")]
    return next(reversed(made or entries), None)


def _finetuning(story: dict[str, Any]) -> Iterator[Chart]:
    entry = finetuning_of(story)
    if entry is None:
        return
    key = f"validation_{entry.get('measure', 'error_rate')}"
    if not any(look.get(key) is not None for look in entry["history"]):
        key = "validation_loss"
    looks = [look for look in entry["history"] if look.get(key) is not None]
    if len(looks) < 2:
        return
    table = [
        [look_name(look), words.small(look.get("loss")), words.small(look[key]), words.small(look["validation_loss"]),
         "kept" if look.get("kept") else ""]
        for look in looks
    ]  # fmt: skip
    name = words.metric(key.removeprefix("validation_")).held_out
    seen = "; ".join(f"{row[0]}: {row[2]}{' (kept)' if row[4] else ''}" for row in table)
    yield Chart(
        "fine-tuning", "Fine-tuning",
        "On a held-out part of the training data; the best epoch is kept. No choice is made on test data.",
        f"{name.capitalize()} by epoch. {seen}.",
        single(figures.draw_finetuning, looks, key),
        columns=["epoch", "loss in training", name, "held-out loss", ""], rows=table,
    )  # fmt: skip


def _sweep(story: dict[str, Any]) -> Iterator[Chart]:
    document = story.get("sweep")
    if not document:
        return
    measure = measure_of(document)
    rows = sorted(document["rows"], key=lambda row: (row["method"], row["rank"]))
    needed = [measure, f"{measure}_low", f"{measure}_high"]
    if not rows or any(row.get(key) is None for row in rows for key in needed):
        return
    (layer,) = (x for x in story["layers"] if x.get("path", x["name"]) == document["layer"])
    chosen = layer["rank"]
    allowed = _allowed(story, measure)
    columns = ["method", "rank", "layer saved", "model saved", "on test data [95 %]"]
    table = [
        [printable(row["method"]), words.count(row["rank"]), words.share(row["layer_reduction"]),
         words.share(row["model_reduction"]), words.rate(row)]
        for row in rows
    ]  # fmt: skip
    seen = _ends(rows, lambda row: words.figure(measure, row[measure]))
    said = "Without any fine-tuning; bands are 95 % intervals, the line across is the original."
    word = f"chosen: rank {chosen:,}"
    yield Chart(
        "error-by-rank", "Error against rank", said,
        f"{words.metric(measure).tested} against rank, one line a method. {seen}.",
        single(figures.draw_errors, document, "rank", "rank", (chosen, word), allowed),
        columns=columns, rows=table, points=_points(document, lambda row: (row["rank"], row[measure])),
    )  # fmt: skip
    at = next((r["layer_reduction"] for r in rows if r["rank"] == chosen), None)
    axis, mark = "parameters of the layer saved, %", None if at is None else (100 * at, word)
    yield Chart(
        "error-by-reduction", "Error against what is saved", f"{said} Saved is of the kernel alone.",
        f"{words.metric(measure).tested} against {axis}, one line a method. {seen}.",
        single(figures.draw_errors, document, "layer_reduction", axis, mark, allowed),
        points=_points(document, lambda row: (100 * row["layer_reduction"], row[measure])),
    )  # fmt: skip


def _ends(rows: list[dict[str, Any]], value: Callable[[dict[str, Any]], str]) -> str:
    """Say where the line of each method begins and ends."""
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = sorted((r for r in rows if r["method"] == method), key=lambda r: r["rank"])
        first, last = mine[0], mine[-1]
        text = f"{printable(method)} {value(first)} at rank {first['rank']}"
        lines.append(text if first is last else f"{text}, {value(last)} at rank {last['rank']}")
    return "; ".join(lines)


def _sensitivity(story: dict[str, Any]) -> Iterator[Chart]:
    network = story["network"]
    if not network or not network["curves"]:
        return
    chosen = {x.get("path", x["name"]): x for x in layers.changed_layers(story)}
    lines = networks.sensitivity_lines(network, chosen, networks.MOST_LINES)
    if not lines:
        return
    rows = networks.sensitivity(network, networks.MOST_LINES)
    names = networks.sensitivity_columns()
    seen = "; ".join(f"{printable(path)} from {words.small(points[0][1])} to {words.small(points[-1][1])}"
                     for path, points, _ in lines)  # fmt: skip
    what = networks.error_name(network)
    named = [(printable(path), points, mark) for path, points, mark in lines]
    yield Chart(
        "sensitivity", "Sensitivity of each layer",
        f"{what.capitalize()} with one layer alone made smaller, in its best form; diamonds are what was chosen.",
        f"{what.capitalize()} against the share of a layer's parameters that is saved, a small figure each. {seen}.",
        partial(draw_sensitivity, named, what), height=1.0 + 1.15 * rows_of(len(named)),
        columns=[name for name, _ in names], rows=[[write(row) for _, write in names] for row in rows],
    )  # fmt: skip


def _spectra(story: dict[str, Any]) -> Iterator[Chart]:
    drawn = [found for layer in story["layers"] if (found := layers.with_spectrum(layer))]
    document = story.get("sweep")
    for index, layer in enumerate(drawn[:MOST_SPECTRA], 1):
        points = []
        if document and layer.get("path", layer["name"]) == document["layer"]:
            points = _points(document, partial(_energy, layer))
        kept, even = layers.energy_at(layer, layer["rank"]), layers.break_even(layer)
        keeps = "" if kept is None else f" and keeps {words.share(kept)} of the energy"
        keeps = f"Rank {layer['rank']:,} was chosen{keeps}"
        ends = f"ranks up to {even:,} save parameters" if even else "no rank saves parameters"
        sigma = layer["singular_values"]
        falls = f"fall from 1 to {words.small(sigma[-1] / sigma[0])} at rank {layer['singular_value_ranks'][-1]:,}"
        whose = "" if len(drawn) == 1 else f" of {printable(layer['name'])}"
        yield Chart(
            f"spectrum-{index}" if len(drawn) > 1 else "spectrum", f"Singular values{whose}",
            f"Of the {layer['spectrum_of']}. {keeps}; {ends}.",
            f"Singular values relative to the largest {falls}. {keeps}; {ends}.",
            partial(figures.draw_spectrum, layer), height=3.9, points=points,
        )  # fmt: skip


def _energy(layer: dict[str, Any], row: dict[str, Any]) -> tuple[float, float | None]:
    kept = layers.energy_at(layer, row["rank"])
    return row["rank"], None if kept is None else 100 * kept


def _spectral(story: dict[str, Any]) -> Iterator[Chart]:
    name, title = "spectral-error", "Spectral norm of the error"
    document = story.get("sweep")
    if document and len(document["singular_values"]) > 1:
        rows = [row for row in document["rows"] if layers.spectrum_of(row["method"])]
        seen = _ends(rows, lambda row: words.small(row["spectral_error"]))
        yield Chart(
            name, title,
            "Of A − B C, relative to that of the kernel A; the dashed line is the least that any "
            "matrix of the rank allows.",
            f"Spectral error against rank. {seen or 'The least possible alone'}.",
            single(figures.draw_spectral, document), height=3.9,
            points=_points(document, lambda row: (
                row["rank"], row["spectral_error"] if layers.spectrum_of(row["method"]) else None
            )),
        )  # fmt: skip
        return
    drawn = [found for layer in story["layers"] if (found := layers.with_spectrum(layer))]
    if len(drawn) != 1:
        return
    (layer,) = drawn
    pairs = layers.spectral_pairs(layer)
    (first, most), (last, least) = pairs[0], pairs[-1]
    yield Chart(
        name, title,
        f"The least that a matrix of each rank allows, relative to the norm of the {layer['spectrum_of']}; "
        "a truncated SVD attains it.",
        f"Falls from {words.small(most)} at rank {first} to {words.small(least)} at rank {last:,}; "
        f"rank {layer['rank']:,} was chosen.",
        single(figures.draw_least_error, layer), height=3.9,
    )  # fmt: skip


def _comparison(story: dict[str, Any]) -> Iterator[Chart]:
    document = story.get("comparison")
    if not document:
        return
    names = words.arm_names(document["settings"]["finetune_epochs"])
    table = [
        [names[e["arm"]], words.rank_name(e["rank"]), words.rate(e), words.count(e["layer_parameters"])]
        for e in document["summary"]
    ]  # fmt: skip
    seen = "; ".join(f"{row[0]}, rank {row[1]}: {row[2]}" for row in table)
    yield Chart(
        "compressed-or-trained", "Compress, or train a small network",
        "Networks of one kind on one data set; bars and bands are 95 % intervals.",
        f"Test error against rank, one line a way to get there. {seen}.",
        single(figures.draw_arms, document, names, legend="below"), height=4.2,
        columns=["way", "rank", "test error [95 %]", "parameters, layer"], rows=table,
    )  # fmt: skip
