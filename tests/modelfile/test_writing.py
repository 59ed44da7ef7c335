"""What `write_replaced` writes: the new layers, everything else untouched, or nothing at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    find_head,
    open_model,
    read_bias,
    read_kernel,
    write_replaced,
)
from lrcompress.records import provenance
from tests.modelfile.models import each_alone, factors, stored

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def test_one_dense_becomes_two(small: ModelFile, tmp_path: Path) -> None:
    """The new layer stands before the old one, which keeps its name, bias and activation."""
    head = find_head(small)
    replacement = factors(head)

    written = write_replaced(small, [replacement], tmp_path / f"out{small.path.suffix}")

    new = open_model(written.path)
    first, second = each_alone(find_head(new))
    assert written.first_names == {"probs": ("probs_lowrank",)}
    assert [layer.name for layer in new.layers] == ["x", "hidden", "probs_lowrank", "probs"]
    assert (first.kernel_shape, first.use_bias, first.activation) == ((8, 2), False, "linear")
    assert (second.name, second.kernel_shape, second.activation) == ("probs", (2, 5), "softmax")
    np.testing.assert_array_equal(
        read_kernel(new, first), replacement.first.astype("float32"), strict=True
    )
    np.testing.assert_array_equal(
        read_kernel(new, second), replacement.second.astype("float32"), strict=True
    )
    np.testing.assert_array_equal(read_bias(new, second), read_bias(small, head), strict=True)


def test_the_result_says_what_was_written(small: ModelFile, tmp_path: Path) -> None:
    """Sizes and parameter counts are those of the new file."""
    written = write_replaced(small, [factors(find_head(small))], tmp_path / "out.keras")

    assert written.size == written.path.stat().st_size
    assert written.parameters == small.parameters - 8 * 5 + 2 * (8 + 5)
    assert written.parameters == open_model(written.path).parameters


def test_all_other_arrays_keep_their_bytes(small: ModelFile, tmp_path: Path) -> None:
    """Nothing but the two new kernels differs."""
    before = [array.tobytes() for array in stored(small.path)[0].values()]

    write_replaced(small, [factors(find_head(small))], tmp_path / f"o{small.path.suffix}")

    written = stored(tmp_path / f"o{small.path.suffix}")[0].values()
    after = [array.tobytes() for array in written]
    kept = sorted(before, key=len)
    kernel = read_kernel(small, find_head(small)).tobytes()
    kept.remove(kernel)
    assert sorted(after, key=len) != kept
    assert [value for value in kept if value not in after] == []
    assert len(after) == len(before) + 1


def test_two_layers_can_be_replaced_at_once(small: ModelFile, tmp_path: Path) -> None:
    """Every replacement finds its own place."""
    layers = [find_head(small, "hidden"), find_head(small, "probs")]

    written = write_replaced(small, [factors(x) for x in layers], tmp_path / "out.h5")

    names = [layer.name for layer in open_model(written.path).layers]
    assert names == ["x", "hidden_lowrank", "hidden", "probs_lowrank", "probs"]


def test_two_runs_give_the_same_bytes(small: ModelFile, tmp_path: Path) -> None:
    """No clock, no order of a dictionary and no memory address reaches the file."""
    outputs = [tmp_path / f"{n}{small.path.suffix}" for n in "ab"]

    for output in outputs:
        write_replaced(small, [factors(find_head(small))], output)

    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_an_archive_is_stored_as_keras_stores_it(make: Maker, tmp_path: Path) -> None:
    """Members are uncompressed, dated 1980 and in Keras' order, also from a compressed archive."""
    path = make.small_keras(
        members={"assets/vocabulary.txt": b"a\nb\n"}, compression=zipfile.ZIP_DEFLATED
    )
    model = open_model(path)

    write_replaced(model, [factors(find_head(model))], tmp_path / "out.keras")

    with zipfile.ZipFile(tmp_path / "out.keras") as archive:
        infos = archive.infolist()
        assert [info.filename for info in infos] == [
            "metadata.json",
            "config.json",
            "model.weights.h5",
            "assets/vocabulary.txt",
        ]
        assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        assert {info.date_time[0] for info in infos} == {1980}
        assert archive.read("assets/vocabulary.txt") == b"a\nb\n"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_optimizer_state_is_dropped_and_counted(make: Maker, tmp_path: Path, suffix: str) -> None:
    """Both formats go without slots, and their bytes are told apart; the settings stay."""
    settings = {"optimizer": {"class_name": "Adam", "config": {}}, "loss": "mse"}
    if suffix == ".h5":
        path = make.small_hdf5(optimizer=True, training_config=json.dumps(settings))
    else:
        config = make.sequential(make.input(), make.dense("head", 5)) | {"compile_config": settings}
        state = {f"optimizer/vars/{n}": make.array(5, 10) for n in range(2)}
        path = make.keras(config, {
            "layers/dense/vars/0": make.array(6, 5), "layers/dense/vars/1": make.array(5), **state,
        })  # fmt: skip
    model = open_model(path)

    written = write_replaced(model, [factors(find_head(model))], tmp_path / f"out{suffix}")

    assert model.optimizer_bytes == written.optimizer_bytes == (400 if suffix == ".keras" else 200)
    assert written.optimizer_bytes_after == 0
    assert written.warnings == ()
    assert open_model(written.path).optimizer_bytes == 0
    assert open_model(written.path).compile_config == model.compile_config == settings


def test_provenance_and_compile_settings_are_kept(make: Maker, tmp_path: Path) -> None:
    """What training recorded is still there after compression."""
    record = {"dataset": "digits", "scale": [0, 1]}
    training = json.dumps({"loss": "mse", "optimizer_config": {"class_name": "SGD"}})
    legacy = make.small_hdf5(
        **{provenance.KEY: provenance.pack(record), "training_config": training}
    )
    archive = make.small_keras(metadata={"keras_version": "3.8.0", provenance.KEY: record})

    for path in (legacy, archive):
        model = open_model(path)
        write_replaced(model, [factors(find_head(model))], tmp_path / f"out{path.suffix}")
        new = open_model(tmp_path / f"out{path.suffix}")

        assert new.origin.kept == record
        assert new.keras_version == model.keras_version
        assert new.compile_config == model.compile_config


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_factors_are_rounded_to_the_stored_type(make: Maker, tmp_path: Path, dtype: str) -> None:
    """A float16 model stays one."""
    arrays = {n: a.astype(dtype) for n, a in make.pair("probs", 6, 5).items()}
    config = make.sequential(make.input(), make.dense("probs", 5, dtype=dtype))
    model = open_model(make.hdf5(config, {"probs": arrays}))
    replacement = factors(find_head(model))

    write_replaced(model, [replacement], tmp_path / "out.h5")

    new = open_model(tmp_path / "out.h5")
    head = each_alone(find_head(new))[1]
    assert head.dtype == dtype
    np.testing.assert_array_equal(
        read_kernel(new, head), replacement.second.astype(dtype), strict=True
    )


def test_a_new_bias_is_written(small: ModelFile, tmp_path: Path) -> None:
    """A given bias replaces the stored one."""
    head = find_head(small)
    replacement = factors(head)
    bias = np.arange(5.0)

    written = write_replaced(
        small,
        [Replacement(head, replacement.first, replacement.second, bias)],
        tmp_path / "out.keras",
    )

    new = open_model(written.path)
    np.testing.assert_array_equal(
        read_bias(new, find_head(new)), bias.astype("float32"), strict=True
    )


def test_a_suffix_that_keras_would_misread_is_mentioned(small: ModelFile, tmp_path: Path) -> None:
    """Keras chooses the reader by suffix; the wrong one is written with a warning."""
    right, wrong = (".h5", ".keras") if small.format == "hdf5" else (".keras", ".h5")
    replacement = factors(find_head(small))

    fine = write_replaced(small, [replacement], tmp_path / f"a{right}")
    odd = write_replaced(small, [replacement], tmp_path / f"b{wrong}")

    assert fine.warnings == ()
    assert f"name it {right}" in odd.warnings[0]


def test_a_regularizer_on_the_kernel_is_mentioned(make: Maker, tmp_path: Path) -> None:
    """A penalty on the kernel now sees one factor only."""
    penalty = {"class_name": "L2", "config": {"l2": 0.01}}
    config = make.sequential(make.input(), make.dense("probs", 5, kernel_regularizer=penalty))
    model = open_model(make.hdf5(config, {"probs": make.pair("probs", 6, 5)}))

    written = write_replaced(model, [factors(find_head(model))], tmp_path / "out.h5")

    assert "kernel_regularizer" in written.warnings[0]
    layers = open_model(written.path).config["config"]["layers"]
    assert [entry["config"].get("kernel_regularizer") for entry in layers] == [None, None, penalty]


def test_a_name_in_use_is_not_given_twice(make: Maker, tmp_path: Path) -> None:
    """The new name is free in all nested models."""
    inner = make.sequential(make.input("y"), make.dense("probs_lowrank", 6), name="inner")
    config = make.sequential(make.input(), inner, make.dense("probs", 5))
    weights = {"inner": make.pair("probs_lowrank", 6, 6), "probs": make.pair("probs", 6, 5)}
    model = open_model(make.hdf5(config, weights))

    written = write_replaced(model, [factors(find_head(model))], tmp_path / "out.h5")

    assert written.first_names == {"probs": ("probs_lowrank_2",)}


def test_entries_that_are_no_layers_stay(make: Maker, tmp_path: Path) -> None:
    """What else stands in a list of layers is nobody's business, and stays where it is."""
    config = make.sequential(make.input(), make.dense("a", 5), make.dense("d", 4))
    config["config"]["layers"].insert(1, None)
    model = open_model(make.hdf5(config, {"a": make.pair("a", 6, 5), "d": make.pair("d", 5, 4)}))
    first = Replacement(find_head(model, "a"), np.ones((6, 1)), np.ones((1, 5)))

    write_replaced(model, [first], tmp_path / "out.h5")

    layers = open_model(tmp_path / "out.h5").config["config"]["layers"]
    assert [layer and layer["config"]["name"] for layer in layers] == [
        "x",
        None,
        "a_lowrank",
        "a",
        "d",
    ]
