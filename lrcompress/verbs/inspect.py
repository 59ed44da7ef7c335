"""`inspect`: what is in a model file, and what a factorization could save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.errors import KernelError, UnsupportedModelError
from lrcompress.lowrank import (
    energy,
    largest_useful_rank,
    parameters,
    rank_for_share,
    singular_values,
    spread_ranks,
)
from lrcompress.modelfile import (
    ModelFile,
    Site,
    find_head,
    not_finite,
    open_model,
    read_kernel,
)
from lrcompress.records.results import SCHEMA_VERSION
from lrcompress.verbs.live_models import takes_live_models

ENERGY_SHARES = (0.8, 0.9, 0.95, 0.99)
MOST_ROWS = 12


@takes_live_models()
def inspect(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    layer: Any = None,  # noqa: ANN401  # its name, or itself
) -> dict[str, Any]:
    """Describe a model file without loading Keras or running any of it.

    >>> head = inspect("model.keras")["head"]
    >>> head["name"], head["kernel_shape"], head["break_even_rank"]
    ('predictions', [256, 10], 9)

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file, or a Keras model in memory.
        layer: Another Dense layer than the final one.

    Returns:
        A JSON-ready document: the layers, the head with its spectrum and what each rank would
        save, or the reason why there is no head that can be factorized.

    Raises:
        ModelFileError: If the file cannot be read.
        UnsupportedModelError: If it holds no architecture, or `layer` names no Dense layer.
    """
    opened = open_model(Path(model))
    wrong = not_finite(opened)
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": str(model),
        "format": opened.format,
        "keras_version": opened.keras_version,
        "class_name": opened.class_name,
        "parameters": opened.parameters,
        "bytes": opened.size,
        "optimizer_bytes": opened.optimizer_bytes,
        "dataset": opened.origin.named,
        "layers": [
            {
                "path": item.path,
                "class_name": item.class_name,
                "parameters": item.parameters,
                "not_finite": wrong.get(item.path, 0),
            }
            for item in opened.layers
        ],
        "dense_layers": [
            {
                "path": dense.path,
                "kernel_shape": list(dense.kernel_shape),
                "parameters": dense.stored_parameters,
                "rank": dense.rank,
                "break_even_rank": largest_useful_rank(*dense.kernel_shape, dense.rank),
            }
            for dense in opened.sites
        ],
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


def _describe_head(opened: ModelFile, head: Site) -> dict[str, Any]:
    m, n = head.kernel_shape
    kernel = read_kernel(opened, head)
    try:
        sigma = singular_values(kernel)
    except KernelError as error:
        msg = f"Layer {head.path!r} of {opened.path}: {error}"
        raise KernelError(msg, code=error.code) from error
    shares = energy(sigma)
    most, stored = largest_useful_rank(m, n, head.rank), parameters(m, n, head.rank)
    ranks = range(1, most + 1) if most <= MOST_ROWS else spread_ranks(most, MOST_ROWS)
    rows = [
        {
            "rank": r,
            "parameters_saved": stored - parameters(m, n, r),
            "layer_reduction": 1 - parameters(m, n, r) / stored,
            "model_reduction": (stored - parameters(m, n, r)) / max(opened.parameters, 1),
            "energy": float(shares[r - 1]),
            "spectral_error": float(sigma[r] / sigma[0])
            if r < len(sigma) and sigma[0] > 0
            else 0.0,
        }
        for r in ranks
    ]
    return {
        "name": head.name,
        "path": head.path,
        "kernel_shape": [m, n],
        "dtype": head.dtype,
        "use_bias": head.use_bias,
        "activation": head.activation,
        "softmax": head.softmax,
        "following": list(head.following),
        "rank": head.rank,
        "parameters": head.stored_parameters,
        "share_of_model": head.stored_parameters / max(opened.parameters, 1),
        "break_even_rank": most,
        "singular_values": [float(s) for s in sigma],
        "energy_ranks": {str(share): rank_for_share(shares, share) for share in ENERGY_SHARES},
        "ranks": rows,
    }
