"""Recurrent layers with fewer units, against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.lowrank.narrowing.states import all_states

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

from tests.kinds.narrowing import Network, check_exact_and_alike, nearly_equal  # noqa: E402

layers = keras.layers
STEPS, INPUTS = 7, 6
LAYERS = {
    "lstm": lambda: layers.LSTM(8, name="own"),
    "lstm of sequences": lambda: layers.LSTM(8, return_sequences=True, name="own"),
    "lstm without bias": lambda: layers.LSTM(8, use_bias=False, name="own"),
    "gru": lambda: layers.GRU(8, name="own"),
    "gru of old": lambda: layers.GRU(8, reset_after=False, name="own"),
    "simple": lambda: layers.SimpleRNN(8, go_backwards=True, name="own"),
    "cell": lambda: layers.RNN(layers.LSTMCell(8), name="own"),
    "both ways": lambda: layers.Bidirectional(layers.GRU(8), name="own"),
    "both ways of old": lambda: layers.Bidirectional(layers.GRU(8, reset_after=False), name="own"),
    "both ways, sequences": lambda: layers.Bidirectional(
        layers.LSTM(8, return_sequences=True), name="own"
    ),
}


def network(name: str) -> list[Any]:
    """Return a recurrent layer behind a mask, and what takes its states in."""
    own = LAYERS[name]()
    if "sequences" not in name:
        behind = [layers.Dropout(0.5), layers.Dense(3)]
    elif "both" in name:
        behind = [layers.Bidirectional(layers.LSTM(2, return_sequences=True))]
    else:
        behind = [layers.TimeDistributed(layers.Dense(3))]
    return [keras.Input((STEPS, INPUTS)), layers.Masking(), own, *behind]


@pytest.mark.parametrize("name", LAYERS)
def test_with_all_units_it_is_the_same_and_with_fewer_both_ways_agree(
    name: str, tmp_path: Path
) -> None:
    """Arrays of full size compute what the smaller stock layers do; of the largest size the original."""
    check_exact_and_alike(Network(network(name), tmp_path), 5)


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_kept_stands_for_what_is_left_out(name: str, tmp_path: Path) -> None:
    """With states that were seen a fifth is lost of what is where units are only left out."""
    found = Network(network(name), tmp_path, nearly_equal)

    fitted = found.lost(found.solved(5, found.seen))

    assert fitted < 0.2 * found.lost(found.solved(5, None))
    # All states count, those at the end of a sequence are not enough.
    assert found.seen.outputs.count == found.seen.count


@pytest.mark.parametrize("name", LAYERS)
def test_a_unit_that_is_there_twice_costs_nothing(name: str, tmp_path: Path) -> None:
    """Of two equal units and a dead one, one is enough, with data and without."""

    def doubled(arrays: list[Any]) -> list[Any]:
        for array in arrays:
            gates = array.reshape(*array.shape[:-1], -1, 8)
            gates[..., 1] = gates[..., 6]
            gates[..., 2] = 0
        return arrays

    found = Network(network(name), tmp_path, doubled)

    for rows, close in ((found.seen, 1e-3), (None, 1e-5)):
        errors = found.form.errors(found.arrays, rows)

        assert errors[5] == 0 < errors[4]
        built, _ = found.built(found.solved(6, rows))
        np.testing.assert_allclose(built, found.output, atol=close)


@pytest.mark.parametrize("layer", [
    layers.LSTM(8, name="own", activation="softmax"),
    layers.Bidirectional(layers.LSTM(8), merge_mode="sum", name="own"),
])  # fmt: skip
def test_what_is_not_linear_in_its_states_stays(layer: Any, tmp_path: Path) -> None:
    """Activations across units and sums of both ways have no such form."""
    with pytest.raises(ValueError, match="not enough values to unpack"):
        Network([keras.Input((STEPS, INPUTS)), layer, layers.Dense(3)], tmp_path)


@pytest.mark.parametrize("reset_after", [True, False])
def test_states_of_a_gru_are_keras_own(reset_after: bool) -> None:
    """What is computed without Keras after each step is what Keras gives."""
    layer = layers.GRU(5, reset_after=reset_after, return_sequences=True)
    x = np.random.default_rng(0).normal(size=(4, STEPS, INPUTS)).astype("f4")
    expected = np.asarray(layer(x))

    kernel, recurrent, bias = layer.get_weights()
    found = all_states(x, kernel, recurrent, bias, ("tanh", "sigmoid"), None)

    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("name", "shifted"), [("gru", True), ("gru of old", False)])
def test_constants_go_where_a_bias_can_stand_for_them(
    name: str, shifted: bool, tmp_path: Path
) -> None:
    """A GRU that resets before the product multiplies them with a gate first: it keeps its biases."""
    found = Network(network(name), tmp_path, nearly_equal)

    arrays = found.solved(5, found.seen).in_place()["own"]

    bias = found.arrays["own"][2]
    assert arrays[2].shape == bias.shape
    assert (np.abs(arrays[2] - bias).max() > 0) == shifted
