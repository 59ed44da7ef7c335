"""Saving a trained model whole or not at all, with its provenance inside."""

from __future__ import annotations

import contextlib
import inspect
import json
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress.errors import OutputError, VerificationError, in_place_of, one_line
from lrcompress.files import replacing
from lrcompress.live import compiling, engine
from lrcompress.live.anew import as_in_its_file
from lrcompress.modelfile import made_of, model_of
from lrcompress.records import provenance


def save_model(
    model: Any,
    path: Path,
    origin: dict[str, Any] | None,
    *,
    overwrite: bool = False,
    like: Path | None = None,
    compiled: dict[str, Any] | None = None,
) -> None:
    """Save a Keras model as `.keras` or HDF5, as the suffix says.

    Args:
        model: The Keras model.
        path: Ends in ``.keras``, ``.h5`` or ``.hdf5``.
        origin: Data set and scaling, stored where Keras ignores it; None stores nothing.
        overwrite: Whether an existing file is replaced.
        like: The file that it was made from, whose permissions it keeps.
        compiled: Compile settings as a file of the same format holds them, to be stored in the
            place of the model's; None stores those.

    Raises:
        OutputError: If the file cannot be written.
    """
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        with warnings.catch_warnings(), as_in_its_file(model):
            # Keras calls HDF5 a legacy format on every save; the user chose it.
            warnings.simplefilter("ignore")
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


def convert(
    source: Path, target: Path, origin: dict[str, Any] | None, *, overwrite: bool = False
) -> None:
    """Save a model file anew in the format that the target's suffix names, and check it.

    Args:
        source: A model file that this Keras loads.
        target: Ends in ``.keras``, ``.h5`` or ``.hdf5``.
        origin: As for `save_model`.
        overwrite: Whether an existing target is replaced.

    Raises:
        TrainingError: If Keras cannot load the source, or what it wrote.
        VerificationError: If the weights read back are not those of the source.
        OutputError: If the file cannot be written.
    """
    model = engine.load_model(source)
    compiling.compile_without_slots(model, model.get_compile_config() if model.compiled else None)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        written = Path(folder) / target.name
        like = model_of(source)
        if like is not None:
            stack.enter_context(made_of(like, written))
        save_model(model, written, origin)
        with in_place_of(written, target):
            again = engine.load_model(written)
        pairs = zip(model.get_weights(), again.get_weights(), strict=True)
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            msg = (
                f"Keras changed weights while converting to {target.name}; keep the input's format."
            )
            raise VerificationError(msg)
        with replacing(target, overwrite=overwrite, like=source) as temporary:
            shutil.copyfile(written, temporary)


def reload_live(path: Path, like: Any) -> Any:
    """Load a file that was made from a live model, with that model's own classes and functions.

    They are the caller's, and so is any Lambda: the file came from this process. A function that
    was stored as code is given back as it is: it may need the names of the caller's module.

    Raises:
        TrainingError: If Keras cannot load it.
    """
    own: dict[str, Any] = {}
    functions: dict[str, dict[str, Any]] = {}
    for path_of, layer in _layers_of(like):
        found = {key: value for key, value in vars(layer).items() if inspect.isfunction(value)}
        functions[path_of] = {k: f for k, f in found.items() if not _is_stock(f)}
        own |= {f.__name__: f for f in functions[path_of].values()}
        for value in (layer, *vars(layer).values()):
            if hasattr(value, "get_config") and not _is_stock(type(value)):
                own[type(value).__name__] = type(value)
    model = engine.load_model(path, custom_objects=own, safe_mode=False, compiled=False)
    for path_of, layer in _layers_of(model):
        for key, function in functions.get(path_of, {}).items():
            setattr(layer, key, function)
    compiling.compile_like(model, like)
    return model


def _layers_of(model: Any, outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every layer of a model with its path, the model itself and layers inside wrappers too."""
    yield outer, model
    inner = [*getattr(model, "layers", []), *filter(None, [getattr(model, "layer", None)])]
    for layer in inner:
        yield from _layers_of(layer, f"{outer}/{layer.name}")


def _is_stock(thing: Any) -> bool:
    return str(thing.__module__).split(".")[0] == "keras"


def _save_quietly(model: Any, path: Path) -> None:
    from absl import logging as absl_logging

    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
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


def check_writable(model: Any, path: Path) -> None:
    """See that Keras can save a model, before hours are spent on it.

    Args:
        model: The Keras model.
        path: Where it is to be saved; nothing is left there.

    Raises:
        OutputError: If it cannot be saved in that format or place.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".lrcompress-") as folder:
        save_model(model, Path(folder) / path.name, None)


def _stamp(path: Path, origin: dict[str, Any], compiled: dict[str, Any] | None) -> None:
    """Put into a saved file what Keras would not: where it is from, how another was compiled."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {info: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for info, content in members.items():
                more: dict[str, Any] = {}
                if info.filename == "metadata.json" and origin:
                    more = {provenance.KEY: origin}
                if info.filename == "config.json" and compiled is not None:
                    more = {"compile_config": compiled}
                if more:
                    content = json.dumps(json.loads(content) | more).encode()
                archive.writestr(info, content)
    else:
        import h5py

        with h5py.File(path, "r+") as file:
            if origin:
                file.attrs[provenance.KEY] = provenance.pack(origin)
            if compiled is not None:
                file.attrs["training_config"] = json.dumps(compiled)
