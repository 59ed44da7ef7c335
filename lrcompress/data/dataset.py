"""From named arrays (see `reader`) to the parts of a data set, checked against each other.

``x_train`` alone is a data set without labels; without ``x_test`` a part of the training data is left
out as the test part.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, check_array, count, take
from lrcompress.data.class_numbers import check_numeric, read_labels
from lrcompress.data.reader import ARRAYS
from lrcompress.errors import DatasetError

_LEFT_FROM = ("x_train", "y_train", "sample_weight_train")
# One sample in so many, and at most so many.
_ONE_IN, _MOST = 5, 10_000


@dataclass(frozen=True)
class Dataset:
    """Training and test arrays: not scaled, and as they were found or as they fit a model."""

    # Labels are class numbers, int64, where they can be that, else as they were found; what they mean is decided
    # with a model, see `live.fit`. The validation part is data to choose on, new to the model.
    name: str  # what the user asked for: enough to find the data again
    source: str  # the file or folder that the arrays were read from
    x_train: Arrays
    y_train: Any  # Arrays, or None, here and below
    x_test: Arrays
    y_test: Any
    w_train: NDArray[np.float32] | None = None
    w_test: NDArray[np.float32] | None = None
    class_weight: NDArray[np.float32] | None = None
    x_val: Any = None  # Arrays, or None
    y_val: Any = None
    w_val: NDArray[np.float32] | None = None
    test_given: bool = True  # rather than left out of the training part

    @property
    def labelled(self) -> bool:
        """Whether there are labels; where there are none, no part has any."""
        return self.y_train is not None

    def check_labelled(self, why: str) -> None:
        """Refuse data without labels; `why` says what needs them, and what does not."""
        if not self.labelled:
            msg = f"Data set {self.name} has no labels, and {why}; give y_train and y_test."
            raise DatasetError(msg, code="no_labels")

    @property
    def classes(self) -> int:
        """One more than the largest class number seen."""
        labels = (self.y_train, self.y_test)
        if any(y is None or isinstance(y, dict) or y.dtype.kind not in "iu" for y in labels):
            msg = f"Data set {self.name} has no class numbers; expected those of a classifier with one output."
            raise DatasetError(msg, code="dataset_labels")
        return max(int(y.max()) for y in labels) + 1


def assemble(
    name: str, source: str, arrays: Mapping[str, Any], *, seed: int = 0, whole: bool = False
) -> Dataset:
    """Check that inputs, labels and weights belong together, and leave a test part out, or take the `whole` for it."""
    given = {key: array for key, array in arrays.items() if array is not None}
    parts = [part for part in ("train", "test", "val") if f"x_{part}" in given]
    _check_labelled_alike(given, parts, source)
    for part in parts:
        samples = _check_inputs(given[f"x_{part}"], f"x_{part}", source)
        if f"y_{part}" in given:
            _check_labels(given[f"y_{part}"], f"y_{part}", samples, source)
        elif part == "train" and "class_weight" in given:
            msg = f"{source} has class_weight and no labels; expected y_train too, or neither."
            raise DatasetError(msg, code="class_weight")
    for key, part in itertools.product(("x", "y"), parts[1:]):
        if f"{key}_{part}" in given:
            _check_alike(given[f"{key}_train"], given[f"{key}_{part}"], key, source, part)
    found = dict(given)
    for part in parts:
        if (key := f"sample_weight_{part}") in given:
            found[key] = _weights(given[key], f"{key} of {source}", count(given[f"x_{part}"]))
    labels = {part: given[f"y_{part}"] for part in parts if f"y_{part}" in given}
    found |= {f"y_{part}": y for part, y in (_read(labels) if labels else {}).items()}
    if "test" not in parts:
        found |= leave_out(found, source, seed, whole=whole)
    return Dataset(
        name, source, found["x_train"], found.get("y_train"), found["x_test"], found.get("y_test"),
        found.get("sample_weight_train"), found.get("sample_weight_test"),
        _class_weight(given.get("class_weight"), source),
        found.get("x_val"), found.get("y_val"), found.get("sample_weight_val"),
        test_given="test" in parts,
    )  # fmt: skip


def _check_labelled_alike(given: Mapping[str, Any], parts: list[str], source: str) -> None:
    """Refuse labels of some parts alone, or without their inputs."""
    if "train" not in parts:
        msg = f"{source} holds {', '.join(given) or 'nothing'}; expected x_train, or {', '.join(ARRAYS)}."
        raise DatasetError(msg)
    # Labels without inputs are what is left of a part that was cut out.
    wanted = {f"y_{part}" for part in parts}
    have = {key for key in given if key.startswith("y_")}
    if have and have != wanted:
        held = ", ".join(key for key in given if key[:2] in ("x_", "y_"))
        missing = sorted(wanted - have) or [f"x{key[1:]}" for key in sorted(have - wanted)]
        msg = (
            f"{source} holds {held} without {', '.join(missing)}; expected labels (y_...) for all inputs (x_...), "
            "or for none."
        )
        raise DatasetError(msg, code="dataset_shape")


def named(x: Arrays, key: str) -> dict[str, NDArray[Any]]:
    """Return every array under the name that it has in a file."""
    if isinstance(x, dict):
        return {f"{key}.{name}": array for name, array in x.items()}
    return {key: x}


def _check_inputs(x: Arrays, key: str, source: str) -> int:
    if isinstance(x, dict) and not x:
        msg = f"{key} of {source} is an empty dictionary; expected an array for each input."
        raise DatasetError(msg, code="dataset_shape")
    for what, array in named(x, key).items():
        few = array.ndim < (1 if isinstance(x, dict) else 2)
        if few or array.dtype.kind not in "uifb" or len(array) == 0:
            msg = (
                f"{what} of {source} has shape {array.shape} and dtype {array.dtype}; expected "
                "numbers of shape (samples, ...) with at least one sample."
            )
            raise DatasetError(msg, code="dataset_shape")
        if len(array) != count(x):
            msg = f"{what} of {source} has {len(array)} samples, another input {count(x)}; expected as many."
            raise DatasetError(msg, code="dataset_shape")
        check_array(array, f"{what} of {source}")
    return count(x)


def _check_labels(y: Arrays, key: str, samples: int, source: str) -> None:
    for what, array in named(y, key).items():
        if array.ndim == 0 or len(array) != samples:
            msg = (
                f"{what} of {source} has shape {array.shape} for {samples} samples in "
                f"{key.replace('y', 'x', 1)}; expected one label a sample."
            )
            raise DatasetError(msg, code="dataset_shape")
        check_numeric(array, f"{what} of {source}")
        check_array(array, f"{what} of {source}", "dataset_labels")


def _check_alike(train: Arrays, other: Arrays, key: str, source: str, part: str) -> None:
    what = {"test": "test", "val": "validation"}[part]
    ours, theirs = (named(arrays, key) for arrays in (train, other))
    if set(ours) != set(theirs):
        msg = (
            f"{source} has for training {', '.join(ours)} and for {what} {', '.join(theirs)}; "
            "expected the same names."
        )
        raise DatasetError(msg, code="dataset_shape")
    for name, array in ours.items():
        if array.shape[1:] != theirs[name].shape[1:] and key == "x":
            msg = (
                f"{source} has training inputs of shape {array.shape[1:]} and {what} inputs of shape "
                f"{theirs[name].shape[1:]}; expected the same."
            )
            raise DatasetError(msg, code="dataset_shape")


def _read(parts: dict[str, Arrays]) -> dict[str, Arrays]:
    """Return labels of all parts as class numbers, where those of all can be."""
    # The parts have the same names, or none: `_check_alike` saw to it.
    alike: dict[str, Any] = dict(parts)
    if not isinstance(parts["train"], dict):
        return {**read_labels(alike)}
    names = parts["train"]
    read = {name: read_labels({part: y[name] for part, y in alike.items()}) for name in names}
    return {part: {name: found[part] for name, found in read.items()} for part in parts}


def _weights(weights: NDArray[Any], what: str, samples: int) -> NDArray[np.float32]:
    if weights.ndim == 0 or len(weights) != samples:
        msg = (
            f"{what} has shape {weights.shape} for {samples} samples; expected one weight a sample."
        )
        raise DatasetError(msg, code="sample_weight")
    return _positive(weights, what)


def _class_weight(weights: NDArray[Any] | None, source: str) -> NDArray[np.float32] | None:
    if weights is None:
        return None
    if weights.ndim != 1:
        msg = f"class_weight of {source} has shape {weights.shape}; expected one weight a class."
        raise DatasetError(msg, code="class_weight")
    return _positive(weights, f"class_weight of {source}")


def _positive(weights: NDArray[Any], what: str) -> NDArray[np.float32]:
    check_array(weights, what, "sample_weight")
    if weights.dtype.kind not in "uifb" or (weights < 0).any() or not weights.any():
        msg = f"{what} must hold finite numbers, 0 or more, not all of them 0."
        raise DatasetError(msg, code="sample_weight")
    return np.asarray(weights, np.float32)


def leave_out(found: Mapping[str, Any], source: str, seed: int, *, whole: bool) -> dict[str, Any]:
    """Return a training and a test part of training data, by name: a seeded fifth, or all of them twice."""
    train = {key: found[key] for key in _LEFT_FROM if found.get(key) is not None}
    n = count(found["x_train"])
    if whole:
        return {key.replace("_train", "_test"): array for key, array in train.items()}
    order = counted(n, found.get("sample_weight_train"))
    order = np.random.default_rng(seed).permutation(order)
    size = min(len(order) // _ONE_IN, _MOST) if len(order) >= _ONE_IN else 1
    # Sorted, so that reading stays sequential.
    test = np.sort(order[:size])
    rest = np.delete(np.arange(n), test)
    if len(rest) == 0:
        msg = (
            f"{source} has {n} samples; expected at least three: one of them is left for the test."
        )
        raise DatasetError(msg, code="dataset_shape")
    return {key.replace("_train", "_test"): take(array, test) for key, array in train.items()} | {
        key: take(array, rest) for key, array in train.items()
    }


def counted(samples: int, weights: NDArray[Any] | None) -> NDArray[np.int64]:
    """Return the positions of the samples with a weight above 0: without any of them a part measures nothing."""
    if weights is None:
        return np.arange(samples)
    return np.flatnonzero(weights.reshape(samples, -1).any(axis=1))
