"""Where an HDF5 file keeps weights: lists of names in Keras' order, in all their spellings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    open_model,
    pair_of,
    read_kernel,
    write_merged,
    write_replaced,
)

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

Splitter = Callable[[ModelFile, Site], Replacement]


def names_of(path: Path, group: str, attribute: str) -> list[str]:
    """Return a list attribute of an HDF5 file as text."""
    with h5py.File(path) as file:
        values = file[group].attrs[attribute]
        return [v.decode() if isinstance(v, bytes) else v for v in values]


def test_a_second_head_moves_before_the_first(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """Positions follow the graph: splitting h2 of [h1, h2] gives trunk, h2_lowrank, h1, h2."""
    links = [
        (make.input(), []),
        (make.dense("trunk", 6), ["x"]),
        (make.dense("h1", 6), ["trunk"]),
        (make.dense("h2", 6), ["trunk"]),
    ]
    config = make.functional(links, ["h1", "h2"])
    weights = {n: make.pair(n, 6, 6) for n in ("trunk", "h1", "h2")}
    legacy = open_model(make.hdf5(config, weights))
    groups = {"trunk": "dense", "h1": "dense_1", "h2": "dense_2"}
    arrays = {
        f"layers/{group}/vars/{i}": array
        for name, group in groups.items()
        for i, array in enumerate(weights[name].values())
    }
    archive = open_model(make.keras(config, arrays))

    for model in (legacy, archive):
        out = tmp_path / f"out{model.path.suffix}"
        write_replaced(model, [halves(model, find_head(model, "h2"))], out)
        new = open_model(out)
        for name in ("trunk", "h1"):
            np.testing.assert_array_equal(
                read_kernel(new, find_head(new, name)), weights[name][f"{name}/kernel:0"]
            )
        if model is legacy:
            order = names_of(out, "model_weights", "layer_names")
            assert order == ["trunk", "h2_lowrank", "h1", "h2"]
        else:
            assert (
                find_head(new, "h2").layers[0].serialized.arrays[0].source
                == "layers/dense_1/vars/0"
            )
            assert (
                find_head(new, "h1").layers[-1].serialized.arrays[0].source
                == "layers/dense_2/vars/0"
            )


@pytest.mark.parametrize("kind", ["fixed", "variable"])
def test_a_longer_name_is_not_cut(make: Maker, tmp_path: Path, halves: Splitter, kind: str) -> None:
    """Names of fixed width get a width that holds the new one; variable ones stay variable."""
    path = make.small_hdf5()
    if kind == "variable":
        with h5py.File(path, "r+") as file:
            root = file["model_weights"]
            root.attrs["layer_names"] = np.array(["hidden", "probs"], dtype=h5py.string_dtype())
    model = open_model(path)

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    names = names_of(tmp_path / "out.h5", "model_weights", "layer_names")
    assert names == ["hidden", "probs_lowrank", "probs"]
    with h5py.File(tmp_path / "out.h5") as file:
        dtype = file["model_weights"].attrs.get_id("layer_names").dtype
    assert dtype.kind == {"fixed": "S", "variable": "O"}[kind]


def test_lists_too_long_for_one_attribute_are_split_and_read(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """Past 64,512 bytes Keras numbers the parts of a list; stale ones are removed, both ways."""
    names = [f"layer_with_a_rather_long_name_{i:04}" for i in range(1889)]
    config = make.sequential(make.input(), *(make.layer("ReLU", n) for n in names[1:]))
    config["config"]["layers"].append(make.dense(names[0], 5))
    weights = {key: {} for key in names[1:]} | {names[0]: make.pair("d", 6, 5)}
    path = make.hdf5(config, weights)
    model = open_model(path)

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    with h5py.File(tmp_path / "out.h5") as file:
        attributes = sorted(file["model_weights"].attrs)
    assert attributes == ["layer_names0", "layer_names1"]
    again = open_model(tmp_path / "out.h5")
    assert len(again.weights.layer_names) == 1890
    write_merged(again, [pair_of(again, find_head(again))], tmp_path / "merged.h5")
    with h5py.File(tmp_path / "merged.h5") as file:
        assert sorted(file["model_weights"].attrs) == ["layer_names"]
    assert open_model(tmp_path / "merged.h5").weights.layer_names == model.weights.layer_names


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("d/kernel:0", "d_lowrank/kernel:0"),
        ("d/d/kernel:0", "d_lowrank/d_lowrank/kernel:0"),
        ("d/model_1/d/kernel", "d_lowrank/model_1/d_lowrank/kernel"),
        ("d_W", "d_lowrank_W"),
        ("d_W:0", "d_lowrank_W:0"),
        ("scope/other/kernel:0", "d_lowrank/kernel:0"),
    ],
)
def test_new_weights_are_named_in_the_style_of_the_file(
    make: Maker, tmp_path: Path, halves: Splitter, kernel: str, expected: str
) -> None:
    """The spelling of paths has changed over the years; the new kernel follows its neighbour."""
    config = make.sequential(make.input(), make.dense("d", 5))
    arrays = {kernel: make.array(6, 5), "some_bias": make.array(5)}
    model = open_model(make.hdf5(config, {"d": arrays}))

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    assert names_of(tmp_path / "out.h5", "model_weights/d_lowrank", "weight_names") == [expected]
    assert names_of(tmp_path / "out.h5", "model_weights/d", "weight_names") == list(arrays)


def test_nested_weights_stay_in_one_flat_list(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """In HDF5 a nested model's new kernel goes right before its old one, frozen parts apart."""
    inner = make.sequential(
        make.input("y"),
        make.dense("a", 6),
        make.layer("BatchNormalization", "bn"),
        make.dense("b", 6, trainable=False),
        name="inner",
    )
    config = make.sequential(make.input(), inner, make.dense("head", 3))
    moving = {f"bn/{n}:0": make.array(6) for n in ("moving_mean", "moving_variance")}
    flat = (
        make.pair("a", 6, 6)
        | {f"bn/{n}:0": make.array(6) for n in ("gamma", "beta")}
        | moving
        | make.pair("b", 6, 6)
    )
    model = open_model(make.hdf5(config, {"inner": flat, "head": make.pair("head", 6, 3)}))
    layers = [find_head(model, "inner/a"), find_head(model, "inner/b")]

    write_replaced(model, [halves(model, layer) for layer in layers], tmp_path / "out.h5")

    listed = names_of(tmp_path / "out.h5", "model_weights/inner", "weight_names")
    expected = list(flat)
    expected.insert(0, "a_lowrank/kernel:0")
    expected.insert(expected.index("b/kernel:0"), "b_lowrank/kernel:0")
    assert listed == expected


def test_layers_of_one_name_in_two_nested_models_are_told_apart(make: Maker) -> None:
    """The names of nested models in a weight's path decide between layers of the same name."""
    parts = [
        make.sequential(make.input(f"i{n}"), make.dense("d", 6), name=n) for n in ("enc", "dec")
    ]
    both = make.sequential(make.input("y"), *parts, name="both")
    flat = make.pair("both/enc/d", 6, 6) | make.pair("both/dec/d", 6, 6)
    model = open_model(make.hdf5(make.sequential(make.input(), both), {"both": flat}))

    kernels = {layer.path: layer.layers[-1].serialized.arrays[0].source for layer in model.sites}

    assert kernels == {
        "both/enc/d": "model_weights/both/both/enc/d/kernel:0",
        "both/dec/d": "model_weights/both/both/dec/d/kernel:0",
    }


def test_keras_1_dense_is_split_in_its_own_words(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """Keras 1 says output_dim and bias, and its Sequential is a bare list."""
    entry = make.layer(
        "Dense", "d", output_dim=5, init="glorot_uniform", bias=True, activation="softmax",
        W_regularizer=None, input_dim=6, batch_input_shape=[None, 6],
    )  # fmt: skip
    config = {"class_name": "Sequential", "config": [entry]}
    model = open_model(make.hdf5(config, {"d": {"d_W": make.array(6, 5), "d_b": make.array(5)}}))

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    first, second = (e["config"] for e in open_model(tmp_path / "out.h5").config["config"])
    assert (first["name"], first["output_dim"], first["bias"]) == ("d_lowrank", 5, False)
    assert (first["input_dim"], first["batch_input_shape"]) == (6, [None, 6])
    assert (second["name"], second["output_dim"], second["bias"]) == ("d", 5, True)
    assert second["input_dim"] == 5
    assert "batch_input_shape" not in second
    assert "units" not in first


def test_compressed_and_chunked_arrays_are_copied(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """Files repacked by other tools keep their storage."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        name = "model_weights/hidden/hidden/hidden/kernel:0"
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values, chunks=(3, 4), compression="gzip", shuffle=True)
    model = open_model(path)

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    with h5py.File(tmp_path / "out.h5") as file:
        assert file[name].compression == "gzip"
        np.testing.assert_array_equal(file[name][()], values)


def test_a_nested_model_without_a_name_takes_the_saved_one(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """Keras up to 2.2.2 left Sequential models in bare lists unnamed; the weights name them."""
    layers = [make.dense("a", 6, activation="relu"), make.dense("b", 6, activation="relu")]
    inner = {"class_name": "Sequential", "config": layers}
    config = {"class_name": "Sequential", "config": [inner, make.dense("head", 5)]}
    weights = {
        "sequential_7": make.pair("a", 6, 6) | make.pair("b", 6, 6),
        "head": make.pair("head", 6, 5),
    }
    model = open_model(make.hdf5(config, weights))
    layers = model.sites
    assert [layer.path for layer in layers] == ["sequential_7/a", "sequential_7/b", "head"]

    write_replaced(model, [halves(model, layer) for layer in layers], tmp_path / "out.h5")

    order = names_of(tmp_path / "out.h5", "model_weights", "layer_names")
    assert order == ["sequential_7", "head_lowrank", "head"]
    split = open_model(tmp_path / "out.h5").sites
    assert [(layer.path, layer.layers[0].name) for layer in split] == [
        ("sequential_7/a", "a_lowrank"),
        ("sequential_7/b", "b_lowrank"),
        ("head", "head_lowrank"),
    ]


def test_text_stays_ascii_for_old_readers(make: Maker, tmp_path: Path, halves: Splitter) -> None:
    """The config is ASCII of variable length, as Keras up to 2.3 needs it."""
    model = open_model(make.small_hdf5())

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.h5")

    with h5py.File(tmp_path / "out.h5") as file:
        kind = h5py.check_string_dtype(file.attrs.get_id("model_config").dtype)
    assert (kind.encoding, kind.length) == ("ascii", None)
