"""What other tools make of the networks of whole_network.py, by their own code and the same test data, nothing trained.

    python -m pip install keras==3.15.1 torch einops && python -m pip install --no-deps fasterai==0.4.1
    python benchmarks/other_tools.py

- keras: `model.quantize("int8")`, and the size of the file that Keras then saves.
- fasterai: `Conv_Decomposer` by each of its methods and `FC_Decomposer`, at one `percent_removed` for all layers, the
  smallest that saves what the goal asks. The layers are made in PyTorch with the weights of the Keras model; the
  kernels that its layers compute are put back and scored by the same Keras model.
- tfmot: the network and the sizes of TensorFlow Model Optimization's own acceptance test of its SVD (rank 16 in every
  layer; a SavedModel below a third, a LiteRT file below a sixth, which its source notes as failing), by lrcompress.

About ten minutes of two cores. Results go to benchmarks/results/other-tools.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from whole_network import GOALS, Task

import lrcompress
from lrcompress.live import storing
from lrcompress.live.predict import predict_all

RESULTS = Path(__file__).parent / "results" / "other-tools.json"
QUANTIZED = ("mnist-93", "resnet8-30", "resnet-50", "lstm-93", "transformer-75", "ad01-50")
FACTORIZED = ("mnist-93", "resnet8-30", "resnet8-50")
METHODS = ("svd", "tucker", "spatial", "cp")


def scored(task: Task, model: Any) -> float:  # noqa: ANN401  # a Keras model
    """Return the score of a model on the test data."""
    (outputs,) = predict_all(model, task.test).values()
    return task.score(outputs)


def saved_bytes(model: Any) -> int:  # noqa: ANN401
    """Return the size of the file that Keras writes, without optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.stat().st_size


def quantized(goal: str) -> dict[str, Any]:
    """Quantize a network by Keras."""
    task = GOALS[goal][0]()
    # Without the optimizer, which Keras would save along.
    model = keras.saving.load_model(task.model, compile=False)
    row: dict[str, Any] = {"network": goal.rpartition("-")[0], "before": scored(task, model)}
    row["bytes_before"] = saved_bytes(model)
    model.quantize("int8")
    row["bytes_after"] = saved_bytes(model)
    row["ratio"] = row["bytes_before"] / row["bytes_after"]
    row["after"] = scored(task, model)
    layers = model._flatten_layers()
    row["quantized"] = sorted(
        {type(x).__name__ for x in layers if getattr(x, "quantization_mode", None)}
    )
    return row | {"lost": row["after"] - row["before"], "unit": task.unit}


def factorized(goal: str, method: str) -> dict[str, Any]:
    """Factorize a network by fasterai, every layer at one share."""
    make, _, value, *_ = GOALS[goal]
    task = make()
    model = storing.load_model(task.model)
    before, whole = scored(task, model), model.count_params()
    layers = [
        x for x in model._flatten_layers() if type(x) in (keras.layers.Conv2D, keras.layers.Dense)
    ]
    scales = _scales(task, model, layers)

    others = whole - sum(layer.count_params() for layer in layers)
    started, least, most = time.perf_counter(), 0.0, 0.999
    row: dict[str, Any] = {"goal": goal, "method": method, "value": value}
    try:
        while most - least > 1e-3:
            middle = (least + most) / 2
            count = sum(parameters(_replaced(layer, method, middle, None)) for layer in layers)
            met = 1 - (others + count) / whole >= value
            least, most = (least, middle) if met else (middle, most)
        found = [_replaced(layer, method, most, scales.get(layer.name)) for layer in layers]
    except RuntimeError as error:
        return row | {"lost": "fails", "percent_removed": middle, "error": str(error)}
    row["percent_removed"] = most
    count, kernels = sum(map(parameters, found)), map(_kernel, layers, found)
    row["saved"] = 1 - (others + count) / whole
    if row["saved"] < value:
        return row | {"lost": "cannot"}
    for layer, kernel in zip(layers, kernels, strict=True):
        layer.kernel.assign(kernel)
    after = scored(task, model)
    return row | {
        "before": before, "after": after, "lost": after - before, "unit": task.unit,
        "seconds": time.perf_counter() - started,
    }  # fmt: skip


def _scales(task: Task, model: Any, layers: list[Any]) -> dict[str, np.ndarray]:  # noqa: ANN401
    """Return the root mean square of the inputs of each Dense layer, by which fasterai's SVD weighs."""
    dense = [layer for layer in layers if type(layer) is keras.layers.Dense]
    inputs = keras.Model(model.inputs, [layer.input for layer in dense])
    found = keras.ops.convert_to_numpy
    outputs = inputs(task.train[: task.inputs])
    listed = outputs if isinstance(outputs, list) else [outputs]
    return {
        layer.name: np.sqrt((found(x) ** 2).reshape(-1, x.shape[-1]).mean(0))
        for layer, x in zip(dense, listed, strict=True)
    }


def _replaced(layer: Any, method: str, share: float, scale: Any) -> Any:  # noqa: ANN401
    """Return fasterai's layers for one of Keras; of a Dense without a scale their shapes alone, which takes no time."""
    import torch
    from fasterai.misc.conv_decomposer import Conv_Decomposer
    from fasterai.misc.fc_decomposer import FC_Decomposer

    kernel = torch.tensor(np.asarray(layer.kernel))
    if kernel.ndim == 2:
        m, n = kernel.shape
        if scale is None:
            rank = max(1, int((1.0 - share) * min(m, n)))
            first = torch.nn.Linear(m, rank, bias=False)
            return torch.nn.Sequential(first, torch.nn.Linear(rank, n, bias=layer.use_bias))
        module = torch.nn.Linear(m, n, bias=layer.use_bias)
        module.weight.data = kernel.T.clone()
        return FC_Decomposer().SVD(module, share, None, torch.tensor(scale))
    height, width, channels, filters = kernel.shape
    convolution = torch.nn.Conv2d(channels, filters, (height, width), bias=layer.use_bias)
    convolution.weight.data = kernel.permute(3, 2, 0, 1).clone()
    return Conv_Decomposer().decompose(torch.nn.Sequential(convolution), share, method)


def parameters(module: Any) -> int:  # noqa: ANN401
    """Return how many parameters layers of PyTorch have."""
    return sum(p.numel() for p in module.parameters())


def _kernel(layer: Any, module: Any) -> np.ndarray:  # noqa: ANN401
    """Return the kernel that layers of PyTorch compute, as the layer of Keras holds it."""
    import torch

    shape = layer.kernel.shape
    if len(shape) == 2:
        one = torch.eye(shape[0])
    else:
        height, width, channels, filters = shape
        one = torch.eye(channels * height * width).reshape(-1, channels, height, width)
    with torch.no_grad():
        answers = (module(one) - module(torch.zeros_like(one[:1]))).reshape(len(one), -1)
    if len(shape) == 4:
        answers = answers.reshape(channels, height, width, filters).permute(1, 2, 0, 3)
    return answers.numpy()


def accepted() -> dict[str, Any]:
    """Hold lrcompress to the sizes of TFMOT's acceptance test, on its network."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        layers.Input((28, 28)), layers.Reshape((28, 28, 1)), layers.Conv2D(20, 5, activation="relu", name="conv1"),
        layers.MaxPool2D(2, 2), layers.Conv2D(50, 5, activation="relu", name="conv2"), layers.MaxPool2D(2, 2),
        layers.Flatten(), layers.Dense(500, activation="relu", name="fc1"), layers.Dense(10, name="fc2"),
    ])  # fmt: skip
    # Rank 16 in conv1, conv2 and fc1 leaves so many of its weights; fc2 has no rank that saves any.
    kept = 16 * (25 + 20) + 20 + 16 * (500 + 50) + 50 + 16 * (800 + 500) + 500 + 5010
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lenet.keras"
        model.save(path)
        small = Path(folder) / "small.keras"
        share = 1 - kept / model.count_params()
        found = lrcompress.factorize(
            path, layers="all", reduction=share, output=small, synthetic=False
        )
        row: dict[str, Any] = {
            "parameters_before": found.parameters_before,
            "parameters_after": found.parameters_after,
        }
        for format_, suffix in (("saved-model", ""), ("litert", ".tflite")):
            out = Path(folder) / f"{format_}{suffix}"
            done = lrcompress.export(small, format=format_, against=path, output=out).to_json()
            sizes = {"before": done["original"]["bytes_after"], "after": done["bytes_after"]}
            row[format_] = sizes | {"ratio": sizes["before"] / sizes["after"]}
    return row | {"asked": {"saved-model": 3, "litert": 6}}


def main() -> None:
    """Run what is asked for, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=["keras", "fasterai", "tfmot"])
    parser.add_argument(
        "--goal", action="append", choices=[*GOALS], help="default: all that are below"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    goals = arguments.goal or [*GOALS]
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    known["command"] = ["python", "benchmarks/other_tools.py"]
    versions = known.setdefault("versions", {})

    def keep(tool: str, name: str, made: Callable[[], dict[str, Any]]) -> None:
        known.setdefault(tool, {})[name] = row = made()
        print(tool, name, json.dumps(row), flush=True)
        arguments.output.write_text(json.dumps(known, indent=1) + "\n")

    only = arguments.only or ["keras", "fasterai", "tfmot"]
    versions["keras"] = version("keras")
    if "keras" in only:
        for goal in (goal for goal in QUANTIZED if goal in goals):
            keep("keras", goal.rpartition("-")[0], lambda goal=goal: quantized(goal))
    if "fasterai" in only:
        versions |= {name: version(name) for name in ("fasterai", "torch")}
        for goal in (goal for goal in FACTORIZED if goal in goals):
            for method in METHODS:
                keep("fasterai", f"{goal}, {method}", lambda g=goal, m=method: factorized(g, m))
    if "tfmot" in only:
        keep("tfmot", "LeNet", accepted)


if __name__ == "__main__":
    main()
