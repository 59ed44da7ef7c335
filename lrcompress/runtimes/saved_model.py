"""SavedModel, for TensorFlow and what serves it: a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.runtimes.target import Inputs, Runtime, Target, ordered

if TYPE_CHECKING:
    from lrcompress.data.arrays import Arrays
    from lrcompress.runtimes.target import Array

# The files of a SavedModel beside its folders.
_FILES = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb")


class SavedModelRuntime(Runtime):
    """TensorFlow itself."""

    def __init__(self, path: Path, model: Any) -> None:
        import tensorflow as tf

        self.name, self.threads = f"tensorflow {tf.__version__}", None
        # What is loaded must be kept: the signature holds its weights only weakly.
        self._loaded = tf.saved_model.load(str(path))
        self._run = self._loaded.signatures["serving_default"]
        specs = self._run.structured_input_signature[1]
        self._inputs = Inputs(model, {name: s.dtype.as_numpy_dtype for name, s in specs.items()})
        self._outputs = ordered(self._run.structured_outputs, model)
        self._tensor = tf.constant

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs."""
        given = {name: self._tensor(array) for name, array in self._inputs(x).items()}
        found = self._run(**given)
        return [found[name].numpy() for name in self._outputs]

    def constants(self) -> Iterator[Array]:
        """Yield the variables."""
        for variable in self._loaded.variables:
            yield variable.numpy()


class SavedModel(Target):
    """A folder for TensorFlow."""

    name, title, keras_name = "saved-model", "SavedModel", "tf_saved_model"
    also = ("savedmodel", "tf")
    runtime = SavedModelRuntime

    @property
    def says(self) -> str:
        """What its outputs are called by their names' ends."""
        return "a folder without a suffix for a SavedModel"

    def beside(self, folder: Path) -> str | None:
        """Return what a folder holds that is no part of a SavedModel; None if that is all it holds.

        An asset, a file of any name, must be spoken of in the graph.
        """
        graphs = [folder / name for name in ("saved_model.pb", "saved_model.pbtxt")]
        graph = next((path for path in graphs if path.is_file()), None)
        if graph is None:
            return f"no {graphs[0].name}"
        for path in sorted(folder.rglob("*")):
            first, *rest = path.relative_to(folder).parts
            if first in ("assets", "assets.extra"):
                known = path.is_dir() or path.name.encode() in graph.read_bytes()
            elif first == "variables":
                known = not rest or (path.is_file() and rest[0].startswith("variables."))
            else:
                known = path.is_file() and first in _FILES
            if not known or path.is_symlink() or not (path.is_file() or path.is_dir()):
                return f"{path.relative_to(folder)}, which is not part of a SavedModel"
        return None
