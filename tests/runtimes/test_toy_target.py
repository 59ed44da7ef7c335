"""A target of `export` is one class and one entry in TARGETS: here one from outside the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.errors import OutputError
from lrcompress.runtimes import TARGETS, Runtime, Target

pytestmark = pytest.mark.keras


class Weights(Runtime):
    """The weights of a file in the layers of the Keras model."""

    name, threads = "NumPy", None

    def __init__(self, path: Path, model: Any) -> None:
        """Read the weights."""
        import keras

        self._model = keras.models.clone_model(model)
        with np.load(path) as file:
            self._model.set_weights([file[name] for name in file.files])

    def compute(self, x: Any) -> list[Any]:
        """Return the output."""
        return [np.asarray(self._model(x))]

    def constants(self) -> Iterator[Any]:
        """Yield the weights."""
        yield from self._model.get_weights()


class Npz(Target):
    """The weights alone, as NumPy writes them."""

    name, title, suffix, runtime = "weights", "NumPy", ".npz", Weights

    def write(self, model: Any, path: Path, **bits: Any) -> None:
        """Write them."""
        with path.open("wb") as file:
            np.savez(file, *model.get_weights())


def test_a_target_from_outside(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is chosen by its suffix, written, run, and compared with Keras; errors name it."""
    monkeypatch.setitem(TARGETS, Npz.name, Npz())

    result = lrcompress.export(small_file, output=tmp_path / "small.npz").to_json()

    assert result["format"] == "weights"
    assert result["difference"]["largest_difference"] < 1e-6
    with np.load(tmp_path / "small.npz") as file:
        assert file["arr_0"].shape == (64, 24)
    with pytest.raises(OutputError, match=r"\.npz for NumPy"):
        lrcompress.export(small_file, output=tmp_path / "small.xyz")
