"""Files whose convolutions stand as smaller ones: Keras loads them and computes what the forms say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.modelfile import find_places, open_model, read_arrays, write_changed

pytestmark = pytest.mark.keras


def images(keras: Any) -> Any:
    """Return a model with a plain, a grouped, a separable and a transposed convolution."""
    layers = keras.layers
    x = inputs = keras.Input((12, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Conv2D(8, 3, groups=2, strides=2, padding="same", activation="relu")(x)
    x = layers.SeparableConv2D(9, 3, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.Conv2DTranspose(7, 3, strides=2, padding="same", activation="tanh")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def sequences(keras: Any) -> Any:
    """Return a Sequential whose first layer is a causal convolution, and one under a wrapper."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((9, 20, 3)),
        layers.TimeDistributed(layers.Conv1D(8, 3, padding="causal", activation="relu")),
        layers.TimeDistributed(layers.Conv1DTranspose(5, 3, strides=2)),
        layers.Flatten(),
    ])  # fmt: skip


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [images, sequences])
def test_all_forms_are_written_and_loaded(make: Any, suffix: str, tmp_path: Path) -> None:
    """At half the largest size the file computes what the original does with the arrays in place."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    made = make(keras)
    made.save(tmp_path / f"model{suffix}")
    inputs = np.random.default_rng(0).normal(size=(3, *made.input_shape[1:]))
    model = open_model(tmp_path / f"model{suffix}")
    places = find_places(model).known
    before = {path: read_arrays(model, path) for path in places}
    forms = [form for place in places.values() for form in place.kind.forms(place)]
    own = {"channels", "inputs", "rows x columns", "Tucker-2"} & {form.name for form in forms}
    assert len(own) == (4 if make is images else 3)
    for name in sorted(own):
        edits, whole = {}, {}
        for form in forms:
            if form.name == name:
                solution = form.solve(before, None, (max(1, form.largest // 2),))
                (found,) = solution.values()
                edits.update(found.layers())
                whole.update(found.in_place())
        path = tmp_path / f"{name}{suffix}"
        write_changed(model, edits, path)

        for layer, arrays in {**before, **whole}.items():
            made.get_layer(layer).set_weights(arrays)
        outputs = np.asarray(keras.models.load_model(path, compile=False)(inputs))
        np.testing.assert_allclose(outputs, np.asarray(made(inputs)), atol=2e-6)
