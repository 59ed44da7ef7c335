"""Other stock layers stand for some layers of a file that Keras 3 wrote, and Keras computes what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lrcompress.errors import KernelError, UnsupportedModelError
from lrcompress.kinds import Serialized
from lrcompress.modelfile import Written, open_model, read_arrays, write_changed

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

pytestmark = pytest.mark.keras
keras: Any = pytest.importorskip("keras")
L = keras.layers
KINDS = ("keras", "h5")

# Layers by the name of the one for which they stand, and models with some layers replaced so.
Stand = dict[str, list[Any]]
Network = Callable[[Callable[[Any], Any]], Any]


def serialized(layer: Any) -> Serialized:
    """Return a built layer of Keras as stock layers are handed to the file engine."""
    inner = layer.layer if isinstance(layer, L.TimeDistributed) else layer
    entry = json.loads(json.dumps(keras.saving.serialize_keras_object(inner)))
    return Serialized(entry["class_name"], entry["config"], tuple(layer.get_weights()))


def check(network: Network, stand: Stand, folder: Path, kind: str) -> Written:
    """Write a file with other layers in place of some; Keras computes with it as with the same made in Keras."""
    old = network(lambda layer: layer)
    random_weights(old, 0)
    expected = network(lambda layer: Row(stand.get(layer.name, [layer])))
    random_weights(expected, 1)
    for layer in old.layers:
        if layer.name not in stand and layer.weights:
            expected.get_layer(layer.name).set_weights(layer.get_weights())
    old.save(folder / f"old.{kind}")
    edits = {name: tuple(map(serialized, layers)) for name, layers in stand.items()}
    model = open_model(folder / f"old.{kind}")

    written = write_changed(model, edits, folder / f"new.{kind}")

    loaded = keras.saving.load_model(folder / f"new.{kind}", compile=False)
    x = [data(tensor.shape) for tensor in old.inputs]
    x = x[0] if len(x) == 1 else x
    ours, theirs = (np.asarray(m(x, training=False)) for m in (loaded, expected))
    assert np.abs(ours - theirs).max() < 1e-5
    assert np.ptp(theirs) > 1e-3
    stated = [shapes(layer) for layer in loaded.layers]
    assert stated == [shapes(layer) for layer in expected.layers]
    for layers in stand.values():
        found = read_arrays(open_model(folder / f"new.{kind}"), layers[-1].name)
        for one, other in zip(found, layers[-1].get_weights(), strict=True):
            assert np.array_equal(one, other)
    return written


class Row:
    """Layers in a row; only the last is given more than the input."""

    def __init__(self, layers: list[Any]) -> None:
        """Of these layers."""
        self.layers = layers

    def __call__(self, x: Any, *rest: Any, **words: Any) -> Any:
        """Call all of them."""
        for layer in self.layers[:-1]:
            x = layer(x)
        return self.layers[-1](x, *rest, **words)


def random_weights(model: Any, seed: int) -> None:
    """Give a model weights no two of which are alike; variances above 0."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        layer.set_weights(
            [
                np.abs(rng.normal(size=w.shape, scale=0.5)) + 0.1
                if w.path.endswith("variance")
                else rng.normal(size=w.shape, scale=0.5)
                for w in layer.weights
            ]
        )


def shapes(layer: Any) -> Any:
    """Return what a layer says of the shapes that it was built with."""
    return json.dumps(layer.get_build_config())


def data(shape: tuple[int | None, ...]) -> np.ndarray:
    """Return random inputs: of few whole numbers, so that they are indices as well."""
    return (
        np.random.default_rng(0).integers(0, 3, (2, *(s or 5 for s in shape[1:]))).astype("float32")
    )


def convolutions(a: Callable[[Any], Any]) -> Any:
    """Return three convolutions in a row."""
    x = keras.Input((9, 9, 3))
    y = a(L.Conv2D(6, 3, strides=2, name="a"))(x)
    y = a(L.Conv2D(5, 3, name="b"))(y)
    return keras.Model(x, a(L.Conv2D(4, 1, name="c"))(y))


@pytest.mark.parametrize("kind", KINDS)
def test_several_stand_for_one(tmp_path: Path, kind: str) -> None:
    """Convolutions become two and three, with names of their own, and all other weights are in place."""
    stand: Stand = {
        "a": [L.Conv2D(2, (3, 1), strides=(2, 1), use_bias=False, name="a_lowrank"),
              L.Conv2D(6, (1, 3), strides=(1, 2), name="a")],
        "b": [L.Conv2D(3, 1, name="b_one", use_bias=False), L.Conv2D(2, 3, name="b_two", use_bias=False),
              L.Conv2D(5, 1, name="b")],
    }  # fmt: skip

    written = check(convolutions, stand, tmp_path, kind)

    assert written.first_names == {"a": ("a_lowrank",), "b": ("b_one", "b_two")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_may_become_one_of_another_class(tmp_path: Path, kind: str) -> None:
    """An Embedding becomes one of fewer columns and a Dense; a separable convolution ends in a plain one."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((6,))
        y = a(L.Embedding(5, 8, mask_zero=masked, name="words"))(x)
        y = a(L.LSTM(3, name="lstm"))(y)
        z = a(L.SeparableConv1D(6, 3, name="separable"))(L.Embedding(3, 2, name="other")(x))
        return keras.Model(x, L.Concatenate()([y, L.Flatten()(L.Dense(7, name="dense")(z))]))

    masked = kind == "keras"  # Keras does not load masks from HDF5
    stand: Stand = {
        "words": [L.Embedding(5, 2, mask_zero=masked, name="words_lowrank"),
                  L.Dense(8, use_bias=False, name="words")],
        "separable": [L.SeparableConv1D(2, 3, use_bias=False, name="separable_lowrank"),
                      L.Conv1D(6, 1, name="separable")],
    }  # fmt: skip

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_keep_their_states_and_masks(tmp_path: Path, kind: str) -> None:
    """A Dense before a recurrent layer takes in the steps alone, not the states that are given with them."""

    def network(a: Callable[[Any], Any]) -> Any:
        x, h, c = keras.Input((6, 5)), keras.Input((3,)), keras.Input((3,))
        y = a(L.LSTM(3, return_sequences=True, name="lstm"))(x, initial_state=[h, c])
        y = a(L.Bidirectional(L.GRU(4, return_sequences=True), name="both"))(y)
        return keras.Model([x, h, c], a(L.SimpleRNN(2, name="rnn", dropout=0.1))(y))

    stand: Stand = {
        "lstm": [L.Dense(2, use_bias=False, name="lstm_lowrank"),
                 L.LSTM(3, return_sequences=True, name="lstm")],
        "both": [L.Dense(1, use_bias=False, name="both_lowrank"),
                 L.Bidirectional(L.GRU(4, return_sequences=True), name="both")],
        "rnn": [L.Dense(3, use_bias=False, name="rnn_lowrank"), L.SimpleRNN(2, name="rnn", dropout=0.1)],
    }  # fmt: skip

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_under_a_wrapper_are_wrapped(tmp_path: Path, kind: str) -> None:
    """What stands for a layer that is applied at each step is applied at each step."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((4, 8, 8, 3))
        y = a(L.TimeDistributed(L.Conv2D(6, 3, strides=2, name="conv"), name="frames"))(x)
        y = L.TimeDistributed(L.Flatten(), name="flat")(y)
        return keras.Model(x, a(L.TimeDistributed(L.Dense(5, name="dense"), name="steps"))(y))

    stand: Stand = {
        "frames": [L.TimeDistributed(L.Conv2D(2, 3, strides=2, use_bias=False, name="conv_lowrank"), name="one"),
                   L.TimeDistributed(L.Conv2D(6, 1, name="conv"), name="frames")],
        "steps": [L.TimeDistributed(L.Dense(2, use_bias=False, name="dense_lowrank"), name="two"),
                  L.TimeDistributed(L.Dense(5, name="dense"), name="steps")],
    }  # fmt: skip

    written = check(network, stand, tmp_path, kind)

    assert written.first_names == {"frames": ("frames_lowrank",), "steps": ("steps_lowrank",)}


@pytest.mark.parametrize("kind", KINDS)
def test_narrower_layers_are_stated_behind_them(tmp_path: Path, kind: str) -> None:
    """Fewer units and filters reach the layers that take them in, through what stands between."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((8, 8, 3))
        y = a(L.Conv2D(6, 3, name="conv", use_bias=False))(x)
        y = L.MaxPooling2D()(L.ReLU()(a(L.BatchNormalization(name="norm"))(y)))
        z = a(L.Dense(7, name="dense"))(L.Flatten()(y))
        y = a(L.LSTM(5, return_sequences=True, name="lstm"))(L.Reshape((24, 8))(x))
        y = a(L.GRU(4, name="gru"))(L.Dropout(0.1)(y))
        y = L.Concatenate()([y, a(L.Dense(2, name="short"))(z)])
        return keras.Model(x, a(L.Dense(3, name="last"))(y))

    stand: Stand = {
        "conv": [L.Conv2D(4, 3, name="conv", use_bias=False)],
        "norm": [L.BatchNormalization(name="norm")],
        "dense": [L.Dense(5, name="dense")],
        "lstm": [L.LSTM(3, return_sequences=True, name="lstm")],
        "gru": [L.Dense(2, use_bias=False, name="gru_lowrank"), L.GRU(4, name="gru")],
        "short": [L.Dense(2, name="short")],
    }

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_gets_narrower_heads(tmp_path: Path, kind: str) -> None:
    """Arrays of a layer's parts go where each part keeps them."""

    def network(a: Callable[[Any], Any]) -> Any:
        x, z = keras.Input((6, 5)), keras.Input((4, 3))
        y = a(L.MultiHeadAttention(2, 4, value_dim=3, name="cross"))(x, z)
        if kind == "keras":  # which Keras does not load from HDF5
            y = a(L.GroupQueryAttention(4, 4, 2, name="group"))(y, y)
        return keras.Model([x, z], y)

    stand: Stand = {"cross": [L.MultiHeadAttention(2, 1, value_dim=2, name="cross")]}
    if kind == "keras":
        stand["group"] = [L.GroupQueryAttention(4, 4, 2, name="group")]

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_weights_gets_one_before_it(tmp_path: Path, kind: str) -> None:
    """A convolution stands before a Flatten, and the Dense behind takes in fewer columns; a bias comes and goes."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((4, 4, 6))
        y = a(L.Flatten(name="flat"))(x)
        return keras.Model(x, a(L.Dense(3, name="b"))(a(L.Dense(5, use_bias=False, name="a"))(y)))

    stand: Stand = {
        "flat": [L.Conv2D(2, 1, use_bias=False, name="flat_lowrank"), L.Flatten(name="flat")],
        "a": [L.Dense(2, use_bias=False, name="a_lowrank"), L.Dense(5, name="a")],
        "b": [L.Dense(3, use_bias=False, name="b")],
    }

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_einsum_and_transposed_layers(tmp_path: Path, kind: str) -> None:
    """The shapes between new layers follow from an equation, and from transposed convolutions."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((3, 3, 4))
        y = a(L.Conv2DTranspose(6, 3, strides=2, name="up"))(x)
        return keras.Model(
            x, a(L.EinsumDense("abcd,dx->abcx", (7, 7, 5), bias_axes="x", name="mix"))(y)
        )

    stand: Stand = {
        "up": [L.Conv2DTranspose(2, 3, strides=2, use_bias=False, name="up_lowrank"),
               L.Conv2D(6, 1, name="up")],
        "mix": [L.EinsumDense("abcd,dx->abcx", (7, 7, 2), name="mix_lowrank"),
                L.EinsumDense("abcd,dx->abcx", (7, 7, 5), bias_axes="x", name="mix")],
    }  # fmt: skip

    check(network, stand, tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [False, True])
def test_layers_in_nested_models_change(tmp_path: Path, kind: str, frozen: bool) -> None:
    """Inside a nested model all weights of HDF5 stand in one list: new, exchanged and gone ones are in place."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((6,))
        y = a(L.Embedding(5, 8, name="words", trainable=not frozen))(x)
        y = L.BatchNormalization(name="norm")(y)
        y = a(L.Flatten(name="flat"))(a(L.Conv1D(4, 3, use_bias=False, name="conv"))(y))
        return keras.Model(x, a(L.Dense(3, name="dense", trainable=not frozen))(y), name="inner")

    stand: Stand = {
        "words": [L.Embedding(5, 2, name="words_lowrank", trainable=not frozen),
                  L.Dense(8, use_bias=False, name="words", trainable=not frozen)],
        "conv": [L.Conv1D(3, 1, use_bias=False, name="conv_one"), L.Conv1D(2, 3, use_bias=False, name="conv_two"),
                 L.Conv1D(4, 1, name="conv")],
        "flat": [L.Conv1D(2, 1, use_bias=False, name="flat_lowrank", trainable=not frozen), L.Flatten(name="flat")],
        "dense": [L.Dense(3, use_bias=False, name="dense", trainable=not frozen)],
    }  # fmt: skip
    inner = [
        network(lambda layer: layer),
        network(lambda layer: Row(stand.get(layer.name, [layer]))),
    ]
    for number, model in enumerate(inner):
        random_weights(model, number)
    inner[1].get_layer("norm").set_weights(inner[0].get_layer("norm").get_weights())
    last = L.Dense(2, name="dense")
    old, expected = (keras.Sequential([keras.Input((6,)), model, last]) for model in inner)
    old.save(tmp_path / f"old.{kind}")
    edits = {f"inner/{name}": tuple(map(serialized, layers)) for name, layers in stand.items()}

    written = write_changed(open_model(tmp_path / f"old.{kind}"), edits, tmp_path / f"new.{kind}")

    loaded = keras.saving.load_model(tmp_path / f"new.{kind}", compile=False)
    x = data((None, 6))
    assert np.abs(np.asarray(loaded(x)) - np.asarray(expected(x))).max() < 1e-5
    assert written.first_names["inner/conv"] == ("conv_one", "conv_two")


def test_a_layer_of_several_calls_is_fed_at_each(tmp_path: Path) -> None:
    """New layers are called as often as the one before which they stand."""

    def network(a: Callable[[Any], Any]) -> Any:
        x, z = keras.Input((6, 3)), keras.Input((6, 3))
        layer = a(L.Conv1D(4, 2, name="conv"))
        return keras.Model([x, z], L.Concatenate()([layer(x), layer(z), layer(x)]))

    conv = [L.Conv1D(2, 2, use_bias=False, name="conv_lowrank"), L.Conv1D(4, 1, name="conv")]

    check(network, {"conv": conv}, tmp_path, "keras")


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    """New layers get names that no layer has, nested ones included."""

    def network(a: Callable[[Any], Any]) -> Any:
        x = keras.Input((6,))
        y = a(L.Dense(5, name="a"))(L.Dense(4, name="a_lowrank")(x))
        return keras.Model(x, y)

    stand = {"a": [L.Dense(2, use_bias=False, name="a_lowrank_2"), L.Dense(5, name="a")]}
    model = network(lambda layer: layer)
    model.save(tmp_path / "old.keras")
    network(lambda layer: Row(stand.get(layer.name, [layer])))
    first, last = map(serialized, stand["a"])
    first.config["name"] = "a_lowrank"

    written = write_changed(
        open_model(tmp_path / "old.keras"), {"a": (first, last)}, tmp_path / "new.keras"
    )

    assert written.first_names == {"a": ("a_lowrank_2",)}


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_the_first_new_layer_says_what_the_model_takes_in(
    make: Maker, tmp_path: Path, kind: str
) -> None:
    """Where no input layer does, the shape of the input moves to the layer that takes it in."""
    conv = make.layer("Conv1D", "a", batch_input_shape=[None, 7, 3], filters=4, kernel_size=[3])
    config = make.sequential(conv, make.layer("Conv1D", "b", filters=2, kernel_size=[1]))
    shapes = ((3, 3, 4), (4,), (1, 4, 2), (2,))
    if kind == "keras":
        places = ("conv1d/vars/0", "conv1d/vars/1", "conv1d_1/vars/0", "conv1d_1/vars/1")
        path = make.keras(
            config, {f"layers/{p}": make.array(*s) for p, s in zip(places, shapes, strict=True)}
        )
    else:
        a, b, c, d = (make.array(*s) for s in shapes)
        path = make.hdf5(
            config, {"a": {"a/kernel:0": a, "a/bias:0": b}, "b": {"b/kernel:0": c, "b/bias:0": d}}
        )
    first = {"name": "a_lowrank", "filters": 2, "kernel_size": [3], "use_bias": False}
    last = {"name": "a", "filters": 4, "kernel_size": [1], "batch_input_shape": [None, 7, 3]}
    edits = {"a": (Serialized("Conv1D", first, (make.array(3, 3, 2),)),
                   Serialized("Conv1D", last, (make.array(1, 2, 4), None)))}  # fmt: skip

    write_changed(open_model(path), edits, tmp_path / f"new.{kind}")

    written = open_model(tmp_path / f"new.{kind}")
    stated = [
        layer["config"].get("batch_input_shape") for layer in written.config["config"]["layers"]
    ]
    assert stated == [[None, 7, 3], None, None]
    assert np.array_equal(read_arrays(written, "a")[1], read_arrays(open_model(path), "a")[1])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    """So is a path of no layer; nothing is written."""
    keras.Sequential([keras.Input((3,)), L.Dense(2, name="a")]).save(tmp_path / "old.keras")
    model = open_model(tmp_path / "old.keras")
    config = {"name": "a", "units": 2}
    kernel = np.full((3, 2), np.inf)

    with pytest.raises(KernelError, match=r"layer a of .* holds NaN or infinity"):
        write_changed(
            model, {"a": (Serialized("Dense", config, (kernel, None)),)}, tmp_path / "new.keras"
        )
    with pytest.raises(UnsupportedModelError, match="has no layer b"):
        write_changed(model, {"b": (Serialized("Dense", config, ()),)}, tmp_path / "new.keras")
    assert not (tmp_path / "new.keras").exists()
