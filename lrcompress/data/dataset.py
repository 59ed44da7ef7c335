"""From named arrays to the parts of a data set, checked against each other.

The names are ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or for a model with several
inputs or outputs ``x_train.NAME`` and so on; ``x_val`` and ``y_val``, ``sample_weight_train`` and so on,
and ``class_weight`` may be there too. ``x_train`` alone is a data set without labels; without ``x_test``
a part of the training data is left out as the test part.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count
from lrcompress.data.finite import check_array
from lrcompress.data.labels import check_numeric, read_labels
from lrcompress.data.leaving_out import leave_out
from lrcompress.errors import DatasetError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
VALIDATION = ("x_val", "y_val")
# What a part has; the names of arrays are these with the part behind.
ROLES = ("x", "y", "sample_weight")
OPTIONAL = ("sample_weight_train", "sample_weight_val", "sample_weight_test", "class_weight")
# Other usual names.
_SAME = {
    f"{key}_{other}": f"{key}_val"
    for key in ("x", "y", "sample_weight") for other in ("valid", "validation")
}  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """Training and test arrays as they were found: not scaled, not reshaped.

    Attributes:
        name: What the user asked for; enough to find the data again.
        source: The file or folder the arrays were read from.
        x_train: Inputs, (samples, ...), any real dtype; a dictionary of them by name where the
            data have several.
        y_train: Labels: class numbers, int64, (samples,) or (samples, steps), where they can be
            that, else as they were found; what they mean is decided with a model, see
            `fit_to_model`. A dictionary of them by name where the data have several; None without labels.
        x_test: As `x_train`.
        y_test: As `y_train`.
        w_train: Weights of the samples, (samples,) or (samples, steps), float32; None if all
            weigh alike.
        w_test: As `w_train`.
        class_weight: By which training multiplies the samples of each class, (classes,), float32.
        x_val: As `x_train`: data to choose on, new to the model; None where there are none.
        y_val: As `y_train`.
        w_val: As `w_train`.
        test_given: Whether the test part was given as such, rather than left out of the training part.
    """

    name: str
    source: str
    x_train: Arrays
    y_train: Any  # Arrays, or None, here and below
    x_test: Arrays
    y_test: Any
    w_train: NDArray[np.float32] | None = None
    w_test: NDArray[np.float32] | None = None
    class_weight: NDArray[np.float32] | None = None
    x_val: Arrays | None = None
    y_val: Any = None
    w_val: NDArray[np.float32] | None = None
    test_given: bool = True

    @property
    def labelled(self) -> bool:
        """Whether there are labels; where there are none, no part has any."""
        return self.y_train is not None

    def check_labelled(self, why: str) -> None:
        """Refuse data without labels.

        Args:
            why: What needs labels, and what does not, in a sentence without its end.

        Raises:
            DatasetError: With code ``no_labels``.
        """
        if not self.labelled:
            msg = f"Data set {self.name} has no labels, and {why}; give y_train and y_test."
            raise DatasetError(msg, code="no_labels")

    @property
    def classes(self) -> int:
        """One more than the largest class number seen.

        Raises:
            DatasetError: If the labels are not class numbers, or are those of several outputs.
        """
        largest = -1
        for y in (self.y_train, self.y_test):
            if y is None or isinstance(y, dict) or y.dtype.kind not in "iu":
                msg = f"Data set {self.name} has no class numbers; expected those of a classifier with one output."
                raise DatasetError(msg, code="dataset_labels")
            largest = max(largest, int(y.max()))
        return largest + 1


def wanted_names(names: Iterable[str]) -> list[str] | None:
    """Return which of some names make up a data set, None if there are no training inputs."""
    names = list(names)
    parts = {name: _usual(name.split(".", 1)[0]) for name in names}
    found = set(parts.values())
    if "x_train" not in found:
        return None
    wanted = {*ARRAYS, *OPTIONAL}
    # Inputs alone are something to choose on only where nothing has labels.
    if set(VALIDATION) <= found or found.isdisjoint(("y_train", "y_test")):
        wanted |= set(VALIDATION)
    return [name for name in names if parts[name] in wanted]


def validation_names(names: Iterable[str]) -> list[str] | None:
    """Return which of some names are data to choose on: ``x_val`` and ``y_val``, else ``x`` and ``y``."""
    parts = {name: _usual(name.split(".", 1)[0]) for name in names}
    for wanted in ({*VALIDATION, "sample_weight_val"}, set(ROLES)):
        found = [name for name, part in parts.items() if part in wanted]
        if "x" in {parts[name].removesuffix("_val") for name in found}:
            return found
    return None


def _usual(part: str) -> str:
    """Return the name that is used here for what others call otherwise: x_val for x_valid."""
    return _SAME.get(part, part)


def grouped(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays with those named ``KEY.NAME`` in dictionaries under ``KEY``.

    Raises:
        DatasetError: If there are both ``KEY`` and ``KEY.NAME``.
    """
    found: dict[str, Any] = {}
    for key, array in arrays.items():
        part, dot, name = key.partition(".")
        if dot and part in arrays:
            msg = f"The data hold {part} and {key}; expected one array {part}, or {part}.NAME for each."
            raise DatasetError(msg, code="dataset_shape")
        if dot:
            found.setdefault(_usual(part), {})[name] = array
        else:
            found[_usual(key)] = array
    return found


def assemble(
    name: str, source: str, arrays: Mapping[str, Any], *, seed: int = 0, whole: bool = False
) -> Dataset:
    """Check that inputs, labels and weights belong together.

    Args:
        name: What the user asked for.
        source: Where the arrays were read from.
        arrays: By name, see above; all but ``x_train`` may be missing or None.
        seed: Of the test part, a fifth of the training part where there is none.
        whole: Whether the training part is that test part too, for data that are measured alone.

    Raises:
        DatasetError: If they do not.
    """
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
    found = given | {
        f"sample_weight_{part}": _weights(given[key], part, count(given[f"x_{part}"]), source)
        for part in parts
        if (key := f"sample_weight_{part}") in given
    }
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
        missing = sorted(wanted - have) or [
            key.replace("y", "x", 1) for key in sorted(have - wanted)
        ]
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
    several = {part: y for part, y in parts.items() if isinstance(y, dict)}
    if not several:
        return {**read_labels({part: y for part, y in parts.items() if not isinstance(y, dict)})}
    read = {
        name: read_labels({part: y[name] for part, y in several.items()})
        for name in several["train"]
    }
    return {part: {name: found[part] for name, found in read.items()} for part in parts}


def _weights(weights: NDArray[Any], part: str, samples: int, source: str) -> NDArray[np.float32]:
    what = f"sample_weight_{part} of {source}"
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
