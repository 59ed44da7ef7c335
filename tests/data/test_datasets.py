"""Where data sets come from, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.data.class_numbers import class_numbers
from lrcompress.data.named import NAMED, locate
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def arrays() -> Arrays:
    """Return a small data set of three classes."""
    x = np.arange(12 * 4, dtype=np.uint8).reshape(12, 2, 2)
    y = np.arange(12) % 3
    return {"x_train": x, "y_train": y, "x_test": x[:6], "y_test": y[:6]}


@pytest.fixture
def save(tmp_path: Path, arrays: Arrays) -> Callable[..., Path]:
    """Return a function that saves the small data set with some arrays replaced."""

    def write(name: str = "data.npz", **changes: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = {key: value for key, value in (arrays | changes).items() if value is not None}
        np.savez(path, **changed)
        return path

    return write


def one_line(error: pytest.ExceptionInfo[DatasetError], *words: str) -> None:
    """Check that a message is one line that names the words."""
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_digits_are_bundled() -> None:
    """The bundled data set has all 1,797 images, pixels of 0 to 16, and all ten classes."""
    data = load("digits")

    assert data.x_train.shape == (1437, 8, 8)
    assert data.x_test.shape == (360, 8, 8)
    assert data.classes == 10
    assert set(np.unique(data.y_test)) == set(range(10))
    assert int(data.x_train.max()) == 16
    path = locate("digits")
    assert path is not None
    assert path.stat().st_size < 100_000
    assert "CC BY 4.0" in path.with_name("digits.LICENSE.txt").read_text(encoding="utf-8")


def test_search_order(
    tmp_path: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is sought in --data-dir, then $LRCOMPRESS_DATA, then Keras' cache."""
    monkeypatch.setenv("LRCOMPRESS_DATA", str(tmp_path / "environment"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))

    cache = save("home/datasets/mnist.npz")
    assert locate("mnist", tmp_path / "given") == cache
    environment = save("environment/mnist.npz")
    assert locate("mnist", tmp_path / "given") == environment
    given = save("given/mnist.npz")
    assert locate("mnist", tmp_path / "given") == given
    assert load("mnist", tmp_path / "given").source == str(given)


@pytest.mark.keras
def test_without_network_the_folders_searched_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is found and nothing can be downloaded, the message says what would serve."""
    import keras

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LRCOMPRESS_DATA", raising=False)

    def no_network() -> None:
        raise OSError

    monkeypatch.setattr(keras.datasets.mnist, "load_data", no_network)

    with pytest.raises(DatasetError) as error:
        load("mnist", tmp_path / "given")

    one_line(error, str(tmp_path / "given"), str(tmp_path / "home"), "mnist.npz", "--data-dir")
    assert error.value.code == "dataset_not_found"


@pytest.mark.parametrize("shape", ["(n,)", "(n, 1)", "one-hot"])
def test_labels_become_class_numbers(save: Callable[..., Path], arrays: Arrays, shape: str) -> None:
    """Class numbers, a column of them and one-hot rows are the same labels."""
    y = arrays["y_train"]
    forms = {"(n,)": y.astype(float), "(n, 1)": y[:, None], "one-hot": np.eye(3)[y]}

    data = load(str(save(y_train=forms[shape])))

    np.testing.assert_array_equal(data.y_train, y)
    assert data.y_train.dtype == np.int64


@pytest.mark.parametrize(
    "labels",
    [np.array([0.5, 1.0]), np.array([-1, 1]), np.array(["a", "b"]), np.eye(3)[[0, 1]] * 0.5],
)
def test_other_labels_are_refused(labels: NDArray[Any]) -> None:
    """Fractions, negative numbers, words and soft rows are no class numbers."""
    with pytest.raises(DatasetError) as error:
        class_numbers(labels)

    one_line(error, "class numbers")
    assert error.value.code == "dataset_labels"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"y_test": None}, "y_test"),
        ({"y_train": np.zeros(5, int)}, "(5,)"),
        ({"x_train": np.zeros((0, 2, 2))}, "(0, 2, 2)"),
        ({"x_train": np.zeros(12)}, "(12,)"),
        ({"x_test": np.zeros((6, 3, 3))}, "(3, 3)"),
        ({"x_train": np.full((12, 2, 2), "a")}, "<U1"),
    ],
)
def test_arrays_that_do_not_belong_together(
    save: Callable[..., Path], changes: dict[str, Any], word: str
) -> None:
    """Missing, empty or misshapen arrays are refused with what was found."""
    with pytest.raises(DatasetError) as error:
        load(str(save(**changes)))

    one_line(error, "data.npz", word)


@pytest.mark.parametrize("content", [b"", b"these are my notes", b"PK\x03\x04 broken", None])
def test_files_that_are_no_npz(save: Callable[..., Path], content: bytes | None) -> None:
    """A file that NumPy cannot read, or that ends early, is refused by name."""
    path = save()
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)

    with pytest.raises(DatasetError) as error:
        load(str(path))

    one_line(error, "data.npz")


def test_pickles_are_refused(save: Callable[..., Path]) -> None:
    """An array of objects, which NumPy would unpickle, is never loaded."""
    path = save(y_train=np.array([{"a": 1}] * 12, dtype=object))

    with pytest.raises(DatasetError) as error:
        load(str(path))

    one_line(error, "data.npz", "pickled")


def test_missing_npz(tmp_path: Path) -> None:
    """A missing file is named with the arrays it should hold."""
    with pytest.raises(DatasetError) as error:
        load(str(tmp_path / "nowhere.npz"))

    one_line(error, "nowhere.npz", "x_train")


def test_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:function` in the current directory returns the arrays."""
    (tmp_path / "my_data_for_a_test.py").write_text(
        "import numpy as np\n"
        "def four():\n    x, y = np.zeros((4, 2)), [0, 1, 0, 1]\n    return x, y, x, y\n"
        "def pairs():\n    x, y = np.zeros((4, 2)), [0, 1, 0, 1]\n    return (x, y), (x[:2], y[:2])\n"
        "def three():\n    return 1, 2, 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    assert load("my_data_for_a_test:four").classes == 2
    assert load("my_data_for_a_test:pairs").x_test.shape == (2, 2)
    with pytest.raises(DatasetError) as wrong:
        load("my_data_for_a_test:three")
    with pytest.raises(DatasetError) as missing:
        load("my_data_for_a_test:five")

    one_line(wrong, "three", "x_train")
    one_line(missing, "five")


def test_names_are_what_keras_can_download() -> None:
    """Every name but the bundled one is a data set of Keras."""
    assert set(NAMED) == {"digits", "mnist", "fashion_mnist", "cifar10", "cifar100"}
