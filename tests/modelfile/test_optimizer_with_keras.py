"""Optimizer state in Keras itself: a split model goes on training where the original was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.modelfile import (
    DenseLayer,
    ModelFile,
    Replacement,
    Written,
    dense_layers,
    open_model,
    write_replaced,
)

pytestmark = pytest.mark.keras

Splitter = Callable[[ModelFile, DenseLayer], Replacement]
Values = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Return Keras, imported once."""
    return pytest.importorskip("keras")


def network(k: Any) -> Any:
    """Everything that has a say in the order: a frozen layer, a nested model, statistics, two heads."""
    layers, x, inner = k.layers, k.Input((6,)), k.Input((6,))
    nested = k.Model(
        inner,
        layers.Dense(6, name="n2")(
            layers.BatchNormalization(name="norm")(layers.Dense(6, name="n1")(inner))
        ),
        name="nested",
    )
    trunk = layers.Dense(6, "tanh", name="first")(x)
    trunk = layers.Dense(6, name="stiff", trainable=False)(trunk)
    trunk = layers.Dense(6, "tanh", name="middle")(nested(trunk))
    ends = [layers.Dense(4, name="z")(trunk), layers.Dense(3, name="a")(trunk)]
    return k.Model(x, ends[::-1])


def sequence(k: Any) -> Any:
    """Layers that keep their weights in parts: attention, recurrent and wrapped layers."""
    layers, x = k.layers, k.Input((4,))
    y = layers.Embedding(9, 6, name="words")(x)
    y = layers.MultiHeadAttention(2, 3, name="attention")(y, y)
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True), name="both")(y)
    y = layers.TimeDistributed(layers.Dense(5, name="inside"), name="each")(y)
    y = layers.LSTM(4, dropout=0.1, name="read")(y)
    return k.Model(x, [layers.Dense(3, name="a")(layers.Dense(5, name="middle")(y))])


def data(model: Any) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return one fixed batch that fits any of the models."""
    rng = np.random.default_rng(0)
    targets = [rng.normal(size=(8, y.shape[-1])).astype("float32") for y in model.outputs]
    return rng.integers(0, 9, (8, model.inputs[0].shape[-1])).astype("float32"), targets


def train(model: Any, steps: int) -> None:
    """Take some steps, always on the same batch."""
    x, targets = data(model)
    for _ in range(steps):
        model.train_on_batch(x, targets)


def built(k: Any, build: Callable[[Any], Any], optimizer: Any) -> Any:
    """Return a model that has been trained a few steps."""
    k.utils.set_random_seed(5)
    model = build(k)
    model.compile(optimizer, ["mse"] * len(model.outputs), run_eagerly=True)
    train(model, 3)
    return model


def split(model: Any, folder: Path, halves: Splitter, *names: str) -> Written:
    """Save a model and split some of its layers at full rank."""
    model.save(folder / "model.keras")
    opened = open_model(folder / "model.keras")
    chosen = [halves(opened, d) for d in dense_layers(opened) if d.name in names]
    assert len(chosen) == len(names)
    return write_replaced(opened, chosen, folder / "out.keras")


def load(k: Any, path: Path) -> Any:
    """Load as a stranger would; any remark of Keras is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", DeprecationWarning)
        return k.saving.load_model(path, safe_mode=True)


def variables(model: Any) -> list[tuple[str, Any]]:
    """Return the model's variables with names that a split does not change."""
    found: dict[int, tuple[str, Any]] = {}
    for path, layer in walk(model, ""):
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            found.setdefault(id(variable), (f"{path}/{variable.name}", variable))
    return list(found.values())


def walk(layer: Any, path: str) -> list[tuple[str, Any]]:
    """Return a layer and all below it, each with the names above it but the whole model's."""
    found = [(path, layer)]
    for child in layer._layers:
        found += walk(child, f"{path}/{child.name}")
    return found


def inner(optimizer: Any) -> Any:
    """Return the optimizer that holds the slots."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def slots(model: Any) -> Values:
    """Return every slot by its kind and the variable that Keras keeps it for."""
    names = {id(variable): name for name, variable in variables(model)}
    optimizer, found = inner(model.optimizer), {}
    trained = optimizer._trainable_variables
    for kind, held in vars(optimizer).items():
        listed = isinstance(held, list) and len(held) == len(trained) > 0
        # Some backends list references of their own beside the slots.
        is_slots = listed and all(hasattr(entry, "numpy") for entry in held)
        if is_slots and kind not in ("_variables", "_trainable_variables"):
            for variable, slot in zip(trained, held, strict=True):
                found[f"{kind} of {names[id(variable)]}"] = slot.numpy()
    return found


def scalars(k: Any, model: Any) -> list[float]:
    """Return iterations, learning rate and, where there is a loss scale, its two numbers."""
    found = [inner(model.optimizer)._iterations, model.optimizer.learning_rate]
    if hasattr(model.optimizer, "inner_optimizer"):
        found += [model.optimizer.step_counter, model.optimizer.dynamic_scale]
    return [float(k.ops.convert_to_numpy(value)) for value in found]


def compare(found: Values, expected: Values, names: tuple[str, ...], start: float) -> None:
    """Check slots: each untouched variable has its own, the new kernels have new ones."""
    kernels = tuple(f"/{name}{part}/kernel" for name in names for part in ("", "_lowrank"))
    new = {key for key in found if key.endswith(kernels)}
    assert set(found) - new == {key for key in expected if not key.endswith(kernels)}
    assert len(new) == 2 * len({key for key in expected if key.endswith(kernels)})
    for key, values in found.items():
        if key in new:
            value = start if "_accumulators of" in key else 0
            assert values.ndim == 2
            np.testing.assert_array_equal(values, np.full_like(values, value))
        else:
            np.testing.assert_array_equal(values, expected[key], strict=True)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "adam": lambda o: o.Adam(0.01),
    "amsgrad": lambda o: o.Adam(0.01, amsgrad=True),
    "adamw": lambda o: o.AdamW(0.01),
    "adamax": lambda o: o.Adamax(0.01),
    "lamb": lambda o: o.Lamb(0.01),
    "lion": lambda o: o.Lion(0.01),
    "sgd": lambda o: o.SGD(0.01),
    "momentum": lambda o: o.SGD(0.01, momentum=0.9),
    "rmsprop": lambda o: o.RMSprop(0.01, momentum=0.5, centered=True),
    "adadelta": lambda o: o.Adadelta(0.01),
    "adagrad": lambda o: o.Adagrad(0.01, initial_accumulator_value=0.3),
    "ftrl": lambda o: o.Ftrl(0.01, initial_accumulator_value=0.3),
    "schedule": lambda o: o.Adam(o.schedules.ExponentialDecay(0.01, 5, 0.9)),
    "accumulating": lambda o: o.Adam(0.01, gradient_accumulation_steps=2),
    "scaled": lambda o: o.LossScaleOptimizer(o.Adam(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_slot_stays_with_its_variable(
    keras: Any, tmp_path: Path, halves: Splitter, name: str
) -> None:
    """Iterations, rate and slots are the trained model's; one more step does as it would there."""
    original = built(keras, network, OPTIMIZERS[name](keras.optimizers))

    written = split(original, tmp_path, halves, "middle", "a")
    loaded = load(keras, written.path)

    assert written.warnings == ()
    assert written.optimizer_bytes_after > 0
    compare(slots(loaded), slots(original), ("middle", "a"), start=0.3)
    assert scalars(keras, loaded) == scalars(keras, original)
    twin = load(keras, tmp_path / "model.keras")
    train(twin, 1)
    train(loaded, 1)
    expected, steps = {name: v.numpy() for name, v in variables(twin)}, 0
    for key, variable in variables(loaded):
        if variable.shape == expected.get(key, np.zeros(0)).shape and "/middle/k" not in key:
            np.testing.assert_allclose(variable.numpy(), expected[key], rtol=1e-3, atol=1e-4)
            steps += 1
    assert steps >= 14


@pytest.mark.parametrize("name", ["n1", "n2", "first", "stiff", "z"])
def test_any_layer_may_be_split(keras: Any, tmp_path: Path, halves: Splitter, name: str) -> None:
    """In nested models, frozen, first in line or last: every slot finds its variable."""
    original = built(keras, network, keras.optimizers.RMSprop(0.01, momentum=0.5))

    written = split(original, tmp_path, halves, name)

    compare(slots(load(keras, written.path)), slots(original), (name,), start=0)


def test_layers_of_several_parts(keras: Any, tmp_path: Path, halves: Splitter) -> None:
    """Layers that hold others keep their slots in their own order."""
    original = built(keras, sequence, keras.optimizers.Adam(0.01))

    written = split(original, tmp_path, halves, "middle", "each")

    expected = {
        key.replace("/each/inside/", "/each/"): value for key, value in slots(original).items()
    }
    found = {
        key.replace("/inside", ""): value for key, value in slots(load(keras, written.path)).items()
    }
    kernels = [key for key in found if "/each" in key or "/middle" in key]
    for key in set(found) - {key for key in kernels if key.endswith("/kernel")}:
        np.testing.assert_array_equal(found[key], expected[key], strict=True)
    assert len(found) == len(expected) + 2 * 2


def test_mixed_precision_wraps_by_itself(keras: Any, tmp_path: Path, halves: Splitter) -> None:
    """Keras then stores a loss scale that the compile settings do not speak of."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        original = built(keras, network, keras.optimizers.SGD(0.01, momentum=0.9))
        written = split(original, tmp_path, halves, "middle")
        loaded = load(keras, written.path)
    finally:
        keras.config.set_dtype_policy(before)

    assert type(loaded.optimizer).__name__ == "LossScaleOptimizer"
    compare(slots(loaded), slots(original), ("middle",), start=0)
    assert scalars(keras, loaded) == scalars(keras, original)


def test_an_optimizer_that_never_ran_is_kept_as_it_is(
    keras: Any, tmp_path: Path, halves: Splitter
) -> None:
    """There are no slots yet, so nothing is said of them."""
    original = network(keras)
    original.compile("adam", "mse")

    written = split(original, tmp_path, halves, "middle")

    assert written.warnings == ()
    assert written.optimizer_bytes == written.optimizer_bytes_after > 0


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda o: o.Adam(0.01, use_ema=True), "averages of the weights"),
        (lambda o: o.Adafactor(0.01), "layout of optimizer Adafactor is not known"),
        (lambda o: o.Nadam(0.01), "layout of optimizer Nadam is not known"),
    ],
    ids=["averages", "factored", "Nadam"],
)
def test_what_has_no_certain_place_is_left_out(
    keras: Any,
    tmp_path: Path,
    halves: Splitter,
    optimizer: Callable[[Any], Any],
    reason: str,
) -> None:
    """One sentence says so, and training goes on from a fresh optimizer."""
    original = built(keras, network, optimizer(keras.optimizers))

    written = split(original, tmp_path, halves, "middle")

    (sentence,) = written.warnings
    assert reason in sentence
    assert written.optimizer_bytes_after == 0
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        loaded = keras.saving.load_model(written.path)
    train(loaded, 1)
    assert int(loaded.optimizer.iterations) == 1
    assert np.isfinite(loaded.evaluate(*data(loaded), verbose=0)).all()


def test_a_layer_with_statistics_of_its_own_leaves_the_state_out(
    keras: Any, tmp_path: Path, halves: Splitter
) -> None:
    """More arrays than slots: which of them are trained cannot be told."""

    def normalized(k: Any) -> Any:
        layers, x = k.layers, k.Input((6,))
        first = layers.SpectralNormalization(layers.Dense(6, name="inside"), name="spectral")
        return k.Model(x, [layers.Dense(3, name="a")(first(x))])

    original = built(keras, normalized, keras.optimizers.Adam(0.01))

    written = split(original, tmp_path, halves, "a")

    assert "belongs to 4 variables, not to the 6" in written.warnings[0]
    assert written.optimizer_bytes_after == 0
