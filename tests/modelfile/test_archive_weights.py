"""Where a `.keras` archive keeps weights: groups counted by class, anew after a split."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from lrcompress.errors import KernelError
from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    open_model,
    read_kernel,
    write_replaced,
)
from tests.modelfile.models import each_alone

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

Splitter = Callable[[ModelFile, Site], Replacement]


@pytest.mark.parametrize("prefix", ["layers", "_layer_checkpoint_dependencies"])
def test_a_windows_archive_is_read_and_written_canonically(
    make: Maker, tmp_path: Path, halves: Splitter, prefix: str
) -> None:
    """Groups literally named with a backslash are understood, and written as Keras reads them."""
    config = make.sequential(make.input(), make.dense("a", 6), make.dense("b", 5))
    arrays = {
        f"{prefix}\\dense/vars/0": make.array(6, 6),
        f"{prefix}\\dense/vars/1": make.array(6),
        f"{prefix}\\dense_1/vars/0": make.array(6, 5),
        f"{prefix}\\dense_1/vars/1": make.array(5),
    }
    model = open_model(make.keras(config, arrays))

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.keras")

    new = open_model(tmp_path / "out.keras")
    layers = [half for site in new.sites for half in each_alone(site)]
    sources = [layer.layers[-1].serialized.arrays[0].source for layer in layers]
    assert sources == [f"{prefix}/dense{s}/vars/0" for s in ("", "_1", "_2")]


def test_an_archive_of_keras_2_14_keeps_its_own_group_name(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """The older name of the groups of layers is kept on writing."""
    prefix = "_layer_checkpoint_dependencies"
    config = make.sequential(make.input(), make.dense("a", 5))
    arrays = {f"{prefix}/dense/vars/0": make.array(6, 5), f"{prefix}/dense/vars/1": make.array(5)}
    model = open_model(make.keras(config, arrays))

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.keras")

    new = open_model(tmp_path / "out.keras")
    assert find_head(new).layers[-1].serialized.arrays[0].source == f"{prefix}/dense_1/vars/0"


def test_an_archive_of_keras_2_13_keeps_its_way_of_counting(
    make: Maker, tmp_path: Path, halves: Splitter
) -> None:
    """The new layer takes two numbers there, as every other with weights."""
    prefix = "_layer_checkpoint_dependencies"
    config = make.sequential(make.input(), make.dense("a", 6), make.dense("b", 5))
    arrays = {
        f"{prefix}/{group}/vars/{i}": array
        for group, units in (("dense", 6), ("dense_2", 5))
        for i, array in enumerate((make.array(6, units), make.array(units)))
    }
    model = open_model(make.keras(config, arrays, metadata={"keras_version": "2.13.1"}))

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.keras")

    new = open_model(tmp_path / "out.keras")
    layers = [half for site in new.sites for half in each_alone(site)]
    sources = [layer.layers[-1].serialized.arrays[0].source for layer in layers]
    assert sources == [f"{prefix}/dense{n}/vars/0" for n in ("", "_2", "_4")]


def test_names_of_groups_follow_the_layers(make: Maker, tmp_path: Path, halves: Splitter) -> None:
    """Since Keras 3.6 each group carries its layer's name; the new one gets its own."""
    model = open_model(make.small_keras())

    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.keras")

    new = open_model(tmp_path / "out.keras")
    assert new.weights.problem is None
    with (
        zipfile.ZipFile(tmp_path / "out.keras") as archive,
        archive.open("model.weights.h5") as member,
        h5py.File(member) as file,
    ):
        names = {g: file["layers"][g]["vars"].attrs["name"] for g in file["layers"]}
    assert names == {"dense": "hidden", "dense_1": "probs_lowrank", "dense_2": "probs"}


def test_bfloat16_kernels_are_read_exactly_and_written_rounded(make: Maker, tmp_path: Path) -> None:
    """Two-byte floats go out as float32 and come back rounded to nearest, ties to even."""
    values = np.array([[1.0, -2.5], [0.15625, 3e38]], "float32")
    stored = (values.view("u4") >> 16).astype("u2").view("V2")
    config = make.sequential(make.input(size=2), make.dense("d", 2, use_bias=False))
    path = make.keras(config, {"layers/dense/vars/0": stored})
    mark(path, tmp_path)
    model = open_model(path)
    head = find_head(model)
    assert head.dtype == "bfloat16"
    exact = (stored.view("u2").astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(read_kernel(model, head), exact, strict=True)

    tie_down, tie_up = 1 + 2**-8, 1 + 3 * 2**-8
    first = np.array([[tie_down], [tie_up]])
    write_replaced(model, [Replacement(head, first, np.ones((1, 2)))], tmp_path / "out.keras")

    new = open_model(tmp_path / "out.keras")
    rounded = read_kernel(new, each_alone(find_head(new))[0])
    np.testing.assert_array_equal(rounded, np.array([[1.0], [1 + 2**-6]], "f4"), strict=True)
    for large in (1e39, float(np.finfo("f4").max)):
        huge = Replacement(head, np.full((2, 1), large), np.ones((1, 2)))
        with pytest.raises(KernelError, match="overflows bfloat16"):
            write_replaced(model, [huge], tmp_path / "huge.keras")
    assert not (tmp_path / "huge.keras").exists()


def mark(path: Path, folder: Path) -> None:
    """Set the attribute by which Keras recognises bfloat16, inside an archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (folder / "w").write_bytes(members["model.weights.h5"])
    with h5py.File(folder / "w", "r+") as file:
        file["layers/dense/vars/0"].attrs["dtype"] = "bfloat16"
    members["model.weights.h5"] = (folder / "w").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_parameters_leave_out_what_is_no_weight(make: Maker) -> None:
    """Optimizer state, metrics and seed generators are not the model's parameters."""
    config = make.sequential(make.input(), make.dense("d", 5), make.layer("Dropout", "drop"))
    arrays = {
        "layers/dense/vars/0": make.array(6, 5),
        "layers/dense/vars/1": make.array(5),
        "layers/dropout/seed_generator/vars/0": np.zeros(2, "u4"),
        "optimizer/vars/0": make.array(70),
        "metrics/mean/vars/0": make.array(1),
    }

    model = open_model(make.keras(config, arrays))

    assert model.parameters == 35
    assert model.optimizer_bytes == 280
    assert [layer.parameters for layer in model.layers] == [0, 35, 0]


@pytest.mark.keras
def test_layers_of_several_layers_have_their_weights_in_keras_order(tmp_path: Path) -> None:
    """A file sorts inner layers by name; an attention's query, and the forward half, still come first."""
    keras = pytest.importorskip("keras")
    inputs = keras.Input((5, 8))
    x = keras.layers.MultiHeadAttention(2, 4, name="many")(inputs, inputs)
    x = keras.layers.GroupQueryAttention(4, 4, 2, name="groups")(x, x)
    x = keras.layers.Bidirectional(keras.layers.GRU(3), name="both")(x)
    model = keras.Model(inputs, x)
    model.save(tmp_path / "model.keras")

    opened = open_model(tmp_path / "model.keras")

    assert opened.weights.problem is None
    with h5py.File(zipfile.ZipFile(tmp_path / "model.keras").open("model.weights.h5")) as file:  # type: ignore[arg-type]
        for name in ("many", "groups", "both"):
            stored = [file[array.source][()] for array in opened.weights.arrays((name,))]
            expected = model.get_layer(name).get_weights()
            for one, other in zip(stored, expected, strict=True):
                np.testing.assert_array_equal(one, other)
