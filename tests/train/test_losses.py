"""What an output is trained towards, against the formulas in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

pytestmark = pytest.mark.keras

WEIGHT, TEMPERATURE = 0.3, 2.5


def computed(loss: Any, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[Any]:
    """Return a loss's values as NumPy."""
    import keras

    values = loss(keras.ops.convert_to_tensor(y_true), keras.ops.convert_to_tensor(y_pred))
    return np.asarray(keras.ops.convert_to_numpy(values))


def cross_entropy(p: NDArray[Any], logits: NDArray[Any]) -> NDArray[Any]:
    """Return the mean cross-entropy over the last axis of probabilities that are each their own."""
    q = expit(logits)
    return np.asarray(-(p * np.log(q) + (1 - p) * np.log(1 - q)).mean(axis=-1))


def expected(kind: str, y: NDArray[Any], s: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
    """Return the blended loss of logits by its formula."""
    labels: NDArray[Any]
    if kind == "classes":
        labels = -np.take_along_axis(log_softmax(s, axis=-1), y, axis=-1)[..., 0]
        soft = softmax(t / TEMPERATURE, axis=-1)
        taught = -(soft * log_softmax(s / TEMPERATURE, axis=-1)).sum(axis=-1)
    elif kind == "yes-no":
        labels = cross_entropy(y, s)
        taught = cross_entropy(expit(t / TEMPERATURE), s / TEMPERATURE)
    else:
        labels, taught = np.square(y - s).mean(axis=-1), np.square(t - s).mean(axis=-1)
        return (1 - WEIGHT) * labels + WEIGHT * taught
    return (1 - WEIGHT) * labels + WEIGHT * TEMPERATURE**2 * taught


@pytest.mark.parametrize("shape", [(7,), (5, 3)], ids=["one a sample", "one a step"])
@pytest.mark.parametrize("beside", ["targets", "outputs"])
@pytest.mark.parametrize("is_logits", [True, False], ids=["logits", "probabilities"])
@pytest.mark.parametrize("kind", ["classes", "yes-no", "numbers"])
def test_the_blend_is_its_formula(
    kind: str, is_logits: bool, beside: str, shape: tuple[int, ...]
) -> None:
    """Labels and teacher together, wherever the teacher stands, for every kind of output."""
    from lrcompress.train import losses

    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, *shape, 4)).astype(np.float32)
    y = {
        "classes": rng.integers(0, 4, (*shape, 1)),
        "yes-no": rng.integers(0, 2, (*shape, 4)),
        "numbers": rng.standard_normal((*shape, 4)),
    }[kind]
    end = {"classes": lambda z: softmax(z, axis=-1), "yes-no": expit, "numbers": lambda z: z}[kind]
    s, t = (z if is_logits else end(z).astype(np.float32) for z in (student, teacher))
    output = losses.Output(kind, 4, is_logits)
    loss = losses.blended_loss(output, output, WEIGHT, TEMPERATURE)
    y_true = y.astype(np.float32)
    if beside == "targets":
        y_true, y_pred = np.concatenate([y_true, t], axis=-1), s
    else:
        y_pred = np.concatenate([s, t], axis=-1)

    found = computed(loss, y_true, y_pred)

    assert found.shape == shape
    np.testing.assert_allclose(found, expected(kind, y, student, teacher), rtol=2e-5)


@pytest.mark.parametrize("kind", ["classes", "yes-no", "numbers"])
def test_labels_alone_are_a_blend_without_a_teacher(kind: str) -> None:
    """The loss of labels alone is the blend in which the teacher weighs nothing."""
    from lrcompress.train import losses

    rng = np.random.default_rng(1)
    student, teacher = rng.standard_normal((2, 6, 4)).astype(np.float32)
    output = losses.Output(kind, 4, is_logits=True)
    y = rng.integers(0, 2, (6, output.columns)).astype(np.float32)

    alone = computed(losses.label_loss(output), y, student)
    nothing = computed(
        losses.blended_loss(output, output, 0.0, TEMPERATURE),
        np.concatenate([y, teacher], axis=-1),
        student,
    )

    np.testing.assert_allclose(alone, nothing, rtol=1e-6)


def test_underflowed_probabilities_give_a_finite_loss() -> None:
    """A softmax of exact zeros and ones has a finite loss."""
    from lrcompress.train import losses

    output = losses.Output("classes", 2, is_logits=False)
    y = np.zeros((2, 1), np.float32)

    found = computed(losses.label_loss(output), y, np.eye(2, dtype=np.float32))

    assert found[0] == pytest.approx(0, abs=1e-5)
    assert 10 < found[1] < 20


def test_a_teacher_of_many_words_stays_sure() -> None:
    """Words that are out of the question stay so when the teacher is softened, all of them together."""
    from lrcompress.train import losses

    rng = np.random.default_rng(2)
    student, teacher = rng.standard_normal((2, 3, 10_000)).astype(np.float32)
    teacher[:, 7] += 24.0
    output = losses.Output("classes", 10_000, is_logits=False)
    probabilities = [softmax(z, axis=-1).astype(np.float32) for z in (student, teacher)]

    found = computed(
        losses.blended_loss(output, output, 1.0, 2.0),
        np.full((3, 1), 7.0, np.float32),
        np.concatenate(probabilities, axis=-1),
    )

    soft = softmax(teacher / 2, axis=-1)
    wanted = -4 * (soft * log_softmax(student / 2, axis=-1)).sum(axis=-1)
    np.testing.assert_allclose(found, wanted, rtol=0.01)
