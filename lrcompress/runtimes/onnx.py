"""ONNX, for ONNX Runtime: `.onnx` files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.runtimes.target import Inputs, Runtime, Target

if TYPE_CHECKING:
    from lrcompress.data.arrays import Arrays
    from lrcompress.runtimes.target import Array

_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(int8)": "int8",
    "tensor(uint8)": "uint8", "tensor(bool)": "bool",
}  # fmt: skip


class OnnxRuntime(Runtime):
    """ONNX Runtime on the processor."""

    def __init__(self, path: Path, model: Any) -> None:
        import onnxruntime

        from lrcompress.live.engine import core_count
        from lrcompress.live.outputs import output_names

        self.name, self.threads = f"onnxruntime {onnxruntime.__version__}", core_count()
        self._path = path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4  # errors are raised
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        given = self._session.get_inputs()
        self._inputs = Inputs(model, {tensor.name: _TYPES[tensor.type] for tensor in given})
        names, ours = [tensor.name for tensor in self._session.get_outputs()], output_names(model)
        self._outputs = ours if set(names) == set(ours) else names

    def compute(self, x: Arrays) -> list[Array]:
        """Return the outputs."""
        return list(self._session.run(self._outputs, self._inputs(x)))

    def constants(self) -> Iterator[Array]:
        """Yield the weights of the model and of the bodies of its loops."""
        import onnx

        yield from _constants(onnx.load(str(self._path)).graph)


def _constants(graph: Any) -> Iterator[Array]:
    """Yield the constants of a graph and of the bodies of its loops."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        yield numpy_helper.to_array(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield numpy_helper.to_array(attribute.t)
            if attribute.HasField("g"):
                yield from _constants(attribute.g)


class Onnx(Target):
    """A file for ONNX Runtime."""

    name, title, keras_name = "onnx", "ONNX", "onnx"
    suffix = ".onnx"
    packages = ("tf2onnx", "onnx", "onnxruntime")
    runtime = OnnxRuntime
    lacks = "bfloat16"
