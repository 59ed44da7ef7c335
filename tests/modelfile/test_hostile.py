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
from tests.modelfile.conftest import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def virtual(file: h5py.File) -> None:
    """Add an array put together from other files."""
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("elsewhere.bin", "x", (4,))
    file.create_virtual_dataset("more", layout)


def odd_attribute(file: h5py.File, group: str, name: str, kind: str) -> None:
    """Add an attribute of a type that a damaged string turns into; reading it can crash HDF5."""
    values = np.empty(1, object)
    values[0] = np.zeros(3, kind)
    file[group].attrs.create(name, values, dtype=h5py.vlen_dtype(np.dtype(kind)))


LINKED = "model_weights/probs/more"
CHANGES: dict[str, Callable[[h5py.File], Any]] = {
    "soft link": lambda file: file.update({LINKED: h5py.SoftLink("/model_weights")}),
    "external link": lambda file: file.update({LINKED: h5py.ExternalLink("elsewhere.bin", "/")}),
    "second name": lambda file: file.update({LINKED: file["model_weights/hidden"]}),
    "cycle": lambda file: file.update({LINKED: file["model_weights"]}),
    "storage elsewhere": lambda file: file.create_dataset(
        "more", (4,), "u1", external=[("elsewhere.bin", 0, 4)]
    ),
    "virtual": virtual,
    "terabytes that store nothing": lambda file: file.create_dataset(
        "more", (2**40,), "f4", chunks=(2**20,), compression="gzip"
    ),
    "references": lambda file: file.create_dataset(
        "more", data=np.array([file["model_weights"].ref], dtype=h5py.ref_dtype)
    ),
    "sequences": lambda file: file.create_dataset("more", (1,), h5py.vlen_dtype(np.dtype("f4"))),
    "records": lambda file: file.create_dataset(
        "more", data=np.zeros(2, [("a", "f4"), ("b", "i4")])
    ),
    "odd attribute": lambda file: odd_attribute(file, "model_weights", "more", "f4"),
    "odd attribute that is read first": lambda file: odd_attribute(file, "/", "model_config", "u1"),
    "no shape": lambda file: file.create_dataset("more", data=h5py.Empty("f4")),
    "named type": lambda file: file.update({"more": np.dtype("f8")}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_hdf5_that_keras_never_writes_is_refused(make: Maker, change: str) -> None:
    """Links, storage elsewhere, references and shape bombs are refused before any array is read."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        CHANGES[change](file)

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
def test_a_heap_without_end_is_refused(make: Maker, kind: str) -> None:
    """A free object of size zero, on which HDF5 loops for ever, is found before HDF5 reads it."""
    path = make.small_hdf5() if kind == "hdf5" else make.small_keras()
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    content[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(content)

    assert refusal(path).code == "truncated"


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

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("name", ["../up.txt", "/root.txt", "assets/../../up", "C:\\up", "..\\up"])
def test_members_that_leave_the_archive_are_refused(make: Maker, name: str) -> None:
    """A member's name may not point outside."""
    path = make.small_keras(members={name: b"x"})

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "metadata.json"])
def test_two_members_of_one_name_are_refused(make: Maker, name: str) -> None:
    """Readers differ in which of two they take, so neither is taken."""
    path = make.small_keras()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about what this test is for
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, b"{}")

    assert refusal(path).code == "hostile"


def test_a_member_that_explodes_is_refused(make: Maker) -> None:
    """A member that expands a thousandfold is refused by its declared size."""
    path = make.small_keras(
        members={"assets/zeros": bytes(2**25)}, compression=zipfile.ZIP_DEFLATED
    )

    assert path.stat().st_size < 2**20
    assert refusal(path).code == "hostile"


def test_too_many_members_are_refused(make: Maker) -> None:
    """A list of members that Keras would never write is refused."""
    path = make.small_keras(members={f"assets/{n}": b"" for n in range(10_001)})

    assert refusal(path).code == "hostile"


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

        assert refusal(path).code == "hostile"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "3", '"x"', '{"a": 1e', "\xff\xfe"])
def test_a_config_that_is_no_object_is_refused(make: Maker, text: str) -> None:
    """Text that is not a JSON object is refused as a malformed config."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = text

    assert refusal(path).code == "config"


@pytest.mark.parametrize("value", [3, [1.5], np.zeros(4), h5py.Empty("f4")])
def test_a_config_that_is_no_text_is_not_keras(make: Maker, value: Any) -> None:
    """A model_config of another type is no model_config."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = value

    assert refusal(path).code == "not_keras"


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

    assert refusal(make.small_hdf5()).code == "hostile"


def test_nothing_is_left_open(make: Maker) -> None:
    """A refused file can be removed and replaced at once: no handle stays behind."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        CHANGES["soft link"](file)

    assert isinstance(refusal(path), ModelFileError)

    with h5py.File(path, "r+") as file:
        assert "model_weights" in file
    path.unlink()
