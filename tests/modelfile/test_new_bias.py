"""A Dense without bias is given one, where the user allows it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lrcompress
from lrcompress.modelfile import Replacement, find_head, open_model, read_bias, write_replaced

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

BIAS = np.arange(5, dtype="float32")


def unbiased(make: Maker, kind: str) -> Path:
    """Write Dense(8) -> Dense(5, no bias) in either format."""
    config = make.sequential(
        make.input(), make.dense("hidden", 8), make.dense("probs", 5, use_bias=False)
    )
    if kind == "h5":
        weights = {"hidden": make.pair("hidden/hidden", 6, 8)}
        return make.hdf5(config, {**weights, "probs": {"probs/probs/kernel:0": make.array(8, 5)}})
    arrays = {"layers/dense/vars/0": make.array(6, 8), "layers/dense/vars/1": make.array(8),
              "layers/dense_1/vars/0": make.array(8, 5)}  # fmt: skip
    return make.keras(config, arrays)


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_the_bias_is_stored_after_its_kernel(make: Maker, tmp_path: Path, kind: str) -> None:
    """The config says that there is a bias, and its array is read back."""
    model = open_model(unbiased(make, kind))
    replacement = Replacement(find_head(model), np.ones((8, 2)), np.ones((2, 5)), BIAS)

    write_replaced(model, [replacement], tmp_path / f"out.{kind}")

    written = open_model(tmp_path / f"out.{kind}")
    head = find_head(written)
    assert head.use_bias
    bias = read_bias(written, head)
    assert bias is not None
    assert np.array_equal(bias, BIAS)
    assert written.parameters == model.parameters + 8 * 2 + 2 * 5 + 5 - 8 * 5


@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_without_a_new_bias_there_is_none(make: Maker, tmp_path: Path, kind: str) -> None:
    """A layer without bias stays without."""
    model = open_model(unbiased(make, kind))

    write_replaced(
        model, [Replacement(find_head(model), np.ones((8, 2)), np.ones((2, 5)))],
        tmp_path / f"out.{kind}",
    )  # fmt: skip

    assert not find_head(open_model(tmp_path / f"out.{kind}")).use_bias


@pytest.mark.keras
@pytest.mark.parametrize("kind", ["h5", "keras"])
@pytest.mark.parametrize("nested", [False, True])
def test_keras_loads_the_new_bias(tmp_path: Path, kind: str, nested: bool) -> None:
    """In Keras the layer adds the new bias, also inside a nested model; all others are in place."""
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    layers: list[Any] = [
        keras.layers.Dense(8, activation="relu", name="a"),
        keras.layers.Dense(5, use_bias=False, name="b"),
    ]
    model = keras.Sequential([keras.Input((6,)), *layers])
    if nested:
        model = keras.Sequential(
            [keras.Input((6,)), keras.Sequential([keras.Input((6,)), *layers])]
        )
    model.save(tmp_path / f"m.{kind}")
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    opened = open_model(tmp_path / f"m.{kind}")
    kernel = layers[1].get_weights()[0]

    write_replaced(
        opened, [Replacement(find_head(opened), kernel, np.eye(5), BIAS)], tmp_path / f"o.{kind}"
    )

    changed = keras.saving.load_model(tmp_path / f"o.{kind}")
    assert np.abs(np.asarray(changed(x)) - (np.asarray(model(x)) + BIAS)).max() < 1e-5


@pytest.mark.keras
def test_a_bias_is_added_only_where_allowed(
    tmp_path: Path, examples: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Any]
) -> None:
    """--add-bias gives a head without bias one, with data; without the option there is none."""
    keras = pytest.importorskip("keras")
    source = keras.saving.load_model(examples / "digits_cnn.keras")
    layers = source.layers[:-1]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *layers, keras.layers.Dense(10, use_bias=False, name="head")]
    )
    model.layers[-1].set_weights(source.layers[-1].get_weights()[:1])
    model.save(tmp_path / "m.keras")
    shutil.copy(tmp_path / "m.keras", tmp_path / "n.keras")
    words = ["--rank", 3, "--method", "whitened", "--dataset", "digits", "--scaling", "/16"]

    without = run("factorize", "m.keras", *words)
    allowed = run("factorize", "n.keras", *words, "--add-bias")

    assert (without.exit_code, allowed.exit_code) == (0, 0)
    assert not find_head(open_model(tmp_path / "m-rank3.keras")).use_bias
    head = find_head(open_model(tmp_path / "n-rank3.keras"))
    assert head.use_bias
    loaded = lrcompress.inspect(tmp_path / "n-rank3.keras")
    assert loaded["parameters"] == lrcompress.inspect(tmp_path / "m-rank3.keras")["parameters"] + 10
