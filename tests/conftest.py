"""Fixtures that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process a core: more threads would wait for each other. Read as the libraries are loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")

# The same cases in every run, however busy the machine is. Others are looked for by hand:
# `pytest --hypothesis-profile=explore`.
_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _BUSY)
settings.register_profile("repeatable", _BUSY, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def litert() -> None:
    """Skip where models cannot be exported to LiteRT."""
    for name in ("ai_edge_litert", "onnx", "onnxruntime", "tf2onnx"):
        if find_spec(name) is None:
            pytest.skip(f"{name}, of the extra `export`, is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("models are exported under TensorFlow")
    if tuple(map(int, version("keras").split(".")[:2])) < (3, 13):
        pytest.skip("Keras exports to LiteRT from 3.13 on")


@pytest.fixture(scope="session")
def examples() -> Path:
    """Return the folder of example models."""
    return ROOT / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the command line in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: Any) -> Result:
        from lrcompress.cli import main

        result = CliRunner().invoke(main, [str(word) for word in arguments])
        # Anything but a clean exit is a bug: the test should show its traceback.
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
