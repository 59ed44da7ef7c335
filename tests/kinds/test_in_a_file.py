"""Attention, EinsumDense and a Dense at each step, made smaller in files of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.modelfile import find_places, open_model, read_arrays, write_changed

keras = pytest.importorskip("keras")
# An EinsumDense lets no mask through, and Keras says so.
pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore:.*does not support masking")]


def network(*, masks: bool) -> Any:
    """Return a model with all of them, random weights in it, some of its words padding."""
    layers = keras.layers
    words = keras.Input((6,))
    x = layers.Embedding(9, 8, mask_zero=masks, name="words")(words)
    own = layers.MultiHeadAttention(2, 4, dropout=0.1, name="own")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(name="norm")(layers.Add(name="sum")([x, own]))
    steps = layers.TimeDistributed(layers.Dense(5, activation="relu"), name="steps")(x)
    x = layers.MultiHeadAttention(3, 4, value_dim=3, use_bias=False, name="across")(x, steps)
    x = layers.GroupQueryAttention(4, 4, 2, name="groups")(x, x)
    x = layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", name="einsum")(x)
    model = keras.Model(words, layers.EinsumDense("abde,de->ab", (None,), name="last")(x))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) / 2 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_files_with_narrower_layers_compute_what_the_arrays_in_place_do(
    tmp_path: Path, suffix: str
) -> None:
    """All layers at once: at full size the original, at half of it what the original does with other arrays."""
    # Keras itself cannot load masks of an attention from HDF5.
    model = network(masks=suffix == "keras")
    x = np.random.default_rng(1).integers(0, 9, (5, 6)) * (np.arange(6) < [[6], [5], [4], [3], [6]])
    before = model.predict(x, verbose=0)
    model.save(tmp_path / f"model.{suffix}")
    opened = open_model(tmp_path / f"model.{suffix}")
    found = find_places(opened)
    names = ("own", "steps", "across", "groups", "einsum")

    assert set(names) <= set(found.known)
    assert "not a single matrix" in found.refused["last"]
    places = [found.known[name] for name in names]
    forms = [place.kind.forms(place)[0] for place in places]  # type: ignore[union-attr]
    for half in (False, True):
        edits: dict[str, Any] = {}
        for place, form in zip(places, forms, strict=True):
            size = form.largest // 2 if half else form.largest
            arrays = {place.path: tuple(read_arrays(opened, place.path))}
            solution = form.solve(arrays, None, [size])[size]
            edits |= solution.layers()
            model.get_layer(place.path).set_weights(solution.in_place()[place.path])
        expected = model.predict(x, verbose=0)

        write_changed(opened, edits, tmp_path / f"{half}.{suffix}")

        made = keras.saving.load_model(tmp_path / f"{half}.{suffix}", compile=False)
        np.testing.assert_allclose(made.predict(x, verbose=0), expected, atol=1e-4)
        assert (np.abs(expected - before).max() < 1e-4) != half
        assert made.get_layer("own").get_config()["key_dim"] == (2 if half else 4)
