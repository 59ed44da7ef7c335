"""Files made to do harm: nothing outside them is read, nothing huge is unpacked."""

from __future__ import annotations

import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import LRCompressError, ModelFileError
from lrcompress.modelfile import find_head, open_model
from lrcompress.modelfile.untrusted import MAX_CONFIG_DEPTH

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def code_of(path: Path) -> str:
    """Return the code with which a file is refused."""
    with pytest.raises(LRCompressError) as caught:
        open_model(path)
    return caught.value.code


def add_soft_link(file: h5py.File) -> None:
    """A link to another place of the same file."""
    file["model_weights/probs/more"] = h5py.SoftLink("/model_weights")


def add_external_link(file: h5py.File) -> None:
    """A link to another file."""
    file["model_weights/probs/more"] = h5py.ExternalLink("elsewhere.bin", "/")


def add_second_name(file: h5py.File) -> None:
    """One group under two names."""
    file["model_weights/probs/more"] = file["model_weights/hidden"]


def add_cycle(file: h5py.File) -> None:
    """A group inside itself."""
    file["model_weights/probs/more"] = file["model_weights"]


def add_external_storage(file: h5py.File) -> None:
    """An array kept in another file."""
    file.create_dataset("more", (4,), "u1", external=[("elsewhere.bin", 0, 4)])


def add_virtual(file: h5py.File) -> None:
    """An array put together from other files."""
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("elsewhere.bin", "x", (4,))
    file.create_virtual_dataset("more", layout)


def add_shape_bomb(file: h5py.File) -> None:
    """An array of terabytes that stores nothing."""
    file.create_dataset("more", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def add_references(file: h5py.File) -> None:
    """An array of pointers."""
    file["more"] = np.array([file["model_weights"].ref], dtype=h5py.ref_dtype)


def add_sequences(file: h5py.File) -> None:
    """An array of arrays."""
    file.create_dataset("more", (1,), h5py.vlen_dtype(np.dtype("f4")))


def add_records(file: h5py.File) -> None:
    """An array of records."""
    file["more"] = np.zeros(2, [("a", "f4"), ("b", "i4")])


def add_odd_attribute(file: h5py.File) -> None:
    """An attribute of a type that a damaged string turns into; reading it can crash HDF5."""
    values = np.empty(1, object)
    values[0] = np.zeros(3, "f4")
    file["model_weights"].attrs.create("more", values, dtype=h5py.vlen_dtype(np.dtype("f4")))


def add_odd_root_attribute(file: h5py.File) -> None:
    """The same in the place of the config, which is read first."""
    values = np.empty(1, object)
    values[0] = np.zeros(3, "u1")
    file.attrs.create("model_config", values, dtype=h5py.vlen_dtype(np.dtype("u1")))


def add_null_array(file: h5py.File) -> None:
    """An array without a shape."""
    file["more"] = h5py.Empty("f4")


def add_type(file: h5py.File) -> None:
    """A named type."""
    file["more"] = np.dtype("f8")


@pytest.mark.parametrize(
    "change",
    [
        add_soft_link,
        add_external_link,
        add_second_name,
        add_cycle,
        add_external_storage,
        add_virtual,
        add_shape_bomb,
        add_references,
        add_sequences,
        add_records,
        add_odd_attribute,
        add_odd_root_attribute,
        add_null_array,
        add_type,
    ],
)
def test_hdf5_that_keras_never_writes_is_refused(
    make: Maker, change: Callable[[h5py.File], None]
) -> None:
    """Links, storage elsewhere, references and shape bombs are refused before any array is read."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        change(file)

    assert code_of(path) == "hostile"


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
def test_a_heap_without_end_is_refused(make: Maker, kind: str) -> None:
    """A free object of size zero, on which HDF5 loops for ever, is found before HDF5 reads it."""
    path = make.small_hdf5() if kind == "hdf5" else make.small_keras()
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(content)

    assert code_of(path) == "truncated"


def test_links_inside_an_archive_are_refused(make: Maker, tmp_path: Path) -> None:
    """The weights member of an archive is held to the same rules."""
    path = make.small_keras()
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file["layers/dense/vars/2"] = h5py.ExternalLink("elsewhere.bin", "/")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.write(tmp_path / "w.h5", "model.weights.h5")

    assert code_of(path) == "hostile"


@pytest.mark.parametrize("name", ["../up.txt", "/root.txt", "assets/../../up", "C:\\up", "..\\up"])
def test_members_that_leave_the_archive_are_refused(make: Maker, name: str) -> None:
    """A member's name may not point outside."""
    path = make.small_keras(members={name: b"x"})

    assert code_of(path) == "hostile"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "metadata.json"])
def test_two_members_of_one_name_are_refused(make: Maker, name: str) -> None:
    """Readers differ in which of two they take, so neither is taken."""
    path = make.small_keras()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about what this test is for
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"{}")

    assert code_of(path) == "hostile"


def test_a_member_that_explodes_is_refused(make: Maker) -> None:
    """A member that expands a thousandfold is refused by its declared size."""
    path = make.small_keras(
        members={"assets/zeros": bytes(2**25)}, compression=zipfile.ZIP_DEFLATED
    )

    assert path.stat().st_size < 2**20
    assert code_of(path) == "hostile"


def test_too_many_members_are_refused(make: Maker) -> None:
    """A list of members that Keras would never write is refused."""
    path = make.small_keras(members={f"assets/{n}": b"" for n in range(10_001)})

    assert code_of(path) == "hostile"


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
def test_a_deep_config_is_refused(make: Maker, kind: str) -> None:
    """Nesting beyond any model is refused, also where Python's own parser gives up."""
    for depth in (MAX_CONFIG_DEPTH + 1, 10 * sys.getrecursionlimit()):
        config = '{"class_name": "Sequential", "config": ' + "[" * depth + "]" * depth + "}"
        path = make.small_hdf5() if kind == "hdf5" else make.small_keras()
        if kind == "hdf5":
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = config
        else:
            with zipfile.ZipFile(path) as archive:
                weights = archive.read("model.weights.h5")
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("config.json", config)
                archive.writestr("model.weights.h5", weights)

        assert code_of(path) == "hostile"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "3", '"x"', '{"a": 1e', "\xff\xfe"])
def test_a_config_that_is_no_object_is_refused(make: Maker, text: str) -> None:
    """Text that is not a JSON object is refused as a malformed config."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = text

    assert code_of(path) == "config"


@pytest.mark.parametrize("value", [3, [1.5], np.zeros(4), h5py.Empty("f4")])
def test_a_config_that_is_no_text_is_not_keras(make: Maker, value: Any) -> None:
    """A model_config of another type is no model_config."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = value

    assert code_of(path) == "not_keras"


@pytest.mark.parametrize(("output", "code"), [("a", "config"), ("r", "blocked_tail")])
def test_a_cyclic_graph_is_refused_with_a_sentence(make: Maker, output: str, code: str) -> None:
    """A functional model whose layers feed each other is malformed, not an endless walk."""
    links = [
        (make.input(), []),
        (make.dense("a", 6), ["b"]),
        (make.dense("b", 6), ["a"]),
        (make.layer("ReLU", "r"), ["r2"]),
        (make.layer("ReLU", "r2"), ["r"]),
    ]
    weights = {n: make.pair(n, 6, 6) for n in "ab"}
    model = open_model(make.hdf5(make.functional(links, [output]), weights))

    with pytest.raises(LRCompressError) as caught:
        find_head(model)

    assert caught.value.code == code


def test_a_config_of_megabytes_is_refused_unparsed(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit on a config's size is enforced before it is parsed."""
    monkeypatch.setattr("lrcompress.modelfile.untrusted.MAX_CONFIG_BYTES", 100)
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("parsed"))

    assert code_of(make.small_hdf5()) == "hostile"


def test_nothing_is_left_open(make: Maker) -> None:
    """A refused file can be removed and replaced at once: no handle stays behind."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        add_soft_link(file)

    with pytest.raises(ModelFileError):
        open_model(path)

    with h5py.File(path, "r+") as file:
        assert "model_weights" in file
    path.unlink()
