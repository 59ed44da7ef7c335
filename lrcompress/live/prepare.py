"""A model, its data set and its scaling, checked against each other before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, evenly, only
from lrcompress.data.dataset import Dataset
from lrcompress.data.labels import Output
from lrcompress.data.scaling import Scaling, image_like, parse
from lrcompress.errors import DatasetError
from lrcompress.live.evaluate import evaluate
from lrcompress.live.fit import fit_to_model, hold_out
from lrcompress.live.masks import masked_weights, masks_of, spread
from lrcompress.live.outputs import outputs_of, word_inputs
from lrcompress.live.predict import outputs_each, run_over
from lrcompress.live.scaling_search import find, is_pixels, scales_itself
from lrcompress.measure import Evaluation, classes_of, kind_of

# By so much, in points and of the test error, held-out data are easier where they were trained on.
MEMORY_POINTS, MEMORY_SHARE = 2.0, 0.2
# Outputs that a model is judged by where neither labels nor a test part are given, and samples, at least.
JUDGED, FEWEST_JUDGED = 2**28, 500
# What figures by labels are called where these are the original's own, which serve where data have none: an error
# by these is a disagreement with the original, wherever it is told.
_CALLED = {
    "error_rate": "disagreement", "binary_error": "disagreement", "balanced_error": "balanced_disagreement",
    "rmse": "deviation", "mae": "mean_deviation",
}  # fmt: skip
# Of what they say nothing: whether it ranks well what it decided itself.
_LEFT_OUT = ("auc",)


@dataclass(frozen=True)
class Prepared:
    """Data that fit a model."""

    split: Dataset  # unscaled; without labels those of validation and test are the original's own decisions
    scaling: Scaling
    description: dict[str, Any]  # for the run record
    labelled: bool = True  # whether the labels are the data's

    @property
    def by_labels(self) -> bool:
        """Whether labels decide on the validation part: it was given, new to the model, or they are its own."""
        return not self.labelled or bool(self.description["validation_given"])

    def part(self, name: str) -> tuple[Arrays, Any, Any]:
        """Return scaled inputs, labels and weights of a part: train, val or test."""
        x, y, weights = (getattr(self.split, f"{role}_{name}") for role in ("x", "y", "w"))
        return self.scaling(x), y, weights

    def measured(self, model: Any, task: str = "", part: str = "test") -> Evaluation:
        """Measure a model on a part."""
        x, y, weights = self.part(part)
        return evaluate(model, x, y, task, sample_weight=weights, decided=not self.labelled)

    def told(self, figures: Any) -> Any:
        """Return JSON-ready figures as they are told: those by the original's own labels under such names."""
        return figures if self.labelled else as_disagreement(figures)

    def taught(self, teacher: Any) -> Prepared:
        """Return the data with a teacher's decisions on the training part, where they have no labels."""
        if self.labelled:
            return self
        y = decisions(teacher, self.scaling(self.split.x_train))
        return replace(self, split=replace(self.split, y_train=y))

    def notes(self) -> list[str]:
        """Return what the user should know of the parts."""
        if self.description["test_given"]:
            return []
        return [
            f"The data have no test part: {count(self.split.x_test):,} samples, drawn by the seed and used for "
            "nothing else, serve as one."
        ]


def prepare(
    loaded: Dataset,
    original: Any,
    *,
    scaling: str | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
) -> Prepared:
    """Fit a data set to a model and find its scaling with that model."""
    data = fit_to_model(loaded, original)
    if data.labelled:
        split = hold_out(data, seed)
        chosen, scores = _scaling(scaling, data, split, original)
    else:
        chosen, scores = _scaling_without_labels(scaling, data, original), None
        # Data that are measured alone are both parts.
        if not data.test_given and loaded.x_test is not loaded.x_train:
            # More than so many, of a test part that nobody gave, tell little more.
            most = max(JUDGED // outputs_each(original, data.x_test), FEWEST_JUDGED)
            data = replace(data, x_test=evenly(data.x_test, most))
        split = hold_out(data, seed, lambda x: decisions(original, chosen(x)))
    description = {
        "name": data.name,
        "source": Path(data.source).name,
        "scaling": chosen.name,
        "scaling_scores": scores,
        "train_samples": count(split.x_train),
        "validation_samples": count(split.x_val),
        "test_samples": count(split.x_test),
        "validation_given": data.x_val is not None,
        "test_given": data.test_given,
        "labelled": data.labelled,
    }
    if data_dir is not None:
        description["data_dir"] = str(data_dir)
    return Prepared(split, chosen, description, data.labelled)


def _scaling(
    asked: str | None, data: Dataset, split: Dataset, original: Any
) -> tuple[Scaling, dict[str, float | None] | None]:
    x, y = split.x_train, split.y_train
    if asked is not None:
        return parse(asked, x), None
    classifies = not isinstance(y, dict) and kind_of(y) == "classes"
    if not _may_be_scaled(x, original, classifies=classifies):
        return parse("as-is", x), None
    name, scores = find(original, x, y, data.classes if classifies else None)
    # Judged on some samples, applied with the statistics of all. JSON has no word for infinity.
    told = {name: score if math.isfinite(score) else None for name, score in scores.items()}
    return parse(name, x), told


def _scaling_without_labels(asked: str | None, data: Dataset, original: Any) -> Scaling:
    """Return the scaling that is given, or none where none is usual: nothing tells which is right."""
    x = data.x_train
    if asked is not None:
        return parse(asked, x)
    arrays = x.values() if isinstance(x, dict) else [x]
    pixels = any(map(is_pixels, arrays)) and _may_be_scaled(x, original, classifies=True)
    if pixels and not scales_itself(original):
        msg = (
            f"Data set {data.name} has no labels to find the scaling of its images by; say what the model was "
            "trained on: --scaling as-is, /255, /127.5-1, ..."
        )
        raise DatasetError(msg, code="scaling_unknown")
    return parse("as-is", x)


def _may_be_scaled(x: Arrays, model: Any, *, classifies: bool) -> bool:
    """Return whether another scaling than none is to be looked for."""
    if isinstance(x, dict):
        return any(image_like(array) for array in x.values())
    if all("int" in str(tensor.dtype) for tensor in model.inputs) or word_inputs(model):
        return False
    return classifies or image_like(x) or x.dtype == np.uint8


def countable(
    model: Any, x: Arrays, y: Arrays, weights: NDArray[np.float32] | None
) -> NDArray[np.int64] | None:
    """Return class numbers that a layer alone can be judged by, -1 for padding and where the weight is 0, or None."""
    if isinstance(y, dict) or kind_of(y) != "classes":
        return None
    (mask,) = masks_of(model, x)
    weights = masked_weights(weights, mask, y.shape)
    if weights is None:
        return y
    # Weights may only leave some out.
    if len(np.unique(weights[weights > 0])) != 1:
        return None
    return np.where(spread(weights, y.shape) > 0, y, -1)


def trained_on(held_out: float, test: float) -> bool:
    """Return whether error rates, in percent, show that a model was trained on the held-out data."""
    return test - held_out > max(MEMORY_POINTS, MEMORY_SHARE * test)


def about_memory(model: Any, data: Prepared, test: Evaluation) -> list[str]:
    """Return a remark where the original errs far less on the held-out data than on test data."""
    if data.by_labels or test.percent_wrong is None:
        return []
    held_out = data.measured(model, part="val").percent_wrong
    if held_out is None or not trained_on(held_out, test.percent_wrong):
        return []
    return [
        f"The original errs on {held_out:.2f} % of the held-out part of its training data and on "
        f"{test.percent_wrong:.2f} % of the test data: it was trained on that part, and choices made there "
        "may be off. Give data new to it, as x_val and y_val or with --validation."
    ]


def decisions(model: Any, x: Arrays) -> Arrays:
    """Return what a model decides on scaled inputs, in the form of labels, or its outputs where they decide nothing."""
    outputs = outputs_of(model)
    parts = [
        [_decided(output, found) for output, found in zip(outputs, values, strict=True)]
        for _, values in run_over(model, x, "the original's decisions")
    ]
    columns = zip(outputs, zip(*parts, strict=True), strict=True)
    labels = {output.name: np.concatenate(column) for output, column in columns}
    return only(labels)


def _decided(output: Output, values: NDArray[np.float32]) -> NDArray[Any]:
    # What no activation and no loss calls classes may be anything, and is taken as numbers.
    if output.is_logits and (output.regression or not output.loss):
        return values
    each = output.is_sigmoid or (output.is_logits and output.loss.startswith("binary"))
    if each and values.shape[-1] > 1:
        return np.asarray(values > (0.0 if output.is_logits else 0.5))
    return np.asarray(classes_of(values, output.is_logits), np.int64)


def as_disagreement(figures: Any) -> Any:
    """Return JSON-ready figures by the original's own labels under names that say so.

    >>> as_disagreement({"measure": "error_rate", "error_rate": 2.5, "error_rate_low": 1.0})
    {'measure': 'disagreement', 'disagreement': 2.5, 'disagreement_low': 1.0}
    """
    if isinstance(figures, list):
        return [as_disagreement(value) for value in figures]
    if not isinstance(figures, dict):
        return figures
    if "error_rate" in figures:
        figures = {"measure": "error_rate"} | figures
    return {
        _called(key): _CALLED.get(value, value) if key == "measure" else as_disagreement(value)
        for key, value in figures.items()
        if key not in _LEFT_OUT
    }


def _called(key: str) -> str:
    for name, other in _CALLED.items():
        # With the part before it and the end of an interval behind it.
        if key == name or f"_{name}" in key or key.startswith(f"{name}_"):
            return key.replace(name, other)
    return key
