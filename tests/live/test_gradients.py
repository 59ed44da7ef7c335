"""How much the outputs care for the rows of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras


def test_the_metric_of_a_tables_rows_lies_in_what_follows(tmp_path: Path) -> None:
    """Masked words have no gradient, and the mask reaches the layer behind the probe."""
    from lrcompress.live.network.gradients import response_gradients

    rng = np.random.default_rng(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Embedding(9, 5, mask_zero=True, name="words"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, "softmax", use_bias=False, name="out"),
        ]
    )
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    kernel = model.get_layer("out").get_weights()[0]
    x = np.zeros((100, 6), np.int32)
    x[:, 0] = rng.integers(1, 9, 100)  # one word each, so that its row is the mean
    p = model.predict(x, verbose=0)

    (moments,) = response_gradients(model, ["words"], x).values()

    fisher = np.mean([np.diag(q) - np.outer(q, q) for q in p], axis=0)
    expected = kernel @ fisher @ kernel.T
    np.testing.assert_allclose(moments, expected, atol=0.3 * np.abs(expected).max())
    assert np.linalg.matrix_rank(moments, tol=1e-4 * np.trace(moments)) == 2
