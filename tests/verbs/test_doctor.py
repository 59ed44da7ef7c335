"""What is installed, and what is missing for which command."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import lrcompress

Run = Callable[..., Result]


def test_what_is_missing_is_named_with_what_brings_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Packages of an extra by the extra, engines by their own name; the engine is the one that Keras will take."""
    real = importlib.util.find_spec
    gone = {"onnxruntime", "jax"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in gone else real(name)
    )
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))

    found = lrcompress.doctor()

    assert found["engine"] == {
        "name": "jax", "chosen_by": str(tmp_path / "keras.json"), "installed": False,
    }  # fmt: skip
    needs: dict[str, Any] = {need["command"]: need for need in found["needs"]}
    onnx = needs["export --format onnx"]
    assert onnx["missing"] == ["onnxruntime"]
    assert onnx["install"] == "python -m pip install onnxruntime"
    assert onnx["note"] == "runs under KERAS_BACKEND=tensorflow"
    [training] = [need for command, need in needs.items() if command.startswith("finetune, ")]
    assert training["missing"] == ["jax"]
    assert training["install"] == "python -m pip install jax"
    assert found["versions"]["onnxruntime"] is None
    shown = run("doctor")
    assert shown.exit_code == 0
    assert "which is not installed" in shown.stdout
    assert json.loads(run("doctor", "--json").stdout) == found
