"""Convolutions in smaller ones: exact at full size, the same in place as in stock layers, better with data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Batch, Place, Serialized
from lrcompress.kinds.convolution import Convolution

pytestmark = pytest.mark.keras

KIND = Convolution()
# Class, window, settings, input shape.
CASES: dict[str, tuple[str, Any, dict[str, Any], tuple[int, ...]]] = {
    "3x3": ("Conv2D", 3, {}, (7, 6, 4)),
    "same": ("Conv2D", 3, {"padding": "same", "activation": "relu"}, (7, 6, 4)),
    "strided": ("Conv2D", 3, {"padding": "same", "strides": 2}, (8, 7, 4)),
    "strided_valid": ("Conv2D", (5, 3), {"strides": (2, 1), "use_bias": False}, (9, 7, 4)),
    "dilated": ("Conv2D", 3, {"padding": "same", "dilation_rate": (2, 1)}, (8, 7, 4)),
    "groups": ("Conv2D", 3, {"padding": "same", "groups": 2}, (7, 6, 4)),
    "1x1": ("Conv2D", 1, {"strides": 2}, (7, 6, 4)),
    "1xN": ("Conv2D", (1, 4), {"padding": "same"}, (7, 6, 4)),
    "wide": ("Conv2D", 3, {"padding": "same"}, (7, 6, 1)),
    "causal": ("Conv1D", 3, {"padding": "causal", "dilation_rate": 2}, (9, 4)),
    "1d": ("Conv1D", 4, {"padding": "same", "strides": 3}, (10, 4)),
    "3d": ("Conv3D", (2, 3, 2), {"padding": "same", "strides": (1, 2, 1)}, (5, 6, 4, 4)),
    "3d_dilated": ("Conv3D", 2, {"dilation_rate": (1, 2, 1)}, (5, 6, 4, 3)),
}


def layer_of(case: str) -> tuple[Any, Place, np.ndarray]:
    """Return a Keras layer with random weights, its place, and inputs with correlated channels."""
    import keras

    class_name, window, settings, shape = CASES[case]
    layer = getattr(keras.layers, class_name)(6, window, name="conv", **settings)
    layer.build((None, *shape))
    draw = np.random.default_rng(sum(case.encode()))
    layer.set_weights([draw.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    mix = draw.normal(size=(shape[-1], shape[-1])) * 0.5 ** np.arange(shape[-1])
    inputs = (draw.normal(size=(40, *shape)) @ mix.T + draw.normal(size=shape[-1])).astype("f4")
    serialized = Serialized(class_name, layer.get_config(), tuple(layer.get_weights()))
    return layer, Place("conv", KIND, serialized, input_shapes=(shape,)), inputs


def run(layers: tuple[Serialized, ...], inputs: np.ndarray) -> np.ndarray:
    """Return what stock layers in a row give."""
    import keras

    made = [getattr(keras.layers, one.class_name).from_config(one.config) for one in layers]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *made])
    for layer, one in zip(made, layers, strict=True):
        layer.set_weights(one.arrays)
    return np.asarray(model(inputs))


@pytest.mark.parametrize("with_data", [False, True], ids=["plain", "data"])
@pytest.mark.parametrize("case", CASES)
def test_every_form_is_exact_at_its_largest_size_and_the_same_in_place(
    case: str, with_data: bool
) -> None:
    """Stock layers at the largest size give the original's outputs, at half of it those of the arrays in place."""
    layer, place, inputs = layer_of(case)
    arrays = {"conv": place.layer.arrays}
    before = np.asarray(layer(inputs))
    seen = KIND.gather(place, arrays, Batch((inputs,), before), None) if with_data else None
    forms = KIND.forms(place)
    assert len(forms) == {"groups": 1, "1x1": 1, "1xN": 3, "causal": 3, "1d": 3}.get(case, 4)
    for form in forms:
        half = max(1, form.largest // 2)
        found = form.solve(arrays, seen, (half, form.largest))

        exact = found[form.largest].layers()["conv"]
        assert [one.config["name"] for one in exact][-1] == "conv"
        np.testing.assert_allclose(run(exact, inputs), before, atol=2e-5 * np.abs(before).max())
        assert found[form.largest].error < 1e-8
        small = found[half].layers()["conv"]
        layer.set_weights(found[half].in_place()["conv"])
        close = 2e-5 * np.abs(before).max()
        np.testing.assert_allclose(run(small, inputs), np.asarray(layer(inputs)), atol=close)
        size = sum(array.size for one in small for array in one.arrays)
        assert form.parameters(half) == size
        times = sum(
            math.prod(one.arrays[0].shape) * math.prod(shape)
            for one, shape in zip(small, grids(small, inputs), strict=True)
        )
        assert form.multiplications(half) == times
        assert form.errors(arrays, seen).shape == (form.largest,)
        assert form.errors(arrays, seen)[-1] < 1e-8
        layer.set_weights(place.layer.arrays)


def grids(layers: tuple[Serialized, ...], inputs: np.ndarray) -> list[tuple[int, ...]]:
    """Return the spatial shape of what each of some layers in a row gives."""
    return [run(layers[: n + 1], inputs[:1]).shape[1:-1] for n in range(len(layers))]


@pytest.mark.parametrize("case", CASES)
def test_patches_times_the_kernel_are_outputs(case: str) -> None:
    """Each drawn row gives one of its sample's outputs; all of them where there are few positions."""
    layer, place, inputs = layer_of(case)
    layer.activation = lambda x: x
    outputs = np.asarray(layer(inputs)).reshape(len(inputs), -1, 6)

    rows = KIND.rows(place, Batch((inputs,), outputs, seed=3))
    bias = place.layer.arrays[1] if layer.use_bias else 0
    found = (rows @ KIND.kernel(place.layer, place.layer.arrays) + bias).reshape(len(inputs), -1, 6)

    assert found.shape[1] == min(24, outputs.shape[1])
    for some, every in zip(found, outputs, strict=True):
        gap = np.abs(some[:, None] - every[None]).max(axis=2).min(axis=1)
        assert gap.max() < 1e-4
