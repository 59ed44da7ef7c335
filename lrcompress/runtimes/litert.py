"""LiteRT, for phones: `.tflite` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.runtimes.target import Inputs, Int8, Runtime, Target, ordered

if TYPE_CHECKING:
    from lrcompress.data.arrays import Arrays
    from lrcompress.runtimes.target import Array


class LiteRTRuntime(Runtime):
    """LiteRT's interpreter, one sample a call."""

    def __init__(self, path: Path, model: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from lrcompress.live.engine import core_count

        self.name, self.threads = f"ai-edge-litert {version('ai-edge-litert')}", core_count()
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
        self._given, self._found = self._run.get_input_details(), self._run.get_output_details()
        # Numbers of 8 bits are made of float32.
        dtypes = {
            name: "float32" if _is_scaled(about) else about["dtype"]
            for name, about in self._given.items()
        }
        self._inputs = Inputs(model, dtypes)
        self._outputs = ordered(self._found, model)

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs, one sample after the other."""
        import numpy as np

        given = {name: _stored(array, self._given[name]) for name, array in self._inputs(x).items()}
        rows = []
        for i in range(len(next(iter(given.values())))):
            found = self._run(**{name: array[i : i + 1] for name, array in given.items()})
            rows.append([found[name] for name in self._outputs])
        columns = zip(self._outputs, zip(*rows, strict=True), strict=True)
        return [
            _numbers(np.concatenate(column), self._found[name]["quantization_parameters"])
            for name, column in columns
        ]

    def integers(self) -> dict[str, Any]:
        """Return in which numbers inputs and outputs are, and which operations compute in float32."""
        import numpy as np

        graph = self._interpreter
        floats = {a["index"] for a in graph.get_tensor_details() if a["dtype"] is np.float32}
        found = {
            operation["op_name"]
            for operation in graph._get_ops_details()
            if operation["op_name"] not in _BETWEEN
            and floats.intersection(operation["inputs"], operation["outputs"])
        }
        return {
            "inputs": [_told(name, about) for name, about in self._given.items()],
            "outputs": [_told(name, self._found[name]) for name in self._outputs],
            "float_operations": sorted(found),
        }

    def constants(self) -> Iterator[Array]:
        """Yield the weights of the model and of the bodies of its loops."""
        for graph in range(self._interpreter.num_subgraphs()):
            for about in self._interpreter.get_tensor_details(graph):
                try:
                    array = self._interpreter.get_tensor(about["index"], graph)
                except ValueError:  # what is computed has no value yet, or none any more
                    continue
                yield _numbers(array, about["quantization_parameters"])


# What turns float32 into integers and back, or runs some operations together.
_BETWEEN = ("QUANTIZE", "DEQUANTIZE", "DELEGATE")


def _is_scaled(about: Mapping[str, Any]) -> bool:
    """Return whether a tensor holds integers that stand for other numbers."""
    return len(about["quantization_parameters"]["scales"]) > 0


def _stored(array: Array, about: Mapping[str, Any]) -> Array:
    """Return the integers that stand for numbers where a tensor takes such; others as they are."""
    import numpy as np

    if not _is_scaled(about):
        return array
    scale, zero = about["quantization"]
    limits = np.iinfo(about["dtype"])
    found = np.round(array / scale) + zero
    return np.asarray(found.clip(limits.min, limits.max), about["dtype"])


def _told(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    scale, zero = about["quantization"] if _is_scaled(about) else (None, None)
    kind = about["dtype"].__name__
    return {"name": name, "dtype": kind, "scale": scale, "zero_point": zero}


def _numbers(array: Array, about: Mapping[str, Any]) -> Array:
    """Return what quantized weights stand for; others as they are."""
    import numpy as np

    scales = about["scales"]
    if array.dtype.kind not in "iu" or len(scales) == 0:
        return array
    shape = [1] * array.ndim
    if len(scales) > 1:
        shape[about["quantized_dimension"]] = len(scales)
    zeros = np.asarray(about["zero_points"], np.float32).reshape(shape)
    return np.asarray((array.astype(np.float32) - zeros) * scales.reshape(shape))


class LiteRT(Target):
    """A file takes one sample a call, which is what phones do.

    With a free number of samples recurrent layers would need TensorFlow's own operations there.
    """

    name, also, title, keras_name = "litert", ("tflite",), "LiteRT", "litert"
    suffix = ".tflite"
    packages = ("ai_edge_litert",)
    runtime = LiteRTRuntime
    has_int8 = True
    samples = 1
    lacks = "float16|bfloat16|float64"
    since = "3.13"

    def write(
        self, model: Any, path: Path, *, int8: Int8 = False, calibration: Arrays | None = None
    ) -> None:
        """Export a Keras model to a file, in 8-bit integers throughout where calibration inputs are given."""
        if int8 != "full" or calibration is None:
            super().write(model, path, int8=int8)
            return
        from lrcompress.runtimes.integers import write_integers

        write_integers(model, path, self, calibration)

    def options(self, *, int8: Int8) -> dict[str, Any]:
        """Return how weights become 8-bit integers (dynamic range); small ones stay as they are."""
        if not int8:
            return {}
        import tensorflow as tf

        return {"optimizations": [tf.lite.Optimize.DEFAULT]}
