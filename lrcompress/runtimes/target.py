"""What a target of `export` is, and a model that runs there; nothing here starts Keras."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lrcompress.errors import TrainingError, one_line

# What becomes 8-bit integers: nothing, the weights, or all that the network computes.
Int8 = bool | Literal["full"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lrcompress.data.arrays import Arrays

    Array = NDArray[Any]


class Runtime(ABC):
    """An exported model, ready to run.

    Attributes:
        name: The runtime and its version.
        threads: How many it computes with; None where it takes as many as it sees fit.
    """

    name: str
    threads: int | None

    @abstractmethod
    def __init__(self, path: Path, model: Any) -> None:
        """Open a file or folder that was made of a Keras model."""

    def __call__(self, x: Arrays) -> list[Array]:
        """Return the outputs in the order of the Keras model, each (samples, ...).

        Args:
            x: As the Keras model takes it: an array, or a dictionary of them by input name.

        Raises:
            TrainingError: If the runtime fails.
        """
        try:
            return self.compute(x)
        except Exception as error:  # each runtime has its own
            raise does_not_run(error) from error

    @abstractmethod
    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs, or raise what the runtime raises."""

    @abstractmethod
    def constants(self) -> Iterator[Array]:
        """Yield the weights that the file holds, quantized ones as the numbers they stand for."""

    def integers(self) -> dict[str, Any]:
        """Return what a file of 8-bit integers takes and gives, and what it computes in float32."""
        raise NotImplementedError


class Target(ABC):
    """A format that models are exported to, and the runtime for it.

    Attributes:
        name: As the user says it.
        also: Other words for it.
        title: As its makers spell it.
        keras_name: As Keras says it.
        suffix: What its files end in; empty for a folder.
        packages: What writes and runs it beside TensorFlow.
        runtime: What opens it.
        has_int8: Whether weights can be 8-bit integers there, and all else, too.
        samples: How many a call takes; None leaves it free.
        lacks: A pattern of the data types that the runtime does not compute in.
        since: The first Keras that exports it, where not all do.
    """

    name: str
    also: tuple[str, ...] = ()
    title: str
    keras_name: str
    suffix: str = ""
    packages: tuple[str, ...] = ()
    runtime: type[Runtime]
    has_int8: bool = False
    samples: int | None = None
    lacks: str | None = None
    since: str = ""

    def write(
        self, model: Any, path: Path, *, int8: Int8 = False, calibration: Arrays | None = None
    ) -> None:
        """Export a Keras model to a file, or into an empty folder.

        Args:
            model: The Keras model.
            path: The file or folder.
            int8: What becomes 8-bit integers.
            calibration: Scaled inputs that show the range of each activation, where all of it does.

        Raises:
            TrainingError: If Keras or a converter cannot.
        """
        from lrcompress.runtimes.writing import check_engine, write

        check_engine()
        write(model, path, self, **self.options(int8=int8))

    def options(self, *, int8: Int8) -> dict[str, Any]:
        """Return what Keras' exporter is told beside."""
        return {}

    def open(self, path: Path, model: Any, few: Arrays) -> Runtime:
        """Open an exported model, and see on a few samples that it runs.

        Raises:
            TrainingError: If its runtime refuses it.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                runtime = self.runtime(path, model)
            except Exception as error:  # each runtime has its own
                raise does_not_run(error) from error
            runtime(few)
            return runtime

    def beside(self, folder: Path) -> str | None:
        """Return what a folder holds that is no part of such an output; None if that is all it holds."""
        raise NotImplementedError

    @property
    def says(self) -> str:
        """What its outputs are called by their names' ends."""
        return f"{self.suffix} for {self.title}"


def does_not_run(error: Exception) -> TrainingError:
    """Return the error for an exported model that its runtime refuses."""
    msg = (
        f"The exported model does not run ({type(error).__name__}: {one_line(error, 200)}); "
        "try another --format."
    )
    return TrainingError(msg, code="export_does_not_run")


class Inputs:
    """Hands inputs over under the names, and in the types, that an exported model knows."""

    def __init__(self, model: Any, dtypes: Mapping[str, Any]) -> None:
        # Inputs are named after their tensors, where the model takes a dictionary, too.
        ours = [exported_name(tensor.name) for tensor in model.inputs]
        theirs = {exported_name(name): name for name in dtypes}
        # Where exporters have made up names, their order is the model's.
        same = set(theirs) == set(ours)
        names = [theirs[name] for name in ours] if same else list(dtypes)
        self._dtypes = {name: dtypes[name] for name in names}

    def __call__(self, x: Arrays) -> dict[str, Array]:
        """Return the arrays by name."""
        import numpy as np

        arrays = list(x.values()) if isinstance(x, dict) else [x]
        return {
            name: np.ascontiguousarray(array, dtype)
            for (name, dtype), array in zip(self._dtypes.items(), arrays, strict=True)
        }


def exported_name(name: str) -> str:
    """Return what an input is called in exported models: TensorFlow fails on a blank in a name."""
    return re.sub(r"\W", "_", name)


def ordered(found: Iterable[str], model: Any) -> list[str]:
    """Return the names of outputs in the model's order: its own names, or numbered ones."""
    from lrcompress.live.outputs import output_names

    names, ours = list(found), output_names(model)
    if set(names) == set(ours):
        return list(ours)
    return sorted(names, key=lambda name: int((re.findall(r"\d+$", name) or ["0"])[0]))
