"""A target of `export` is one class and one entry in TARGETS: here one from outside the package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from lrcompress.runtimes import TARGETS, Runtime, Target


class Again(Runtime):
    """The saved model in Keras itself."""

    def __init__(self, path: Path, model: Any) -> None:
        self.name, self.threads = "Keras again", None
        self._model = type(model).from_config(model.get_config())
        with np.load(path) as weights:
            self._model.set_weights([weights[name] for name in weights])

    def compute(self, x: Any) -> list[np.ndarray[Any, Any]]:
        """Return the outputs."""
        return [np.asarray(self._model.predict_on_batch(x))]

    def constants(self) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the weights."""
        yield from self._model.get_weights()


class Weights(Target):
    """A file of all weights in their order."""

    name, title, suffix, runtime = "weights", "NumPy", ".npz", Again

    def write(self, model: Any, path: Path, *, int8: bool = False) -> None:
        """Write the weights."""
        np.savez(path, *model.get_weights())


@pytest.mark.keras
def test_a_target_from_outside_is_exported_to(
    trained_file: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name and by its suffix; its outputs are compared, and the text names it."""
    monkeypatch.setitem(TARGETS, "weights", Weights())

    named = run("export", trained_file, "--format", "weights")
    ended = run("export", trained_file, "-o", "again.npz")

    assert named.exit_code == ended.exit_code == 0, named.stderr + ended.stderr
    assert "Keras again" in named.stdout
    assert Path("again.npz").is_file()
