"""What a page of a report says, and Markdown does, as plain text in the order of the page."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lrcompress.reporting import layers, words
from lrcompress.reporting import network as networks
from lrcompress.reporting.charts import finetuning_of
from lrcompress.reporting.charts.figures import STAGES
from lrcompress.reporting.exported import bars_of, exports_of, timed_of
from lrcompress.reporting.headline import (
    headline,
    interval,
    minus,
    result_of,
    saved_share,
    sentence,
    stage_of,
    verdict,
    written_change,
)
from lrcompress.reporting.target import target_of

CERTIFICATE = (
    "Layer", "computed by", "Frobenius norm", "spectral norm", "error of the", "times the least possible",
)  # fmt: skip


def page_of(story: dict[str, Any], *, has_figures: bool) -> dict[str, Any]:
    """Return title, headline, tables and lists of a story."""
    found, target = headline(story), target_of(story)
    bars, timed, exports = bars_of(story), timed_of(story), exports_of(story)
    sections = [
        *([("model", "Model")] if bars else []),
        ("results", "Results"),
        *([("exported", "Exported files")] if exports else []),
        *([("speed", "Speed")] if timed else []),
        *([("figures", "Figures")] if has_figures else []),
        *([("layers", "Layers")] if layers.changed_layers(story) else []),
        *([("rank", "Rank"), ("certificate", "Certificate")] if layers.matrices(story) else []),
        ("environment", "Data and environment"),
        ("repeat", "To repeat it"),
    ]  # fmt: skip
    day = str(story["updated"])[:16].replace("T", " ") + " UTC" if story["updated"] else "-"
    files = [
        [STAGES[s["name"]], s.get("path") or "-", s.get("sha256") or "-", words.count(s.get("bytes"))]
        for s in story["stages"]
    ]  # fmt: skip
    return {
        "title": _title(story),
        "headline": found["text"],
        "target": target,
        "verdict": verdict(found | {"allowed": None} if target else found),
        "bars": bars,
        "timed": timed,
        "exports": exports,
        "tiles": _tiles(story, found),
        "contents": sections,
        "results": _results(story),
        "layers": [_layer(story, layer) for layer in layers.matrices(story)],
        "certificate": {"columns": CERTIFICATE, "rows": _certificate_rows(story)},
        "network": _network(story),
        "environment": _environment(story),
        "notes": story["warnings"],
        # As a shell takes them.
        "commands": [shlex.join(map(str, words)) for words in story["commands"]],
        "files": files,
        "footer": f"Written by lrcompress {story['versions'].get('lrcompress', '')} from "
        f"{PurePosixPath(story['record']).name}, last changed {day}.",
    }


def _title(story: dict[str, Any]) -> str:
    """Return what was made of which model."""
    original = stage_of(story, "original") or {}
    name = PurePosixPath(str(original.get("path") or story["record"])).name
    made = story["layers"]
    if len(made) == 1 and made[0].get("form") is None:
        return f"{name} at rank {words.count(made[0]['rank'])}"
    number = layers.layers_changed(made)
    many = f"{number} layer{'' if number == 1 else 's'}"
    return f"{name}, {many} factorized" if made else name


def _tiles(story: dict[str, Any], found: dict[str, Any]) -> list[dict[str, str]]:
    """Return the figures that are looked at first."""
    original, result = stage_of(story, "original") or {}, result_of(story) or {}
    before, after = found["layer_parameters_before"], found["layer_parameters_after"]
    tiles = [
        ("Whole model", saved_share(found["model_reduction"]),
         f"{words.count(original.get('parameters'))} → {words.count(result.get('parameters'))} parameters"),
    ]  # fmt: skip
    if found["layer_reduction"] is not None:
        counts = f"{words.count(before)} → {words.count(after)} parameters"
        tiles.insert(0, (sentence(found["what"]), saved_share(found["layer_reduction"]), counts))
    if found["measure"] is not None:
        name, pair, lost = written_change(found)
        samples = result.get("samples")
        what = {"error": "Test error"}.get(name, name)
        on = f" on {words.count(samples)} samples" if samples else ""
        tiles.append((sentence(what), pair, f"{lost}{on}"))
    if original.get("bytes") and result.get("bytes"):
        old, new = (words.size(s["bytes"] - s["optimizer_bytes"]) for s in (original, result))
        what = "File without optimizer state" if story["optimizer_bytes"] else "File"
        tiles.append((what, saved_share(result["bytes_reduction"]), f"{old} → {new}"))
    return [
        # A unit stays with its number.
        {"name": name, "value": value.replace(" %", "\N{NO-BREAK SPACE}%"), "under": under}
        for name, value, under in tiles
    ]


@dataclass(frozen=True)
class Cell:
    """What stands in a table: lines, of which there are several where outputs are, and a remark."""

    lines: tuple[str, ...]
    beside: str = ""


def _results(story: dict[str, Any]) -> dict[str, Any]:
    """Return the table of stages: caption, columns, and rows with their cells."""
    whole = sum(layer["parameters_before"] for layer in story["layers"])
    smaller = sum(layer["parameters_after"] for layer in story["layers"])
    by_layer = not layers.changed_layers(story)
    result, rows = result_of(story), []
    for stage in story["stages"]:
        own = whole if stage["name"] == "original" else smaller
        cells = _measured(stage)
        if by_layer:
            saved = "" if own == whole else saved_share((whole - own) / whole)
            cells.append(Cell((words.count(own),), saved))
        cells += [
            Cell((words.count(stage["parameters"]),), _saved(stage["parameters_reduction"])),
            Cell((words.size(stage["bytes"]),), _saved(stage["bytes_reduction"])),
        ]
        name = sentence(STAGES[stage["name"]])
        rows.append({"name": name, "is_result": stage is result, "cells": cells})
    measured = words.test_column(story["stages"]).partition(" [")[0]
    names = [sentence(measured), "Against the original", "p",
               *([f"Parameters, {layers.layers_name(story['layers'])}"] if by_layer else []),
               "Parameters, model", "File"]  # fmt: skip
    return {"caption": _caption(story), "columns": names, "rows": rows}


def _measured(stage: dict[str, Any]) -> list[Cell]:
    """Return the cells of a stage's figure, its difference to the original's, and p."""
    paired: dict[str, Any] = stage["drop"] if isinstance(stage.get("drop"), dict) else {}
    if stage.get("measure") == "outputs":
        figures, drops = stage["outputs"].items(), paired.get("outputs", {}).items()
        return [
            Cell(tuple(f"{name}: {words.rate(found)}" for name, found in figures)),
            Cell(tuple(minus(f"{name}: {words.change(lost)}") for name, lost in drops) or ("-",)),
            Cell(tuple(f"{name}: {_chance(lost)}" for name, lost in drops) or ("-",)),
        ]
    value, _, bounds = words.rate(stage).partition(" [")
    lost, _, around = words.drop(stage).partition(" [")
    return [
        Cell((value,), interval(bounds)),
        Cell((minus(lost),), interval(around)),
        Cell(("-" if not paired else _chance(paired),)),
    ]


def _caption(story: dict[str, Any]) -> str:
    parts = ["Before and after, with 95 % intervals"]
    if any("only_first_wrong" in (s.get("drop") or {}) for s in story["stages"]):
        parts.append("p is of McNemar's exact test")
    if story["optimizer_bytes"]:
        parts.append("optimizer state is in the files, and not counted as saved")
    return "; ".join(parts) + "."


def _chance(paired: dict[str, Any]) -> str:
    """Return a p-value; what is beyond doubt is not told further."""
    text = words.chance(paired)
    return "< 1e-16" if text == "0" else text


def _saved(part: float | None) -> str:
    return "" if part is None else saved_share(part)


def _layer(story: dict[str, Any], layer: dict[str, Any]) -> dict[str, Any]:
    """Return how the rank of one layer came about."""
    known, even = layers.with_spectrum(layer), layers.break_even(layer)
    kept = layers.energy_at(known, layer["rank"]) if known else None
    facts = [
        ("Shape", layers.shape_of(layer)),
        ("Rank", layer["rank_choice"]["message"]),
        ("Break-even", f"ranks up to {words.count(even)} save parameters" if even else "no rank saves parameters"),
    ]  # fmt: skip
    # Refinement truncates nothing, so that it keeps no share of any spectrum.
    if known and kept is not None and layers.spectrum_of(layer["method"]):
        facts.append(("Energy", f"{words.share(kept)} kept, of the {known['spectrum_of']}"))
    reason = layer.get("method_reason", story["method_reason"])
    facts.append(("Method", f"{layer['method']}: {reason}"))
    name = layer.get("path", layer["name"])
    return {"title": f"Layer {name}, {layer['activation']}", "facts": facts}


def _certificate_rows(story: dict[str, Any]) -> list[list[str]]:
    """Return measured errors, a row a layer."""
    return [
        [
            layer.get("path", layer["name"]), layer["algorithm"], words.small(layer["frobenius_error"]),
            words.small(layer["spectral_error"]), *_least(layer),
        ]
        for layer in layers.matrices(story)
    ]  # fmt: skip


def _network(story: dict[str, Any]) -> dict[str, Any] | None:
    """Return how the layers of a network were chosen together: tables, facts and sentences; None of others."""
    made, network = layers.changed_layers(story), story["network"]
    if not made or not network:
        return None
    found, looked_at = networks.columns(made), networks.sensitivity_columns()
    paths = {"original": "MODEL", "factorized": "SMALL"}
    paths |= {stage["name"]: str(stage["path"]) for stage in story["stages"]}
    said = networks.measured_lines(network, paths["original"], paths["factorized"])
    budget, rows = networks.budget_in_words(network), networks.sensitivity(network)
    return {
        "chosen": f"Made smaller {budget}; method {story['method']}: {story['method_reason']}.",
        "measured": [f"{sentence(line)}." for line in said],
        "columns": [name for name, _ in found],
        "rows": [[write(layer).replace("->", "→") for _, write in found] for layer in made],
        "error": networks.error_name(network),
        "looked_at": [name for name, _ in looked_at],
        "sensitivity": [[write(row) for _, write in looked_at] for row in rows],
        "kept": networks.left_out(network["kept"])[1:],
    }


def _least(layer: dict[str, Any]) -> list[str]:
    """Return what the method minimises, and how near it comes to the least error of that."""
    ratio = f"{layer['optimality']:.6f}" if layers.least_is_known(layer) else "-"
    return [layer.get("optimality_of") or "kernel", "exact" if layer.get("exact") else ratio]


def _environment(story: dict[str, Any]) -> list[tuple[str, str]]:
    """Return data, training, times and versions."""
    data, entry = story["dataset"], finetuning_of(story)
    facts = [("Data set", "none named: no errors were measured")]
    if data:
        samples = next((s["samples"] for s in story["stages"] if s.get("samples")), None)
        tested = f", {words.count(samples)} test samples" if samples else ", nothing measured yet"
        facts = [("Data set", f"{data['name']}, scaling {data['scaling']}{tested}")]
    facts.append(("Factorization", words.seconds(story["seconds"].get("total"))))
    versions = dict(story["versions"])
    if entry:
        facts += [("Fine-tuning", _training(entry)), ("Device", str(entry.get("device", "-")))]
        versions |= entry.get("versions") or {}
    tuned = (story.get("compress") or {}).get("finetune")
    if tuned:
        kept = "kept" if tuned["kept"] else "not kept"
        facts.append(("Fine-tuned weights", f"{kept}: {tuned['why']}"))
    facts.append(("Versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    return facts


def _training(entry: dict[str, Any]) -> str:
    settings = entry.get("settings") or {}
    what = "the head" if settings.get("scope") == "head" else "the whole model"
    parts = [
        f"{what}, {entry['epochs_done']} of {entry['epochs']} epochs, best {entry['best_epoch']}"
        if "epochs_done" in entry else f"{what}, {entry['epochs']} epochs",
        "taught by the original alone" if words.metric(entry.get("measure")).by_original
        else "taught by labels and the original" if entry.get("distilled") else "taught by labels",
    ]  # fmt: skip
    for key, name in (("optimizer", ""), ("learning_rate", "learning rate "),
                      ("batch_size", "batch "), ("precision", "")):  # fmt: skip
        if settings.get(key) is not None:
            parts.append(f"{name}{settings[key]}")
    return ", ".join([*parts, words.seconds(entry["seconds"])])
