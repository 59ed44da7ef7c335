"""The device, the seed and the compile options: what differs between Keras' engines."""

from __future__ import annotations

import platform
import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.data.finite import check_weights
from lrcompress.errors import LRCompressWarning, TrainingError, one_line
from lrcompress.live import compiling
from lrcompress.live.anew import start_each_anew
from lrcompress.live.scopes import allow_names
from lrcompress.live.team import current
from lrcompress.modelfile import model_of, open_for_keras


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and the backend: training draws weights, dropout and order from them."""
    keras.utils.set_random_seed(seed)


def forget_models() -> None:
    """Free what Keras keeps of the models so far.

    Nothing is freed while several devices share the batches: Keras would forget that too, and so
    would TensorFlow, whose strategy belongs to the graph that is thrown away.
    """
    if len(current().devices) == 1:
        keras.backend.clear_session()


def describe_device(choice: str | None = None) -> str:
    """Return what computes, and how the data are shared out if they are.

    For example ``gpu:0 (jax)``, ``cpu, x86_64 (tensorflow)``, or ``gpu:0, gpu:1 (tensorflow), each
    batch shared by 2 devices``.

    Args:
        choice: What the user said of several devices, before they are at work; None to go by the
            team that is.
    """
    name = keras.backend.backend()
    if choice is None:
        team = current()
    else:
        from lrcompress.live.devices import team_for

        team = team_for(choice)
    if len(team.devices) > 1:
        return f"{', '.join(team.devices)} ({name}), {team}"
    # One of several computes where nothing is shared.
    first = devices()[0]
    return f"cpu, {platform.machine()} ({name})" if first.startswith("cpu") else f"{first} ({name})"


def has_accelerator() -> bool:
    """Return whether Keras sees a GPU or TPU."""
    return any(not device.startswith("cpu") for device in devices())


def devices() -> list[str]:
    """Return the names of the devices that can compute, accelerators only if there are any."""
    try:
        return [str(device).lower() for device in keras.distribution.list_devices()]
    except (NotImplementedError, AttributeError, ValueError):
        # The PyTorch backend of older Keras cannot list its devices.
        return ["cpu:0"]


def jit_compile() -> bool | str:
    """Return Keras' `jit_compile`: XLA on the CPU slows small convolutions 3.5 times under TensorFlow."""
    return "auto" if has_accelerator() or keras.backend.backend() != "tensorflow" else False


def versions() -> dict[str, str]:
    """Return the versions that decide the numbers."""
    return {
        "keras": keras.__version__,
        "backend": f"{keras.backend.backend()} {_backend_version()}",
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _backend_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(keras.backend.backend())
    except PackageNotFoundError:  # built by hand, or named otherwise (tensorflow-cpu)
        return "unknown"


# HDF5 files name a loss as `compile` was given it; Keras finds these in its losses only when told.
SHORT_LOSSES = {
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "mse": "mean_squared_error",
    "msle": "mean_squared_logarithmic_error",
}


def check_version(version: str) -> None:
    """Refuse a Keras that does not keep its own safe mode; pyproject.toml leaves these out too.

    The repairs of 2026 are in 3.12.4, the last for Python 3.10, and from 3.15 on.

    Raises:
        TrainingError: With code ``unsafe_keras``.
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < (3, 12, 4) or (3, 13) <= numbers < (3, 15):
        msg = (
            f"Keras {version} can be made to run what a model file holds; expected 3.12.4 or from 3.15 "
            "on: python -m pip install --upgrade keras."
        )
        raise TrainingError(msg, code="unsafe_keras")


def load_model(
    path: Path,
    *,
    custom_objects: dict[str, Any] | None = None,
    safe_mode: bool = True,
    compiled: bool = True,
) -> Any:
    """Load a whole model: the one door by which files come to Keras.

    A loss, metric, optimizer or schedule that Keras does not know keeps no model from being run: it
    is left out, with an `LRCompressWarning`, and what Keras knows of the compile settings is kept.

    Args:
        path: The file.
        custom_objects: Classes by name, for a model that came from this process.
        safe_mode: False only for such a model, which may hold code.
        compiled: Whether to compile it as the file says.

    Raises:
        ModelFileError: If the file is missing, damaged or hostile.
        UnsupportedModelError: If it holds weights only, or keeps them as ``.npz``.
        TrainingError: If this Keras cannot load it, or it holds code, NaN or infinity.
    """
    settings: dict[str, Any] = {}
    like = model_of(path)
    if safe_mode and like is not None:
        from lrcompress.live.storing import reload_live  # which loads through here

        model = reload_live(path, like)
        check_weights(model, path)
        return model
    if safe_mode:
        check_version(keras.__version__)
        settings = open_for_keras(path).compile_config or {}
    losses = {short: getattr(keras.losses, name) for short, name in SHORT_LOSSES.items()}
    options = {"custom_objects": losses | (custom_objects or {}), "safe_mode": safe_mode}
    with warnings.catch_warnings():
        # Keras warns about optimizer slots that factorization dropped; the report says so.
        warnings.simplefilter("ignore")
        unknown: Exception | None = None
        try:
            try:
                model = keras.saving.load_model(path, compile=compiled, **options)
            except Exception as error:  # Keras raises anything here, from TypeError to its own
                unknown = error
                model = keras.saving.load_model(path, compile=False, **options)
        except Exception as error:
            msg = (
                f"Keras {keras.__version__} cannot load {path} ({type(error).__name__}: {one_line(error)}); "
                "`lrcompress modernize` helps where the file is only old; factorize, inspect and report work "
                "on any, commands that run the model do not."
            )
            raise TrainingError(msg, code="keras_cannot_load") from error
    allow_names(model)
    start_each_anew(model)
    if safe_mode:
        check_weights(model, path)
    if unknown is not None:
        lost = compiling.compile_with_known(model, settings)
        warnings.warn(compiling.note(lost, unknown), LRCompressWarning, stacklevel=2)
    return model
