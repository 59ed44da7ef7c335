"""Multiply two Dense layers that are factors back into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import layer_option, model_argument, output_option, overwrite_option
from lrcompress.cli.verb import Answer, verb
from lrcompress.reporting.tables import Parts, plain, table
from lrcompress.reporting.words import count, size


@click.command("merge")
@model_argument("model")
@layer_option("Another layer than the final one; repeat it for several.", multiple=True)
@output_option("<stem>-merged<suffix> in the current directory")
@overwrite_option
@verb
def command(model: Path, **options: Any) -> Answer:  # noqa: ANN401
    """Multiply two Dense layers of MODEL that are factors B and C back into one.

    MODEL is a .h5, .hdf5 or .keras file; it is not changed, and none of it is run. The two are
    what factorize writes, or any Dense without activation that feeds another Dense alone. The
    final ones are merged unless --layer names others, by either name.

    \b
    Example:
        lrcompress merge model-rank4.h5
        lrcompress merge model-rank4.h5 -o model-whole.h5
    """  # noqa: D301
    from lrcompress.verbs.merge import merge

    return Answer(merge(model, **options), render)


def render(result: dict[str, Any]) -> Parts:
    """Show what became of the layers."""
    layers = result["layers"]
    titles = []
    for layer in layers:
        m, n = layer["kernel_shape"]
        titles.append(f"{layer['path']}: Dense {m} x {layer['rank']} x {n} -> {m} x {n}")
    own = "layer" if len(layers) == 1 else None
    rows = [
        [
            f"parameters, {name}",
            count(entry["parameters_before"]),
            count(entry["parameters_after"]),
        ]
        for name, entry in [*((own or one["path"], one) for one in layers), ("model", result)]
    ]
    rows.append(["file", size(result["bytes_before"]), size(result["bytes_after"])])
    gone = ", ".join(layer["first_name"] for layer in layers)
    lines = [f"removed: {gone}, multiplied into the layer that follows"]
    if result["optimizer_bytes"]:
        lines.append(f"{size(result['optimizer_bytes'])} of optimizer state are dropped")
    lines.append(f"wrote {result['output']}")
    return [table(titles, ["", "before", "after"], rows), plain(lines)]
