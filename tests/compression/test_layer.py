"""One Dense layer on its way to factors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from lrcompress.compression import LayerTask, Request
from lrcompress.compression.trial import Calibration


def test_a_kernel_that_a_trial_has_read_is_in_memory_once() -> None:
    """It is taken from the calibration, not from the file."""
    kernel = np.eye(4, 3, dtype=np.float32)
    target: Any = SimpleNamespace(
        layer=SimpleNamespace(path="head", softmax=True, use_bias=True), is_head=True
    )
    model: Any = None  # nothing is read

    task = LayerTask(
        model, target, Request(method="svd"), Calibration({}, kernels={"head": kernel})
    )

    assert task.kernel is kernel
