"""`split`: a live layer becomes two, for models whose class only its owner can change."""

from __future__ import annotations

from typing import Any

from lrcompress.errors import UnsupportedModelError
from lrcompress.verbs.factorize import factorize
from lrcompress.verbs.in_memory import is_live


def split(
    layer: Any,  # noqa: ANN401  # a Keras layer, which this room cannot name
    rank: int,
    *,
    method: str = "svd",
    inputs: Any = None,  # noqa: ANN401  # an array
) -> tuple[Any, Any]:
    """Return the two layers to put in the place of one, built, with their weights.

    Where `factorize` cannot edit a model because it is a class of its own, its owner can, by a class
    that has both, as docs/python.md shows. The layer itself is left as it is.

    Args:
        layer: A built Keras layer of a kind that `factorize` takes, kernel A (m, n).
        rank: r, from 1 to min(m, n).
        method: svd, centered, or one that needs `inputs`: whitened, weighted, refined.
        inputs: What flows into the layer, (samples, ..., m), to be weighted by.

    Returns:
        The first layer (m, r), without bias and linear; and the second (r, n), which keeps the name, the
        bias and the activation.

    Raises:
        UnsupportedModelError: If the layer is not built, or not of such a kind.
        RankError: If there is no such rank, or the method needs inputs and has none.
    """
    if not getattr(layer, "built", False):
        name = getattr(layer, "name", type(layer).__name__)
        msg = f"Layer {name} has no weights to split; expected a Keras layer that was called on data or built."
        raise UnsupportedModelError(msg, code="not_built")
    shape = (layer.get_build_config() or {}).get("input_shape")
    if is_live(layer) or shape is None or any(isinstance(size, (list, tuple)) for size in shape):
        msg = (
            f"{type(layer).__name__} {layer.name} is a model, or takes several arrays; expected one layer of a kind "
            "that factorize takes."
        )
        raise UnsupportedModelError(msg, code="no_dense")
    from lrcompress.live.layers import alone, copied

    model = alone([layer], tuple(shape[1:]), layer.name)
    scaling = None if inputs is None else "as-is"
    found = factorize(model, rank=rank, method=method, dataset=inputs, scaling=scaling, force=True)
    first, second = map(copied, found.model.layers)
    return first, second
