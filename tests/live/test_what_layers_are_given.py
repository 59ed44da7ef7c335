"""What a network shows of its layers: arguments in their order, whoever named them, and equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Batch
from lrcompress.live.network import Networks
from lrcompress.modelfile import find_places, open_model, read_arrays

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras


def test_the_value_of_an_attention_is_no_key_because_of_its_name(tmp_path: Path) -> None:
    """Named arguments are sorted by nobody: what is gathered is that of (query, value, key)."""
    layers, rng = keras.layers, np.random.default_rng(0)
    tensors = {name: keras.Input((4, 6), name=name) for name in ("query", "value", "key")}
    made = layers.MultiHeadAttention(2, 3, name="a")(**tensors)
    model = keras.Model(list(tensors.values()), layers.Dense(2)(made))
    model.get_layer("a").set_weights(
        [rng.normal(size=w.shape) for w in model.get_layer("a").get_weights()]
    )
    model.save(tmp_path / "model.keras")
    x = {name: rng.normal(size=(30, 4, 6)).astype("f4") for name in tensors}
    opened = open_model(tmp_path / "model.keras")
    place = find_places(opened).known["a"]
    arrays: dict[str, Any] = {"a": tuple(read_arrays(opened, "a"))}

    found = Networks(x, x)(opened).gather([place], arrays)["a"]

    output = np.asarray(model.get_layer("a")(**x))
    batch = Batch((x["query"], x["value"], x["key"]), output)
    assert place.kind is not None
    expected = place.kind.gather(place, arrays, batch, None)
    for part in ("query", "key", "value"):
        one, other = getattr(found, part), getattr(expected, part)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-3, atol=1e-5)


def test_an_equation_of_several_new_axes_is_solved_with_data(tmp_path: Path) -> None:
    """Its responses have all of them, of which a gradient along the last axis knows nothing."""
    layers, rng = keras.layers, np.random.default_rng(0)
    inputs = keras.Input((4, 6))
    made = layers.EinsumDense("abc,cde->abde", (4, 2, 3), bias_axes="de", name="e")(inputs)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(made)))
    model.save(tmp_path / "model.keras")
    x = rng.normal(size=(600, 4, 6)).astype("f4")
    opened = open_model(tmp_path / "model.keras")
    place = find_places(opened).known["e"]
    arrays: dict[str, Any] = {"e": tuple(read_arrays(opened, "e"))}
    assert place.kind is not None

    seen = Networks(x, x)(opened).gather([place], arrays)["e"]

    (form,) = place.kind.forms(place)
    found = form.solve(arrays, seen, [2, 6])
    assert found[6].error < 1e-6 < found[2].error < 1
