"""Layers with fewer units, against Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kinds.narrowing import Network, check_exact_and_alike, nearly_equal

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
layers = keras.layers
STEPS, INPUTS = 7, 6


def dense() -> list[Any]:
    """Return a hidden Dense, dropout, and another one."""
    hidden = layers.Dense(8, activation="relu", name="own")
    return [keras.Input((INPUTS,)), hidden, layers.Dropout(0.5), layers.Dense(3)]


def steps() -> list[Any]:
    """Return a Dense at each step whose consumer takes all of them in at once."""
    own = layers.Dense(8, activation="sigmoid", name="own")
    return [keras.Input((STEPS, INPUTS)), own, layers.Flatten(), layers.Dense(3, use_bias=False)]


def wrapped() -> list[Any]:
    """Return a Dense at each step in a wrapper, averaged."""
    own = layers.TimeDistributed(layers.Dense(8, activation="relu"), name="own")
    return [
        keras.Input((STEPS, INPUTS)), own, layers.GlobalAveragePooling1D(), layers.Dense(3),
    ]  # fmt: skip


def images() -> list[Any]:
    """Return convolutions without padding."""
    own = layers.Conv2D(8, 3, activation="relu", name="own")
    return [keras.Input((6, 6, 2)), own, layers.Conv2D(3, 2, strides=2), layers.Flatten()]


def padded() -> list[Any]:
    """Return a convolution behind another one that pads with zeros."""
    own = layers.Conv1D(8, 3, padding="same", activation="tanh", name="own")
    return [
        keras.Input((STEPS, INPUTS)), own, layers.AveragePooling1D(2),
        layers.Conv1D(3, 3, padding="same"),
    ]  # fmt: skip


def normalized() -> list[Any]:
    """Return a convolution, a normalization, activation and maximum, and what takes the pixels in at once."""
    own = layers.Conv2D(8, 3, padding="same", use_bias=False, name="own")
    between = [layers.BatchNormalization(name="n"), layers.ReLU(), layers.MaxPooling2D(2)]
    return [keras.Input((5, 5, 2)), own, *between, layers.Flatten(), layers.Dense(3)]


def normalized_table() -> list[Any]:
    """Return a Dense, an activation, and a normalization without a factor."""
    own = layers.Dense(8, name="own")
    behind = [layers.BatchNormalization(name="n", scale=False), layers.Dense(3)]
    return [keras.Input((INPUTS,)), own, layers.Activation("tanh"), layers.Dropout(0.5), *behind]


NETWORKS = {
    "dense": dense, "steps": steps, "wrapped": wrapped, "images": images, "padded": padded,
    "normalized": normalized, "normalized table": normalized_table,
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_with_all_units_it_is_the_same_and_with_fewer_both_ways_agree(
    name: str, tmp_path: Path
) -> None:
    """Arrays of full size compute what the smaller stock layers do; of the largest size the original."""
    check_exact_and_alike(Network(NETWORKS[name](), tmp_path), 5)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_kept_stands_for_what_is_left_out(name: str, tmp_path: Path) -> None:
    """With outputs that were seen a fifth is lost of what is where units are only left out."""
    network = Network(NETWORKS[name](), tmp_path, nearly_equal)

    fitted = network.lost(network.solved(5, network.seen))

    assert fitted < 0.2 * network.lost(network.solved(5, None))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_unit_that_is_there_twice_costs_nothing(name: str, tmp_path: Path) -> None:
    """Of two equal units and a dead one, one is enough, with data and without."""

    def doubled(arrays: list[Any]) -> list[Any]:
        for array in arrays:
            array[..., 1] = array[..., 6]
            array[..., 2] = 0
        return arrays

    network = Network(NETWORKS[name](), tmp_path, doubled)
    # A Dense without bias has no place for the 0.5 that a dead unit with a sigmoid gives.
    size = 7 if name == "steps" else 6

    for rows in (network.seen, None):
        errors = network.form.errors(network.arrays, rows)

        assert errors[size - 1] == 0 < errors[size - 2]
        built, _ = network.built(network.solved(size, rows))
        np.testing.assert_allclose(built, network.output, atol=1e-4)
