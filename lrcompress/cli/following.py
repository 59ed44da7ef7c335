"""The next command that a user is told of: one that works as it stands, or says what it needs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

# Below this share of the model's parameters a layer alone is not worth it.
SMALL = 0.05


def after_compress(model: Path, record: Path) -> list[str]:
    """Return what data would bring."""
    name = _dataset(record)
    again = f"Next: lrcompress compress {_quoted(model)} --dataset {name or 'DATA.npz'} --overwrite"
    needs = "" if name else " (DATA.npz: x_train, a few thousand inputs; labels are optional)"
    return [
        f"{again}{needs}: data say how small it may get, measure what it loses, and win it back"
    ]


def after_factorize(model: Path, result: Any) -> list[str]:  # noqa: ANN401  # a `FactorizeResult`
    """Return the command that recovers accuracy, and the one that makes a model smaller whose head is small."""
    record = result.record
    run = "" if record.absolute().parent == Path.cwd() else f" --run {_quoted(record)}"
    name = _dataset(record)
    tune = f"Next: lrcompress finetune --epochs 2{run}"
    if name is None:
        tune += " --dataset DATA (no data set is known; labels are optional)"
    lines = [tune]
    before = result.parameters_before
    if result.network is None and before - result.parameters_after < SMALL * before:
        lines.append(
            f"Or: lrcompress compress {_quoted(model)} --dataset {name or 'DATA'} makes all layers smaller: "
            "this one holds little of the model"
        )
    return lines


def after_inspect(document: dict[str, Any]) -> list[str]:
    """Return the command that makes the model smaller, where any layer can be."""
    if not any(place["quarter"]["parameters_saved"] > 0 for place in document["places"]):
        return []
    name = document["dataset"]
    data = _quoted(name) if name else "DATA (or without, if there are no data)"
    return [f"Next: lrcompress compress {_quoted(document['model'])} --dataset {data}"]


def _dataset(record: Path) -> str | None:
    """Return the quoted name of the data set that a run knows and a command may name."""
    from lrcompress.records import runs

    name = runs.read(record).origin.dataset
    return None if name is None else _quoted(name)


def _quoted(word: object) -> str:
    return shlex.quote(str(word))
