"""Recurrent layers in two factors, against Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.compression.network import NetworkRequest, compress
from lrcompress.kinds import Batch, Place, Serialized, Solution
from lrcompress.kinds.cells import directions
from lrcompress.kinds.recurrent import Recurrent
from lrcompress.kinds.registry import any_kind_of
from lrcompress.modelfile import open_model

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)
SAMPLES, STEPS, INPUTS = 16, 5, 6
layers = keras.layers

LAYERS = {
    "lstm": lambda: layers.LSTM(5),
    "lstm without bias": lambda: layers.LSTM(5, use_bias=False, return_sequences=True),
    "gru": lambda: layers.GRU(5, return_sequences=True),
    "gru of old": lambda: layers.GRU(5, reset_after=False, go_backwards=True),
    "simple": lambda: layers.SimpleRNN(8, activation="relu", return_sequences=True),
    "few units": lambda: layers.SimpleRNN(3),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
    "their sum": lambda: layers.Bidirectional(layers.GRU(3), merge_mode="sum"),
    "two of them": lambda: layers.Bidirectional(
        layers.LSTM(3), backward_layer=layers.GRU(4, go_backwards=True, use_bias=False)
    ),
    "cell": lambda: layers.RNN(layers.LSTMCell(4), return_sequences=True),
    "gru cell": lambda: layers.RNN(layers.GRUCell(4), go_backwards=True),
    "simple cells": lambda: layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(4))),
}


def inputs() -> Any:
    """Return sequences near a plane of two dimensions, the ends of which are masked."""
    plane = RNG.normal(size=(SAMPLES, STEPS, 2)) @ RNG.normal(size=(2, INPUTS))
    x = (plane + 0.1 * RNG.normal(size=(SAMPLES, STEPS, INPUTS)) + 1).astype("f4")
    for sample, length in enumerate(RNG.integers(2, STEPS + 1, SAMPLES)):
        x[sample, length:] = 0
    return x


def model_of(*made: Any) -> Any:
    """Return layers in a row behind a mask."""
    first = [keras.Input((STEPS, INPUTS)), layers.Masking()]
    return keras.Sequential([*first, *made])


def placed(layer: Any) -> Place:
    """Return a built layer at its place."""
    entry = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    own = Serialized(entry["class_name"], entry["config"], tuple(layer.get_weights()))
    for weight in own.arrays:
        weight += RNG.normal(0, 0.3, weight.shape)
    layer.set_weights(own.arrays)
    return Place("r", any_kind_of(entry), own, input_shapes=((STEPS, INPUTS),))


def rebuilt(found: tuple[Serialized, ...]) -> list[Any]:
    """Return Keras' layers of serialized ones, without their weights."""
    made = [
        layers.deserialize(
            {"module": "keras.layers", "class_name": s.class_name, "config": s.config}
        )
        for s in found
    ]
    assert len(made) == 2
    return made


def outputs(solution: Solution, model: Any, x: Any) -> tuple[Any, Any]:
    """Return what the original layer with other arrays gives, and what the stock layers give."""
    (found,) = solution.layers().values()
    stock = model_of(*rebuilt(found))
    stock.set_weights([np.asarray(array) for layer in found for array in layer.arrays])
    before = model.get_weights()
    model.set_weights(solution.in_place()["r"])
    in_place = np.asarray(model(x))
    model.set_weights(before)
    return in_place, np.asarray(stock(x))


@pytest.mark.parametrize("name", LAYERS)
def test_at_full_rank_it_is_keras_own_and_below_both_ways_agree(name: str) -> None:
    """A Dense before the layer computes what a changed input kernel does; at full rank the original."""
    layer = LAYERS[name]()
    model = model_of(layer)
    place, x = placed(layer), inputs()
    original = np.asarray(model(x))
    (form,) = Recurrent().forms(place)
    arrays = {"r": place.layer.arrays}
    mask = (x != 0).any(-1)
    seen = Recurrent().gather(place, arrays, Batch((x,), original, mask), None)

    for rows in (None, seen):
        exact = form.solve(arrays, rows, [form.largest])[form.largest]
        for output in outputs(exact, model, x):
            np.testing.assert_allclose(output, original, atol=2e-5)
        smaller = form.solve(arrays, rows, [2])[2]
        in_place, stock = outputs(smaller, model, x)
        np.testing.assert_allclose(in_place, stock, atol=2e-5)
        assert np.abs(stock - original).max() > 1e-3
    built = sum(np.size(a) for s in smaller.layers()["r"] for a in s.arrays)
    assert form.parameters(2) == built
    assert seen.count == mask.sum()
    np.testing.assert_allclose(seen.mean, x[mask].mean(axis=0), atol=1e-5)


def test_inputs_that_were_seen_make_it_better() -> None:
    """Inputs near a plane need two numbers a step, the kernel alone does not tell which."""
    layer = LAYERS["lstm"]()
    model = model_of(layer)
    place, x = placed(layer), inputs()
    calibration, x = x[: SAMPLES // 2], x[SAMPLES // 2 :]
    original = np.asarray(model(x))
    (form,) = Recurrent().forms(place)
    arrays = {"r": place.layer.arrays}
    batch = Batch((calibration,), calibration, (calibration != 0).any(-1))
    seen = Recurrent().gather(place, arrays, batch, None)

    plain, aware = (
        np.abs(outputs(form.solve(arrays, rows, [2])[2], model, x)[1] - original).mean()
        for rows in (None, seen)
    )

    assert aware < plain / 2
    assert form.errors(arrays, seen)[1] < 0.1 < form.errors(arrays, None)[1]


@pytest.mark.parametrize(("backwards", "first"), [(False, 0), (True, 2)])
def test_states_at_masked_steps_are_left_out(backwards: bool, first: int) -> None:
    """Of a sequence that is read from its end, outputs stand in that order."""
    layer = layers.SimpleRNN(3, return_sequences=True, go_backwards=backwards)
    model_of(layer)
    place = placed(layer)
    mask = np.arange(STEPS) < 3
    output = np.zeros((2, STEPS, 3))
    output[:, first : first + 3] = 1
    batch = Batch((np.ones((2, STEPS, INPUTS)),), output, np.stack([mask, mask]))

    seen = Recurrent().gather(place, {"r": place.layer.arrays}, batch, None)

    np.testing.assert_allclose(seen.outputs.mean, 1)
    assert seen.outputs.count == 6


def test_a_constant_reaches_the_inputs_biases() -> None:
    """Of a GRU that resets after the product, that is the first of two rows."""
    layer = LAYERS["gru"]()
    model_of(layer)
    place = placed(layer)
    kernel, _, bias = place.layer.arrays
    shift = np.arange(15.0)

    changed = Recurrent().with_kernel(place, {"r": place.layer.arrays}, kernel, shift)["r"]

    np.testing.assert_allclose(changed[2][0], bias[0] + shift)
    np.testing.assert_allclose(changed[2][1], bias[1])


def test_a_layer_of_keras_1_has_an_input_kernel_for_each_gate() -> None:
    """Side by side they are one matrix."""
    gates = [(RNG.normal(size=(4, 3)), RNG.normal(size=(3, 3)), np.zeros(3)) for _ in range(4)]
    config = {"name": "r", "output_dim": 3, "input_dim": 4, "batch_input_shape": [None, 9, 4]}
    layer = Serialized("LSTM", config, tuple(array for gate in gates for array in gate))
    place = Place("r", Recurrent(), layer)

    (form,) = Recurrent().forms(place)
    first, second = form.solve({"r": layer.arrays}, None, [4])[4].layers()["r"]

    assert directions(layer)[0].kernels == (0, 3, 6, 9)
    assert (first.config["output_dim"], first.config["bias"]) == (4, False)
    assert first.config["batch_input_shape"] == [None, 9, 4]
    for number, (kernel, recurrent, _) in enumerate(gates):
        np.testing.assert_allclose(first.arrays[0] @ second.arrays[3 * number], kernel)
        assert second.arrays[3 * number + 1] is recurrent


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.RNN(layers.StackedRNNCells([layers.LSTMCell(3), layers.LSTMCell(3)])),
        lambda: layers.ConvLSTM1D(3, 2),
    ],
    ids=["stacked cells", "convolutions"],
)
def test_other_cells_are_refused(layer: Any) -> None:
    """Only one LSTM, GRU or simple cell has an input kernel of its own."""
    entry = keras.saving.serialize_keras_object(layer())
    kind = any_kind_of(entry)

    assert kind is None or kind.refuse(Serialized(entry["class_name"], entry["config"])) is not None


def test_dropout_inside_is_said() -> None:
    """It acts on other numbers from now on."""
    layer = layers.Bidirectional(layers.GRU(4, dropout=0.2, name="inner"), name="both")
    model_of(layer)
    place = placed(layer)
    (form,) = Recurrent().forms(place)

    solution = form.solve({"r": place.layer.arrays}, None, [2])[2]

    assert len(solution.remarks) == 1
    assert "both keeps its dropout" in solution.remarks[0]


def test_what_a_form_says_reaches_the_user(tmp_path: Path) -> None:
    """Remarks of the chosen forms are among those of the whole network."""
    model = model_of(layers.LSTM(5, dropout=0.2, name="states"))
    model.save(tmp_path / "model.keras")
    request = NetworkRequest(layers=("states",), budget=("reduction", 0.1))

    found = compress(open_model(tmp_path / "model.keras"), request, None, tmp_path)

    assert [layer.form for layer in found.layers] == ["input kernel"]
    assert any("states keeps its dropout" in remark for remark in found.remarks)


@pytest.mark.parametrize("name", LAYERS)
def test_both_layers_are_merged_again(name: str) -> None:
    """The layer gets its input kernel and its settings back."""
    layer = LAYERS[name]()
    model_of(layer)
    place = placed(layer)
    (form,) = Recurrent().forms(place)
    found = form.solve({"r": place.layer.arrays}, None, [form.largest])[form.largest].layers()["r"]

    merged = Recurrent().merged(found)

    assert merged is not None
    assert merged.config == place.layer.config
    for array, before in zip(merged.arrays, place.layer.arrays, strict=True):
        np.testing.assert_allclose(array, before, atol=1e-6)
    assert Recurrent().merged((found[1], found[1])) is None
