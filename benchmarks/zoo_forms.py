"""Every form of every layer of a folder of model files that other people wrote, at full size.

    python benchmarks/zoo_forms.py FOLDER --output benchmarks/results/zoo-forms.json

At full size each form computes what the layer did. Every file is written with all its layers in
their first forms, again in their second ones, and so on, and must compute in Keras 3 what the
original computes; a file that Keras 3 does not load as it is is compared as `modernize` gives it,
before and after. Layers that share a third one take turns. Beside it stands what each file saves
with every layer at a quarter of its largest size.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from compatibility import HALF_TOLERANCE, TOLERANCE, suffix_of, tidy

import lrcompress
from lrcompress.errors import LRCompressError
from lrcompress.kinds import Form
from lrcompress.modelfile import ModelFile, find_places, open_model, read_arrays, write_changed

COMMAND = [
    "python", "benchmarks/zoo_forms.py", "$LRCOMPRESS_ZOO",
    "--output", "benchmarks/results/zoo-forms.json",
]  # fmt: skip
WORKER = Path(__file__).with_name("zoo_forms_worker.py")
SHARES = (20, 40, 60)
Chosen = dict[str, Form]


def turns(forms: dict[str, tuple[Form, ...]]) -> Iterator[Chosen]:
    """Give the forms of all layers so that those of one turn change no layer twice, until none is left."""
    left = [(path, form) for path, own in forms.items() for form in own]
    while left:
        chosen: Chosen = {}
        touched: set[str] = set()
        rest = []
        for path, form in left:
            if touched.isdisjoint(form.touches):
                chosen[path] = form
                touched.update(form.touches)
            else:
                rest.append((path, form))
        yield chosen
        left = rest


def write(
    model: ModelFile, chosen: Chosen, target: Path, sizes: dict[str, int] | None = None
) -> None:
    """Write a file with some forms, at full size where no other is given."""
    known = find_places(model).known
    edits: dict[str, Any] = {}
    for path, form in chosen.items():
        near = {*form.touches, *(other.path for other in known[path].after)}
        arrays = {p: read_arrays(model, p) for p in near}
        size = form.largest if sizes is None else sizes[path]
        edits |= form.solve(arrays, None, [size])[size].layers()
    write_changed(model, edits, target)


def quartered(model: ModelFile, folder: Path) -> ModelFile:
    """Write a file with each layer at a quarter of its largest size in the form that alone saves most.

    Layers that get narrower come first, one after the other where they share one.
    """
    best: dict[str, tuple[Form, int]] = {}
    for path, forms in forms_of(model).items():
        sized = [(form, max(1, form.largest // 4)) for form in forms]
        best[path] = max(sized, key=lambda one: one[0].before - one[0].parameters(one[1]))
    for narrows in (True, False):
        left = {path for path, (form, _) in best.items() if form.narrows == narrows}
        while left:
            now = forms_of(model)
            chosen: Chosen = {}
            touched: set[str] = set()
            for path in sorted(left):
                name, size = best[path][0].name, best[path][1]
                form = next((one for one in now.get(path, ()) if one.name == name), None)
                if form is None or form.largest <= size or form.parameters(size) >= form.before:
                    left.discard(path)
                elif touched.isdisjoint(form.touches):
                    chosen[path] = form
                    touched.update(form.touches)
            if not chosen:
                break
            left -= chosen.keys()
            target = folder / f"quarter{len(left)}-{narrows}{suffix_of(model.path)}"
            write(model, chosen, target, {path: best[path][1] for path in chosen})
            model = open_model(target)
    return model


def forms_of(model: ModelFile) -> dict[str, tuple[Form, ...]]:
    """Return the forms of all layers that have some."""
    known = find_places(model).known
    return {p: place.kind.forms(place) for p, place in known.items() if place.kind is not None}


def describe(path: Path) -> tuple[dict[str, Any], ModelFile | None, dict[str, tuple[Form, ...]]]:
    """Return a row for a file, its model and the forms of its layers; none where it cannot be read."""
    row: dict[str, Any] = {"file": path.name}
    try:
        model = open_model(path)
        places = find_places(model)
    except LRCompressError as error:
        return row | {"refused": error.code}, None, {}
    forms = forms_of(model)
    row |= {"keras_version": model.keras_version, "format": model.format}
    row |= {"parameters": model.parameters, "layers": len(forms), "refused_layers": places.refused}
    return row, model, forms


def limit_of(model: ModelFile) -> float:
    """Return the largest relative difference that is rounding: half precision has three digits."""
    halves = any(
        array.dtype in ("float16", "bfloat16") for array in model.weights.index.arrays.values()
    )
    return HALF_TOLERANCE if halves or '"mixed_' in json.dumps(model.config) else TOLERANCE


def modernized(source: str) -> str | None:
    """Put a file in the terms of Keras 3 beside itself; return where, None where that is refused."""
    path = Path(source)
    target = path.with_name(f"modern-{path.name}")
    try:
        if not target.exists():
            lrcompress.modernize(path, output=target)
    except LRCompressError:
        return None
    return str(target)


def examine(jobs: list[tuple[str, list[str]]], log: Path) -> list[list[dict[str, Any]]]:
    """Return what the copies of each file do beside it; a file that ends the process is passed over."""
    found: list[list[dict[str, Any]]] = []
    while len(found) < len(jobs):
        with log.open("w") as errors:
            worker = subprocess.Popen(
                [sys.executable, str(WORKER)], text=True, stderr=errors,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        with worker.stdin as stdin:
            json.dump(jobs[len(found) :], stdin)
        lines = iter(worker.stdout)
        for _, copies in jobs[len(found) :]:
            rows = [json.loads(line) for _, line in zip(copies, lines, strict=False)]
            ended = len(rows) < len(copies)
            rows += [{"original_loads": "ended the process"}] * (len(copies) - len(rows))
            found.append(rows)
            click.echo(f"{len(found)}/{len(jobs)}", err=True)
            if ended:
                break
        worker.wait()
    return found


def outcome(found: dict[str, Any], limit: float) -> str:
    """Return same, differs or not comparable."""
    if found.get("original_loads") is not True or found.get("original_runs") is not True:
        return "not comparable"
    apart = found.get("relative_difference")
    return "same" if apart is not None and apart <= limit else "differs"


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count files by what they save, and written files by what they compute."""
    read = [row for row in rows if row.get("parameters")]
    turns_of = [turn for row in read for turn in row["turns"]]
    outcomes = ("same", "differs", "not comparable", "refused")
    return {
        "files": len(rows),
        "read, with weights": len(read),
        "layers": sum(row["layers"] for row in read),
        "forms": sum(len(turn["forms"]) for turn in turns_of),
        "written": {name: sum(t["outcome"] == name for t in turns_of) for name in outcomes},
        "saves": {
            f"{share} %": sum(100 * row["quarter"]["saved"] >= share for row in read)
            for share in SHARES
        },
    }


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--only", multiple=True, help="Only files whose names hold this.")
def main(folder: Path, output: Path, only: tuple[str, ...]) -> None:
    """Write and compare all files, and write the figures."""
    rows: list[dict[str, Any]] = []
    jobs: list[tuple[str, list[str]]] = []
    turns_of: list[tuple[float, list[dict[str, Any]]]] = []
    versions = {"python": platform.python_version(), "lrcompress": lrcompress.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        paths = sorted(p for p in folder.iterdir() if p.is_file() and p.name != "INDEX.tsv")
        for number, path in enumerate(paths):
            if only and not any(part in path.name for part in only):
                continue
            row, model, forms = describe(path)
            rows.append(row)
            if model is None:
                continue
            row["turns"] = []
            scratch = work / str(number)
            scratch.mkdir()
            original = scratch / f"original{suffix_of(path)}"
            original.write_bytes(path.read_bytes())
            small = quartered(model, scratch)
            row["quarter"] = {"saved": 1 - small.parameters / max(1, model.parameters)}
            written: list[tuple[dict[str, Any], str]] = []
            for count, chosen in enumerate(turns(forms)):
                target = scratch / f"turn{count}{original.suffix}"
                turn: dict[str, Any] = {"forms": {p: form.name for p, form in chosen.items()}}
                row["turns"].append(turn)
                try:
                    write(model, chosen, target)
                except LRCompressError as error:
                    turn |= {"outcome": "refused", "why": tidy(str(error), path)}
                    continue
                written.append((turn, str(target)))
            if small.path != path:
                written.append((row["quarter"], str(small.path)))
            if written:
                jobs.append((str(original), [target for _, target in written]))
                turns_of.append((limit_of(model), [turn for turn, _ in written]))
            click.echo(f"{len(rows)} {path.name}", err=True)
        log = work / "keras.log"
        found = examine(jobs, log)
        old = [n for n, one in enumerate(found) if one[0].get("original_loads") is not True]
        modern = {n: [modernized(p) for p in (jobs[n][0], *jobs[n][1])] for n in old}
        again = {n: (p[0], p[1:]) for n, p in modern.items() if None not in p}
        for n, one in zip(again, examine([*again.values()], log), strict=True):
            found[n] = [row | {"modernized": True} for row in one]
        for (limit, turns_here), ones, (source, _) in zip(turns_of, found, jobs, strict=True):
            for turn, one in zip(turns_here, ones, strict=True):
                versions |= one.pop("versions", {})
                tidied = {
                    key: tidy(value, Path(source)) if isinstance(value, str) else value
                    for key, value in one.items()
                }
                turn |= {"outcome": outcome(one, limit), **tidied}
        for row in rows:
            if "outcome" in row.get("quarter", {}):  # it need not compute the same
                del row["quarter"]["outcome"]
    document = {
        "command": COMMAND, "versions": versions, "totals": totals(rows), "rows": rows,
    }  # fmt: skip
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        for turn in row.get("turns", []):
            if turn["outcome"] != "same":
                click.echo(json.dumps({"file": row["file"], **turn}))
    click.echo(json.dumps(document["totals"]))
    sys.exit(1 if document["totals"]["written"]["differs"] else 0)


if __name__ == "__main__":
    main()
