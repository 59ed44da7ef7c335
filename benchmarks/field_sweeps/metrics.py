"""Models compiled with the metrics that people use: fine-tuned, and the settings still in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, losses, metrics

import lrcompress
from lrcompress.errors import LRCompressError
from lrcompress.modelfile import open_model

SAMPLES, TRAINING, CLASSES = 300, 240, 12
CROSS, SPARSE, BINARY = (
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "binary_crossentropy",
)


@dataclass(frozen=True)
class Case:
    """A model's outputs by name, (units, activation), its labels alike, and what it is compiled with."""

    outputs: dict[str, tuple[int, str | None]]
    labels: dict[str, str]
    compiled: Callable[[], dict[str, Any]]


def _one(units: int, activation: str | None, labels: str, **compiled: object) -> Case:
    return Case({"out": (units, activation)}, {"out": labels}, lambda: dict(compiled))


def _three(**compiled: object) -> Case:
    names = ("a", "b", "c")
    return Case(
        dict.fromkeys(names, (CLASSES, "softmax")), dict.fromkeys(names, "class"), lambda: compiled
    )


def _class_and_number(**compiled: object) -> Case:
    outputs = {"kind": (CLASSES, "softmax"), "size": (2, None)}
    return Case(outputs, {"kind": "class", "size": "numbers"}, lambda: dict(compiled))


def cases() -> dict[str, Case]:
    """Return what is tried, made anew: a metric belongs to one model."""
    soft, half = (CLASSES, "softmax"), (2, "sigmoid")
    return {
        "F1Score": _one(*soft, "one-hot", loss=CROSS, metrics=[metrics.F1Score(average="macro")]),
        "AUC": _one(*soft, "one-hot", loss=CROSS, metrics=[metrics.AUC()]),
        "Precision": _one(*soft, "one-hot", loss=CROSS, metrics=[metrics.Precision()]),
        "Recall, top 3": _one(*soft, "one-hot", loss=CROSS, metrics=[metrics.Recall(top_k=3)]),
        "three of one-hot": _one(
            *soft, "one-hot", loss=CROSS,
            metrics=["accuracy", metrics.TopKCategoricalAccuracy(k=3), "categorical_crossentropy"],
        ),
        "accuracy": _one(*soft, "class", loss=SPARSE, metrics=["accuracy"]),
        "top-k": _one(*soft, "class", loss=SPARSE, metrics=[metrics.SparseTopKCategoricalAccuracy(k=3)]),
        "MeanIoU": _one(
            *soft, "class", loss=SPARSE, metrics=[metrics.MeanIoU(CLASSES, sparse_y_pred=False)]
        ),
        "weighted_metrics": _one(
            *soft, "class", loss=SPARSE, weighted_metrics=["accuracy", metrics.SparseCategoricalCrossentropy()]
        ),
        "named loss": _one(
            *soft, "class", loss=losses.SparseCategoricalCrossentropy(name="mine"), metrics=["acc"]
        ),
        "mae of two numbers": _one(2, None, "numbers", loss="mse", metrics=["mae"]),
        "R2Score": _one(2, None, "numbers", loss="mse", metrics=[metrics.R2Score()]),
        "root mean square": _one(
            2, None, "numbers", loss="huber", metrics=[metrics.RootMeanSquaredError(), "mape"]
        ),
        "binary_accuracy": _one(*half, "yes-no", loss=BINARY, metrics=["binary_accuracy"]),
        "AUC of labels": _one(
            *half, "yes-no", loss=BINARY, metrics=[metrics.AUC(multi_label=True), metrics.BinaryIoU()]
        ),
        "one metric, three outputs": _three(loss=SPARSE, metrics=[["accuracy"], None, None]),
        "dictionary of metrics": _three(
            loss=dict.fromkeys("abc", SPARSE), metrics={"a": ["accuracy"], "c": "accuracy"}
        ),
        "loss_weights": _class_and_number(
            loss={"kind": SPARSE, "size": "mse"}, loss_weights={"kind": 1.0, "size": 0.3},
            metrics={"kind": "accuracy", "size": [metrics.R2Score(), "mae"]},
        ),
        "lists of losses and metrics": _class_and_number(
            loss=[SPARSE, "mae"], loss_weights=[0.5, 2.0], metrics=[["accuracy"], ["mse", "mae"]]
        ),
    }  # fmt: skip


def sweep(work: Path) -> dict[str, str]:
    """Return what became of each model in each format."""
    return {
        f"{name}, {suffix}": outcome(work, name, suffix)
        for name in cases()
        for suffix in (".keras", ".h5")
    }


def outcome(work: Path, name: str, suffix: str) -> str:
    """Train, factorize and fine-tune a model; say how it ended, and what the new file holds."""
    case = cases()[name]
    x, y = _data(case)
    model = _model(case)
    part = {key: array[:TRAINING] for key, array in y.items()}
    model.fit(x[:TRAINING], part if len(y) > 1 else part["out"], epochs=3, verbose=0)
    original, small = work / f"model{suffix}", work / f"small{suffix}"
    tuned = work / f"tuned{suffix}"
    model.save(original)
    arrays = {"x_train": x[:TRAINING], "x_test": x[TRAINING:]}
    for key, array in y.items():
        end = f".{key}" if len(y) > 1 else ""
        arrays |= {f"y_train{end}": array[:TRAINING], f"y_test{end}": array[TRAINING:]}
    np.savez(work / "data.npz", **arrays)
    lrcompress.factorize(original, layer="hidden", rank=6, output=small, overwrite=True)
    try:
        found = lrcompress.finetune(
            small,
            dataset=str(work / "data.npz"),
            scaling="as-is",
            epochs=2,
            output=tuned,
            overwrite=True,
        )
    except LRCompressError as error:
        return f"refused: {error}"
    except Exception as error:  # what a sweep is there to find
        return f"wrong: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if open_model(tuned).compile_config != open_model(original).compile_config:
        return "wrong: the output holds other compile settings"
    said = f"validation loss {found.history[0]['validation_loss']:.3f} to {_best(found):.3f}"
    test = {key: array[TRAINING:] for key, array in y.items()}
    right = test if len(y) > 1 else test["out"]
    try:
        before, after = (
            keras.saving.load_model(path).evaluate(x[TRAINING:], right, verbose=0, return_dict=True)
            for path in (original, tuned)
        )
    except ValueError:  # some HDF5 settings that Keras writes it does not read
        return f"right: {said}; Keras cannot compile its own file again"
    if list(before) != list(after):
        return f"wrong: Keras measures {', '.join(after)}, of the original {', '.join(before)}"
    return f"right: {said}"


def _best(found: lrcompress.FinetuneResult) -> float:
    return min(float(entry["validation_loss"]) for entry in found.history)


def _data(case: Case) -> tuple[Any, dict[str, Any]]:
    draw = np.random.default_rng(0)
    classes = draw.integers(0, CLASSES, SAMPLES)
    noise = draw.normal(size=(SAMPLES, 16))
    x = (2 * draw.normal(size=(CLASSES, 16))[classes] + noise).astype("float32")
    numbers = np.stack([x[:, 0] * x[:, 1], x[:, 2]], 1)
    kinds = {
        "class": classes,
        "one-hot": np.eye(CLASSES, dtype="float32")[classes],
        "numbers": numbers,
        "yes-no": (numbers > 0).astype("float32"),
    }
    return x, {name: kinds[kind] for name, kind in case.labels.items()}


def _model(case: Case) -> keras.Model:
    keras.utils.set_random_seed(0)
    entry = keras.Input((16,))
    hidden = layers.Dense(64, activation="relu", name="hidden")(entry)
    outputs = [layers.Dense(*how, name=name)(hidden) for name, how in case.outputs.items()]
    model = keras.Model(entry, outputs if len(outputs) > 1 else outputs[0])
    model.compile("adam", **case.compiled())
    return model
