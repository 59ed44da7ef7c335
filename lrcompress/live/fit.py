"""Making a data set fit a model, or saying in one line why it does not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, only, take
from lrcompress.data.dataset import Dataset, counted, named
from lrcompress.data.labels import Output, fit_labels, matches
from lrcompress.errors import DatasetError
from lrcompress.live.evaluate import predictions_of
from lrcompress.live.outputs import input_names, outputs_of
from lrcompress.measure import kind_of

# At most so many samples, or labels where each step of a sequence has one. Steps of one sequence are alike: of
# these, at least so many samples where there are so many.
VALIDATION_FRACTION, VALIDATION_MOST, VALIDATION_FEWEST = 0.1, 5_000, 500
# What labels a model would give raw inputs.
Decide = Callable[[Arrays], Arrays]


def fit_to_model(data: Dataset, model: Any) -> Dataset:
    """Return the data set with inputs in the model's shapes, and labels in the form that says what they mean."""
    outputs = outputs_of(model)
    inputs = dict(zip(input_names(model), model.inputs, strict=True))
    parts = ["train", "test"] if data.x_val is None else ["train", "test", "val"]
    names, aliases = {name: name for name in inputs}, {out.name: out.layer for out in outputs}
    fitted: dict[str, Any] = {}
    for part in parts:
        x = _by_name(getattr(data, f"x_{part}"), "x_train", names, data, model)
        fitted[f"x_{part}"] = only(_inputs(x, inputs, data))
    given = {
        f"y_{part}": _by_name(getattr(data, f"y_{part}"), "y_train", aliases, data, model)
        for part in (parts if data.labelled else ())
    }
    labels = {
        out.name: fit_labels({key: y[out.name] for key, y in given.items()}, out, data.name)
        for out in outputs
    }
    for key in given:
        fitted[key] = only({name: found[key] for name, found in labels.items()})
    found = dataclasses.replace(data, **fitted)
    _check_weights(found, outputs)
    return found


def _by_name(
    x: Arrays, key: str, aliases: dict[str, str], data: Dataset, model: Any
) -> dict[str, NDArray[Any]]:
    """Return arrays, called `key` in the data set, under the model's names or those that serve as well."""
    if not isinstance(x, dict):
        x = {"0": x}
    places = {str(place): name for place, name in enumerate(aliases)}
    if set(x) == set(places) and set(x) != set(aliases):
        return {name: x[place] for place, name in places.items()}
    if set(x) == set(aliases.values()) and len(x) == len(aliases):
        return {name: x[alias] for name, alias in aliases.items()}
    if set(x) == set(aliases):
        return {name: x[name] for name in aliases}
    one, is_input = len(aliases) == 1, key[0] == "x"
    array = f"one array {key}"
    has = f"{len(aliases)} {'input' if is_input else 'output'}{'' if one else 's'}"
    wanted = array if one else ", ".join(named({name: np.empty(0) for name in aliases}, key))
    msg = (
        f"Model {model.name} has {has} ({', '.join(aliases)}), data set {data.name} has "
        f"{', '.join(named(x, key)) if list(x) != ['0'] else array}; expected {wanted}."
    )
    raise DatasetError(msg, code="model_inputs" if is_input else "model_outputs")


def _inputs(
    x: dict[str, NDArray[Any]], inputs: dict[str, Any], data: Dataset
) -> dict[str, NDArray[Any]]:
    """Return inputs in the shapes that the model takes."""
    fitted = {}
    for name, tensor in inputs.items():
        wanted = tuple(tensor.shape[1:])
        array = _channels(x[name], wanted)
        have = array.shape[1:]
        without = have[:-1] if have and have[-1] == 1 else have
        options = [have, (*have, 1), without, (int(np.prod(have)),)]
        shape = next((option for option in options if matches(option, wanted)), None)
        if shape is None:
            which = f" for its input {name}" if len(inputs) > 1 else ""
            msg = (
                f"Data set {data.name} has inputs of shape {have}{which}; the model expects "
                f"{wanted}: give the data set that it was trained on."
            )
            raise DatasetError(msg, code="dataset_shape")
        fitted[name] = array.reshape(-1, *shape)
    return fitted


def _channels(x: NDArray[Any], wanted: tuple[int | None, ...]) -> NDArray[Any]:
    """Return 8-bit images grey or in colour, as the model takes them and Keras' own loaders do."""
    if x.dtype != np.uint8 or x.ndim != 4 or len(wanted) != 3:
        return x
    if (x.shape[-1], wanted[-1]) == (1, 3):
        return np.repeat(x, 3, axis=-1)
    if (x.shape[-1], wanted[-1]) == (3, 1):
        # The luma of ITU-R 601, in the integers of Pillow.
        luma = x.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000
        return (luma >> 16).astype(np.uint8)[..., None]
    return x


def _check_weights(data: Dataset, outputs: list[Output]) -> None:
    """Refuse weights that have no predictions or no classes to belong to."""
    for part in ("train", "test", "val"):
        weights, y = getattr(data, f"w_{part}"), getattr(data, f"y_{part}")
        if weights is None or y is None or weights.ndim == 1:
            continue
        for name, labels in named(y, "labels").items():
            predictions = predictions_of(labels)
            if weights.shape != predictions:
                msg = (
                    f"sample_weight_{part} of data set {data.name} has shape {weights.shape} for "
                    f"predictions of shape {predictions} ({name}); expected one weight a sample, or "
                    "one for each prediction."
                )
                raise DatasetError(msg, code="sample_weight")
    if data.class_weight is None:
        return
    units, y = outputs[0].shape[-1], data.y_train
    single = y is not None and not isinstance(y, dict) and kind_of(y) == "classes"
    if not single or (units is not None and len(data.class_weight) != max(units, 2)):
        msg = (
            f"Data set {data.name} has {len(data.class_weight)} class weights; expected them for a "
            f"classifier with one output, one for each of its classes: it has "
            f"{len(outputs)} outputs, the first of {units} units."
        )
        raise DatasetError(msg, code="class_weight")


def hold_out(data: Dataset, seed: int, decide: Decide | None = None) -> Dataset:
    """Return data with a validation part, for all choices: the one that is given, or a seeded tenth of training."""
    if not data.labelled:
        if decide is None:
            raise AssertionError  # `prepare` gives it
        data = dataclasses.replace(data, y_test=decide(data.x_test))
    if data.x_val is not None:
        if data.y_val is None and decide:
            data = dataclasses.replace(data, y_val=decide(data.x_val))
        return data
    x, y, weights = data.x_train, data.y_train, data.w_train
    known = data.y_test if y is None else y
    labels = known.values() if isinstance(known, dict) else [known]
    each = [math.prod(one.shape[1:]) for one in labels if kind_of(one) == "classes"]
    most = max(VALIDATION_MOST // max([1, *each]), VALIDATION_FEWEST)
    order = np.random.default_rng(seed).permutation(counted(count(x), weights))
    if len(order) < 2:
        what = "training samples" if weights is None else "training samples with a weight above 0"
        msg = f"Data set {data.name} has {len(order)} {what}; expected at least two."
        raise DatasetError(msg, code="dataset_shape")
    size = min(max(1, int(VALIDATION_FRACTION * len(order))), most)
    # Sorted, so that reading stays sequential; fit shuffles anyway.
    val = np.sort(order[:size])
    train = np.delete(np.arange(count(x)), val)
    parts: dict[str, Any] = {"x_train": take(x, train), "x_val": take(x, val)}
    if y is not None:
        parts |= {"y_train": take(y, train), "y_val": take(y, val)}
    elif decide is not None:
        parts["y_val"] = decide(parts["x_val"])
    if weights is not None:
        parts |= {"w_train": weights[train], "w_val": weights[val]}
    return dataclasses.replace(data, **parts)
