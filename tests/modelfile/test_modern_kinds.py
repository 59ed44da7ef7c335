"""What Keras 2 wrote and Keras 3 reads otherwise: each kind, and what Keras 3 then computes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import TrainingError
from lrcompress.modelfile import open_model

if TYPE_CHECKING:
    from tests.modelfile.conftest import Json, Maker

Array = np.ndarray


def modern(path: Path, suffix: str = ".h5") -> tuple[Path, tuple[str, ...]]:
    """Modernize a file, and return the new one with the warnings."""
    result = lrcompress.modernize(path, output=path.with_name(f"new{suffix}"))
    return result.output, result.warnings


def computed(path: Path, *x: Array) -> Array:
    """Return what Keras 3 predicts with a file, loaded in safe mode: its first output."""
    keras = pytest.importorskip("keras")
    model = keras.saving.load_model(path)
    found = model.predict(x[0] if len(x) == 1 else list(x), verbose=0)
    return np.asarray(found if len(model.outputs) == 1 else found[0])


def dense(x: Array, arrays: dict[str, Array]) -> Array:
    """Return what a linear Dense computes."""
    kernel, bias = arrays.values()
    return x @ kernel + bias


@pytest.mark.keras
def test_one_output_in_a_list_of_one(make: Maker) -> None:
    """A functional model with [output] in a Sequential, as Teachable Machine writes it."""
    inner = make.functional([(make.input(), ()), (make.dense("d", 4), ["x"])], ["d"], name="inner")
    config = make.sequential(make.sequential(inner, name="trunk"), make.dense("top", 3))
    weights = {"trunk": make.pair("d", 6, 4), "top": make.pair("top", 4, 3)}
    x = make.array(5, 6)

    output, warnings = modern(make.hdf5(config, weights, keras_version="tfjs-layers v1.3.1"))

    assert not warnings
    expected = dense(dense(x, weights["trunk"]), weights["top"])
    np.testing.assert_allclose(computed(output, x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.keras
def test_slashes_in_names(make: Maker) -> None:
    """Layers, references, groups and losses by output follow; two names stay two."""
    config = make.functional(
        [(make.input("the/input"), ()), (make.dense("a/d", 4), ["the/input"]),
         (make.dense("a_d", 4), ["the/input"]), (make.layer("Add", "a/b/c"), ["a/d", "a_d"]),
         (make.dense("out/put", 3), ["a/b/c"])], ["out/put"],
    )  # fmt: skip
    weights = {"a/d": make.pair("a/d", 6, 4), "a_d": make.pair("a_d", 6, 4),
               "out/put": make.pair("out/put", 4, 3)}  # fmt: skip
    training = {"optimizer_config": {"class_name": "Custom>Adam", "config": {"learning_rate": 0.1}},
                "loss": {"out/put": "mse"}, "metrics": None, "loss_weights": None}  # fmt: skip
    x = make.array(5, 6)

    output, warnings = modern(make.hdf5(config, weights, training_config=json.dumps(training)))

    assert not warnings
    expected = dense(dense(x, weights["a/d"]) + dense(x, weights["a_d"]), weights["out/put"])
    np.testing.assert_allclose(computed(output, x), expected, rtol=1e-5, atol=1e-5)
    model = open_model(output)
    assert model.compile_config is not None
    assert model.compile_config["loss"] == {"out_put": "mean_squared_error"}
    assert model.compile_config["optimizer_config"]["class_name"] == "Adam"
    assert set(model.weights.layer_names) == {"a_d", "a_d_2", "out_put"}


@pytest.mark.keras
def test_slashes_in_nested_names(make: Maker) -> None:
    """Weights of a renamed layer in a renamed model are found, by Keras and by us."""
    inner = make.functional([(make.input("i"), ()), (make.dense("x/y", 4), ["i"])], ["x/y"])
    inner["config"]["name"] = "inner/model"
    config = make.functional(
        [(make.input(), ()), (inner, ["x"]), (make.dense("d", 3), ["inner/model"])], ["d"]
    )
    weights = {"inner/model": make.pair("x/y", 6, 4), "d": make.pair("d", 4, 3)}
    x = make.array(5, 6)

    output, warnings = modern(make.hdf5(config, weights))

    assert not warnings
    expected = dense(dense(x, weights["inner/model"]), weights["d"])
    np.testing.assert_allclose(computed(output, x), expected, rtol=1e-5, atol=1e-5)
    assert len(open_model(output).weights.of_layer["inner_model", "x_y"]) == 2


@pytest.mark.keras
def test_slashes_in_a_wrapped_model(make: Maker) -> None:
    """So are those inside a model that a wrapper applies to every step."""
    inner = make.functional(
        [(make.input("the/input"), ()), (make.dense("x/y", 4), ["the/input"])], ["x/y"]
    )
    inner["config"]["name"] = "inner/model"
    steps = make.layer("InputLayer", "x", batch_input_shape=[None, 3, 6], dtype="float32")
    wrapper = make.layer("TimeDistributed", "steps", layer=inner)
    config = make.functional(
        [(steps, ()), (wrapper, ["x"]), (make.dense("d", 3), ["steps"])], ["d"]
    )
    weights = {"steps": make.pair("x/y", 6, 4), "d": make.pair("d", 4, 3)}
    x = make.array(5, 3, 6)

    output, warnings = modern(make.hdf5(config, weights))

    assert not warnings
    expected = dense(dense(x, weights["steps"]), weights["d"])
    np.testing.assert_allclose(computed(output, x), expected, rtol=1e-5, atol=1e-5)
    again = lrcompress.modernize(output, output=output.with_name("again.h5"))
    assert not any("slashes" in change for change in again.changes)
    assert open_model(output).weights.weight_names["steps"] == ("x_y/kernel:0", "x_y/bias:0")


@pytest.mark.keras
def test_attention_in_hdf5(make: Maker) -> None:
    """Keras 3 takes score_mode="dot" of an HDF5 file for a function of its own."""
    attention = make.layer("Attention", "a", use_scale=False, score_mode="dot", dropout=0.0)
    query = make.layer("InputLayer", "x", batch_input_shape=[None, 4, 6], dtype="float32")
    config = make.functional(
        [(query, ()), (attention, ["x", "x"]), (make.dense("d", 3), ["a"])], ["d"]
    )
    weights = {"d": make.pair("d", 6, 3)}
    x = make.array(5, 4, 6)

    output, warnings = modern(make.hdf5(config, weights))

    scores = x @ x.transpose(0, 2, 1)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attended = shares / shares.sum(axis=-1, keepdims=True) @ x
    assert not warnings
    np.testing.assert_allclose(
        computed(output, x), dense(attended, weights["d"]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"activation": "<lambda>"}, "activation <lambda>"),
        ({"activation": {"value": ["4wEAAAA=\n", None, None]}}, "activation a lambda"),
        (
            {"activation": {"module": "builtins", "class_name": "function", "config": "mine"}},
            "mine",
        ),
        ({"kernel_constraint": {"class_name": "Positive", "config": {}}}, "constraint Positive"),
        ({"bias_regularizer": {"class_name": "Own", "config": {}}}, "regularizer Own"),
    ],
)
def test_functions_of_ones_own_are_warned_of(make: Maker, settings: Json, word: str) -> None:
    """What only the model's own code has is named, once for all layers that have it."""
    layers = [make.dense(f"d{k}", 4, **settings) for k in range(5)]
    config = make.sequential(make.input(size=4), *layers)
    path = make.hdf5(config, {f"d{k}": make.pair(f"d{k}", 4, 4) for k in range(5)})

    _, (warning,) = modern(path)

    assert word in warning
    assert "(d0, d1, d2 and 2 more)" in warning


def test_an_initializer_of_ones_own_goes(make: Maker) -> None:
    """The saved weights replace what it drew."""
    own = {"module": None, "class_name": "Drawn", "config": {}, "registered_name": "mine>Drawn"}
    config = make.sequential(make.input(), make.dense("d", 5, kernel_initializer=own))

    output, warnings = modern(make.hdf5(config, {"d": make.pair("d", 6, 5)}))

    assert not warnings
    assert (
        open_model(output).config["config"]["layers"][1]["config"]["kernel_initializer"]
        == "glorot_uniform"
    )


@pytest.mark.keras
def test_the_shape_of_a_sequential(make: Maker) -> None:
    """It is taken from where TensorFlow noted it; where nobody did, that is a warning."""
    weights = {"d": make.pair("d", 6, 5)}
    noted = make.sequential(make.dense("d", 5))
    noted["config"]["build_input_shape"] = [None, 6]
    x = make.array(5, 6)

    output, warnings = modern(make.hdf5(noted, weights))
    _, (warning,) = modern(
        make.hdf5(make.sequential(make.dense("d", 5)), weights, name="bare.h5"), "2.h5"
    )

    assert not warnings
    np.testing.assert_allclose(computed(output, x), dense(x, weights["d"]), rtol=1e-5, atol=1e-5)
    assert "what shape the inputs have" in warning


def seq2seq(make: Maker, between: Json) -> tuple[Json, dict[str, dict[str, Array]]]:
    """Return a decoder that starts from given states, behind padding and one more layer."""
    tokens = make.layer("InputLayer", "tokens", batch_input_shape=[None, 5], dtype="int32")
    state = make.layer("InputLayer", "state", batch_input_shape=[None, 4], dtype="float32")
    embedding = make.layer("Embedding", "e", input_dim=9, output_dim=3, mask_zero=True)
    gru = make.layer("GRU", "g", units=4, reset_after=True, return_sequences=False)
    name = between["config"]["name"]
    config = make.functional(
        [(tokens, ()), (state, ()), (embedding, ["tokens"]), (between, ["e"]),
         (gru, [name, "state"]), (make.dense("d", 2), ["g"])], ["d"],
    )  # fmt: skip
    weights = {
        "e": {"e/embeddings:0": make.array(9, 3)},
        "g": {"g/kernel:0": make.array(3, 12), "g/recurrent:0": make.array(4, 12), "g/bias:0": make.array(2, 12)},
        "d": make.pair("d", 4, 2),
    }  # fmt: skip
    return config, weights


@pytest.mark.keras
def test_padding_beside_initial_states(make: Maker) -> None:
    """What Keras 2 passed on unseen, Keras 3 is handed by name: steps of padding change nothing."""
    config, weights = seq2seq(make, make.layer("Dropout", "drop", rate=0.5))
    tokens = make.rng.integers(1, 9, (6, 5)).astype("int32")
    short, state = tokens[:, :3], make.array(6, 4)
    padded = np.concatenate([short, np.zeros((6, 2), "int32")], axis=1)

    output, warnings = modern(make.hdf5(config, weights))

    assert not warnings
    keras = pytest.importorskip("keras")
    model = keras.saving.load_model(output)
    embedded = keras.ops.take(model.get_layer("e").embeddings, short, axis=0)
    unpadded = model.get_layer("g")(embedded, initial_state=state)
    expected = np.asarray(keras.ops.convert_to_numpy(model.get_layer("d")(unpadded)))
    np.testing.assert_allclose(computed(output, padded, state), expected, rtol=1e-4, atol=1e-5)


def test_new_functions_take_no_name_of_a_layer(make: Maker) -> None:
    """The functions that make a mask are new layers, and go by names that none has."""
    steps = make.layer("InputLayer", "x", batch_input_shape=[None, 5, 3], dtype="float32")
    state = make.layer("InputLayer", "state", batch_input_shape=[None, 4], dtype="float32")
    config = make.functional(
        [(steps, ()), (state, ()), (make.layer("Masking", "k", mask_value=0.0), ["x"]),
         (make.layer("GRU", "g", units=4, reset_after=True), ["k", "state"]),
         (make.dense("g_mask_steps", 2), ["g"])], ["g_mask_steps"],
    )  # fmt: skip
    weights = {
        "g": {"g/kernel:0": make.array(3, 12), "g/recurrent:0": make.array(4, 12), "g/bias:0": make.array(2, 12)},
        "g_mask_steps": make.pair("g_mask_steps", 4, 2),
    }  # fmt: skip

    output, _ = modern(make.hdf5(config, weights))

    names = [layer.name for layer in open_model(output).layers]
    assert sorted(names) == ["g", "g_mask", "g_mask_steps", "g_mask_steps_2", "k", "state", "x"]


def test_padding_that_cannot_be_followed_is_warned_of(make: Maker) -> None:
    """A layer that may do anything with the mask ends in a warning, not in a guess."""
    config, weights = seq2seq(make, make.layer("Concatenate", "joined"))

    _, (warning,) = modern(make.hdf5(config, weights))

    assert "padding" in warning
    assert "(g)" in warning


@pytest.mark.keras
@pytest.mark.parametrize(
    ("function", "node", "expected"),
    [
        ("__operators__.add", ["a", 0, 0, {"y": ["b", 0, 0], "name": None}], lambda a, b: a + b),
        ("math.multiply", ["a", 0, 0, {"y": 2.5, "name": None}], lambda a, b: 2.5 * a),
        ("math.subtract", ["_CONSTANT_VALUE", -1, 1.0, {"y": ["a", 0, 0]}], lambda a, b: 1 - a),
        ("nn.relu", ["a", 0, 0, {"name": None}], lambda a, b: np.maximum(a, 0)),
        ("concat", [["a", 0, 0, {"axis": -1}], ["b", 0, 0, {"axis": -1}]],
         lambda a, b: np.concatenate([a, b], axis=-1)),
        ("math.reduce_mean", ["a", 0, 0, {"axis": -1, "keepdims": True}],
         lambda a, b: a.mean(axis=-1, keepdims=True)),
        ("__operators__.getitem", ["a", 0, 0, {"slice_spec": [
            {"start": None, "stop": None, "step": None}, {"start": 1, "stop": 3, "step": None}]}],
         lambda a, b: a[:, 1:3]),
    ],
)  # fmt: skip
def test_functions_of_tensorflow(
    make: Maker, function: str, node: list[Any], expected: Callable[[Array, Array], Array]
) -> None:
    """A layer that wraps a function of TensorFlow becomes the function of Keras 3."""
    class_name = "SlicingOpLambda" if "getitem" in function else "TFOpLambda"
    wrapped = make.layer(class_name, f"tf.{function}", function=function)
    config = make.functional(
        [
            (make.input(), ()),
            (make.dense("a", 4), ["x"]),
            (make.dense("b", 4), ["x"]),
            (wrapped, ()),
        ],
        [f"tf.{function}", "b"],
    )
    config["config"]["layers"][-1]["inbound_nodes"] = [node]
    weights = {"a": make.pair("a", 6, 4), "b": make.pair("b", 6, 4), f"tf.{function}": {}}
    x = make.array(5, 6)

    output, warnings = modern(make.hdf5(config, weights))

    assert not warnings
    found = expected(dense(x, weights["a"]), dense(x, weights["b"]))
    np.testing.assert_allclose(computed(output, x), found, rtol=1e-5, atol=1e-5)


def test_functions_with_other_arguments_are_left(make: Maker) -> None:
    """A softmax over an axis that is a tensor, a matrix product of transposes: warned of."""
    wrapped = make.layer("TFOpLambda", "m", function="linalg.matmul")
    config = make.functional(
        [(make.input(), ()), (make.dense("a", 4), ["x"]), (wrapped, ())], ["m"]
    )
    config["config"]["layers"][-1]["inbound_nodes"] = [
        ["a", 0, 0, {"b": ["a", 0, 0], "transpose_b": True}]
    ]
    path = make.hdf5(config, {"a": make.pair("a", 6, 4), "m": {}})

    output, (warning,) = modern(path)

    assert "TFOpLambda" in warning
    assert open_model(output).config["config"]["layers"][-1]["class_name"] == "TFOpLambda"


@pytest.mark.parametrize("module", ["keras.src.ops.numpy", "keras.ops.numpy"])
def test_functions_of_keras_3_are_known(make: Maker, module: str) -> None:
    """A model of Keras 3 with keras.ops in it needs no custom objects, and keeps their modules."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 6], "dtype": "float32",
                                                           "keras_history": ["x", 0, 0]}}  # fmt: skip
    operation = {"module": module, "class_name": "NotEqual", "config": {"name": "n"},
                 "registered_name": "NotEqual", "name": "n",
                 "inbound_nodes": [{"args": [tensor, 0], "kwargs": {}}]}  # fmt: skip
    config = make.functional([(make.input(), ()), (make.dense("d", 5), ["x"])], ["d"])
    config["config"]["layers"].append(operation)
    arrays = {"layers/dense/vars/0": make.array(6, 5), "layers/dense/vars/1": make.array(5)}

    output, warnings = modern(make.keras(config, arrays), ".keras")

    assert not warnings
    assert open_model(output).config["config"]["layers"][-1]["module"] == module


@pytest.mark.keras
def test_check_loads_the_file(make: Maker, tmp_path: Path) -> None:
    """With `check` a file that Keras cannot load is not written, and the reason names the user's file."""
    good = make.small_hdf5()
    own = make.sequential(make.input(), make.layer("Mine", "m"), make.dense("d", 5))
    bad = make.hdf5(own, {"d": make.pair("d", 6, 5)}, name="bad.h5")

    assert lrcompress.modernize(good, output=tmp_path / "good-new.h5", check=True).checked
    with pytest.raises(TrainingError) as refused:
        lrcompress.modernize(bad, output=tmp_path / "bad-new.h5", check=True)

    assert not (tmp_path / "bad-new.h5").exists()
    assert str(bad) in str(refused.value)
    assert "Mine" in str(refused.value)


def old(make: Maker, name: str) -> Path:
    """Write a file of Keras 2.2 that Keras 3 does not load."""
    first = make.dense("hidden", 8, batch_input_shape=[None, 6])
    config: Json = {
        "class_name": "Sequential",
        "config": [first, make.dense("probs", 5, activation="softmax")],
    }
    weights = {"hidden": make.pair("hidden", 6, 8), "probs": make.pair("probs", 8, 5)}
    return make.hdf5(config, weights, name=name, keras_version=b"2.2.2")


@pytest.mark.keras
@pytest.mark.parametrize("name", ["old.h5", "named.keras"])
def test_old_files_go_to_keras_in_one_step(make: Maker, tmp_path: Path, name: str) -> None:
    """HDF5 of Keras 2, whatever it is called, is modernized where Keras has to write the output."""
    result = lrcompress.factorize(old(make, name), rank=2, output=tmp_path / "small.keras")

    assert zipfile.is_zipfile(result.output)
    assert result.modernized
    assert computed(result.output, make.array(3, 6)).shape == (3, 5)


@pytest.mark.keras
def test_the_users_file_is_named(make: Maker, run: Callable[..., Result]) -> None:
    """Where Keras cannot write the other format, no temporary file is named."""
    own = make.sequential(make.input(), make.layer("Mine", "m"), make.dense("d", 5))
    path = make.hdf5(own, {"d": make.pair("d", 6, 5)}, keras_version=b"2.2.2")

    result = run("factorize", path, "--rank", "1", "-o", "out.keras")

    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert "ends in .h5" in result.stderr
    assert "/tmp" not in result.stderr.replace(str(path), "")
