"""What is said of the data that decided a factorization."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lrcompress.compression.record import about_calibration
from lrcompress.compression.trial import Calibration
from lrcompress.records.results import RankChoice


def _layer(method: str, rule: Any, asked: float) -> Any:
    target = SimpleNamespace(layer=SimpleNamespace(path="head", kernel_shape=(64, 10)))
    choice = RankChoice(3, rule, asked, False, {}, "")
    return SimpleNamespace(target=target, factors=SimpleNamespace(method=method), choice=choice)


def _calibration(inputs: int, held_out: int) -> Calibration:
    x = np.zeros((inputs, 64), np.float32)
    return Calibration({"head": x}, counted=held_out)


@pytest.mark.parametrize(
    ("method", "inputs", "said"),
    [("refined", 50, "fewer inputs than features"), ("whitened", 200, "less good"),
     ("whitened", 400, None), ("centered", 50, None)],
)  # fmt: skip
def test_few_calibration_inputs(method: str, inputs: int, said: str | None) -> None:
    """Only methods that learn from inputs are warned about, and only where those are few."""
    warnings = about_calibration([_layer(method, "rank", 3)], _calibration(inputs, 1000))

    assert len(warnings) == (said is not None)
    assert said is None or said in warnings[0]


@pytest.mark.parametrize(
    ("rule", "held_out", "asked", "warned"),
    [("max_drop", 143, 0.5, True), ("max_drop", 200, 0.5, False), ("max_drop", 5000, 0.0, False),
     ("rank", 143, 3, False)],
)  # fmt: skip
def test_a_drop_below_one_prediction(rule: str, held_out: int, asked: float, warned: bool) -> None:
    """A drop that is less than one held-out prediction says so, with the least that is not."""
    warnings = about_calibration([_layer("svd", rule, asked)], _calibration(1000, held_out))

    assert bool(warnings) == warned
    assert not warned or f"--max-drop {1}" in warnings[0]


def test_a_drop_in_probabilities_is_not_so_coarse() -> None:
    """Where the original's own probabilities count, and no label, a drop can be less than one prediction."""
    drop = _layer("svd", "max_drop", 0.5)

    assert about_calibration([drop], _calibration(1000, 0)) == []


def test_nothing_without_data() -> None:
    """A factorization without data has no such warnings."""
    assert about_calibration([_layer("svd", "energy", 0.9)], None) == []
