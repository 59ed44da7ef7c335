"""The other engines, each in a program of its own: what this engine factorized is fine-tuned there.

The whole training tests run under another engine by KERAS_BACKEND; see docs/contributing.md.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("engine", ["jax", "torch"])
def test_finetune_under_another_engine(
    engine: str, small_file: Path, tmp_path: Path, load_keras: Callable[[Path], Any]
) -> None:
    """The error comes back, and the file that the engine wrote loads here."""
    if importlib.util.find_spec(engine) is None:
        pytest.skip(f"needs {engine}: pip install {engine}")
    words = ["--dataset", "digits", "--scaling", "/16", "--epochs", "1", "--distribute", "none"]
    command = [sys.executable, "-m", "lrcompress", "finetune", small_file, *words, "--json"]

    done = subprocess.run(
        [*command, "-o", "out.keras"], cwd=tmp_path, env=os.environ | {"KERAS_BACKEND": engine},
        capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert f"({engine})" in result["device"]
    assert result["error_rate_after"] < result["error_rate_before"]
    x = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    assert load_keras(tmp_path / "out.keras").predict(x, verbose=0).shape == (3, 10)
