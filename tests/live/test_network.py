"""A whole network that runs layer by layer, and what its outputs care for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from lrcompress.compression.network import NetworkRequest, compress
from lrcompress.kinds import Arrays, Batch, Place
from lrcompress.live.network import Networks
from lrcompress.live.network.gradients import response_gradients
from lrcompress.live.network.walk import samples_at_once
from lrcompress.modelfile import find_places, open_model, read_arrays, write_changed

RNG = np.random.default_rng(0)


def images() -> Any:
    """Return a small network with convolutions, a shortcut and a nested model."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inner_in = keras.Input((8, 8, 6))
    inner = keras.Model(inner_in, layers.Conv2D(8, 3, padding="same")(inner_in), name="inner")
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="first")(x)
    x = layers.BatchNormalization()(x)
    x = inner(layers.ReLU()(x))
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="head")(x))


def words() -> Any:
    """Return a small network of words, with a mask."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(40, 16, mask_zero=True, name="table"),
            layers.LSTM(12, name="cells"),
            layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def inputs_of(model: Any, samples: int = 120) -> np.ndarray[Any, Any]:
    """Return inputs that a model takes."""
    shape = (samples, *model.input_shape[1:])
    if len(shape) == 2:
        return RNG.integers(0, 40, shape).astype(np.int32)
    low = RNG.normal(size=(samples, 4)) @ RNG.normal(size=(4, int(np.prod(shape[1:]))))
    return low.reshape(shape).astype(np.float32)


@pytest.fixture(params=[images, words])
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Path]:
    """Return a model and its file."""
    make: Callable[[], Any] = request.param
    model = make()
    path = tmp_path / "model.keras"
    model.save(path)
    return model, path


def test_every_layer_is_seen_once_in_order_with_what_flows_through_it(
    saved: tuple[Any, Path],
) -> None:
    """The walk gives each known layer its inputs and its output, nested ones too; nothing changed flows alike."""
    model, path = saved
    opened = open_model(path)
    places = find_places(opened).known
    network = Networks(inputs_of(model), inputs_of(model))(opened)
    seen: list[str] = []

    def visit(place: Place, old: list[Batch], new: list[Batch]) -> Arrays | None:
        seen.append(place.path)
        for before, after in zip(old, new, strict=True):
            np.testing.assert_array_equal(before.inputs[0], after.inputs[0])
        return {place.path: read_arrays(opened, place.path)}

    network.in_order(list(places.values()), visit)

    assert seen == list(places)


def test_a_changed_layer_changes_what_later_layers_take_in(saved: tuple[Any, Path]) -> None:
    """Arrays that a visit returns hold for the changed network and leave the original as it is."""
    model, path = saved
    opened = open_model(path)
    places = list(find_places(opened).known.values())
    network = Networks(inputs_of(model), inputs_of(model), original=model)(opened)
    kept = [weights.copy() for weights in model.get_weights()]
    last: list[bool] = []

    def visit(place: Place, old: list[Batch], new: list[Batch]) -> Arrays | None:
        last.append(bool(np.array_equal(old[0].inputs[0], new[0].inputs[0])))
        return {place.path: tuple(0 * a for a in read_arrays(opened, place.path))}

    network.in_order(places, visit)

    assert last == [True] + [False] * (len(places) - 1)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.get_weights(), strict=True))


def test_the_written_file_does_what_was_measured_in_place(
    saved: tuple[Any, Path], tmp_path: Path
) -> None:
    """Half of the parameters are saved, and the file gives the outputs whose error was measured."""
    model, path = saved
    judge = inputs_of(model)
    opened = open_model(path)
    networks = Networks(inputs_of(model), judge)

    found = compress(opened, NetworkRequest(budget=("reduction", 0.4)), networks, tmp_path)
    written = write_changed(found.model, found.edits, tmp_path / "small.keras")

    assert written.parameters <= 0.6 * opened.parameters
    small = keras.saving.load_model(written.path)
    before, after = (np.asarray(m(judge), np.float64) for m in (model, small))
    error = float((before * np.log(before / after)).sum(-1).mean())
    assert found.measured is not None
    assert error == pytest.approx(found.measured.output_error, rel=1e-2, abs=1e-6)
    assert {change.path for change in found.layers} <= set(found.curves)


def test_layers_that_keras_names_anew_are_no_other_network(tmp_path: Path) -> None:
    """With attention, whose inner softmax is numbered at each loading: layers behind narrower ones are corrected."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((6, 8))
    x = layers.Add()([inputs, layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)])
    x = layers.Dense(16, activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling1D()(layers.Dense(8, name="narrow")(x))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    wide = model.get_layer("wide")
    # Units that are always silent.
    wide.bias.assign(np.where(np.arange(16) < 10, -50.0, 0.5).astype(np.float32))
    model.save(tmp_path / "model.keras")
    some = RNG.normal(size=(120, 6, 8)).astype(np.float32)

    found = compress(
        open_model(tmp_path / "model.keras"), NetworkRequest(budget=("reduction", 0.25)),
        Networks(some, some[:50], original=keras.saving.load_model(tmp_path / "model.keras")), tmp_path,
    )  # fmt: skip

    assert ("wide", "units") in {(layer.path, layer.form) for layer in found.layers}


def test_gradients_are_those_of_the_likelihood() -> None:
    """For a softmax on logits ``z = h W`` the Fisher information of h is the mean of ``W F W^T``."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    x = RNG.normal(size=(1000, 6)).astype(np.float32)
    weights = [w.copy() for w in model.get_weights()]

    found = response_gradients(model, ["hidden", "head"], x)

    p = np.asarray(model(x), np.float64)
    head = weights[2].astype(np.float64)
    fisher = (np.einsum("ki,ij->kij", p, np.eye(3)) - np.einsum("ki,kj->kij", p, p)).mean(0)
    assert list(found) == ["hidden"]
    expected = head @ fisher @ head.T
    assert np.abs(found["hidden"] - expected).max() < 0.1 * np.abs(expected).max()
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.layers[0].trainable


def test_gradients_through_dropout_are_the_same_each_time() -> None:
    """Dropout is on, draws from a seed of its own, and goes on from where it was."""
    keras.utils.set_random_seed(0)
    dropout = keras.layers.Dropout(0.5)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(4, name="hidden"),
            dropout,
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    x = RNG.normal(size=(200, 6)).astype(np.float32)
    found = []
    for rate in (0.5, 0.5, 0.0):
        dropout.rate = rate
        model(x, training=True)
        before = np.asarray(dropout.seed_generator.state)
        found.append(response_gradients(model, ["hidden"], x)["hidden"])
        assert np.array_equal(dropout.seed_generator.state, before)

    np.testing.assert_array_equal(found[0], found[1])
    assert np.trace(found[0]) > 1.5 * np.trace(found[2])


def test_of_a_network_that_gives_back_its_inputs_the_error_of_that_counts() -> None:
    """The gradients are those of ``|x - f(x)|^2 / 2``: for a linear ``f = h W`` the mean of ``W r r^T W^T``."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(3, name="hidden"),
            keras.layers.Dense(6, name="back"),
        ]
    )
    x = (RNG.normal(size=(500, 6)) * [3, 2, 1, 0.3, 0.2, 0.1]).astype(np.float32)
    axes = np.linalg.svd(x)[2][:3].astype(np.float32)
    model.set_weights([axes.T, np.zeros(3), axes + np.float32(0.1), np.zeros(6)])

    found = response_gradients(model, ["hidden"], x)["hidden"]

    left = (np.asarray(model(x)) - x) @ (axes + np.float32(0.1)).T
    np.testing.assert_allclose(found, left.T @ left / len(x), rtol=1e-3, atol=1e-6)


def test_what_a_shortcut_adds_is_seen_with_the_last_layer_before_the_sum(tmp_path: Path) -> None:
    """Of a convolution whose normalized output a shortcut is added to, in units of that output; of others nothing."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="stem")(inputs)
    y = layers.Conv2D(5, 1, use_bias=False, name="first")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(5, 1, use_bias=False, name="last")(y)
    y = layers.BatchNormalization(name="normal")(y)
    model = keras.Model(inputs, layers.ReLU()(layers.Add()([x, y])))
    normal = model.get_layer("normal")
    slopes = np.array([0.5, 1, -2, 1, 0.7], np.float32)
    normal.set_weights([slopes, np.ones(5), np.ones(5), 1 - normal.epsilon + np.zeros(5)])
    model.save(tmp_path / "model.keras")
    opened = open_model(tmp_path / "model.keras")
    places = find_places(opened).known
    images = inputs_of(model, 10)
    seen: dict[str, Any] = {}

    def visit(place: Place, old: list[Batch], new: list[Batch]) -> None:
        seen[place.path] = new[0]

    Networks(images, images, original=model)(opened).in_order(list(places.values()), visit)

    shortcut = np.asarray(keras.Model(inputs, x)(images))
    last = seen["last"]
    np.testing.assert_allclose(last.beside * slopes, shortcut, rtol=0.1, atol=1e-6)
    assert seen["first"].beside is None is seen["stem"].beside
    # A ReLU passes on what is beyond the knee.
    for batch in seen.values():
        assert batch.knee is not None
    sign, at = last.knee
    given = np.asarray(model(images))
    np.testing.assert_array_equal(
        sign * (last.output + shortcut / slopes - at) > 1e-5, given > 1e-5
    )
    sign, at = seen["stem"].knee
    assert (sign == 1).all() and not at.any()
    # At the positions of the rows.
    kind: Any = places["last"].kind
    given = kind.beside(places["last"], last._replace(beside=last.inputs[0]))
    np.testing.assert_array_equal(given, kind.rows(places["last"], last))


def test_a_recurrent_layer_has_no_knee(tmp_path: Path) -> None:
    """What its inputs give is only part of what its ReLU takes in; a Dense behind it has one."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 5)),
            layers.SimpleRNN(5, activation="relu", name="recurrent"),
            layers.Dense(4, name="dense"),
            layers.ReLU(),
        ]
    )
    model.save(tmp_path / "model.keras")
    opened = open_model(tmp_path / "model.keras")
    places = list(find_places(opened).known.values())
    x = inputs_of(model, 10)
    seen: dict[str, Any] = {}

    def visit(place: Place, old: list[Batch], new: list[Batch]) -> None:
        seen[place.path] = new[0].knee

    Networks(x, x, original=model)(opened).in_order(places, visit)

    assert seen["recurrent"] is None
    assert seen["dense"] is not None


def test_large_inputs_run_in_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where few samples fit into memory, moments are gathered part by part, of all of them."""
    model = images()
    path = tmp_path / "model.keras"
    model.save(path)
    opened, x = open_model(path), inputs_of(model)
    places = list(find_places(opened).known.values())
    arrays = {
        other: read_arrays(opened, other)
        for place in places
        for other in (place.path, *(p.path for p in place.between))
    }
    whole = Networks(x, x, original=model)(opened).gather(places, arrays)
    monkeypatch.setattr("lrcompress.live.network.walk._MEMORY", 0)

    parts = Networks(x, x, original=model)(opened).gather(places, arrays)

    assert samples_at_once(model, x) < len(x)
    for name, seen in whole.items():
        assert parts[name].count == seen.count > 0
        np.testing.assert_allclose(parts[name].mean, seen.mean, rtol=0.3, atol=0.3)
