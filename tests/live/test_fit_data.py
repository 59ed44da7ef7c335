"""Data fitted to a model, and the parts that training data are divided into."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lrcompress.data.dataset import Dataset, leave_out
from lrcompress.errors import DatasetError
from lrcompress.live.fit import fit_to_model, hold_out

Refuses = Callable[..., AbstractContextManager[None]]
Shape = tuple[int | None, ...]


class History(NamedTuple):
    """Where a tensor of Keras comes from."""

    operation: Any
    node_index: int
    tensor_index: int


@pytest.fixture
def model() -> Callable[..., Any]:
    """Return a function that makes what the module reads of a model: names, shapes, activation."""

    def make(*inputs: Shape, outputs: Shape = (3,), activation: str = "softmax") -> Any:
        layer = SimpleNamespace(name="out", activation=SimpleNamespace(__name__=activation))
        history = History(layer, 0, 0)
        return SimpleNamespace(
            name="stand_in",
            inputs=[
                SimpleNamespace(name=f"in_{k}", shape=(None, *shape))
                for k, shape in enumerate(inputs)
            ],
            outputs=[
                SimpleNamespace(shape=(None, *outputs), dtype="float32", _keras_history=history)
            ],
        )

    return make


@pytest.fixture
def made() -> Callable[..., Dataset]:
    """Return a function that makes a data set around some inputs."""

    def make(x: NDArray[Any], classes: int = 3) -> Dataset:
        y = np.arange(len(x)) % classes
        return Dataset("made", "made.npz", x, y, x[:4], y[:4])

    return make


def test_grey_and_coloured_images(model: Callable[..., Any], made: Callable[..., Dataset]) -> None:
    """Grey becomes three channels and colour the luma that Pillow computes, for 8-bit images."""
    x = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in x])[..., None]

    np.testing.assert_array_equal(fit_to_model(made(x), model((8, 8, 1))).x_train, grey)
    repeated = fit_to_model(made(grey), model((8, 8, 3))).x_train
    np.testing.assert_array_equal(repeated, np.concatenate([grey, grey, grey], axis=-1))


@pytest.mark.parametrize(
    ("have", "wanted", "shape"),
    [
        ((8, 8), (8, 8), (8, 8)),
        ((8, 8), (8, 8, 1), (8, 8, 1)),
        ((8, 8, 1), (8, 8), (8, 8)),
        ((8, 8), (64,), (64,)),
        ((8, 8, 3), (192,), (192,)),
        ((8, 8, 3), (None, None, 3), (8, 8, 3)),
        ((8, 8), (None, None, 1), (8, 8, 1)),
        ((5,), (None,), (5,)),
        ((5,), (5, 1), (5, 1)),
    ],
)
def test_inputs_take_the_shape_of_the_model(
    model: Callable[..., Any],
    made: Callable[..., Dataset],
    have: Shape,
    wanted: Shape,
    shape: Shape,
) -> None:
    """A channel axis is added or dropped, images are flattened; values and labels stay."""
    x = np.random.default_rng(0).integers(0, 255, (6, *have)).astype(np.uint8)  # type: ignore[misc]
    data = made(x)

    fitted = fit_to_model(data, model(wanted))

    assert fitted.x_train.shape == (6, *shape)
    assert fitted.x_test.shape == (4, *shape)
    assert fitted.x_train.dtype == np.uint8
    np.testing.assert_array_equal(fitted.x_train.ravel(), x.ravel())
    np.testing.assert_array_equal(fitted.y_train, data.y_train)
    assert (fitted.name, fitted.source) == ("made", "made.npz")


@pytest.mark.parametrize(
    ("have", "wanted"), [((8, 8), (9, 9)), ((8, 8), (8, 8, 3)), ((8, 8, 3), (8, 8)), ((4,), (2, 2))]
)
def test_shapes_that_cannot_fit(
    model: Callable[..., Any],
    made: Callable[..., Dataset],
    refuses: Refuses,
    have: Shape,
    wanted: Shape,
) -> None:
    """Other shapes are refused with both sides; a vector is not folded into an image."""
    data = made(np.zeros((6, *have)))  # type: ignore[arg-type]

    with refuses(DatasetError, "dataset_shape", "made", str(have), str(wanted)):
        fit_to_model(data, model(wanted))


def test_models_with_several_inputs(
    model: Callable[..., Any], made: Callable[..., Dataset], refuses: Refuses
) -> None:
    """A model with two inputs is not given one array; the names that it takes are said."""
    with refuses(DatasetError, "model_inputs", "stand_in", "2 inputs", "x_train.in_1"):
        fit_to_model(made(np.zeros((6, 4))), model((4,), (4,)))


@pytest.mark.parametrize(("units", "classes"), [(1, 2), (2, 2), (3, 3), (3, 2), (None, 7)])
def test_classes_that_fit(
    model: Callable[..., Any], made: Callable[..., Dataset], units: int | None, classes: int
) -> None:
    """One unit tells two classes apart; a model may know more classes than the data show."""
    data = made(np.zeros((9, 4)), classes)

    assert fit_to_model(data, model((4,), outputs=(units,))).classes == classes


@pytest.mark.parametrize(("units", "classes", "told"), [(1, 3, 2), (3, 4, 3)])
def test_classes_beyond_the_model(
    model: Callable[..., Any],
    made: Callable[..., Dataset],
    refuses: Refuses,
    units: int,
    classes: int,
    told: int,
) -> None:
    """More classes than units are refused with both numbers, also where only test data show them."""
    data = made(np.zeros((9, 4)), classes)
    hidden = Dataset("made", "", data.x_train, data.y_train * 0, data.x_test, data.y_test)

    for given in (data, hidden):
        with refuses(DatasetError, "dataset_classes", f"up to {classes - 1}", f"{told} classes"):
            fit_to_model(given, model((4,), outputs=(units,)))


@pytest.mark.parametrize(("labels", "outputs"), [((9, 2), (3,)), ((9,), (4, 3)), ((9, 2), (4, 3))])
def test_labels_of_steps_that_the_model_does_not_have(
    model: Callable[..., Any], refuses: Refuses, labels: tuple[int, ...], outputs: Shape
) -> None:
    """Labels must have the shape of the predictions, or nothing later can be compared."""
    x, y = np.zeros((9, 4)), np.zeros(labels, np.int64)

    with refuses(DatasetError, "dataset_labels"):
        fit_to_model(Dataset("made", "made", x, y, x, y), model((4,), outputs=outputs))


@pytest.mark.parametrize(
    ("samples", "held_out"),
    [(2, 1), (9, 1), (100, 10), (49_999, 4_999), (50_001, 5_000), (60_000, 5_000)],
)
def test_the_validation_part_is_a_tenth(
    made: Callable[..., Dataset], samples: int, held_out: int
) -> None:
    """A tenth is held out, at least one and at most 5,000; each sample is in exactly one part."""
    x = np.arange(samples)[:, None]

    split = hold_out(made(x), seed=0)

    assert len(split.x_val) == held_out
    assert sorted([*split.x_train[:, 0], *split.x_val[:, 0]]) == list(range(samples))


def test_labels_stay_with_their_inputs(made: Callable[..., Dataset]) -> None:
    """The split moves inputs and labels together and leaves the test data alone."""
    x = np.arange(200)[:, None]
    data = made(x, 7)

    split = hold_out(data, seed=5)

    np.testing.assert_array_equal(split.y_train, split.x_train[:, 0] % 7)
    np.testing.assert_array_equal(split.y_val, split.x_val[:, 0] % 7)
    assert split.x_test is data.x_test
    assert split.y_test is data.y_test


def test_samples_of_weight_0_are_not_held_out(
    made: Callable[..., Dataset], refuses: Refuses
) -> None:
    """A part of such alone could not be measured; they stay in the training part, which leaves them out."""
    weights = np.zeros((100, 2), np.float32)
    weights[[3, 50, 97], 1] = 0.5
    data = dataclasses.replace(made(np.arange(100)[:, None]), w_train=weights)

    split = hold_out(data, seed=0)

    assert split.w_val is not None
    assert split.w_val.any(axis=1).all()
    assert sorted([*split.x_train[:, 0], *split.x_val[:, 0]]) == list(range(100))
    arrays = {"x_train": np.arange(100)[:, None], "sample_weight_train": weights}
    assert leave_out(arrays, "d.npz", 0, whole=False)["x_test"][:, 0].tolist()[0] in (3, 50, 97)
    weights[[3, 50]] = 0
    with refuses(DatasetError, "dataset_shape", "1 training samples with a weight above 0"):
        hold_out(data, seed=0)


def test_the_split_leaves_the_global_seed_alone(made: Callable[..., Dataset]) -> None:
    """A seed decides the split, whatever was drawn before, and draws nothing from NumPy's own."""
    np.random.seed(1)  # the state under test
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    data = made(np.arange(100)[:, None])

    first = hold_out(data, seed=1)
    np.random.random(10)
    second = hold_out(data, seed=1)

    np.random.seed(1)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # type: ignore[index]
    np.testing.assert_array_equal(first.x_val, second.x_val)
    assert not np.array_equal(first.x_val, hold_out(data, seed=2).x_val)


def test_one_sample_cannot_be_split(made: Callable[..., Dataset], refuses: Refuses) -> None:
    """A single training sample leaves nothing to train on."""
    with refuses(DatasetError, "dataset_shape", "made", "1 training samples", "at least two"):
        hold_out(made(np.zeros((1, 4)), 1), seed=0)


def test_real_mnist_fits_the_papers_network(model: Callable[..., Any]) -> None:
    """The 60,000 + 10,000 images of MNIST get their channel axis and 5,000 are held out."""
    import os

    from lrcompress.data.sources import load

    folder = os.environ.get("LRCOMPRESS_DATA", "")
    if not folder or not (Path(folder) / "mnist.npz").is_file():
        pytest.skip("set LRCOMPRESS_DATA to a folder with mnist.npz")

    data = fit_to_model(load("mnist"), model((28, 28, 1), outputs=(10,)))
    split = hold_out(data, seed=0)

    assert data.x_train.shape == (60_000, 28, 28, 1)
    assert data.x_test.shape == (10_000, 28, 28, 1)
    assert int(data.x_train.max()) == 255
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.y_test).tolist() == counts
    assert len(split.x_val) == 5_000
