"""Layers in a row that are one are found in every form, and are that one again in both formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.modelfile import (
    ModelFile,
    find_chains,
    find_places,
    open_model,
    read_arrays,
    write_changed,
    write_merged,
)

keras = pytest.importorskip("keras")
# An EinsumDense lets no mask through, and Keras says so.
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore:.*does not support masking")]


def images() -> Any:
    """Return convolutions of all sorts, and a Dense behind a Flatten."""
    layers = keras.layers
    x = inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", name="a")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.Conv2D(12, 3, strides=2, name="b", activation="relu")(x)
    x = layers.SeparableConv2D(10, 3, name="separable", activation="relu")(x)
    x = layers.Conv2DTranspose(7, 3, name="transposed", activation="relu")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(20, activation="relu", name="d")(x)
    return keras.Model(inputs, layers.Dense(9, activation="softmax", name="out")(x))


def words() -> Any:
    """Return layers for sequences, one of which is given its states."""
    layers = keras.layers
    inputs, state = keras.Input((6,), dtype="int32"), keras.Input((5,))
    x = layers.Embedding(20, 9, name="e")(inputs)
    x = layers.Dropout(0.1, name="drop")(x)
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True), name="both")(x)
    x = layers.LSTM(5, return_sequences=True, name="l")(x, initial_state=[state, state])
    x = layers.TimeDistributed(layers.Dense(6), name="steps")(x)
    x = layers.EinsumDense("abc,cde->abde", (6, 3, 2), bias_axes="de", name="einsum")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.Model([inputs, state], layers.Dense(4, name="out")(x))


def chained() -> Any:
    """Return a Sequential model whose first layer states what it takes in."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 3)), layers.Conv1D(6, 3, padding="causal", activation="relu", name="c"),
        layers.GRU(5, name="g"), layers.Dense(4, activation="softmax", name="out"),
    ])  # fmt: skip


def split(model: ModelFile, number: int, path: Path) -> int:
    """Write every layer in its form of a number at full size, and return how many there are."""
    edits: dict[str, Any] = {}
    count = 0
    for place in find_places(model).known.values():
        forms = place.kind.forms(place) if place.kind else ()
        forms = tuple(f for f in forms if not f.narrows and f.name != "absorbed")
        if number < len(forms) and not set(forms[number].touches) & set(edits):
            form = forms[number]
            arrays = {touched: read_arrays(model, touched) for touched in form.touches}
            edits |= form.solve(arrays, None, [form.largest])[form.largest].layers()
            count += 1
    write_changed(model, edits, path)
    return count


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize(
    ("design", "forms"),
    [(images, 4), (words, 2), (chained, 3)],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_every_form_is_undone(tmp_path: Path, design: Any, forms: int, suffix: str) -> None:
    """All layers in one form after the other, merged: the old architecture, and the same outputs."""
    network, rng = design(), np.random.default_rng(0)
    network.set_weights(
        [
            np.abs(rng.normal(size=w.shape)) / 3 + 0.1 * ("variance" in w.path)
            for w in network.weights
        ]
    )
    path = tmp_path / f"model.{suffix}"
    network.save(path)
    model = open_model(path)
    x = [
        rng.integers(0, 20, (3, 6)) if t.dtype == "int32" else rng.normal(size=(3, *t.shape[1:]))
        for t in network.inputs
    ]
    expected = network.predict(x if len(x) > 1 else x[0], verbose=0)

    assert find_chains(model) == ()
    for number in range(forms):
        small, back = (tmp_path / f"{name}{number}.{suffix}" for name in ("small", "back"))
        count = split(model, number, small)
        opened = open_model(small)
        chains = find_chains(opened)
        written = write_merged(opened, chains, back)

        assert len(chains) == count > 0
        assert written.parameters == model.parameters
        assert open_model(back).config == model.config
        made = keras.saving.load_model(back, compile=False)
        np.testing.assert_allclose(
            made.predict(x if len(x) > 1 else x[0], verbose=0), expected, atol=1e-4
        )
