"""Model files and Keras: loading them safely, saving them whole or not at all, converting them."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.data.arrays import check_weights
from lrcompress.errors import (
    LRCompressWarning,
    OutputError,
    TrainingError,
    VerificationError,
    in_place_of,
    one_line,
)
from lrcompress.files import replacing
from lrcompress.live.compiling import compile_like, compile_with_known, compile_without_slots
from lrcompress.live.engine import allow_names, nothing_drawn, temporarily
from lrcompress.lowrank import free_memory
from lrcompress.modelfile import ModelFile, made_of, model_of, open_for_keras
from lrcompress.records import provenance

# HDF5 files name a loss as `compile` was given it; Keras finds these in its losses only when told.
SHORT_LOSSES = ("bce", "kld", "mae", "mape", "mse", "msle")
# Of a parameter as Keras loads it: five copies at most, of random numbers, of the file, and of the optimizer.
LOADING_BYTES = 20
# The attribute of a layer that is stateful in its file, but not here.
_STATEFUL = "stateful_in_its_file"


def check_version(version: str) -> None:
    """Refuse a Keras that does not keep its own safe mode; pyproject.toml leaves these out too."""
    # The repairs of 2026 are in 3.12.4, the last for Python 3.10, and from 3.15 on.
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < (3, 12, 4) or (3, 13) <= numbers < (3, 15):
        msg = (
            f"Keras {version} can be made to run what a model file holds; expected 3.12.4 or from 3.15 "
            "on: python -m pip install --upgrade keras."
        )
        raise TrainingError(msg, code="unsafe_keras")


def load_model(path: Path) -> Any:
    """Load a whole model, with a warning if Keras does not know all of how it was compiled: the one door of files."""
    like = model_of(path)
    if like is not None:
        model = _load_own(path, like)
        check_weights(model, path)
        return model
    check_version(keras.__version__)
    opened = open_for_keras(path)
    _check_room(opened.parameters, path)
    with nothing_drawn():
        model, unknown = _compiled(path, opened)
    _as_run_here(model)
    check_weights(model, path)
    if unknown is not None:
        lost = compile_with_known(model, opened.compile_config or {})
        what = f"does not know {', '.join(lost)}" if lost else f"reports {one_line(unknown, 120)!r}"
        msg = (
            f"Compile settings: Keras {what}, so that was left out. Measures and training go by the model's "
            "outputs and the labels; factorize and finetune copy the settings unchanged."
        )
        warnings.warn(msg, LRCompressWarning, stacklevel=2)
    return model


def _compiled(path: Path, opened: ModelFile) -> tuple[Any, Exception | None]:
    """Return a model compiled as its file says, or not compiled, and why Keras does not do that."""
    try:
        if opened.format != "keras":
            return _load(path), None
    except Exception as error:  # Keras raises anything here, from TypeError to its own
        return _load_alone(path), error
    # Keras would make the optimizer's slots too, once or twice the size of the model.
    model = _load_alone(path)
    try:
        if opened.compile_config:
            model.compile(**keras.saving.deserialize_keras_object(opened.compile_config))
    except Exception as error:
        return model, error
    return model, None


def _check_room(parameters: int, path: Path) -> None:
    """Refuse a model that does not fit into memory while Keras reads it: the system would end the process."""
    wanted, free = LOADING_BYTES * parameters, free_memory()
    if free is not None and wanted > free:
        needs = f"Keras takes up to {wanted / 1e9:.1f} GB of memory to load {path}, and {free / 1e9:.1f} GB are free"
        msg = f"{needs}; end other programs, or factorize without --dataset, which needs no Keras."
        raise TrainingError(msg, code="memory")


def _load(path: Path, **options: Any) -> Any:
    losses = {short: keras.losses.get(short) for short in SHORT_LOSSES}
    own = options.pop("custom_objects", {})
    with warnings.catch_warnings():
        # Keras warns about optimizer slots that factorization dropped; the report says so.
        warnings.simplefilter("ignore")
        return keras.saving.load_model(path, custom_objects=losses | own, **options)


def _load_alone(path: Path, **options: Any) -> Any:
    """Load a model without its compile settings."""
    try:
        return _load(path, compile=False, **options)
    except Exception as error:
        msg = (
            f"Keras {keras.__version__} cannot load {path} ({type(error).__name__}: {one_line(error)}); "
            "`lrcompress modernize` helps where the file is only old; factorize, inspect and report work "
            "on any, commands that run the model do not."
        )
        raise TrainingError(msg, code="keras_cannot_load") from error


def _load_own(path: Path, like: Any) -> Any:
    """Load a file that was made from a live model, with that model's own classes and functions."""
    # They are the caller's, and so is any Lambda: the file came from this process. A function that
    # was stored as code is given back as it is: it may need the names of the caller's module.
    own: dict[str, Any] = {}
    functions: dict[str, dict[str, Any]] = {}
    for place, layer in _layers_of(like):
        found = {key: value for key, value in vars(layer).items() if inspect.isfunction(value)}
        functions[place] = {key: value for key, value in found.items() if not _is_stock(value)}
        own |= {function.__name__: function for function in functions[place].values()}
        for value in (layer, *vars(layer).values()):
            if hasattr(value, "get_config") and not _is_stock(type(value)):
                own[type(value).__name__] = type(value)
    model = _load_alone(path, custom_objects=own, safe_mode=False)
    _as_run_here(model)
    for place, layer in _layers_of(model):
        for key, function in functions.get(place, {}).items():
            setattr(layer, key, function)
    compile_like(model, like)
    return model


def _layers_of(model: Any, outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every layer of a model with its path, the model itself and layers inside wrappers too."""
    yield outer, model
    inner = [*getattr(model, "layers", []), *filter(None, [getattr(model, "layer", None)])]
    for layer in inner:
        yield from _layers_of(layer, f"{outer}/{layer.name}")


def _is_stock(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] == "keras"


def _as_run_here(model: Any) -> None:
    """Let layers have any name, and those that carry their state over begin each sample anew, and say so."""
    allow_names(model)
    carrying = (layer for layer in model._flatten_layers() if getattr(layer, "stateful", False))
    layers = [layer for layer in carrying if hasattr(layer, "reset_state")]
    # What a sample gives would depend on those before it, and a batch would have one size only.
    for layer in layers:
        layer.stateful = False
        setattr(layer, _STATEFUL, True)
    if layers:
        warnings.warn(
            f"Stateful layers ({', '.join(layer.name for layer in layers)}) are reset for each sample here; "
            "files keep them stateful.",
            LRCompressWarning,
            stacklevel=3,
        )


def save_model(
    model: Any,
    path: Path,
    origin: dict[str, Any] | None,
    *,
    overwrite: bool = False,
    like: Path | None = None,
    compiled: dict[str, Any] | None = None,
) -> None:
    """Save a Keras model as `.keras` or HDF5, as the suffix says, with the permissions of the file it was made from."""
    # `origin`, data set and scaling, is stored where Keras ignores it; `compiled`, settings as a file of the same
    # format holds them, in the place of the model's.
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        try:
            _save_quietly(model, temporary)
        except OSError:
            raise
        except Exception as error:  # a stranger's get_config can fail in any way
            reason = one_line(error).replace(str(temporary), str(path))
            other = ".h5" if path.suffix == ".keras" else ".keras"
            msg = (
                f"Keras cannot save {model.name} as {path.name} ({type(error).__name__}: {reason}); "
                f"try the other format: an output that ends in {other}."
            )
            raise OutputError(msg, code="cannot_save") from error
        if origin is not None or compiled is not None:
            _stamp(temporary, origin or {}, compiled)


def check_writable(model: Any, path: Path) -> None:
    """See that Keras can save a model in that format and place, before hours are spent on it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lrcompress-") as folder:
        save_model(model, Path(folder) / path.name, None)


def convert(
    source: Path, target: Path, origin: dict[str, Any] | None, *, overwrite: bool = False
) -> None:
    """Save a model file anew in the format that the target's suffix names, and check it."""
    model = load_model(source)
    compile_without_slots(model, model.get_compile_config() if model.compiled else None)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        written = Path(folder) / target.name
        like = model_of(source)
        if like is not None:
            stack.enter_context(made_of(like, written))
        save_model(model, written, origin)
        with in_place_of(written, target):
            again = load_model(written)
        pairs = zip(model.get_weights(), again.get_weights(), strict=True)
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            msg = (
                f"Keras changed weights while converting to {target.name}; keep the input's format."
            )
            raise VerificationError(msg)
        with replacing(target, overwrite=overwrite, like=source) as temporary:
            shutil.copyfile(written, temporary)


def _save_quietly(model: Any, path: Path) -> None:
    from absl import logging as absl_logging

    stateful = [layer for layer in model._flatten_layers() if getattr(layer, _STATEFUL, False)]
    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with warnings.catch_warnings(), temporarily(stateful, "stateful", lambda _: True):
            # Keras calls HDF5 a legacy format on every save; the user chose it.
            warnings.simplefilter("ignore")
            _forget_tracking(model)
            # Keras fails on a compiled model whose optimizer it does not know.
            model.save(path, include_optimizer=getattr(model, "optimizer", None) is not None)
    finally:
        absl_logging.set_verbosity(level)


def _forget_tracking(model: Any) -> None:
    """Give layers the plain lists of their configs back: Keras cannot copy its own, which it keeps."""
    for layer in model._flatten_layers():
        for key, value in list(vars(layer).items()):
            plain = isinstance(value, list) and type(value) is not list
            if plain and all(isinstance(item, (bool, float, int, str)) for item in value):
                vars(layer)[key] = list(value)


def _stamp(path: Path, origin: dict[str, Any], compiled: dict[str, Any] | None) -> None:
    """Put into a saved file what Keras would not: where it is from, how another was compiled."""
    if path.suffix != ".keras":
        import h5py

        with h5py.File(path, "r+") as file:
            if origin:
                file.attrs[provenance.KEY] = provenance.pack(origin)
            if compiled is not None:
                file.attrs["training_config"] = json.dumps(compiled)
        return
    more: dict[str, Any] = {"metadata.json": {provenance.KEY: origin} if origin else {}}
    if compiled is not None:
        more["config.json"] = {"compile_config": compiled}
    with zipfile.ZipFile(path) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members.items():
            added = more.get(info.filename)
            archive.writestr(info, json.dumps(json.loads(content) | added) if added else content)
