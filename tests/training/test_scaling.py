"""Scalings: their words, their arithmetic, and how the right one is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.training.scaling import CHANCE_MARGIN, candidates, detect, parse

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, np.bool_])
@pytest.mark.parametrize("name", ["as-is", "/255", "/127.5-1", "/2.5", "standardized"])
def test_scaled_inputs_are_float32_and_the_raw_ones_stay(dtype: Any, name: str) -> None:
    """Every scaling gives float32 of the same shape and changes nothing in place."""
    x = np.random.default_rng(0).integers(0, 2, (20, 3, 4, 2)).astype(dtype)
    raw = x.copy()
    scaling = parse(name, x)

    scaled = scaling(x)

    assert scaling.name == name
    assert scaled.dtype == np.float32
    assert scaled.shape == x.shape
    np.testing.assert_array_equal(x, raw)


@pytest.mark.parametrize("shape", [(40, 5), (40, 6, 5), (40, 6, 5, 3)])
def test_standardized_by_the_training_inputs(shape: tuple[int, ...]) -> None:
    """Pictures have one mean and deviation a channel, all else one; the training inputs decide."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, shape).astype(np.uint8)
    other = rng.integers(0, 255, shape).astype(np.uint8)
    axes = (0, 1, 2) if len(shape) == 4 else None

    scaled = parse("standardized", x)(other)

    expected = (other - x.mean(axis=axes)) / x.std(axis=axes)
    np.testing.assert_allclose(scaled, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["/-255", "/1e3", "/255-0", "/.5", "AS-IS", "/255 ", "/NaN"])
def test_words_that_are_no_scaling(refuses: Refuses, name: str) -> None:
    """What is not one of the words is refused with it and with the words."""
    with refuses(DatasetError, "scaling", repr(name), "as-is", "/127.5-1", "standardized"):
        parse(name, np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("largest", "second"),
    [(16, "/16"), (16.0, "/16"), (4095, "/4095"), (255, "as-is"), (1, "as-is"), (0.7, "as-is"),
     (0, "as-is"), (-3, "as-is")],
)  # fmt: skip
def test_a_whole_maximum_is_tried(largest: float, second: str) -> None:
    """Data that end at a whole number may have been divided by it; all usual ones are tried too."""
    names = candidates(np.array([[largest], [min(0, largest)]]))

    assert names[:2] == ["/255", second]
    assert {"/255", "as-is", "/127.5-1", "standardized"} <= set(names)
    assert len(set(names)) == len(names)


def test_candidates_of_infinite_inputs() -> None:
    """Infinity among the inputs adds no candidate."""
    assert len(candidates(np.array([[0.0, np.inf]]))) == 4


@pytest.mark.parametrize("right", ["as-is", "/255", "/127.5-1", "/200", "standardized"])
def test_the_scaling_of_a_model_is_found(right: str) -> None:
    """Whichever scaling the model was trained with has the least error and is returned."""
    x = np.random.default_rng(0).integers(0, 201, (50, 4)).astype(np.uint8)
    x[0, 0] = 200
    seen: list[float] = []

    def error_rate(scaled: NDArray[np.float32]) -> float:
        seen.append(float(scaled.mean()))
        return 3.0 if np.allclose(scaled, parse(right, x)(x)) else 60.0

    scaling, scores = detect(error_rate, x, classes=10)

    assert scaling.name == right
    assert list(scores) == candidates(x)
    assert scores[right] == min(scores.values()) == 3.0
    assert len(seen) == len(scores)


def test_ties_go_to_the_likeliest() -> None:
    """Where two scalings err alike, as for a network that normalises its inputs, /255 is taken."""
    scaling, _ = detect(lambda _: 1.0, np.array([[0, 255]], np.uint8), classes=10)

    assert scaling.name == "/255"


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_near_chance_is_told_with_every_score(refuses: Refuses, classes: int) -> None:
    """A model that is hardly better than guessing is refused with the scores; a better one is not."""
    chance = 100 * (1 - 1 / classes)
    x = np.array([[0, 255]], np.uint8)
    words = [
        f"({chance:.1f} %)",
        *(f"{name}: {chance:.1f} %" for name in candidates(x)),
        "--scaling",
    ]

    with refuses(DatasetError, "scaling_near_chance", *words):
        detect(lambda _: chance, x, classes)

    assert detect(lambda _: CHANCE_MARGIN * chance, x, classes)[0].name == "/255"
