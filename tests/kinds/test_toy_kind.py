"""A layer kind of one's own, registered from outside, makes networks smaller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.compression.network import NetworkRequest, compress
from lrcompress.kinds import Arrays, Batch, Form, Place, Serialized, Solution, registry
from lrcompress.lowrank.responses import errors_by_size
from lrcompress.modelfile import open_model, write_changed


class Depthwise:
    """DepthwiseConv1D: each channel c has a kernel (k, M), which makes M channels of it."""

    name, family, linear = "DepthwiseConv1D", "conv", False
    classes = frozenset({"DepthwiseConv1D"})

    def refuse(self, layer: Serialized) -> None:
        """Take every one."""

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return the one form, where the arrays are what the class stores."""
        return (Multiplier(place),) if len(place.layer.arrays[0].shape) == 3 else ()

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> None:
        """Nothing is learned from data."""

    def merged(self, layers: tuple[Serialized, ...]) -> None:
        """None in a row are one."""


class Multiplier:
    """Fewer channels r of each channel, then a convolution of one pixel, in groups, that makes M of them."""

    name, narrows = "multiplier", False

    def __init__(self, place: Place) -> None:
        """Of a layer at its place."""
        self.place, self.touches = place, (place.path,)
        self.size, self.channels, self.multiplier = place.layer.arrays[0].shape
        self.largest = min(self.size, self.multiplier)
        self.before = sum(array.size for array in place.layer.arrays)

    def parameters(self, size: int) -> int:
        """Return r (k + M) for each channel, and the bias."""
        each = size * (self.size + self.multiplier) - self.size * self.multiplier
        return self.before + self.channels * each

    def multiplications(self, size: int) -> None:
        """Leave them unknown."""

    def errors(self, arrays: Arrays, seen: Any) -> Any:
        """Return what all kernels lose together."""
        _, values, _ = np.linalg.svd(arrays[self.place.path][0].transpose(1, 0, 2))
        return errors_by_size((values**2).sum(axis=0))

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Truncate the SVD of each channel's kernel."""
        kernel, *bias = arrays[self.place.path]
        left, values, right = np.linalg.svd(kernel.transpose(1, 0, 2), full_matrices=False)
        errors = self.errors(arrays, seen)
        return {
            r: self.solution((left * values[:, None])[..., :r], right[:, :r], bias, errors[r - 1])
            for r in sizes
        }

    def solution(self, first: Any, second: Any, bias: list[Any], error: float) -> Solution:
        """Return factors (channels, k, r) and (channels, r, M) as stock layers, and as the layer's own arrays."""
        config, path, r = self.place.layer.config, self.place.path, second.shape[1]
        bare = {"depth_multiplier": r, "use_bias": False, "activation": "linear"}
        window = config | bare | {"name": f"{config['name']}_lowrank"}
        pixel = {key: config[key] for key in ("name", "activation", "use_bias", "dtype")}
        pixel |= {"filters": self.channels * self.multiplier, "kernel_size": [1]}
        pixel |= {"groups": self.channels}
        wide = second.transpose(1, 0, 2).reshape(1, r, -1)
        layers = (
            Serialized("DepthwiseConv1D", window, (first.transpose(1, 0, 2),)),
            Serialized("Conv1D", pixel, (wide, *bias)),
        )
        whole = ((first @ second).transpose(1, 0, 2), *bias)
        return Solution(error, lambda: {path: layers}, lambda: {path: whole})


@pytest.mark.keras
def test_a_kind_from_outside_is_found_chosen_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One class with one form is enough: the file is smaller and computes what the arrays in place do."""
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(registry, "KINDS", (*registry.KINDS, Depthwise()))
    model = keras.Sequential([
        keras.Input((9, 3)), keras.layers.DepthwiseConv1D(5, depth_multiplier=6, name="depthwise"),
        keras.layers.ReLU(), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2, name="out"),
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    opened = open_model(tmp_path / "model.keras")
    request = NetworkRequest(layers=("depthwise",), budget=("reduction", 0.1))

    found = compress(opened, request, None, tmp_path)
    written = write_changed(found.model, found.edits, tmp_path / "smaller.keras")

    (change,) = found.layers
    assert change.size == 2
    assert (change.kind, change.form, change.largest) == ("DepthwiseConv1D", "multiplier", 5)
    assert (
        written.parameters == opened.parameters - change.parameters_before + change.parameters_after
    )
    assert written.parameters <= 0.9 * opened.parameters
    smaller = keras.saving.load_model(written.path)
    assert type(smaller.get_layer("depthwise")).__name__ == "Conv1D"
    assert smaller.get_layer("depthwise_lowrank").depth_multiplier == change.size
    kernel, bias = model.get_layer("depthwise").get_weights()
    left, values, right = np.linalg.svd(kernel.transpose(1, 0, 2), full_matrices=False)
    values[:, change.size :] = 0
    model.get_layer("depthwise").set_weights([
        ((left * values[:, None]) @ right).transpose(1, 0, 2), bias,
    ])  # fmt: skip
    x = rng.normal(size=(4, 9, 3))
    np.testing.assert_allclose(
        smaller.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5
    )
