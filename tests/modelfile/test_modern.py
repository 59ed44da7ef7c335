"""Old files in the terms of Keras 3: what Keras 3 then computes is what the old Keras computed.

The oracles are NumPy's: the formulas of the old layers, written from their documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import LRCompressError, UnsupportedModelError
from lrcompress.modelfile import open_model
from tests.modelfile.test_zoo import rows

if TYPE_CHECKING:
    from tests.modelfile.conftest import Json, Maker

Array = np.ndarray
STEPS, FEATURES, UNITS = 5, 3, 4


def hard_sigmoid(z: Array) -> Array:
    """Return Keras 2's hard_sigmoid."""
    return np.clip(0.2 * z + 0.5, 0, 1)


def sigmoid(z: Array) -> Array:
    """Return the logistic function."""
    return 1 / (1 + np.exp(-z))


def lstm(
    x: Array, gates: dict[str, tuple[Array, Array, Array]], gate: Callable[[Array], Array]
) -> Array:
    """Return the last output of an LSTM whose gates i, f, c, o have (W, U, b) each."""
    h = c = np.zeros((len(x), UNITS))
    for t in range(x.shape[1]):
        z = {name: x[:, t] @ w + h @ u + b for name, (w, u, b) in gates.items()}
        c = gate(z["f"]) * c + gate(z["i"]) * np.tanh(z["c"])
        h = gate(z["o"]) * np.tanh(c)
    return h


def recurrent(class_name: str, **config: Any) -> Json:
    """Return a recurrent layer as the first of an old Sequential."""
    shape = [None, STEPS, FEATURES]
    return {"class_name": class_name, "config": {"name": "r", "batch_input_shape": shape, **config}}


def bare(*layers: Json) -> Json:
    """Return a Sequential of Keras up to 2.2.2: a bare list."""
    return {"class_name": "Sequential", "config": list(layers)}


def gates_of(make: Maker) -> dict[str, tuple[Array, Array, Array]]:
    """Return random weights of four gates, large enough to reach the ends of hard_sigmoid."""
    return {
        name: (2 * make.array(FEATURES, UNITS), make.array(UNITS, UNITS), make.array(UNITS))
        for name in "ifco"
    }


def joined(gates: dict[str, tuple[Array, Array, Array]]) -> dict[str, Array]:
    """Return the weights of Keras 2: one kernel for all gates."""
    parts = ("kernel", "recurrent_kernel", "bias")
    return {
        f"r/{part}:0": np.concatenate([gates[g][k] for g in "ifco"], axis=-1)
        for k, part in enumerate(parts)
    }


def sequences(make: Maker) -> Array:
    """Return a batch of input sequences."""
    return make.array(7, STEPS, FEATURES)


def run_keras(path: Path, x: Array) -> Array:
    """Return what Keras 3 computes with a file, loaded in safe mode."""
    keras = pytest.importorskip("keras")
    model = keras.saving.load_model(path, compile=False)
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), "float64")


@pytest.mark.keras
def test_old_hard_sigmoid_is_computed_exactly(make: Maker, tmp_path: Path) -> None:
    """An LSTM of Keras 2 with hard_sigmoid gates gives the old outputs in Keras 3."""
    gates = gates_of(make)
    entry = recurrent(
        "LSTM", units=UNITS, recurrent_activation="hard_sigmoid", implementation=1, unroll=False
    )
    path = make.hdf5(bare(entry), {"r": joined(gates)}, keras_version=b"2.2.0")
    x = sequences(make)

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    assert np.abs(run_keras(result.output, x) - lstm(x, gates, hard_sigmoid)).max() < 1e-6
    assert any("scaled by 1.2" in change and "(r)" in change for change in result.changes)
    assert result.warnings == ()


@pytest.mark.keras
@pytest.mark.parametrize("bidirectional", [False, True])
def test_keras_1_gates_are_joined(make: Maker, tmp_path: Path, bidirectional: bool) -> None:
    """Keras 1 had twelve arrays an LSTM, gates in the order i, c, f, o; Keras 3 has three."""
    halves = [gates_of(make) for _ in range(1 + bidirectional)]
    inner = {"output_dim": UNITS, "inner_activation": "hard_sigmoid", "consume_less": "cpu",
             "inner_init": "orthogonal", "forget_bias_init": "one", "dropout_W": 0.0}  # fmt: skip
    entry = recurrent("LSTM", **inner)
    if bidirectional:
        layer = {"class_name": "LSTM", "config": {"name": "l", **inner}}
        entry = recurrent("Bidirectional", layer=layer, merge_mode="concat")
    arrays = {
        f"{side}_{part}_{g}": half[g]["WUb".index(part)]
        for side, half in zip("xy", halves, strict=False)
        for g in "icfo"
        for part in "WUb"
    }
    path = make.hdf5(bare(entry), {"r": arrays}, keras_version=b"1.2.2")
    x = sequences(make)

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    expected = [lstm(x[:, ::way], half, hard_sigmoid) for way, half in zip((1, -1), halves, strict=False)]  # fmt: skip
    assert np.abs(run_keras(result.output, x) - np.concatenate(expected, axis=1)).max() < 1e-6


@pytest.mark.keras
def test_cudnn_weights_serve_every_device(make: Maker, tmp_path: Path) -> None:
    """CuDNNLSTM hands each (inputs, units) array to cuDNN as a flat (units, inputs) matrix."""
    stored = gates_of(make)
    gates = {
        g: (w.reshape(UNITS, FEATURES).T, u.reshape(UNITS, UNITS).T, b + 1)
        for g, (w, u, b) in stored.items()
    }
    arrays = joined(stored)
    arrays["r/bias:0"] = np.concatenate([arrays["r/bias:0"], np.ones(4 * UNITS, "float32")])
    path = make.hdf5(bare(recurrent("CuDNNLSTM", units=UNITS)), {"r": arrays})
    x = sequences(make)

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    assert np.abs(run_keras(result.output, x) - lstm(x, gates, sigmoid)).max() < 1e-6
    assert any("CuDNNLSTM became LSTM" in change for change in result.changes)


@pytest.mark.keras
def test_kernels_of_theano_are_mirrored(make: Maker, tmp_path: Path) -> None:
    """Theano convolved where TensorFlow correlates."""
    kernel, bias = make.array(3, 3, 2, 4), make.array(4)
    entry = {"class_name": "Conv2D", "config": {
        "name": "c", "batch_input_shape": [None, 6, 6, 2], "filters": 4, "kernel_size": [3, 3],
        "data_format": "channels_last", "activation": "linear"}}  # fmt: skip
    weights = {"c": {"c/kernel:0": kernel, "c/bias:0": bias}}
    path = make.hdf5(bare(entry), weights, keras_version=b"2.0.5", backend=b"theano")
    x = make.array(2, 6, 6, 2)

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    convolve = pytest.importorskip("scipy.signal").convolve2d
    expected = np.stack(
        [
            [
                sum(convolve(image[..., i], kernel[..., i, o], mode="valid") for i in range(2))
                for o in range(4)
            ]
            for image in x
        ]
    ).transpose(0, 2, 3, 1)
    assert np.abs(run_keras(result.output, x) - (expected + bias)).max() < 1e-5


@pytest.mark.keras
def test_a_compressed_and_modernized_model_computes_the_same(make: Maker, tmp_path: Path) -> None:
    """Factorize --modernize at full rank gives the outputs of the old model, in either format."""
    gates, kernel, bias = gates_of(make), make.array(UNITS, 6), make.array(6)
    head = {"class_name": "Dense", "config": {"name": "d", "units": 6, "activation": "softmax"}}
    entry = recurrent("LSTM", units=UNITS, recurrent_activation="hard_sigmoid", implementation=1)
    weights = {"r": joined(gates), "d": {"d/kernel:0": kernel, "d/bias:0": bias}}
    path = make.hdf5(bare(entry, head), weights, keras_version=b"2.1.6")
    before = path.read_bytes()
    x = sequences(make)

    for suffix in (".h5", ".keras"):
        result = lrcompress.factorize(
            path, rank=4, force=True, method="svd", modernize=True, output=tmp_path / f"o{suffix}"
        )

        logits = lstm(x, gates, hard_sigmoid) @ kernel + bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = powers / powers.sum(axis=1, keepdims=True)
        assert np.abs(run_keras(result.output, x) - expected).max() < 1e-6
        assert result.modernized
        record = json.loads(result.record.read_text(encoding="utf-8"))
        assert record["modernized"] == result.modernized
        assert record["stages"][0]["sha256"] != record["stages"][1]["sha256"]
    assert path.read_bytes() == before


def test_a_difference_without_a_remedy_is_said(make: Maker, tmp_path: Path) -> None:
    """hard_sigmoid as a SimpleRNN's own activation feeds back: no scaling makes up for it."""
    entry = recurrent("SimpleRNN", units=UNITS, activation="hard_sigmoid")
    arrays = {"r/kernel:0": make.array(FEATURES, UNITS), "r/recurrent:0": make.array(UNITS, UNITS)}
    path = make.hdf5(bare(entry), {"r": arrays | {"r/bias:0": make.array(UNITS)}})

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    (warning,) = result.warnings
    assert "hard_sigmoid" in warning
    assert "outputs differ. (r)" in warning


def test_compile_settings_are_translated(make: Maker, tmp_path: Path) -> None:
    """`lr` and `decay` become a learning-rate schedule; loss and metrics keep their meaning."""
    training = {
        "optimizer_config": {"class_name": "Adam", "config": {"lr": 0.01, "decay": 0.5}},
        "loss": "kullback_leibler_divergence", "metrics": ["acc"], "loss_weights": None,
    }  # fmt: skip
    path = make.small_hdf5(training_config=json.dumps(training))

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    compiled = open_model(result.output).compile_config
    assert compiled is not None
    rate = compiled["optimizer_config"]["config"]["learning_rate"]
    assert (rate["class_name"], rate["config"]["decay_rate"]) == ("InverseTimeDecay", 0.5)
    assert (compiled["loss"], compiled["metrics"]) == ("kl_divergence", ["accuracy"])


def test_an_unknown_loss_leaves_the_model_not_compiled(make: Maker, tmp_path: Path) -> None:
    """Settings that Keras 3 could not read go, and the user is told."""
    training = {"optimizer_config": {"class_name": "Adam", "config": {}}, "loss": "my_loss"}
    path = make.small_hdf5(training_config=json.dumps(training))

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    assert open_model(result.output).compile_config is None
    assert any("my_loss" in warning for warning in result.warnings)


def test_a_layer_unknown_to_keras_3_is_left_and_named(make: Maker, tmp_path: Path) -> None:
    """Custom layers and Lambdas keep their config, byte for byte."""
    custom = make.layer("MyLayer", "mine", depth=3)
    code = make.layer("Lambda", "code", function=["4wEAAAA=\n", None, None], function_type="lambda")
    config = make.sequential(make.input(), custom, code, make.dense("d", 5))
    path = make.hdf5(config, {"d": make.pair("d", 6, 5)})

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    layers = open_model(result.output).config["config"]["layers"]
    assert layers[1:3] == [custom, code]
    assert [w.split(" (")[-1] for w in result.warnings] == ["mine)", "code)"]
    assert "MyLayer" in result.warnings[0]
    assert "Lambda" in result.warnings[1]


def test_untouched_weights_keep_their_bytes(make: Maker, tmp_path: Path) -> None:
    """A file with nothing to convert has the same arrays afterwards, and no optimizer state."""
    path = make.small_hdf5(optimizer=True)

    result = lrcompress.modernize(path, output=tmp_path / "new.h5")

    with h5py.File(path) as old, h5py.File(result.output) as new:
        found: dict[str, bytes] = {}
        new.visititems(lambda name, item: found.update({name: item[()].tobytes()})
                       if isinstance(item, h5py.Dataset) else None)  # fmt: skip
        assert "optimizer_weights" not in new
        assert found
        for name, content in found.items():
            assert old[name][()].tobytes() == content
    assert result.optimizer_bytes == 200


def test_refusals_leave_nothing(make: Maker, tmp_path: Path) -> None:
    """What cannot be modernized is refused with a code; the input stays as it was."""
    subclassed = make.hdf5({"class_name": "Mine", "config": {}}, {"d": make.pair("d", 6, 5)})
    existing = tmp_path / "there.h5"
    existing.write_bytes(b"precious")
    small = make.small_hdf5(name="small.h5")

    with pytest.raises(UnsupportedModelError) as refused:
        lrcompress.modernize(subclassed, output=tmp_path / "new.h5")
    for target in (existing, small):
        with pytest.raises(LRCompressError):
            lrcompress.modernize(small, output=target)

    assert refused.value.code == "subclassed"
    assert not (tmp_path / "new.h5").exists()
    assert existing.read_bytes() == b"precious"


def test_the_command_lists_its_changes(run: Callable[..., Result], make: Maker) -> None:
    """`lrcompress modernize` names every change and the file; --json gives the same."""
    entry = recurrent("GRU", units=UNITS, implementation=1, recurrent_activation="hard_sigmoid")
    arrays = {
        "r/kernel:0": make.array(FEATURES, 3 * UNITS),
        "r/recurrent:0": make.array(UNITS, 3 * UNITS),
        "r/bias:0": make.array(3 * UNITS),
    }
    path = make.hdf5(bare(entry), {"r": arrays})

    shown = run("modernize", path)
    told = run("modernize", path, "--json", "--overwrite")

    assert shown.exit_code == 0
    assert "in the terms of Keras 3:" in shown.stdout
    assert "wrote model-keras3.h5" in shown.stdout
    document = json.loads(told.stdout)
    assert (document["output"], document["schema_version"]) == ("model-keras3.h5", 1)
    for change in document["changes"]:
        assert change in shown.stdout


@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", rows())
def test_old_files_load_in_keras_3(zoo: Path, tmp_path: Path, row: dict[str, str]) -> None:
    """Every file of the zoo that is modernized without a warning loads."""
    keras = pytest.importorskip("keras")
    suffix = ".keras" if "zip" in row["kind"] else ".h5"
    try:
        result = lrcompress.modernize(zoo / row["file"], output=tmp_path / f"new{suffix}")
    except LRCompressError as error:
        assert error.code in {"weights_only", "subclassed", "pickle"}
        pytest.skip("no architecture that could be rewritten")
    if not result.warnings:
        keras.saving.load_model(result.output)
        return
    try:
        keras.saving.load_model(result.output)
    except (TypeError, ValueError):
        # Only what was warned of may keep it from loading.
        assert any("Keras 3" in warning for warning in result.warnings)
