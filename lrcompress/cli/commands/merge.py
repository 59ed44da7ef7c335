"""Multiply layers that are factors of one back into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli import options as shared
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain, table
from lrcompress.reporting.words import count, size


@click.command("merge")
@shared.model_argument("model")
@shared.layer_option("Another layer than the final one; repeat it for several.", multiple=True)
@shared.layers_option("")
@shared.output_option("<stem>-merged<suffix> in the current directory")
@shared.overwrite_option
@verb
def command(model: Path, **options: Any) -> Answer:  # noqa: ANN401
    """Multiply factors in MODEL, such as B and C, back into one layer.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed, and none of it is run. Factors are what
    factorize writes, or any consecutive layers that are linear except for the last. The final two
    Dense layers are merged unless --layer or --layers says which, or all factors if the run record
    says that the whole network was made smaller.

    \b
    Example:
        lrcompress merge model-rank4.h5
        lrcompress merge model-lowrank.h5 --layers all -o model-whole.h5
    """  # noqa: D301
    from lrcompress.verbs.merge import merge

    return Answer(merge(model, **options), render)


def render(result: dict[str, Any]) -> Parts:
    """Show what became of the layers."""
    layers = result["layers"]
    titles = [_title(layer) for layer in layers]
    own = "layer" if len(layers) == 1 else None
    rows = [
        [f"parameters, {name}", count(entry["parameters_before"]), count(entry["parameters_after"])]
        for name, entry in [*((own or one["path"], one) for one in layers), ("model", result)]
    ]
    rows.append(["file", size(result["bytes_before"]), size(result["bytes_after"])])
    gone = ", ".join(name for layer in layers for name in layer["first_names"])
    lines = [f"removed: {gone}, multiplied into the layer that follows"]
    if result["optimizer_bytes"]:
        lines.append(f"{size(result['optimizer_bytes'])} of optimizer state are dropped")
    lines.append(f"wrote {result['output']}")
    return [table(titles, ["", "before", "after"], rows), plain(lines)]


def _title(layer: dict[str, Any]) -> str:
    """Say what a layer was and is."""
    *m, n = layer["kernel_shape"]
    if len(m) == len(layer["first_names"]) == 1:
        return (
            f"{layer['path']}: {layer['class_name']} {m[0]} x {layer['rank']} x {n} -> {m[0]} x {n}"
        )
    shape, names = " x ".join(map(str, layer["kernel_shape"])), ", ".join(layer["first_names"])
    return f"{layer['path']}: {layer['class_name']} {shape} again, of {names} and itself"
