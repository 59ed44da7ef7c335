"""What ends an output is told alike of a file and of a live model, however it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import lrcompress
from lrcompress.errors import DatasetError
from lrcompress.kinds.terms import HANDS_ON, activation_name, applied
from lrcompress.live.outputs import outputs_of
from lrcompress.modelfile import find_head, open_model

pytestmark = pytest.mark.keras
UNITS = 4


def built(ending: Callable[[Any, Any, Any], Any]) -> Any:
    """Return a model whose Dense of four units is followed by an ending; seeded weights."""
    keras.utils.set_random_seed(0)
    entry = keras.Input((6,))
    return keras.Model(entry, ending(layers.Dense(8, "relu")(entry), layers, ops))


# By the ending: what live outputs are, and what the file says is applied to the Dense.
ENDINGS: dict[str, tuple[Callable[[Any, Any, Any], Any], str, str]] = {
    "name": (lambda x, k, o: k.Dense(4, "softmax")(x), "softmax", "softmax"),
    "layer": (lambda x, k, o: k.Dense(4, k.Softmax(name="mine"))(x), "softmax", "softmax"),
    "Activation of a layer": (lambda x, k, o: k.Dense(4, k.Activation("sigmoid"))(x), "sigmoid", "sigmoid"),
    "op": (lambda x, k, o: o.softmax(k.Dense(4)(x)), "softmax", "softmax"),
    "sigmoid op": (lambda x, k, o: o.sigmoid(k.Dense(4)(x)), "sigmoid", "sigmoid"),
    "hard_sigmoid": (lambda x, k, o: k.Dense(4, "hard_sigmoid")(x), "sigmoid", "hard_sigmoid"),
    "hard_sigmoid op": (lambda x, k, o: o.hard_sigmoid(k.Dense(4)(x)), "sigmoid", "hard_sigmoid"),
    "log_softmax": (lambda x, k, o: o.log_softmax(k.Dense(4)(x)), "logits", "log_softmax"),
    "cast": (lambda x, k, o: k.Dropout(0.5)(o.cast(o.softmax(k.Dense(4)(x)), "float32")), "softmax", "softmax"),
    "temperature": (lambda x, k, o: k.Softmax()(k.Rescaling(0.5)(k.Dense(4)(x))), "softmax", "linear"),
    "one of the classes": (lambda x, k, o: k.Dense(4, "softmax")(x)[:, 1:3], "sigmoid", "softmax"),
    "two softmaxes": (lambda x, k, o: k.Flatten()(k.Softmax()(k.Reshape((2, 2))(k.Dense(4)(x)))), "sigmoid", "linear"),
    "written out": (lambda x, k, o: 1 / (1 + o.exp(-k.Dense(4)(x))), "sigmoid", "linear"),
    "average": (lambda x, k, o: o.softmax(k.Dense(4)(x)) / 2 + o.softmax(k.Dense(4)(x)) / 2, "softmax", ""),
    "logits": (lambda x, k, o: k.Identity()(k.Dense(4)(x)), "logits", "linear"),
    "clipped logits": (lambda x, k, o: o.clip(k.Dense(4)(x), -9, 9), "logits", "linear"),
    "half of tanh": (lambda x, k, o: 0.5 * o.tanh(k.Dense(4)(x)) + 0.5, "sigmoid", "linear"),
    "never trained": (lambda x, k, o: k.Dense(4, kernel_initializer="zeros")(x) * 1.0, "logits", "linear"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
def test_one_detector_for_files_and_live_models(name: str, tmp_path: Path) -> None:
    """Probabilities are found whatever wrote them; the file names what is applied to the Dense."""
    ending, says, of_file = ENDINGS[name]
    model = built(ending)
    (head,) = outputs_of(model)

    found = "logits" if head.is_logits else "sigmoid" if head.is_sigmoid else "softmax"
    assert found == says
    model.save(tmp_path / "model.keras")
    if name != "average":  # of two Dense layers none is the final one
        layer = find_head(open_model(tmp_path / "model.keras"))
        assert layer.activation == of_file
        assert layer.softmax == (of_file in ("softmax", "log_softmax"))


def test_error_and_loss_are_those_of_keras(tmp_path: Path) -> None:
    """`ops.sigmoid` and a `hard_sigmoid` that is 0 and 1 in places: error and loss as Keras has them."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 6)).astype("f4") * 2, rng.integers(0, 2, 200)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    for ending in (ops.sigmoid, ops.hard_sigmoid):
        keras.utils.set_random_seed(1)
        entry = keras.Input((6,))
        model = keras.Model(entry, ending(layers.Dense(1)(entry)))
        model.compile(loss="binary_crossentropy", metrics=["binary_accuracy"])
        model.save(tmp_path / "model.keras")
        loss, accuracy = model.evaluate(x, y, verbose=0)

        (found,) = lrcompress.evaluate(
            [tmp_path / "model.keras"], dataset=str(tmp_path / "data.npz"), scaling="as-is"
        )

        assert found.error_rate == pytest.approx(100 * (1 - accuracy), abs=1e-4)
        assert found.loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("name", ["argmax", "log_sigmoid", "relu"])
def test_what_tells_no_yes_from_no_is_refused(name: str, tmp_path: Path, refuses: Any) -> None:
    """Decisions, and outputs that never cross 0, are refused by their name, not judged as logits."""
    x, y = np.ones((20, 6), "f4"), np.arange(20) % 2
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    entry = keras.Input((6,))
    outputs = (
        layers.Dense(1, name)(entry) if name != "argmax" else ops.argmax(layers.Dense(2)(entry), -1)
    )
    keras.Model(entry, outputs).save(tmp_path / "model.keras")
    code = "model_outputs" if name == "argmax" else "dataset_labels"

    with refuses(DatasetError, code, "logits"):
        lrcompress.evaluate(
            [tmp_path / "model.keras"], dataset=str(tmp_path / "data.npz"), scaling="as-is"
        )


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "linear"), ("softmax_v2", "softmax"), ({"class_name": "function", "config": "relu"}, "relu"),
     ({"class_name": "Softmax", "config": {"name": "softmax_3"}}, "softmax"),
     ({"class_name": "Activation", "config": {"name": "a", "activation": "sigmoid"}}, "sigmoid"),
     ({"class_name": "HardSigmoid", "config": {}}, "hard_sigmoid"), ({}, "?")],
)  # fmt: skip
def test_names_of_serialized_activations(value: object, name: str) -> None:
    """A layer given as an activation goes by what it does, not by its own name."""
    assert activation_name(value) == name


def test_steps_of_a_graph() -> None:
    """Known steps by their names; softmax over another axis is none over the units."""
    assert applied("TFOpLambda", {"function": "math.sigmoid"}) == "sigmoid"
    assert applied("Softmax", {"axis": 1}, 2) == "softmax"
    assert applied("Softmax", {"axis": 1}, 3) == "softmax_of_another_axis"
    assert applied("Dropout", {}) == HANDS_ON
    assert applied("Mine", {}) is None
