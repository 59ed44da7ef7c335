"""List the layers, find the final Dense and say what ranks would save."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from lrcompress.cli.options import architecture_option, layer_option, model_argument
from lrcompress.cli.verb import Answer, quoted, verb
from lrcompress.reporting.network import places_shown
from lrcompress.reporting.tables import Parts, grid, of, plain
from lrcompress.reporting.words import count, share, size, small


@click.command("inspect")
@model_argument("model")
@architecture_option("")
@click.option("--all", "every", is_flag=True, help="List layers without parameters, too.")
@layer_option("Another Dense layer than the final one.")
@verb
def command(model: Path, every: bool, **options: Any) -> Answer:  # noqa: ANN401
    """List the layers of MODEL, find its final Dense layer and say what each rank would save.

    MODEL is a .h5, .hdf5 or .keras file; none of it is run.

    \b
    Example:
        lrcompress inspect model.h5
    """  # noqa: D301
    from lrcompress.verbs.inspect import inspect

    found = inspect(model, **options)
    return Answer(found, partial(render, every=every), _next(found))


def _next(document: dict[str, Any]) -> list[str]:
    """Return the command that makes the model smaller, where any layer can be."""
    if not any(place["quarter"]["parameters_saved"] > 0 for place in document["places"]):
        return []
    name = document["dataset"]
    data = quoted(name) if name else "DATA (or without, if there are no data)"
    return [f"Next: lrcompress compress {quoted(document['model'])} --dataset {data}"]


def render(document: dict[str, Any], *, every: bool = False) -> Parts:
    """Show what is in a model file; of layers without parameters only their number unless all are asked for."""
    parts = [*_file(document), *_layers(document, every=every)]
    wrong = [
        f"{x['path']} ({count(x['not_finite'])})" for x in document["layers"] if x["not_finite"]
    ]
    if wrong:
        parts.append(plain([f"NaN or infinity among the weights of: {', '.join(wrong)}"]))
    head = document["head"]
    places, lines = places_shown(document)
    parts += places
    if head is None:
        others = ", ".join(dense["path"] for dense in document["dense_layers"])
        lines.append(f"no final Dense layer to factorize: {document['reason']['message']}")
        if others:
            lines.append(f"Dense layers that --layer could name: {others}")
        return [*parts, plain(lines)]
    parts.append(plain([*lines, *_head(head), *_elsewhere(document, head)]))
    if head["ranks"]:
        parts += _ranks(head["ranks"])
    return parts


def _file(document: dict[str, Any]) -> Parts:
    version = document["keras_version"]
    written = f"Keras {version}" if version else "Keras of unknown age"
    optimizer = document["optimizer_bytes"]
    of_them = f" (of them {size(optimizer)} optimizer state)" if optimizer else ""
    return [plain([
        f"{document['model']}: {document['class_name']}, {written}, {document['format']}, "
        f"{count(document['parameters'])} parameters, {size(document['bytes'])}{of_them}"
    ])]  # fmt: skip


def _layers(document: dict[str, Any], *, every: bool) -> Parts:
    whole, layers = document["parameters"], document["layers"]
    shown = [layer for layer in layers if every or layer["parameters"]]
    rest = len(layers) - len(shown)
    columns = [
        ("layer", of("path")),
        ("class", of("class_name")),
        ("parameters", of("parameters", count)),
        ("share", of("parameters", lambda own: share(own / whole if whole else None))),
    ]
    said = (
        [plain([f"{count(rest)} more layers have no parameters; --all shows them"])] if rest else []
    )
    return [grid("Layers", columns, shown, left=2), *said]


def _head(head: dict[str, Any]) -> list[str]:
    m, n = head["kernel_shape"]
    follows = f", followed by {', '.join(head['following'])}" if head["following"] else ""
    split = f", already split at rank {head['rank']}" if head["rank"] else ""
    even = head["break_even_rank"]
    saves = f"ranks up to {even} save parameters" if even else "no rank makes it smaller"
    energy = ", ".join(f"{100 * float(k):g} % at rank {r}" for k, r in head["energy_ranks"].items())
    return [
        f"final Dense layer: {head['path']}, {m} x {n}, {head['dtype']}, {head['activation']}{follows}{split}",
        f"  {count(head['parameters'])} parameters, {share(head['share_of_model'])} of the model; {saves}",
        f"  energy {energy}",
    ]


def _elsewhere(document: dict[str, Any], head: dict[str, Any]) -> list[str]:
    """Say which Dense layers hold more of the model than the final one does."""
    larger = [
        dense
        for dense in document["dense_layers"]
        if dense["path"] != head["path"]
        and dense["parameters"] > head["parameters"]
        and dense["break_even_rank"]
    ]
    return [
        f"  more parameters are in {dense['path']}, {share(dense['parameters'] / document['parameters'])} "
        f"of the model: --layer {dense['path']}, or --layers all for every layer"
        for dense in sorted(larger, key=lambda dense: -dense["parameters"])[:3]
    ]


def _ranks(ranks: list[dict[str, Any]]) -> Parts:
    columns = [
        ("rank", of("rank")),
        ("parameters", of("parameters_saved", count)),
        ("of the layer", of("layer_reduction", share)),
        ("of the model", of("model_reduction", share)),
        ("energy", of("energy", share)),
        ("spectral error", of("spectral_error", small)),
    ]
    said = "share of its kernel, without bias; energy and spectral error: of method svd"
    table = grid("What a rank would save", columns, ranks, left=0)
    return [table, plain([f"of the layer: {said}"])]
