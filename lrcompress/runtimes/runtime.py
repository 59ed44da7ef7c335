"""Exported models in the runtimes that they are meant for."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.errors import TrainingError, one_line
from lrcompress.live.engine import cores
from lrcompress.live.outputs import output_names
from lrcompress.runtimes.target import Format
from lrcompress.runtimes.writing import exported_name

Array = NDArray[Any]


class Runtime(ABC):
    """An exported model, ready to run.

    Attributes:
        name: The runtime and its version.
        threads: How many it computes with; None where it takes as many as it sees fit.
    """

    name: str
    threads: int | None

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
            raise _does_not_run(error) from error

    @abstractmethod
    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs, or raise what the runtime raises."""

    @abstractmethod
    def constants(self) -> Iterator[Array]:
        """Yield the weights that the file holds, quantized ones as the numbers they stand for."""


def open_runtime(path: Path, form: Format, model: Any, x: Arrays) -> Runtime:
    """Open an exported model and see that it runs.

    Args:
        path: The file or folder.
        form: Its format.
        model: The Keras model that it was made of.
        x: A few samples to run it on.

    Raises:
        TrainingError: If its runtime refuses it.
    """
    kinds: dict[str, Callable[[Path, Any], Runtime]]
    kinds = {"litert": LiteRT, "onnx": Onnx, "saved-model": SavedModel}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            runtime = kinds[form.name](path, model)
        except Exception as error:  # each runtime has its own
            raise _does_not_run(error) from error
        runtime(x)
        return runtime


def _does_not_run(error: Exception) -> TrainingError:
    reason = one_line(error, 200)
    msg = (
        f"The exported model does not run ({type(error).__name__}: {reason}); try another --format."
    )
    return TrainingError(msg, code="export_does_not_run")


class LiteRT(Runtime):
    """A `.tflite` file in LiteRT's interpreter, one sample a call."""

    def __init__(self, path: Path, model: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.name, self.threads = f"ai-edge-litert {version('ai-edge-litert')}", cores()
        try:
            self._interpreter = Interpreter(str(path), num_threads=self.threads)
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            if "Select TensorFlow op" not in str(error):
                raise
            # TensorFlow's interpreter has its operations in it.
            import tensorflow as tf

            self.name = f"tensorflow {tf.__version__}, LiteRT with Select TensorFlow ops"
            self._interpreter = tf.lite.Interpreter(str(path), num_threads=self.threads)
            self._interpreter.allocate_tensors()
        self._run = self._interpreter.get_signature_runner()
        self._inputs = _Inputs(model, self._run.get_input_details())
        self._dtypes = {n: d["dtype"] for n, d in self._run.get_input_details().items()}
        self._outputs = _ordered(self._run.get_output_details(), model)

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs, one sample after the other."""
        given = self._inputs(x, self._dtypes)
        samples = len(next(iter(given.values())))
        rows = []
        for i in range(samples):
            found = self._run(**{name: array[i : i + 1] for name, array in given.items()})
            rows.append([found[name] for name in self._outputs])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def constants(self) -> Iterator[Array]:
        """Yield the weights of the model and of the bodies of its loops."""
        for graph in range(self._interpreter.num_subgraphs()):
            for about in self._interpreter.get_tensor_details(graph):
                try:
                    array = self._interpreter.get_tensor(about["index"], graph)
                except ValueError:  # what is computed has no value yet, or none any more
                    continue
                yield _numbers(array, about["quantization_parameters"])


class Onnx(Runtime):
    """An `.onnx` file in ONNX Runtime."""

    def __init__(self, path: Path, model: Any) -> None:
        import onnxruntime

        self.name, self.threads, self._path = (
            f"onnxruntime {onnxruntime.__version__}",
            cores(),
            path,
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4  # errors are raised
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        found = {tensor.name: tensor.type for tensor in self._session.get_inputs()}
        self._inputs = _Inputs(model, found)
        self._dtypes = {name: _ONNX_TYPES[kind] for name, kind in found.items()}
        names = [tensor.name for tensor in self._session.get_outputs()]
        self._outputs = names if set(names) != set(output_names(model)) else output_names(model)

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs."""
        return list(self._session.run(self._outputs, self._inputs(x, self._dtypes)))

    def constants(self) -> Iterator[Array]:
        """Yield the weights of the model and of the bodies of its loops."""
        import onnx

        yield from _onnx_constants(onnx.load(str(self._path)).graph)


class SavedModel(Runtime):
    """A SavedModel folder in TensorFlow."""

    def __init__(self, path: Path, model: Any) -> None:
        import tensorflow as tf

        self.name, self.threads = f"tensorflow {tf.__version__}", None
        # What is loaded must be kept: the signature holds its weights only weakly.
        self._loaded = tf.saved_model.load(str(path))
        self._run = self._loaded.signatures["serving_default"]
        specs = self._run.structured_input_signature[1]
        self._inputs = _Inputs(model, specs)
        self._dtypes = {name: spec.dtype.as_numpy_dtype for name, spec in specs.items()}
        self._outputs = _ordered(self._run.structured_outputs, model)
        self._tensor = tf.constant

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs."""
        given = self._inputs(x, self._dtypes)
        found = self._run(**{name: self._tensor(array) for name, array in given.items()})
        return [found[name].numpy() for name in self._outputs]

    def constants(self) -> Iterator[Array]:
        """Yield the variables."""
        for variable in self._loaded.variables:
            yield variable.numpy()


class _Inputs:
    """Hands inputs over under the names that an exported model knows them by."""

    def __init__(self, model: Any, found: Iterable[str]) -> None:
        names = list(found)
        # Inputs are named after their tensors, where the model takes a dictionary, too.
        ours = [exported_name(tensor.name) for tensor in model.inputs]
        theirs = {exported_name(name): name for name in names}
        # Where exporters have made up names, their order is the model's.
        same = set(theirs) == set(ours)
        self._names = [theirs[name] for name in ours] if same else names

    def __call__(self, x: Arrays, dtypes: Mapping[str, Any]) -> dict[str, Array]:
        arrays = list(x.values()) if isinstance(x, dict) else [x]
        return {
            name: np.ascontiguousarray(array, dtypes[name])
            for name, array in zip(self._names, arrays, strict=True)
        }


_ONNX_TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip


def _ordered(found: Iterable[str], model: Any) -> Sequence[str]:
    """Return the names of outputs in the model's order: its own names, or numbered ones."""
    names = list(found)
    if set(names) == set(output_names(model)):
        return output_names(model)
    return sorted(names, key=lambda name: int((re.findall(r"\d+$", name) or ["0"])[0]))


def _numbers(array: Array, about: Mapping[str, Any]) -> Array:
    """Return what quantized weights stand for; others as they are."""
    scales = about["scales"]
    if array.dtype.kind not in "iu" or len(scales) == 0:
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[about["quantized_dimension"]] = len(scales)
    zeros = np.asarray(about["zero_points"], np.float32).reshape(shape)
    return np.asarray((array.astype(np.float32) - zeros) * scales.reshape(shape))


def _onnx_constants(graph: Any) -> Iterator[Array]:
    """Yield the constants of a graph and of the bodies of its loops."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        yield numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield numpy_helper.to_array(attribute.t)
            if attribute.HasField("g"):
                yield from _onnx_constants(attribute.g)
