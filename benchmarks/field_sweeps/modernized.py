"""Models of tf_keras (Keras 2) through `modernize`: what Keras 3 then computes, beside tf_keras.

Right: Keras 3 loads the new file without custom objects and computes the same to 1e-4. Refused:
`modernize` refuses or warns, whatever Keras 3 then does. Wrong: it said done, and Keras 3 cannot
load the file or computes something else. Needs `pip install tf_keras`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

import lrcompress
from lrcompress.errors import LRCompressError

WORKER = Path(__file__).with_name("modernized_worker.py")
TOLERANCE = 1e-4


def sweep(work: Path) -> dict[str, str]:
    """Return an outcome for each model in each format."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    made = subprocess.run(
        [sys.executable, str(WORKER), str(work)], env=environment, capture_output=True, text=True
    )
    if made.returncode:
        return {"tf_keras": f"refused: {made.stderr.strip().splitlines()[-1]}"}
    outcomes = {}
    for data in sorted(work.glob("*.npz")):
        for suffix in (".h5", ".keras"):
            path = data.with_suffix(suffix)
            if path.exists():
                outcomes[f"{data.stem}{suffix}"] = _judged(path, data)
    return outcomes


def _judged(path: Path, data: Path) -> str:
    """Modernize one file, and compare what Keras 3 computes with what tf_keras did."""
    output = path.with_name(f"new-{path.name}")
    try:
        result = lrcompress.modernize(path, output=output, overwrite=True)
    except LRCompressError as error:
        return f"refused: {error}"
    if result.warnings:
        return f"refused: warned: {' '.join(result.warnings)}"
    with np.load(data) as arrays:
        x, y = [arrays[key] for key in arrays.files if key != "y"], arrays["y"]
    try:
        model = keras.saving.load_model(output)
        found = model.predict(x if len(x) > 1 else x[0], verbose=0)
    except Exception as error:  # Keras raises anything here
        return f"wrong: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if isinstance(found, (list, tuple)):
        return f"wrong: outputs are a list of {len(found)}, expected an array"
    difference = float(np.max(np.abs(found - y), initial=0.0) / max(np.abs(y).max(), 1e-9))
    return f"{'right' if difference <= TOLERANCE else 'wrong'}: differs by {difference:.1e}"
