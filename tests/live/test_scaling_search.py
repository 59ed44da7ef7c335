"""Which scaling a model was trained with: by its loss on training data, or a question."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lrcompress
from lrcompress.errors import DatasetError
from lrcompress.live import scaling_search
from lrcompress.live.scaling_search import CHANCE_MARGIN, Tried, candidates, constant_loss, find

pytestmark = pytest.mark.keras
Refuses = Callable[..., AbstractContextManager[None]]
IMAGES = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 3)).astype(np.uint8)
Y = np.arange(100) % 10


@pytest.fixture
def judged(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[dict[str, tuple[float, float, float]]], None]:
    """Return what sets loss, share of errors and spread of inputs by scaling; else a bad guess."""

    def judge(found: dict[str, tuple[float, float, float]]) -> None:
        def trial(model: Any, name: str, x: NDArray[Any], y: NDArray[Any]) -> Tried:
            loss, rate, spread = found.get(name, (9.0, 0.9, 1.0))
            wrong = np.arange(len(x)) < rate * len(x)
            noise = np.linspace(-0.01, 0.01, len(x))
            decided = (y + wrong)[:, None]
            return Tried(
                name, loss + noise * loss, wrong.astype(float), decided, spread, 100 * rate, " %"
            )

        monkeypatch.setattr(scaling_search, "try_scaling", trial)
        monkeypatch.setattr(scaling_search, "scales_itself", lambda model: False)

    return judge


@pytest.mark.parametrize(
    "right", ["as-is", "/255", "caffe", "torch", "bgr/255", "x-128", "per-image"]
)
def test_the_least_loss_decides(judged: Any, right: str) -> None:
    """Of two that err alike the one of less loss is taken, whatever its place."""
    judged({"standardized": (1.2, 0.2, 1.0), right: (0.5, 0.2, 0.5)})

    name, scores = find(None, IMAGES, Y, 10)

    assert name == right
    assert set(scores) == set(candidates(IMAGES))


def test_a_tie_that_decides_alike_is_none(judged: Any) -> None:
    """A network that normalises its inputs does the same with several: the likeliest is taken."""
    judged(dict.fromkeys(candidates(IMAGES), (0.1, 0.01, 1.0)))

    assert find(None, IMAGES, Y, 10)[0] == "/255"


def test_two_that_suit_alike_are_a_question(judged: Any, refuses: Refuses) -> None:
    """Where nothing is wrong, larger inputs make a network surer: that is no reason to take them."""
    judged({"torch": (0.001, 0.0, 4.0), "/255": (0.05, 0.0, 1.0)})

    with refuses(DatasetError, "scaling_ambiguous", "--scaling torch", "--scaling /255"):
        find(None, IMAGES, Y, 10)

    judged({"torch": (0.06, 0.0, 4.0), "/255": (0.05, 0.0, 1.0)})
    assert find(None, IMAGES, Y, 10)[0] == "/255"


def test_what_a_thousand_samples_do_not_tell_apart_more_do(judged: Any, refuses: Refuses) -> None:
    """As long as the inputs are small: else the question stays."""
    x, y = np.repeat(IMAGES, 100, axis=0), np.repeat(Y, 100)
    found = {"torch": (0.04, 0.01, 1.0), "/255": (0.05, 0.013, 1.0)}
    judged(found)

    assert find(None, x, y, 10)[0] == "torch"
    with refuses(DatasetError, "scaling_ambiguous", "--scaling torch", "--scaling /255"):
        find(None, x[:1000], y[:1000], 10)


def test_data_in_the_order_of_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples that a scaling is judged on are of all classes."""
    seen = []

    def trial(model: Any, name: str, x: NDArray[Any], y: NDArray[Any]) -> Tried:
        seen.append((len(y), len(np.unique(y))))
        return Tried(name, np.full(len(x), 0.1), np.zeros(len(x)), y[:, None], 1.0, 0.0, " %")

    monkeypatch.setattr(scaling_search, "try_scaling", trial)
    monkeypatch.setattr(scaling_search, "scales_itself", lambda model: False)
    find(None, np.repeat(IMAGES, 100, axis=0), np.arange(10_000) // 1000, 10)

    assert set(seen) == {(scaling_search.FEW, 10), (scaling_search.MORE, 10)}


@pytest.mark.parametrize("classes", [2, 10])
def test_near_chance_is_told_with_every_score(judged: Any, refuses: Refuses, classes: int) -> None:
    """A model that is hardly better than guessing is refused with the scores."""
    chance = 1 - 1 / classes
    judged(dict.fromkeys(candidates(IMAGES), (0.1, chance, 1.0)))
    words = [f"({100 * chance:.1f} %)", "/255: ", "caffe: ", "--scaling"]
    with refuses(DatasetError, "scaling_near_chance", *words):
        find(None, IMAGES, Y % classes, classes)

    judged(dict.fromkeys(candidates(IMAGES), (0.1, (CHANCE_MARGIN - 0.05) * chance, 1.0)))
    assert find(None, IMAGES, Y % classes, classes)[0] == "/255"


def test_a_loss_near_that_of_a_constant_is_a_question(judged: Any, refuses: Refuses) -> None:
    """Most right, and yet no surer than one prediction for all: the scores are told."""
    judged({"/255": (2.0, 0.4, 1.0)})

    with refuses(DatasetError, "scaling_doubtful", "/255: 40 %", "--scaling /255"):
        find(None, IMAGES, Y, 10)


def test_tables_stay_as_they_are_unless_clearly_wrong(judged: Any) -> None:
    """A table is scaled only where that more than halves the loss."""
    table = np.random.default_rng(0).normal(size=(100, 5)).astype("f4")
    judged({"as-is": (0.5, 0.2, 1.0), "standardized": (0.4, 0.1, 1.0)})
    assert find(None, table, Y, 10)[0] == "as-is"

    judged({"as-is": (3.0, 0.7, 1.0), "standardized-columns": (0.4, 0.1, 1.0)})
    assert find(None, table, Y, 10)[0] == "standardized-columns"


@pytest.mark.parametrize(
    ("largest", "second"),
    [(16, "/16"), (16.0, "/16"), (4095, "/4095"), (255, "as-is")],
)
def test_a_whole_maximum_is_tried(largest: float, second: str) -> None:
    """Data that end at a whole number may have been divided by it; all usual ones are tried too."""
    names = candidates(np.array([[largest], [0]]))

    assert names[:2] == ["/255", second]
    assert {"/255", "as-is", "/127.5-1", "standardized"} <= set(names)
    assert len(set(names)) == len(names)


def test_constant_losses() -> None:
    """What a model that always says the same would have."""
    assert constant_loss(Y) == pytest.approx(np.log(10))
    assert constant_loss(np.array([[True, False], [False, False]])) == pytest.approx(np.log(2) / 2)
    assert constant_loss(np.array([[1.0], [3.0]])) == pytest.approx(1.0)


def test_a_table_and_a_model_that_scales_itself(tmp_path: Path) -> None:
    """Both are measured on their inputs as they are, and the scaling is named."""
    import keras
    from keras import layers

    rng = np.random.default_rng(5)
    y = rng.integers(0, 6, 900)
    table = ((rng.normal(size=(6, 16)) * 2)[y] + 2.2 * rng.normal(size=(900, 16))).astype("f4")
    pictures = np.clip(
        rng.uniform(60, 200, (6, 6, 6, 3))[y] + rng.normal(size=(900, 6, 6, 3)) * 90, 0, 255
    )
    for x, own in (
        (table, []),
        (pictures.astype("u1"), [layers.Rescaling(1 / 255), layers.Flatten()]),
    ):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input(x.shape[1:]), *own, layers.Dense(32, "relu"), layers.Dense(6, "softmax")]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x[:600], y[:600], epochs=12, verbose=0)
        model.save(tmp_path / "model.keras")
        np.savez(
            tmp_path / "d.npz", x_train=x[:600], y_train=y[:600], x_test=x[600:], y_test=y[600:]
        )

        (found,) = lrcompress.evaluate([tmp_path / "model.keras"], dataset=str(tmp_path / "d.npz"))

        wrong = model.predict(x[600:], verbose=0).argmax(-1) != y[600:]
        assert found.scaling == "as-is"
        assert found.error_rate == pytest.approx(100 * wrong.mean())
