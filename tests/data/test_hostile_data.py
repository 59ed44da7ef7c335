"""Data sets that are broken, hostile or made by a user's own function."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.data.class_numbers import class_numbers
from lrcompress.data.named import NAMED, search_folders
from lrcompress.data.reader import ARRAYS
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError, UnknownDatasetError
from lrcompress.events import listening

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[bytes, str], Path]:
    """Return a function that writes an archive whose four members all hold the same bytes."""

    def write(content: bytes, suffix: str) -> Path:
        path = tmp_path / "data.npz"
        with zipfile.ZipFile(path, "w") as file:
            for name in ARRAYS:
                file.writestr(name + suffix, content)
        return path

    return write


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that writes a module into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


def test_reading_a_data_set_does_not_start_keras() -> None:
    """The bundled digits are read by NumPy alone."""
    code = (
        "import sys; from lrcompress.data import images, scaling, sources; from lrcompress.measure import statistics; "
        "sources.load('digits'); "
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_cache_of_keras_is_at_home_unless_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without any setting only Keras' own folder is searched; empty settings count as none."""
    monkeypatch.setenv("LRCOMPRESS_DATA", "")
    monkeypatch.setenv("KERAS_HOME", "")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)

    assert search_folders() == [tmp_path / ".keras" / "datasets"]


def test_a_corrupt_file_in_a_searched_folder_is_named(tmp_path: Path, refuses: Refuses) -> None:
    """A named data set that was found but is broken is refused, not downloaded behind one's back."""
    (tmp_path / "mnist.npz").write_bytes(b"half a download")

    with refuses(DatasetError, "dataset", str(tmp_path / "mnist.npz"), "numpy.savez"):
        load("mnist", tmp_path)


def test_keras_is_announced_before_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A download is told of twice, that Keras starts and what is fetched, before it begins.

    What Keras prints meanwhile stays out of the results.
    """
    from types import SimpleNamespace

    told: list[str] = []
    x, y = np.zeros((4, 2, 2), np.uint8), np.array([[0], [1], [0], [1]])

    def load_data() -> Any:
        told.append("fetched")
        print("Downloading data from far away")  # noqa: T201  # as Keras does
        return (x, y), (x, y)

    stand_in = SimpleNamespace(
        datasets=SimpleNamespace(cifar10=SimpleNamespace(load_data=load_data))
    )
    monkeypatch.setitem(sys.modules, "keras", stand_in)  # type: ignore[arg-type]
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("LRCOMPRESS_DATA", raising=False)

    with listening(lambda task, *_: told.append(task), lambda: told.append("keras")):
        data = load("cifar10")

    assert told == ["keras", "download cifar10", "fetched"]
    assert data.y_train.tolist() == [0, 1, 0, 1]
    assert data.source == "keras.datasets.cifar10"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("minst", "mnist"),
        ("fashion-mnist", "fashion_mnist"),
        ("cifar", "cifar10"),
        ("digit", "digits"),
    ],
)
def test_near_names_are_suggested(refuses: Refuses, typed: str, near: str) -> None:
    """A misspelt name is answered with the one that was meant, and all the others."""
    with refuses(
        UnknownDatasetError, "unknown_dataset", repr(typed), f"Did you mean {near!r}?", *NAMED
    ):
        load(typed)


def test_names_unlike_any_other_are_not_guessed(tmp_path: Path, refuses: Refuses) -> None:
    """A file of another kind is no data set, and nothing is suggested in its place."""
    path = tmp_path / "table.csv"
    path.write_text("1,2,3", encoding="utf-8")

    with refuses(UnknownDatasetError, "unknown_dataset", "table.csv", "package.module:function"):
        load(str(path))
    with pytest.raises(UnknownDatasetError) as refused:
        load("housing")

    assert "Did you mean" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_single_array_is_no_data_set(tmp_path: Path, refuses: Refuses) -> None:
    """A .npy file under the name of a .npz has no named arrays."""
    path = tmp_path / "data.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))

    with refuses(DatasetError, "dataset", "data.npz", "no named arrays", *ARRAYS):
        load(str(path))


def test_a_folder_named_like_a_file(tmp_path: Path, refuses: Refuses) -> None:
    """A folder whose name ends in .npz is not read as a file."""
    (tmp_path / "data.npz").mkdir()

    with refuses(DatasetError, "dataset", "data.npz", "does not exist"):
        load(str(tmp_path / "data.npz"))


def test_bits_that_changed(tmp_path: Path, refuses: Refuses) -> None:
    """A damaged archive is found by its checksum."""
    path = tmp_path / "data.npz"
    noise = np.random.default_rng(0).integers(0, 255, (6, 500), np.uint8)
    np.savez(path, x_train=noise, y_train=np.arange(6), x_test=noise, y_test=np.arange(6))
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)

    with refuses(DatasetError, "dataset", "data.npz", "CRC"):
        load(str(path))


@pytest.mark.parametrize("suffix", ["", ".npy"])
def test_members_that_are_no_arrays(
    archive: Callable[[bytes, str], Path], refuses: Refuses, suffix: str
) -> None:
    """An archive with the right names and no arrays behind them is refused."""
    path = archive(b"hello", suffix)

    with refuses(DatasetError, "dataset", "data.npz"):
        load(str(path))


def test_a_header_that_claims_petabytes(
    archive: Callable[[bytes, str], Path], refuses: Refuses
) -> None:
    """An array whose header is larger than its file is refused before memory is asked for."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**15, 2)}
    )
    path = archive(header.getvalue(), ".npy")

    with refuses(DatasetError, "dataset", "data.npz"):
        load(str(path))


def test_an_encrypted_archive(archive: Callable[[bytes, str], Path], refuses: Refuses) -> None:
    """An archive with a password is refused by name."""
    path = archive(b"hello", ".npy")
    content = path.read_bytes()
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = content.split(start)
        offset = flags - len(start)
        marked = [part[:offset] + b"\x01" + part[offset + 1 :] for part in parts[1:]]
        content = start.join([parts[0], *marked])
    path.write_bytes(content)

    with refuses(DatasetError, "dataset", "data.npz"):
        load(str(path))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([[0, 1], [1, 2]]), [[0, 1], [1, 2]]),
        (np.array([[[0], [1]], [[1], [2]]]), [[0, 1], [1, 2]]),
        (np.eye(3)[[[0, 1], [1, 2]]], [[0, 1], [1, 2]]),
        (np.array([True, False]), [1, 0]),
        (np.array([3, 250], np.uint8), [3, 250]),
    ],
)
def test_labels_of_every_step(labels: NDArray[Any], expected: list[Any]) -> None:
    """Labels of steps are numbers, columns or one-hot rows too; any integer type serves."""
    numbers = class_numbers(labels)

    assert numbers.tolist() == expected
    assert numbers.dtype == np.int64


def test_rows_that_are_not_one_hot(refuses: Refuses) -> None:
    """Rows of 0 and 1 with two ones, as of several labels at once, stay numbers a step."""
    two_ones = np.array([[1, 1, 0], [0, 1, 0]])

    assert class_numbers(two_ones).tolist() == two_ones.tolist()
    with refuses(DatasetError, "dataset_labels", "y_train of here"):
        class_numbers(np.array([[0.2, 0.8], [0.5, 0.5]]), "y_train of here")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_labels_that_are_no_numbers(refuses: Refuses, value: float) -> None:
    """NaN, infinity and what no integer holds are refused without a warning."""
    with refuses(DatasetError, "dataset_labels", "class numbers"):
        class_numbers(np.array([0.0, value]))


def test_labels_of_no_class(refuses: Refuses) -> None:
    """Labels with an empty axis are refused."""
    with refuses(DatasetError, "dataset_labels"):
        class_numbers(np.zeros((3, 0)))


def test_a_function_may_return_a_dictionary(module: Callable[[str, str], None]) -> None:
    """The four arrays are taken by name, and lists serve as arrays."""
    module(
        "data_as_dictionary",
        "def get():\n"
        "    return dict(y_test=[1], x_test=[[5.0]], y_train=[0, 1], x_train=[[1.0], [2.0]])\n",
    )

    data = load("data_as_dictionary:get")

    assert data.x_train.tolist() == [[1.0], [2.0]]
    assert data.x_test.tolist() == [[5.0]]
    assert data.y_train.tolist() == [0, 1]
    assert data.name == data.source == "data_as_dictionary:get"


def test_a_function_may_return_several_inputs_and_weights(
    module: Callable[[str, str], None],
) -> None:
    """Dictionaries under a name, or names with a dot; weights only where there are any."""
    module(
        "data_several",
        "def get():\n"
        "    x = {'a': [[1.0], [2.0]], 'b': [3, 4]}\n"
        "    return {'x_train': x, 'x_test.a': [[5.0]], 'x_test.b': [6], 'y_train': [0, 1],\n"
        "            'y_test': [1], 'sample_weight_train': [1, 0], 'sample_weight_test': None}\n",
    )

    data = load("data_several:get")

    assert isinstance(data.x_train, dict)
    assert isinstance(data.x_test, dict)
    assert {k: v.tolist() for k, v in data.x_train.items()} == {"a": [[1], [2]], "b": [3, 4]}
    assert {k: v.tolist() for k, v in data.x_test.items()} == {"a": [[5]], "b": [6]}
    assert data.w_train is not None
    assert data.w_train.tolist() == [1, 0]
    assert data.w_test is None
    assert data.class_weight is None


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        ("data_bad:nothing", "dataset", ["NoneType", *ARRAYS]),
        ("data_bad:five", "dataset", ["tuple", "5 arrays", *ARRAYS]),
        ("data_bad:partly", "dataset_shape", ["data_bad:partly", "1 samples"]),
        ("data_bad:absent", "dataset", ["'absent'", "'data_bad'"]),
        ("data_bad:", "dataset", ["package.module:function"]),
        (":get", "dataset", ["Empty module name"]),
        ("no_such_module_here:get", "dataset", ["No module named 'no_such_module_here'"]),
        ("data_bad:get:more", "dataset", ["'get:more'"]),
    ],
)
def test_functions_that_do_not_serve(
    module: Callable[[str, str], None], refuses: Refuses, spec: str, code: str, words: list[str]
) -> None:
    """What cannot be imported, or returns something else, is refused in one line."""
    module(
        "data_bad",
        "def nothing(): pass\n"
        "def five(): return [[1]], [0], [[1]], [0], [0]\n"
        "def partly(): return {'x_train': [[1.0]]}\n",
    )

    with refuses(DatasetError, code, *words):
        load(spec)


@pytest.mark.parametrize(
    "spec", ["data_worse:NUMBER", "data_worse:ragged", ".data_worse:get", "data_broken:get"]
)
def test_functions_that_do_not_run(
    module: Callable[[str, str], None], refuses: Refuses, spec: str
) -> None:
    """What is no function, returns ragged lists, is named relatively or does not parse is refused."""
    module(
        "data_worse", "NUMBER = 3\ndef ragged(): return [[1.0], [1.0, 2.0]], [0, 1], [[1.0]], [0]\n"
    )
    module("data_broken", "def (")

    with refuses(DatasetError, "dataset", spec.split(":")[0].strip(".")):
        load(spec)


def test_names_longer_than_a_file_name(refuses: Refuses) -> None:
    """A name that no file system holds is an unknown name like any other."""
    with refuses(UnknownDatasetError, "unknown_dataset"):
        load("x" * 300)
