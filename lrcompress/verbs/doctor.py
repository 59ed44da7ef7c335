"""`doctor`: what is installed, what computes, and what is missing for which command."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress import __version__
from lrcompress.lowrank import core_count
from lrcompress.records.results import SCHEMA_VERSION

if TYPE_CHECKING:
    from lrcompress.runtimes import Target

PACKAGES = ("keras", "numpy", "scipy", "h5py", "matplotlib", "PIL", "tensorboard")
# Called otherwise where it is installed from.
CALLED = {"PIL": "pillow"}
ENGINES = ("tensorflow", "jax", "torch")


def doctor() -> dict[str, Any]:
    """Return what is installed here and what is missing for which command; nothing of it is started.

    Returns:
        A JSON-ready document: ``versions`` by package, None where one is missing; ``engine``, what Keras will
        compute with and whether it is ``installed``; ``devices``: ``cores``, ``memory_bytes`` (None where the system
        does not say) and ``gpus`` as their driver names them; ``needs``, an entry for each thing that can be done:
        ``command``, ``missing`` packages, and what to ``install``.
    """
    from lrcompress.runtimes import TARGETS

    of_targets = [name for target in TARGETS.values() for name in target.packages]
    names = dict.fromkeys([*PACKAGES, *ENGINES, *of_targets])
    versions = {_called(name): _version(name) for name in names}
    engine, chosen_by = _engine()
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "doctor",
        "lrcompress": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "versions": versions,
        "engine": {
            "name": engine, "chosen_by": chosen_by, "installed": versions.get(engine) is not None,
        },
        "devices": {"cores": core_count(), "memory_bytes": _memory(), "gpus": _gpus()},
        "needs": [_need(engine, *one) for one in _wants(engine, TARGETS)],
    }  # fmt: skip


def _wants(engine: str, targets: dict[str, Target]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what can be done: the command, and the packages that it needs."""
    found = [
        ("inspect, factorize, merge, report", ("numpy", "h5py")),
        ("finetune, evaluate, sweep, benchmark, compress --dataset", ("keras", engine)),
        *(
            (f"export --format {name}", (ENGINES[0], *target.packages))
            for name, target in targets.items()
        ),
        ("--dataset FOLDER, of images", ("PIL",)),
        ("finetune --tensorboard, as event files", ("tensorboard",)),
    ]
    return [(command, tuple(dict.fromkeys(packages))) for command, packages in found]


def _need(engine: str, command: str, packages: tuple[str, ...]) -> dict[str, Any]:
    missing = [_called(name) for name in packages if _missing(name)]
    install = f"python -m pip install {' '.join(missing)}" if missing else None
    of_other = command.startswith("export") and engine != ENGINES[0]
    note = f"runs under KERAS_BACKEND={ENGINES[0]}" if of_other else None
    return {"command": command, "missing": missing, "install": install, "note": note}


def _called(name: str) -> str:
    """Return what a package is called where it is installed from."""
    return CALLED.get(name, name.replace("_", "-"))


def _missing(name: str) -> bool:
    return importlib.util.find_spec(name) is None


def _version(name: str) -> str | None:
    if _missing(name):
        return None
    try:
        return version(_called(name))
    except PackageNotFoundError:
        return "unknown"


def _engine() -> tuple[str, str]:
    """Return the engine that Keras will take, and what says so."""
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named, "KERAS_BACKEND"
    file = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["backend"]), str(file)
    except (OSError, ValueError, KeyError, TypeError):
        return ENGINES[0], "default"


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[str]:
    """Return the GPUs that NVIDIA's driver lists."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603  # found on PATH
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split(" (UUID")[0] for line in done.stdout.splitlines() if done.returncode == 0]
