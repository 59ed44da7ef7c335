"""`inspect`: what is in a model file, and what a factorization could save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.compression import largest_useful
from lrcompress.errors import KernelError, UnsupportedModelError
from lrcompress.kinds import Form
from lrcompress.lowrank import energy, parameters, rank_for_share, singular_values, spread_ranks
from lrcompress.modelfile import (
    ModelFile,
    Site,
    find_head,
    find_places,
    not_finite,
    open_model,
    read_kernel,
)
from lrcompress.records.results import SCHEMA_VERSION
from lrcompress.verbs.in_memory import takes_live_models

ENERGY_SHARES = (0.8, 0.9, 0.95, 0.99)
MOST_ROWS = 12


@takes_live_models()
def inspect(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    architecture: str | Path | None = None,
    layer: Any = None,  # noqa: ANN401  # its name, or itself
) -> dict[str, Any]:
    """Describe a model file without loading Keras or running any of it.

    >>> head = inspect("model.keras")["head"]
    >>> head["name"], head["kernel_shape"], head["break_even_rank"]
    ('predictions', [256, 10], 9)

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        architecture: Where the file holds weights alone: a file of what `model.to_json()` returned.
        layer: Another Dense layer than the final one.

    Returns:
        A JSON-ready document: the layers; the places that `factorize` with ``layers="all"`` would look
        at, and why other layers with weights are none; the head with its spectrum and what each rank
        would save, or the reason why there is no head that can be factorized.

    Raises:
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If it holds no architecture, or `layer` names no Dense layer.
    """
    opened = open_model(Path(model))
    wrong = not_finite(opened)
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": str(model),
        **_of(opened, "format", "keras_version", "class_name", "parameters"),
        "bytes": opened.size,
        "optimizer_bytes": opened.optimizer_bytes,
        "dataset": opened.origin.named,
        "layers": [
            _of(item, "path", "class_name", "parameters") | {"not_finite": wrong.get(item.path, 0)}
            for item in opened.layers
        ],
        "dense_layers": [
            {
                "path": site.path,
                "kernel_shape": list(site.kernel_shape),
                "parameters": site.stored_parameters,
                "rank": site.rank,
                "break_even_rank": largest_useful(site),
            }
            for site in opened.sites
        ],
        **_describe_places(opened),
        "head": None,
        "reason": None,
    }
    try:
        head = find_head(opened, layer)
        document["head"] = _describe_head(opened, head)
    except (UnsupportedModelError, KernelError) as error:
        if layer is not None:
            raise
        document["reason"] = {"code": error.code, "message": str(error)}
    return document


def _of(thing: object, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def _describe_head(opened: ModelFile, head: Site) -> dict[str, Any]:
    m, n = head.kernel_shape
    kernel = read_kernel(opened, head)
    try:
        sigma = singular_values(kernel)
    except KernelError as error:
        msg = f"Layer {head.path!r} of {opened.path}: {error}"
        raise KernelError(msg, code=error.code) from error
    shares, whole = energy(sigma), max(opened.parameters, 1)
    most, stored = largest_useful(head), parameters(m, n, head.rank)
    spectral = [*(sigma / sigma[0] if sigma[0] > 0 else 0 * sigma), 0.0]
    ranks = range(1, most + 1) if most <= MOST_ROWS else spread_ranks(most, MOST_ROWS)
    return {
        **_of(head, "name", "path"),
        "kernel_shape": [m, n],
        **_of(head, "dtype", "use_bias", "activation", "softmax"),
        "following": list(head.following),
        "rank": head.rank,
        "parameters": head.stored_parameters,
        "share_of_model": head.stored_parameters / whole,
        "break_even_rank": most,
        "singular_values": [float(s) for s in sigma],
        "energy_ranks": {str(share): rank_for_share(shares, share) for share in ENERGY_SHARES},
        "ranks": [
            {
                "rank": r,
                "parameters_saved": stored - parameters(m, n, r),
                "layer_reduction": 1 - parameters(m, n, r) / stored,
                "model_reduction": (stored - parameters(m, n, r)) / whole,
                "energy": float(shares[r - 1]),
                "spectral_error": float(spectral[r]),
            }
            for r in ranks
        ],
    }


def _describe_places(opened: ModelFile) -> dict[str, Any]:
    """Return each layer that has a form, with what a quarter of its size would save, and why others have none."""
    if opened.tree is None or opened.weights.problem is not None:
        return {"places": [], "refused": {}}
    found = find_places(opened)
    whole = max(opened.parameters, 1)
    places = []
    for place in found.known.values():
        kind = place.kind
        if kind is None:  # a place that is known has one
            continue
        forms = kind.forms(place)
        best = max(forms, key=lambda form: form.before - form.parameters(_quarter(form)))
        saved = best.before - best.parameters(_quarter(best))
        places.append({
            "path": place.path,
            "kind": kind.name,
            "family": kind.family,
            "parameters": sum(array.size for array in place.layer.arrays),
            "forms": {form.name: form.largest for form in forms},
            "quarter": {
                "form": best.name,
                "size": _quarter(best),
                "parameters_saved": saved,
                "model_reduction": saved / whole,
            },
        })  # fmt: skip
    return {"places": places, "refused": found.refused}


def _quarter(form: Form) -> int:
    return max(form.largest // 4, 1)
