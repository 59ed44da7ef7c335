"""LiteRT, for phones: `.tflite` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.runtimes.target import Inputs, Runtime, Target, ordered

if TYPE_CHECKING:
    from lrcompress.data.arrays import Arrays
    from lrcompress.runtimes.target import Array


class LiteRTRuntime(Runtime):
    """LiteRT's interpreter, one sample a call."""

    def __init__(self, path: Path, model: Any) -> None:
        from ai_edge_litert.interpreter import Interpreter

        from lrcompress.live.engine import cores

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
        details = self._run.get_input_details().items()
        self._inputs = Inputs(model, {name: about["dtype"] for name, about in details})
        self._outputs = ordered(self._run.get_output_details(), model)

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs, one sample after the other."""
        import numpy as np

        given = self._inputs(x)
        rows = []
        for i in range(len(next(iter(given.values())))):
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

    def options(self, *, int8: bool) -> dict[str, Any]:
        """Return how weights become 8-bit integers (dynamic range); small ones stay as they are."""
        if not int8:
            return {}
        import tensorflow as tf

        return {"optimizations": [tf.lite.Optimize.DEFAULT]}
