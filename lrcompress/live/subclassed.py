"""Models that are a class of their own: one named Dense of a live model becomes two in a copy.

Such a model lists no layers in its config, so its file cannot be edited. A copy is made by its own
`from_config`; the attribute that holds the Dense is given two Dense layers before the copy is
built; all other weights are copied.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import keras
from numpy.typing import NDArray

from lrcompress.errors import UnsupportedModelError, did_you_mean, one_line

SUFFIX = "_lowrank"


def is_subclassed(model: Any) -> bool:
    """Return whether a live model is neither Sequential nor functional."""
    # Keras exports no name for its functional class; only such models have a list of operations.
    return not isinstance(model, keras.Sequential) and not hasattr(model, "operations")


def find_dense(model: Any, name: str | None) -> Any:
    """Return the one built Dense of a live model that has a name.

    Raises:
        UnsupportedModelError: If none is named, or not just one Dense has the name.
    """
    layers = [layer for layer in _walk(model) if isinstance(layer, keras.layers.Dense)]
    names = sorted({layer.name for layer in layers})
    if name is None:
        msg = (
            f"{type(model).__name__} is a subclassed model, in which the final Dense cannot be found; "
            f"name it with layer=: {', '.join(names) or 'it has none'}."
        )
        raise UnsupportedModelError(msg, code="subclassed")
    found = [layer for layer in layers if layer.name == name]
    if len(found) != 1 or not found[0].built:
        what = "has not been called yet" if found else "is not one of its Dense layers"
        msg = (
            f"Layer {name!r} of {type(model).__name__} {what}; expected one of "
            f"{', '.join(names) or 'none'}, in a model that was called on data."
            + ("" if found else did_you_mean(name, names))
        )
        raise UnsupportedModelError(msg, code="no_such_layer")
    return found[0]


def as_sequential(dense: Any) -> Any:
    """Return a Sequential model of one Dense: a copy of a live one, with its weights."""
    copy = keras.layers.Dense.from_config(dense.get_config())
    model = keras.Sequential([keras.Input((int(dense.kernel.shape[0]),)), copy])
    copy.set_weights(dense.get_weights())
    return model


def rebuilt(
    model: Any, dense: Any, first: NDArray[Any], second: NDArray[Any], bias: NDArray[Any] | None
) -> Any:
    """Return a copy of a live model in which one Dense is two.

    Args:
        model: The subclassed model, built; not changed.
        dense: One of its layers, kernel (m, n).
        first: (m, r) kernel of the new layer before it.
        second: (r, n) kernel.
        bias: (n,), or None to keep the layer's own.

    Raises:
        UnsupportedModelError: If the class cannot be rebuilt from its config, or not so that each
            weight finds its place.
    """
    kind = type(model).__name__
    try:
        twin = type(model).from_config(model.get_config())
        where, attribute = _place(model, dense)
        owner = _owner(twin, where)
        old = owner._layers[_index(_owner(model, where)._layers, dense)]
        pair = _pair(dense, first.shape[1])
        setattr(owner, attribute, pair)
        # An attribute that is set anew stays in the list of layers.
        owner._layers[:] = [
            pair if item is old else item for item in owner._layers if item is not pair
        ]
        with warnings.catch_warnings():
            # A copy that is not built after this is refused below.
            warnings.simplefilter("ignore")
            twin.build_from_config(model.get_build_config())
        _copy_weights(model, twin, dense)
        kept = dense.get_weights()[1:] if bias is None else [bias]
        pair.set_weights([first, second, *kept])
    except UnsupportedModelError:
        raise
    except Exception as error:  # a stranger's class can fail in any way
        reason = one_line(error)
        msg = (
            f"{kind} cannot be built anew ({type(error).__name__}: {reason}); expected a class with "
            "get_config whose layers are made in __init__: put two Dense layers there yourself, "
            "with the factors of lrcompress.truncated_svd."
        )
        raise UnsupportedModelError(msg, code="subclassed") from error
    return twin


def count_weights(model: Any) -> int:
    """Return the number of weights; `count_params` asks for a model that was called."""
    return sum(math.prod(weight.shape) for weight in model.weights)


def _pair(dense: Any, rank: int) -> Any:
    """Return two Dense layers in the place of one."""
    first = keras.layers.Dense(
        rank, use_bias=False, name=f"{dense.name}{SUFFIX}", dtype=dense.dtype_policy
    )
    second = keras.layers.Dense.from_config(dense.get_config())
    return keras.Sequential([first, second], name=f"{dense.name}_factors")


def _walk(model: Any) -> Iterator[Any]:
    for layer in model._layers:
        yield layer
        yield from _walk(layer)


def _place(model: Any, dense: Any) -> tuple[tuple[int, ...], str]:
    """Return the way to the layer that owns a Dense, by positions, and the attribute's name.

    Raises:
        UnsupportedModelError: If not just one attribute holds the Dense.
    """
    found = []
    pending: list[tuple[Any, tuple[int, ...]]] = [(model, ())]
    while pending:
        owner, where = pending.pop()
        # Under PyTorch a layer is a module too, which keeps the layers in it apart.
        attributes = vars(owner) | vars(owner).get("_modules", {})
        names = [key for key, value in attributes.items() if value is dense]
        found += [(where, key) for key in names if not key.startswith("_")]
        pending += [(inner, (*where, i)) for i, inner in enumerate(owner._layers)]
    if len(found) != 1:
        msg = (
            f"Layer {dense.name!r} of {type(model).__name__} is held by {len(found)} attributes; "
            "expected one, such as self.head: put two Dense layers there yourself."
        )
        raise UnsupportedModelError(msg, code="subclassed")
    return found[0]


def _owner(model: Any, where: tuple[int, ...]) -> Any:
    owner = model
    for index in where:
        owner = owner._layers[index]
    return owner


def _index(layers: list[Any], wanted: Any) -> int:
    return next(i for i, layer in enumerate(layers) if layer is wanted)


def _copy_weights(model: Any, twin: Any, dense: Any) -> None:
    """Copy every weight but those of the Dense, layer by layer.

    Raises:
        ValueError: If the copy's layers are not those of the model.
    """
    if len(model._layers) != len(twin._layers):
        msg = f"{model.name} has {len(model._layers)} layers and its copy {len(twin._layers)}"
        raise ValueError(msg)
    for old, new in zip(_own(model), _own(twin), strict=True):
        new.assign(keras.ops.convert_to_numpy(old))
    for old, new in zip(model._layers, twin._layers, strict=True):
        if old is not dense:
            _copy_weights(old, new, dense)


def _own(layer: Any) -> list[Any]:
    """Return a layer's weights without those of the layers in it."""
    inner = {id(weight) for part in layer._layers for weight in part.weights}
    return [weight for weight in layer.weights if id(weight) not in inner]
