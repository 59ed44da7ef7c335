"""Scalings: their words, their arithmetic, and how the right one is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest

from lrcompress.data.scaling import parse
from lrcompress.errors import DatasetError

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


COLOURS = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3)).astype(np.uint8)


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "mode"), [("caffe", "caffe"), ("torch", "torch"), ("/127.5-1", "tf")]
)
@pytest.mark.parametrize("unit", [False, True])
def test_as_keras_preprocesses(name: str, mode: str, unit: bool) -> None:
    """The styles of other frameworks are those of `keras.applications`, from bytes or from 0 to 1."""
    from keras.applications.imagenet_utils import preprocess_input

    if unit and name.startswith("/"):
        pytest.skip("a number to divide by is taken at its word")
    raw = COLOURS / np.float32(255) if unit else COLOURS

    expected = preprocess_input(COLOURS.astype("f4"), mode=mode)
    np.testing.assert_allclose(parse(name, raw)(raw), expected, rtol=1e-4, atol=1e-3)


def test_blue_first_and_by_its_own_mean() -> None:
    """Channels reversed, then as the rest says; 128 less; each image by its own mean."""
    x = COLOURS.astype("f4")

    np.testing.assert_allclose(parse("bgr/255", COLOURS)(COLOURS), x[..., ::-1] / 255, rtol=1e-6)
    np.testing.assert_allclose(parse("bgr", COLOURS)(COLOURS), x[..., ::-1])
    np.testing.assert_allclose(parse("x-128", COLOURS)(COLOURS), x - 128)
    own = parse("per-image", COLOURS)(COLOURS)
    np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(own.std(axis=(1, 2, 3)), 1, rtol=1e-5)
    columns = parse("standardized-columns", x[:, 0, 0])(x[:, 0, 0])
    np.testing.assert_allclose(columns.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("name", ["caffe", "torch", "bgr/255"])
def test_colours_need_three_channels(refuses: Refuses, name: str) -> None:
    """A scaling of colours is refused for inputs that have none."""
    with refuses(DatasetError, "scaling", repr(name), "three channels"):
        parse(name, np.zeros((4, 5)))


def test_a_wrong_word_is_refused_before_anything_is_read(run: Callable[..., Any]) -> None:
    """The command line knows the words: no data set is opened and no engine started."""
    done = run(
        "evaluate", "missing.keras", "--dataset", "missing.npz", "--scaling", "/25s", "--json"
    )

    assert done.exit_code == 1
    assert "Unknown scaling '/25s'" in done.stderr


def test_scalings() -> None:
    """Each word does what it says."""
    x = np.array([[0, 255], [51, 102]], np.uint8)

    assert parse("as-is", x)(x).tolist() == [[0, 255], [51, 102]]
    np.testing.assert_allclose(parse("/255", x)(x), x / 255, rtol=1e-6)
    np.testing.assert_allclose(parse("/127.5-1", x)(x), x / 127.5 - 1, rtol=1e-6)
    np.testing.assert_allclose(parse("/16", x)(x), x / 16)
    assert parse("/255", x)(x).dtype == np.float32


def test_standardized_is_per_channel() -> None:
    """Pictures are standardised per channel; a channel that never changes does not divide by zero."""
    x = np.random.default_rng(0).integers(0, 255, (50, 4, 4, 3)).astype(np.uint8)
    x[..., 2] = 7

    scaled = parse("standardized", x)(x)

    np.testing.assert_allclose(scaled[..., :2].mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[..., :2].std(axis=(0, 1, 2)), 1, atol=1e-4)
    assert np.isfinite(scaled).all()


@pytest.mark.parametrize("name", ["", "255", "/0", "/x", "unit", "/255-2"])
def test_unknown_scalings(name: str) -> None:
    """Other words are refused with the ones that are known."""
    with pytest.raises(DatasetError, match=r"expected as-is, /255") as error:
        parse(name, np.zeros((2, 2)))

    assert error.value.code == "scaling"
