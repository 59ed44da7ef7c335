"""Saving a trained model whole or not at all, with its provenance inside."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress import provenance
from lrcompress.atomic import replacing
from lrcompress.errors import VerificationError
from lrcompress.training import backend


def save_model(
    model: Any,
    path: Path,
    origin: dict[str, Any] | None,
    *,
    overwrite: bool = False,
    like: Path | None = None,
) -> None:
    """Save a Keras model as `.keras` or HDF5, as the suffix says.

    Args:
        model: The Keras model.
        path: Ends in ``.keras``, ``.h5`` or ``.hdf5``.
        origin: Data set and scaling, stored where Keras ignores it; None stores nothing.
        overwrite: Whether an existing file is replaced.
        like: The file that it was made from, whose permissions it keeps.

    Raises:
        OutputError: If the file cannot be written.
    """
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        with warnings.catch_warnings():
            # Keras calls HDF5 a legacy format on every save; the user chose it.
            warnings.simplefilter("ignore")
            _save_quietly(model, temporary)
        if origin is not None:
            _stamp(temporary, origin)


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
    model = backend.load_model(source)
    backend.compile_without_slots(model, model.get_compile_config() if model.compiled else None)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / target.name
        save_model(model, written, origin)
        pairs = zip(model.get_weights(), backend.load_model(written).get_weights(), strict=True)
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            msg = (
                f"Keras changed weights while converting to {target.name}; keep the input's format."
            )
            raise VerificationError(msg)
        with replacing(target, overwrite=overwrite, like=source) as temporary:
            shutil.copyfile(written, temporary)


def reload_live(path: Path, like: Any) -> Any:
    """Load a file that was made from a live model, with that model's own classes.

    They are the caller's, and so is any Lambda: the file came from this process.

    Raises:
        TrainingError: If Keras cannot load it.
    """
    layers, classes = [like], {}
    while layers:
        layer = layers.pop()
        classes[type(layer).__name__] = type(layer)
        layers += [*getattr(layer, "layers", []), *filter(None, [getattr(layer, "layer", None)])]
    own = {n: c for n, c in classes.items() if not c.__module__.startswith("keras.")}
    return backend.load_model(path, custom_objects=own, safe_mode=False)


def _save_quietly(model: Any, path: Path) -> None:
    from absl import logging as absl_logging

    level = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        model.save(path)
    finally:
        absl_logging.set_verbosity(level)


def _stamp(path: Path, origin: dict[str, Any]) -> None:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            members = {info: archive.read(info) for info in archive.infolist()}
        with zipfile.ZipFile(path, "w") as archive:
            for info, content in members.items():
                if info.filename == "metadata.json":
                    metadata = json.loads(content) | {provenance.KEY: origin}
                    content = json.dumps(metadata).encode()
                archive.writestr(info, content)
    else:
        import h5py

        with h5py.File(path, "r+") as file:
            file.attrs[provenance.KEY] = provenance.pack(origin)
