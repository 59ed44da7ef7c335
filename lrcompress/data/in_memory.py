"""Data that live in the program: arrays in any usual arrangement, what yields batches of them, a function.

Batches come from a `tf.data.Dataset`, a `keras.utils.PyDataset` or a PyTorch `DataLoader`; all three are
known by what they offer, so that none of their packages is loaded here.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lrcompress.data.reader import ARRAYS, ROLES, grouped, is_there, wanted_names
from lrcompress.errors import DatasetError, LRCompressError, one_line
from lrcompress.records.provenance import IN_MEMORY

# Batches are read whole, up to so many bytes.
MOST_BYTES = 2**32
PARTS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
EXPECTED = (
    "a dictionary of x_train, y_train, x_test, y_test (or x_train alone), x, (x, y), (x, y), (x, y) in a "
    "tuple, a tf.data.Dataset, a keras PyDataset or a PyTorch DataLoader"
)


class InMemory:
    """The data themselves, which no word on a command line names."""

    says = ""

    def serves(self, word: Any) -> bool:
        """Return whether this is no word."""
        return not isinstance(word, str)

    def read(self, word: Any, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Read them, whatever their arrangement."""
        return f"the data {IN_MEMORY}", read(word)


def read(data: Any) -> dict[str, Any]:
    """Return arrays by name, see `reader`, of whatever holds them: arrays, tuples, batches, dictionaries of these."""
    if data is None:
        msg = f"Received NoneType; expected {EXPECTED}."
        raise DatasetError(msg)
    if isinstance(data, Mapping):
        return _by_name(data)
    if isinstance(data, (tuple, list)):
        if len(data) == len(ARRAYS):
            return _by_name(dict(zip(ARRAYS, data, strict=True)))
        if len(data) == 2 and all(map(_is_part, data)):
            return _by_name(dict(zip(("train", "test"), data, strict=True)))
    return _part(data, "train")


def _is_part(value: Any) -> bool:
    import numpy as np

    pair = isinstance(value, (tuple, list)) and len(value) in (2, 3)
    # Two rows of numbers are an array that was not made one.
    return _is_stream(value) or (pair and not any(np.isscalar(one) for one in value))


def _by_name(data: Mapping[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key)
        if name in PARTS:
            found |= _part(value, PARTS[name])
        elif value is not None:
            found[f"{name}_train" if name in ROLES else name] = value
    names = wanted_names(found)
    if names is None:
        msg = f"The data hold {', '.join(map(str, data)) or 'nothing'}; expected {EXPECTED}."
        raise DatasetError(msg)
    return grouped({name: _arrays(found[name], name) for name in names})


def _part(value: Any, part: str) -> dict[str, Any]:
    """Return inputs, labels and weights of one part."""
    if _is_stream(value):
        value = _whole(value)
    if not isinstance(value, (tuple, list)) or (isinstance(value, list) and _are_numbers(value)):
        value = (value,)
    if not 1 <= len(value) <= len(ROLES):
        msg = f"Received {len(value)} arrays in a tuple; expected {EXPECTED}."
        raise DatasetError(msg)
    return {
        f"{role}_{part}": _arrays(array, role)
        for role, array in zip(ROLES, value, strict=False)
        if array is not None
    }


def _are_numbers(value: list[Any]) -> bool:
    import numpy as np

    return bool(value) and all(np.isscalar(one) or isinstance(one, list) for one in value)


def _arrays(value: Any, what: str) -> Any:
    """Return an array, or several by name; those in a tuple are called 0, 1, ..."""
    if isinstance(value, Mapping):
        return {str(name): _array(array, what) for name, array in value.items()}
    if isinstance(value, tuple):
        return {str(place): _array(array, what) for place, array in enumerate(value)}
    return _array(value, what)


def _array(value: Any, what: str) -> Any:
    import numpy as np

    # What has no length would become an array of one object.
    if not hasattr(value, "__array__") and not hasattr(value, "__len__") and not np.isscalar(value):
        msg = f"Received {type(value).__name__} for {what}; expected {EXPECTED}."
        raise DatasetError(msg)
    try:
        return np.asarray(value)
    except Exception as error:  # rows of several lengths, a tensor elsewhere, the user's own class
        reason = one_line(error)
        msg = f"{what} of type {type(value).__name__} is not an array ({reason}); expected {EXPECTED}."
        raise DatasetError(msg) from error


def _is_tensorflow(value: Any) -> bool:
    return hasattr(value, "element_spec") and hasattr(value, "as_numpy_iterator")


def _is_stream(value: Any) -> bool:
    is_keras = hasattr(value, "on_epoch_end") and hasattr(value, "__getitem__")
    is_torch = hasattr(value, "batch_sampler") and hasattr(value, "collate_fn")
    return _is_tensorflow(value) or is_keras or is_torch


def _whole(stream: Any) -> tuple[Any, ...]:
    """Return (inputs, labels, weights), as far as there are any, of all batches."""
    import numpy as np

    columns: dict[tuple[int, str | None], list[Any]] = {}
    size = 0
    for element in _elements(stream):
        parts = element if isinstance(element, (tuple, list)) else (element,)
        for role, part in enumerate(parts[: len(ROLES)]):
            if part is None:
                continue
            named = _arrays(tuple(part) if isinstance(part, list) else part, ROLES[role])
            for name, array in named.items() if isinstance(named, dict) else [(None, named)]:
                columns.setdefault((role, name), []).append(array)
                size += array.nbytes
        if size > MOST_BYTES:
            msg = (
                f"The data hold more than {MOST_BYTES / 2**30:.3g} GiB, or never end; they are read whole: "
                "give fewer of them (for example data.take(100)), or a .npz file."
            )
            raise DatasetError(msg, code="dataset_too_large")
    if not columns:
        msg = "The data yield nothing; expected at least one batch."
        raise DatasetError(msg, code="dataset_shape")
    join = np.concatenate if _is_batched(stream, columns) else np.stack
    whole: list[Any] = [None] * len(ROLES)
    for (role, name), arrays in columns.items():
        try:
            array = join(arrays)
        except ValueError as error:
            shapes = sorted({array.shape for array in arrays})[:2]
            msg = (
                f"The {('inputs', 'labels', 'weights')[role]} come in shapes {shapes[0]} and {shapes[-1]}; expected "
                "samples that are all alike: pad them to one length."
            )
            raise DatasetError(msg, code="dataset_shape") from error
        whole[role] = array if name is None else (whole[role] or {}) | {name: array}
    return tuple(whole)


def _elements(stream: Any) -> Iterator[Any]:
    """Yield what a stream does, once through; its own errors in one line."""
    try:
        ends, batches = True, stream
        if _is_tensorflow(stream):
            ends = int(stream.cardinality()) != -1  # what TensorFlow says of `repeat()`
            batches = stream.as_numpy_iterator()
        elif hasattr(stream, "on_epoch_end"):
            length = stream.num_batches if hasattr(type(stream), "num_batches") else len(stream)
            ends = length is not None
            batches = (stream[step] for step in range(length or 0))
        if not ends:
            msg = "The data never end; expected a number of batches: leave repeat() out, or add take(n)."
            raise DatasetError(msg, code="dataset_too_large")
        yield from batches
    except DatasetError:
        raise
    except Exception as error:  # whatever the user's own code says
        msg = (
            f"The data of type {type(stream).__name__} failed ({type(error).__name__}: {one_line(error)}); "
            "expected what yields (inputs, labels)."
        )
        raise DatasetError(msg) from error


def _is_batched(stream: Any, columns: dict[tuple[int, str | None], list[Any]]) -> bool:
    """Return whether a stream yields batches rather than single samples."""
    # A batch says so where TensorFlow leaves its size open. Of a size that is fixed it must be that of
    # all arrays in it, and leave inputs an axis beside it.
    if not _is_tensorflow(stream):
        return not (hasattr(stream, "batch_sampler") and stream.batch_sampler is None)
    firsts = {array.shape[:1] for arrays in columns.values() for array in arrays[:1]}
    varies = any(len({array.shape[:1] for array in arrays}) > 1 for arrays in columns.values())
    if varies or _is_open(stream.element_spec):
        return True
    inputs = [arrays[0] for (role, _), arrays in columns.items() if role == 0]
    alone = all(role == 0 for role, _ in columns) and len(inputs) == 1
    return not alone and firsts != {()} and len(firsts) == 1 and all(a.ndim > 1 for a in inputs)


def _is_open(spec: Any) -> bool:
    """Return whether the first axis of all that a `tf.data.Dataset` yields has no fixed size."""
    if isinstance(spec, (Mapping, tuple, list)):
        return all(map(_is_open, spec.values() if isinstance(spec, Mapping) else spec))
    shape = getattr(spec, "shape", None)
    return shape is not None and shape.rank not in (None, 0) and shape[0] is None


def imported(
    spec: str, refuse: Callable[[str], LRCompressError], expected: str
) -> Callable[..., Any]:
    """Return the function at ``package.module:function``, or refuse what is none."""
    module, _, name = spec.partition(":")
    try:
        # A command line does not put the current directory on the path as `python script.py` does.
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing a module runs it
        msg = f"Cannot import {name!r} from {module!r} ({one_line(error)}); expected {expected}."
        raise refuse(msg) from error
    return function


class Function:
    """A function without arguments, importable from the current directory."""

    says = "package.module:function"

    def serves(self, word: Any) -> bool:
        """Return whether a word holds a colon and is no path."""
        return isinstance(word, str) and ":" in word and not is_there(Path(word))

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Call the function."""
        where = "package.module:function, importable from the current directory"
        function = imported(word, DatasetError, where)
        try:
            found = function()
        except Exception as error:  # whatever the user's own code says
            msg = (
                f"{word} failed ({type(error).__name__}: {one_line(error)}); expected a function "
                f"without arguments that returns the arrays {', '.join(ARRAYS)}."
            )
            raise DatasetError(msg) from error
        try:
            return word, read(found)
        except DatasetError as error:
            msg = f"{word} returned {type(found).__name__}: {error}"
            raise DatasetError(msg, code=error.code) from error
