"""Inputs made from a network's own BatchNormalization statistics."""

from __future__ import annotations

import itertools
import types
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

from lrcompress.errors import TrainingError  # noqa: E402
from lrcompress.live.synthetic import Synthetic, amount, inputs, matching, synthetic_inputs  # noqa: E402

LAYERS = keras.layers
DRAW = np.random.default_rng(0)
# Smooth images, far from 0, with more spread in one channel than in the other.
SMOOTH = DRAW.normal(size=(200, 4, 4, 2)).repeat(3, axis=1).repeat(3, axis=2)
IMAGES = (120 + np.array([40.0, 15.0]) * SMOOTH + DRAW.normal(size=(200, 12, 12, 2))).astype(
    "float32"
)


def convolutions(*, nested: bool = False) -> Any:
    """Return a small network with two BatchNormalization layers, and statistics of no data yet."""
    keras.utils.set_random_seed(0)
    body = [
        LAYERS.Conv2D(6, 3, use_bias=False),
        LAYERS.BatchNormalization(momentum=0.0),
        LAYERS.ReLU(),
        LAYERS.Conv2D(8, 3, strides=2),
        LAYERS.BatchNormalization(momentum=0.0),
        LAYERS.ReLU(),
    ]
    if nested:
        body = [keras.Sequential([keras.Input((12, 12, 2)), *body])]
    end = [LAYERS.GlobalAveragePooling2D(), LAYERS.Dense(5, activation="softmax")]
    return keras.Sequential([keras.Input((12, 12, 2)), *body, *end])


def normalizations(model: Any) -> list[Any]:
    """Return the BatchNormalization layers of a model."""
    return [one for one in model._flatten_layers() if isinstance(one, LAYERS.BatchNormalization)]


@pytest.fixture(scope="module")
def network() -> Any:
    """Return a network that has seen the images."""
    model = convolutions()
    for _ in range(3):  # the second layer sees what the first gives with its new statistics
        model(IMAGES, training=True)
    return model


@pytest.fixture(scope="module")
def made(network: Any) -> Synthetic:
    """Return inputs made from it."""
    found = synthetic_inputs(network, samples=64)
    assert found is not None
    return found


def test_each_layer_sees_what_it_saw_in_training(network: Any, made: Synthetic) -> None:
    """Mean and variance of every BatchNormalization's inputs are the layer's own, and the loss is small."""
    taps = keras.Model(network.inputs, [one.input for one in normalizations(network)])
    for layer, seen in zip(normalizations(network), taps.predict(made.x, verbose=0), strict=True):
        deviation = np.sqrt(layer.moving_variance)
        apart = (seen.mean((0, 1, 2)) - layer.moving_mean) / deviation
        assert np.sqrt(np.mean(apart**2)) < 0.2
        assert np.sqrt(np.mean((seen.std((0, 1, 2)) / deviation - 1) ** 2)) < 0.2

    assert made.loss < matching.CONVERGED
    assert made.trusted
    assert made.matched == 2


def test_the_scale_of_the_data_is_found(made: Synthetic) -> None:
    """Inputs are about as large as the data were, which nobody told; all classes appear."""
    assert made.x.shape == (64, 12, 12, 2)
    assert made.x.dtype == np.float32
    assert 60 < made.x.mean() < 240
    assert 10 < made.x.std() < 120


def test_inputs_differ_in_contrast(made: Synthetic) -> None:
    """Of inputs that are all alike a network is alike sure, and what it loses on them is too little."""
    contrasts = np.log(np.asarray(made.x).std(axis=(1, 2)).mean(axis=-1))
    assert contrasts.std() > 0.16


def test_the_same_seed_gives_the_same_inputs(network: Any, made: Synthetic) -> None:
    """Nothing depends on what ran before; another seed gives others."""
    keras.utils.set_random_seed(5)
    again = synthetic_inputs(network, samples=64)
    other = synthetic_inputs(network, samples=64, seed=1)

    assert again is not None
    assert other is not None
    np.testing.assert_allclose(again.x, made.x, rtol=1e-3, atol=1e-2)
    assert np.abs(other.x - made.x).mean() > 1


def test_the_network_stays_as_it_is(network: Any) -> None:
    """Weights, statistics, what trains, and the layers' own methods are those of before."""
    weights, trained = network.get_weights(), len(network.trainable_variables)

    synthetic_inputs(network, samples=16)

    for before, after in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(network.trainable_variables) == trained
    assert all(layer.call.__name__ == "call" for layer in normalizations(network))


def test_layers_inside_another_model_count_and_batches_follow_each_other(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nested model's statistics are matched as well; later batches come of the one before, and are no copies."""
    monkeypatch.setattr(amount, "BATCH", 32)
    nested = convolutions(nested=True)
    nested.set_weights(network.get_weights())

    found = synthetic_inputs(nested, samples=72)

    assert found is not None
    assert found.matched == 2
    assert found.loss < inputs.TRUSTED
    assert found.x.shape == (72, 12, 12, 2)
    assert found.fit == 64
    flat = found.x.reshape(72, -1)
    alike = np.corrcoef(flat) - np.eye(72)
    assert alike.max() < 0.95


def test_statistics_that_no_inputs_have_are_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loss stays high the inputs say of themselves that they are not to be trusted."""
    monkeypatch.setattr(matching, "MOST_STEPS", 60)
    model = keras.Sequential(
        [keras.Input((6,)), LAYERS.Dense(5, activation="relu"), LAYERS.BatchNormalization()]
    )
    model.layers[-1].moving_mean.assign(np.full(5, -4.0))  # no output of ReLU is negative

    found = synthetic_inputs(model, samples=32)

    assert found is not None
    assert not found.trusted
    assert found.loss > inputs.TRUSTED


def test_several_inputs_are_made_by_name() -> None:
    """Each input of a network has its own scale and comes under its own name."""
    one, other = keras.Input((4,), name="one"), keras.Input((6, 3), name="other")
    joined = LAYERS.Concatenate()([one, LAYERS.Flatten()(other)])
    model = keras.Model([one, other], LAYERS.BatchNormalization()(joined))

    found = synthetic_inputs(model, samples=32)

    assert found is not None
    assert isinstance(found.x, dict)
    assert {name: x.shape for name, x in found.x.items()} == {"one": (32, 4), "other": (32, 6, 3)}
    assert found.trusted


def test_an_autoencoder_gives_the_place_of_its_inputs() -> None:
    """Its inputs lie, but for what it leaves off, where its outputs do: not anywhere that has the statistics."""
    draw = np.random.default_rng(1)
    data = (5 + draw.normal(size=(500, 2)) @ draw.normal(size=(2, 12))).astype("float32")
    _, _, right = np.linalg.svd(data - data.mean(0), full_matrices=False)
    plane = right[:2]
    x = keras.Input((12,))
    model = keras.Model(
        x, LAYERS.Dense(12)(LAYERS.BatchNormalization(epsilon=1e-6)(LAYERS.Dense(2)(x)))
    )
    middle = (data - data.mean(0)) @ plane.T
    model.layers[1].set_weights([plane.T, -data.mean(0) @ plane.T])
    spread = middle.var(0)
    model.layers[2].set_weights([np.sqrt(spread), np.zeros(2), np.zeros(2), spread])
    model.layers[3].set_weights([plane, data.mean(0)])

    found = synthetic_inputs(model, samples=64)

    assert found is not None
    centred = found.x - data.mean(0)
    off = centred - centred @ plane.T @ plane
    assert off.var() < 0.1 * centred.var()


@pytest.mark.parametrize("layers", [
    [LAYERS.Dense(4, activation="relu"), LAYERS.LayerNormalization()],
    [LAYERS.Embedding(20, 4), LAYERS.BatchNormalization()],
])  # fmt: skip
def test_no_inputs_where_nothing_tells(layers: list[Any]) -> None:
    """Without BatchNormalization there is nothing to match, and numbers of words cannot be made."""
    assert synthetic_inputs(keras.Sequential([keras.Input((6,)), *layers])) is None


def test_whole_numbers_are_not_made() -> None:
    """An input of whole numbers lets no gradient through."""
    model = keras.Sequential([keras.Input((6,), dtype="int32"), LAYERS.BatchNormalization()])

    assert synthetic_inputs(model) is None


def test_what_would_take_too_long_is_not_begun(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of one batch tells that of all; the error says how long it would take."""
    monkeypatch.setattr(amount, "PATIENCE", 0.0)

    with pytest.raises(TrainingError, match="64 would take about"):
        synthetic_inputs(network, samples=64)


def test_fewer_are_made_where_time_is_up(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch calibrates then, and one judges."""
    monkeypatch.setattr(amount, "PATIENCE", 0.0)
    monkeypatch.setattr(amount, "BATCH", 16)
    monkeypatch.setattr(amount, "affordable", lambda _, samples: samples)

    found = synthetic_inputs(network, samples=128)

    assert found is not None
    assert (len(found.x), found.fit) == (32, 16)


def test_time_that_does_not_count_ends_nothing(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All batches are made, and rounds go on, however long it took by the clock on the wall."""
    monkeypatch.setattr(amount, "PATIENCE", 0.0)
    monkeypatch.setattr(amount, "BATCH", 16)
    monkeypatch.setattr(amount, "affordable", lambda _, samples: samples)
    monkeypatch.setattr(amount, "Spent", lambda: lambda: -1.0)
    for name, value in (("FIRST_STEPS", 2), ("MOST_STEPS", 8), ("CONVERGED", 0), ("FALLING", 1e9)):
        monkeypatch.setattr(matching, name, value)
    steps: list[int] = []
    descend = matching.Descent.descend

    def counted(self: Any, many: int, *args: Any) -> None:
        steps.append(many)
        descend(self, many, *args)

    monkeypatch.setattr(matching.Descent, "descend", counted)

    found = synthetic_inputs(network, samples=64)

    assert found is not None
    assert (len(found.x), found.fit) == (64, 48)
    # Three batches calibrate, of which the first takes three rounds, and one judges.
    assert steps == [2, 4, 8, 4, 4, 2, 4, 8]


@pytest.mark.parametrize(
    ("wall", "cpu", "spent"), [(10.0, 20.0, 10.0), (10.0, 12.0, 6.0), (10.0, 2.0, 5.0)]
)
def test_seconds_of_other_programs_do_not_count(
    monkeypatch: pytest.MonkeyPatch, wall: float, cpu: float, spent: float
) -> None:
    """Of two cores; where an accelerator computes, half of the time does."""
    now = [0.0, 0.0]
    clock = types.SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[1])
    monkeypatch.setattr(amount, "time", clock)
    monkeypatch.setattr(amount, "core_count", lambda: 2)
    begun = amount.Spent()

    now[:] = wall, cpu

    assert begun() == spent


def test_fewer_are_planned_where_all_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half as many at a time, by the seconds of one batch: 32 samples take one here."""
    few = types.SimpleNamespace(samples=32, scales_sought=90, measure=lambda: (0.0, 0.0))
    seconds = itertools.count()
    clock = types.SimpleNamespace(
        perf_counter=lambda: next(seconds), process_time=lambda: next(seconds)
    )
    monkeypatch.setattr(amount, "time", clock)
    monkeypatch.setattr(amount, "core_count", lambda: 2)
    monkeypatch.setattr(amount, "PATIENCE", 1_000.0)

    # 90 + 180 * 512 / 32 seconds are too many, a quarter is not.
    assert amount.affordable(few, 512) == 128
