"""How much the outputs care for the rows of a table, and for what inputs give the gates of a recurrent layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)
layers = keras.layers


def classifier(*before: Any) -> Any:
    """Return a model of some layers and a softmax."""
    model = keras.Sequential([*before, layers.Dense(3, "softmax", use_bias=False, name="out")])
    model.set_weights([RNG.normal(size=weight.shape) for weight in model.get_weights()])
    return model


def fisher(model: Any, x: Any) -> Any:
    """Return the mean of g g^T for what the last layer takes in."""
    kernel = model.get_layer("out").get_weights()[0]
    outputs = model.predict(x, verbose=0)
    return kernel @ np.mean([np.diag(p) - np.outer(p, p) for p in outputs], axis=0) @ kernel.T


def moments(model: Any, name: str, x: Any) -> Any:
    """Return what is found for one layer; the model stays what it is."""
    from lrcompress.live.network.gradients import response_gradients

    before = model.get_weights()
    (found,) = response_gradients(model, [name], x).values()
    for array, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, old)
    return found


def test_the_metric_of_a_tables_rows_is_that_of_what_follows() -> None:
    """Masked words have no gradient, and the mask reaches the layer behind the probe."""
    model = classifier(
        keras.Input((6,)),
        layers.Embedding(9, 5, mask_zero=True, name="words"),
        layers.GlobalAveragePooling1D(),
    )
    x = np.zeros((400, 6), np.int32)
    x[:, 0] = RNG.integers(1, 9, 400)  # one word each, so that its row is the mean

    found, expected = moments(model, "words", x), fisher(model, x)

    np.testing.assert_allclose(found, expected, atol=0.2 * np.abs(expected).max())
    assert np.linalg.matrix_rank(found, tol=1e-4 * np.trace(found)) == 2


def test_a_model_compiled_without_an_optimizer_serves() -> None:
    """So old files are, whose optimizer Keras does not know."""
    x = keras.Input((4,))
    hidden = layers.Dense(5, "relu", name="hidden")(x)
    model = keras.Model(x, layers.Dense(3, "softmax", name="out")(hidden))
    model.compile(optimizer=None, loss="categorical_crossentropy")

    assert moments(model, "hidden", RNG.normal(size=(200, 4)).astype("float32")).shape == (5, 5)
    assert model.compiled


def test_gates_are_seen_before_the_layer() -> None:
    """Of one step without activation, another one masked, the gates are what the layer gives."""
    model = classifier(
        keras.Input((2, 4)), layers.Masking(), layers.SimpleRNN(5, "linear", name="states")
    )
    x = RNG.normal(0, 0.3, size=(400, 2, 4))
    x[:, 1] = 0

    found, expected = moments(model, "states", x), fisher(model, x)

    np.testing.assert_allclose(found, expected, atol=0.2 * np.abs(expected).max())


def test_steps_are_counted_by_a_mask_that_is_given_by_name(tmp_path: Path) -> None:
    """A table and a recurrent layer that is told its mask: both are gathered with a metric."""
    from lrcompress.live.network.walk import Networks
    from lrcompress.modelfile import open_model
    from lrcompress.modelfile.places import find_places

    x = keras.Input((4,))
    words = layers.Embedding(9, 5, name="words")(x)
    states = layers.SimpleRNN(3, name="states")(words, mask=keras.ops.not_equal(x, 0))
    model = keras.Model(x, layers.Dense(3, "softmax", name="out")(states))
    model.save(tmp_path / "model.keras")
    file = open_model(tmp_path / "model.keras")
    places = find_places(file).known
    inputs = RNG.integers(0, 3, (200, 4)).astype("f4")
    arrays = {layer.name: tuple(layer.get_weights()) for layer in model.layers}

    network = Networks(inputs, inputs[:20], original=model)(file)
    seen = network.gather([places["words"], places["states"]], arrays)

    assert seen["states"].count == np.count_nonzero(inputs)
    assert seen["words"].counts.sum() == inputs.size
    assert seen["words"].metric.shape == (5, 5)
    assert seen["states"].metric.shape == (3, 3)


@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        (lambda: layers.LSTM(2, name="states", go_backwards=True), 8),
        (lambda: layers.Bidirectional(layers.GRU(2), name="states"), 12),
        (lambda: layers.RNN(layers.GRUCell(2), name="states"), 6),
    ],
)
def test_each_gate_of_each_direction_has_its_place(layer: Any, gates: int) -> None:
    """Side by side as the input kernels are."""
    model = classifier(keras.Input((3, 4)), layer())

    found = moments(model, "states", RNG.normal(size=(100, 3, 4)))

    assert found.shape == (gates, gates)
    assert (np.diagonal(found) > 0).all()


def test_many_outputs_come_in_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where outputs would fill the memory fewer samples run at once, to the same end."""
    from lrcompress.live import predict

    model = classifier(
        keras.Input((6,)),
        layers.Embedding(9, 5, name="words"),
        layers.GlobalAveragePooling1D(),
    )
    x = np.repeat(RNG.integers(0, 9, (400, 1)), 6, axis=1)
    monkeypatch.setattr(predict, "MOST_OUTPUTS", 50 * 3)

    # Each of the six words moves their mean by a sixth.
    found, expected = 6 * moments(model, "words", x), fisher(model, x)

    np.testing.assert_allclose(found, expected, atol=0.2 * np.abs(expected).max())
