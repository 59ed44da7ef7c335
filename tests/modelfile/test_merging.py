"""Merging is the inverse of splitting; a pair takes another rank in its own two layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import KernelError, UnsupportedModelError
from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    open_model,
    pair_of,
    write_merged,
    write_replaced,
)
from tests.modelfile.models import stored

if TYPE_CHECKING:
    from tests.modelfile.conftest import Json, Maker

Splitter = Callable[[ModelFile, Site], Replacement]


def same(old: Path, new: Path) -> None:
    """Check that two model files have the same arrays, lists of names and architecture."""
    (before, lists), (after, new_lists) = stored(old), stored(new)
    assert list(after) == list(before)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values, strict=True, err_msg=name)
    assert new_lists == lists
    assert open_model(new).config == open_model(old).config


def first_of_all(make: Maker) -> Path:
    """A Sequential of Keras 2 whose Dense states the model's input itself."""
    config = make.sequential(make.dense("d", 5, batch_input_shape=[None, 6], activation="softmax"))
    return make.hdf5(config, {"d": make.pair("d", 6, 5)})


def keras_1(make: Maker) -> Path:
    """A bare list of layers under the names of Keras 1."""
    layer = {"name": "d", "output_dim": 5, "input_dim": 6, "bias": True, "activation": "softmax"}
    dense = {"class_name": "Dense", "config": {**layer, "batch_input_shape": [None, 6]}}
    config = {"class_name": "Sequential", "config": [dense]}
    return make.hdf5(config, {"d": {"d_W": make.array(6, 5), "d_b": make.array(5)}})


def two_heads(make: Maker) -> Path:
    """Two heads of one trunk."""
    links = [
        (make.input(), []),
        (make.dense("trunk", 6, activation="relu"), ["x"]),
        (make.dense("h1", 5), ["trunk"]),
        (make.dense("h2", 4, use_bias=False), ["trunk"]),
    ]
    weights: dict[str, Any] = {"x": {}, "trunk": make.pair("trunk", 6, 6)}
    weights |= {"h2": {"h2/kernel:0": make.array(6, 4)}, "h1": make.pair("h1", 6, 5)}
    names = {name: weights[name] for name in ("x", "trunk", "h1", "h2")}
    return make.hdf5(make.functional(links, ["h1", "h2"]), names)


def nested(make: Maker, **settings: Any) -> Json:
    """Return a functional model in a Sequential one, and a head after it."""
    links = [
        (make.input("y"), []),
        (make.dense("a", 6, activation="relu", **settings), ["y"]),
        (make.dense("b", 6, activation="relu"), ["a"]),
    ]
    inner = make.functional(links, ["b"])
    inner["config"]["name"] = "part"
    return make.sequential(make.input(), inner, make.dense("head", 5))


def nested_hdf5(make: Maker) -> Path:
    """One flat list of weights for all layers of the nested model."""
    inside = make.pair("a", 6, 6) | make.pair("b", 6, 6)
    return make.hdf5(nested(make), {"part": inside, "head": make.pair("head", 6, 5)})


def nested_frozen(make: Maker) -> Path:
    """The list has the frozen layer's weights last."""
    inside = make.pair("b", 6, 6) | make.pair("a", 6, 6)
    config = nested(make, trainable=False)
    return make.hdf5(config, {"part": inside, "head": make.pair("head", 6, 5)})


def nested_keras(make: Maker) -> Path:
    """Groups counted by class, inside and outside."""
    groups = {
        "layers/functional/layers/dense": (6, 6, "a"),
        "layers/functional/layers/dense_1": (6, 6, "b"),
        "layers/dense": (6, 5, "head"),
    }
    arrays = {}
    for group, (m, n, _) in groups.items():
        arrays |= {f"{group}/vars/0": make.array(m, n), f"{group}/vars/1": make.array(n)}
    names = {f"{group}/vars": name for group, (_, _, name) in groups.items()}
    return make.keras(nested(make), arrays, names=names)


def wrapped(make: Maker) -> Path:
    """A Dense under TimeDistributed, in an archive."""
    config = make.sequential(
        make.input(), make.layer("TimeDistributed", "t", layer=make.dense("d", 5))
    )
    group = "layers/time_distributed/layer/vars"
    return make.keras(config, {f"{group}/0": make.array(6, 5), f"{group}/1": make.array(5)})


def built(make: Maker) -> Path:
    """What Keras 3 says of shapes: of what the layer was built with, and of tensors."""
    tensor = {"class_name": "__keras_tensor__", "config": {
        "shape": [None, 6], "dtype": "float32", "keras_history": ["x", 0, 0]}}  # fmt: skip
    dense = make.dense("d", 5, kernel_initializer={"class_name": "GlorotUniform", "config": {}})
    dense |= {"name": "d", "build_config": {"input_shape": [None, 6]}}
    config = make.functional([(make.input(), []), (dense, ["x"])], ["d"])
    config["config"]["layers"][1]["inbound_nodes"] = [{"args": [tensor], "kwargs": {}}]
    arrays = {"layers/dense/vars/0": make.array(6, 5), "layers/dense/vars/1": make.array(5)}
    return make.keras(config, arrays)


@pytest.mark.parametrize(
    "design",
    [first_of_all, keras_1, two_heads, nested_hdf5, nested_frozen, nested_keras, wrapped, built],
    ids=lambda design: design.__name__,
)
def test_split_and_merged_is_as_it_was(
    make: Maker, tmp_path: Path, halves: Splitter, design: Callable[[Maker], Path]
) -> None:
    """Kernel times identity, merged: all arrays, names, places and settings are the old ones."""
    model = open_model(design(make))
    layers = model.sites
    out, back = (tmp_path / f"{name}{model.path.suffix}" for name in ("out", "back"))

    write_replaced(model, [halves(model, layer) for layer in layers], out)
    split = open_model(out)
    pairs = [layer for layer in split.sites if layer.rank is not None]
    written = write_merged(split, [pair_of(split, pair) for pair in pairs], back)

    assert [pair.path for pair in pairs] == [layer.path for layer in layers]
    assert [pair.kernel_shape for pair in pairs] == [layer.kernel_shape for layer in layers]
    assert written.parameters == model.parameters
    assert written.warnings == ()
    same(model.path, back)


def test_the_head_alone_goes_there_and_back(
    small: ModelFile, tmp_path: Path, halves: Splitter
) -> None:
    """So it is for the head alone, in both formats; equal input gives equal bytes."""
    suffix = small.path.suffix
    write_replaced(small, [halves(small, find_head(small))], tmp_path / f"out{suffix}")
    split = open_model(tmp_path / f"out{suffix}")

    for name in ("one", "two"):
        write_merged(split, [pair_of(split, find_head(split))], tmp_path / f"{name}{suffix}")

    same(small.path, tmp_path / f"one{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def pair_file(make: Maker, kind: str, *, second_bias: bool = True, **first: Any) -> Path:
    """Return b: Dense(3) and c: Dense(5, softmax), with a layer before that is not theirs."""
    config = make.sequential(
        make.input(),
        make.dense("h", 6, activation="relu"),
        make.dense("b", 3, **first),
        make.dense("c", 5, activation="softmax", use_bias=second_bias),
    )
    weights = {"h": make.pair("h", 6, 6), "b": make.pair("b", 6, 3), "c": make.pair("c", 3, 5)}
    if not first.get("use_bias", True):
        del weights["b"]["b/bias:0"]
    if not second_bias:
        del weights["c"]["c/bias:0"]
    if kind == "hdf5":
        return make.hdf5(config, weights, optimizer=True)
    arrays = {
        f"layers/{group}/vars/{number}": array
        for group, name in (("dense", "h"), ("dense_1", "b"), ("dense_2", "c"))
        for number, array in enumerate(weights[name].values())
    }
    return make.keras(config, arrays | {"optimizer/vars/0": make.array(50)})


PLACES = {
    "hdf5": "model_weights/{0}/{0}/{1}:0",
    "keras": "layers/{2}/vars/{3}",
}


def place(kind: str, layer: str, array: str, group: str = "") -> str:
    """Return the path of a kernel or bias as that format's Keras names it."""
    return PLACES[kind].format(layer, array, group, "01"[array == "bias"])


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
@pytest.mark.parametrize("second_bias", [True, False])
def test_the_first_bias_is_folded_into_the_second(
    make: Maker, tmp_path: Path, kind: str, second_bias: bool
) -> None:
    """The one layer computes (x B + b1) C + b2; where c had no bias it has one now."""
    path = pair_file(make, kind, second_bias=second_bias)
    model, (old, _) = open_model(path), stored(path)
    b, b1 = (old[place(kind, "b", name, "dense_1")].astype("f8") for name in ("kernel", "bias"))
    c = old[place(kind, "c", "kernel", "dense_2")].astype("f8")
    b2 = old[place(kind, "c", "bias", "dense_2")] if second_bias else 0.0

    written = write_merged(
        model, [pair_of(model, find_head(model))], tmp_path / f"out{path.suffix}"
    )

    new, lists = stored(written.path)
    kernel, bias = (place(kind, "c", name, "dense_1") for name in ("kernel", "bias"))
    np.testing.assert_array_equal(new[kernel], (b @ c).astype("f4"), strict=True)
    np.testing.assert_array_equal(new[bias], (b1 @ c + b2).astype("f4"), strict=True)
    hidden = [place(kind, "h", name, "dense") for name in ("kernel", "bias")]
    assert set(new) == {kernel, bias, *hidden}
    for name in hidden:
        np.testing.assert_array_equal(new[name], old[name], strict=True)
    assert written.first_names == {"c": ("b",)}
    assert (written.optimizer_bytes, written.optimizer_bytes_after) == (200, 0)
    if kind == "hdf5":
        assert lists["model_weights:layer_names"] == ["h", "c"]
        assert lists["model_weights/c:weight_names"] == ["c/kernel:0", "c/bias:0"]


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
@pytest.mark.parametrize("second_bias", [True, False])
def test_a_pair_takes_another_rank_in_place(
    make: Maker, tmp_path: Path, kind: str, second_bias: bool
) -> None:
    """No third layer: b has fewer units and no bias, c keeps all but its number of inputs."""
    path = pair_file(make, kind, second_bias=second_bias)
    model, (old, _) = open_model(path), stored(path)
    c = old[place(kind, "c", "kernel", "dense_2")].astype("f8")
    bias = old[place(kind, "b", "bias", "dense_1")].astype("f8") @ c
    if second_bias:
        bias = bias + old[place(kind, "c", "bias", "dense_2")]
    first, second = make.array(6, 2), make.array(2, 5)
    replacement = Replacement(find_head(model), first, second)

    written = write_replaced(model, [replacement], tmp_path / f"out{path.suffix}")

    again, (new, _) = open_model(written.path), stored(written.path)
    expected = {
        place(kind, "b", "kernel", "dense_1"): first,
        place(kind, "c", "kernel", "dense_2"): second,
        place(kind, "c", "bias", "dense_2"): bias.astype("f4"),
        **{name: old[name] for name in old if "h/" in name or "dense/" in name},
    }
    assert set(new) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(new[name], values, strict=True)
    assert [layer.name for layer in again.layers] == ["x", "h", "b", "c"]
    assert (find_head(again).rank, written.first_names) == (2, {"c": ("b",)})
    assert written.parameters == 6 * 6 + 6 + 6 * 2 + 2 * 5 + 5


def test_a_product_too_large_for_its_type_is_refused(make: Maker, tmp_path: Path) -> None:
    """Half precision cannot hold what its factors multiply to; nothing is written."""
    arrays = {"b/kernel:0": np.full((6, 2), 250, "f2"), "c/kernel:0": np.full((2, 5), 250, "f2")}
    config = make.sequential(
        make.input(),
        make.dense("b", 2, use_bias=False, dtype="float16"),
        make.dense("c", 5, use_bias=False, dtype="float16"),
    )
    weights = {name: {k: v for k, v in arrays.items() if k[0] == name} for name in "bc"}
    model = open_model(make.hdf5(config, weights))

    with pytest.raises(KernelError, match="overflows float16"):
        write_merged(model, [pair_of(model, find_head(model))], tmp_path / "out.h5")

    assert not (tmp_path / "out.h5").exists()


def test_half_precision_is_multiplied_in_double(make: Maker, tmp_path: Path) -> None:
    """The product is rounded once, from float64."""
    weights = {
        "b": {"b/kernel:0": make.array(6, 2).astype("f2")},
        "c": {"c/kernel:0": make.array(2, 5).astype("f2")},
    }
    config = make.sequential(
        make.input(),
        make.dense("b", 2, use_bias=False, dtype="float16"),
        make.dense("c", 5, use_bias=False, dtype="float16"),
    )
    model = open_model(make.hdf5(config, weights))

    write_merged(model, [pair_of(model, find_head(model))], tmp_path / "out.h5")

    first, second = weights["b"]["b/kernel:0"], weights["c"]["c/kernel:0"]
    expected = (first.astype("f8") @ second.astype("f8")).astype("f2")
    found = stored(tmp_path / "out.h5")[0]["model_weights/c/c/kernel:0"]
    np.testing.assert_array_equal(found, expected, strict=True)


def test_what_training_will_miss_is_said(make: Maker, tmp_path: Path) -> None:
    """A regularizer that ends, one that changes its meaning, and a freeze are remarked on."""
    config = make.sequential(
        make.input(),
        make.dense(
            "b", 2, use_bias=False, kernel_regularizer={"class_name": "L2"}, trainable=False
        ),
        make.dense("c", 5, use_bias=False, kernel_constraint={"class_name": "UnitNorm"}),
    )
    weights = {"b": {"b/kernel:0": make.array(6, 2)}, "c": {"c/kernel:0": make.array(2, 5)}}
    model = open_model(make.hdf5(config, weights))

    written = write_merged(model, [pair_of(model, find_head(model))], tmp_path / "out.h5")

    assert [warning.split(" ")[1:3] for warning in written.warnings] == [
        ["b", "had"], ["c", "keeps"], ["b", "is"],
    ]  # fmt: skip


def test_layers_that_keras_would_order_anew_are_refused(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """One layer more in one branch moves it before another in the flat list of a nested model."""
    links = [
        (make.input("y"), []),
        *((make.dense(n, 6, activation="relu"), ["y"]) for n in ("a1", "b1")),
        (make.dense("a2", 6), ["a1"]),
        (make.dense("b2", 6), ["b1"]),
    ]
    inner = make.functional(links, ["b2", "a2"])
    inner["config"]["name"] = "part"
    config = make.functional([(make.input(), []), (inner, ["x"])], ["part"])
    inside = {}
    for name in ("b1", "a1", "b2", "a2"):
        inside |= make.pair(name, 6, 6)
    model = open_model(make.hdf5(config, {"part": inside}))

    write_replaced(model, [halves(model, find_head(model, "b2"))], tmp_path / "b.h5")
    with pytest.raises(UnsupportedModelError, match="order") as refused:
        write_replaced(model, [halves(model, find_head(model, "a2"))], tmp_path / "a.h5")

    assert refused.value.code == "nested_order"


def test_the_config_on_disk_has_one_layer_less(make: Maker, tmp_path: Path) -> None:
    """The first layer is in no reference of the graph."""
    links = [
        (make.input(), []),
        (make.dense("b", 2), ["x"]),
        (make.dense("c", 5), ["b"]),
        (make.layer("Softmax", "s"), ["c"]),
    ]
    weights = {"b": make.pair("b", 6, 2), "c": make.pair("c", 2, 5)}
    model = open_model(make.hdf5(make.functional(links, ["s"]), weights))

    write_merged(model, [pair_of(model, find_head(model))], tmp_path / "out.h5")

    with h5py.File(tmp_path / "out.h5") as file:
        text = file.attrs["model_config"]
    assert '"b"' not in text
    layers = json.loads(text)["config"]["layers"]
    assert layers[1]["inbound_nodes"] == [[["x", 0, 0, {}]]]
