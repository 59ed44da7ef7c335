"""EinsumDense in two factors, by its equation."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Batch, Place, Serialized
from lrcompress.kinds.registry import any_kind_of

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
# Equation, input, output_shape, bias_axes.
CASES: list[tuple[str, tuple[int, ...], Any, str | None]] = [
    ("ab,bc->ac", (7,), 6, "c"),
    ("ab,bc->ac", (7,), 6, None),
    ("ab,cb->ac", (7,), 6, "c"),
    ("abc,cd->abd", (5, 7), (None, 6), "d"),
    ("abc,cd->abd", (5, 7), (5, 6), "bd"),
    ("...x,xy->...y", (5, 7), 6, "y"),
    ("...ax,xy->...ya", (2, 5, 7), (6, 5), "y"),
    ("ab...,bc->ac...", (7, 4), (6,), "c"),
    ("abc,cde->abde", (5, 7), (None, 3, 2), "de"),
    ("abc,cde->abed", (5, 7), (None, 2, 3), "de"),
    ("abc,cde->abde", (5, 7), (None, 3, 2), "d"),
    ("abc,dec->abde", (5, 7), (None, 3, 2), None),
    ("abcd,cde->abe", (5, 3, 2), (None, 8), "e"),
    ("abc,bd->adc", (5, 7), (6, None), "d"),
    ("abc,bd->acd", (5, 7), (None, 6), "d"),
]


def placed(
    case: tuple[str, tuple[int, ...], Any, str | None], **config: Any
) -> tuple[Any, Place, Any]:
    """Return a layer with random weights, its place, and inputs."""
    equation, shape, output, axes = case
    rng = np.random.default_rng(0)
    layer = keras.layers.EinsumDense(equation, output, bias_axes=axes, activation="tanh", name="e")
    x = (rng.normal(size=(40, *shape)) * np.linspace(0.1, 2, shape[-1]) + 1).astype("f4")
    made = layer(x)
    layer.set_weights([rng.normal(size=w.shape) / 2 for w in layer.get_weights()])
    entry = {"class_name": "EinsumDense", "config": layer.get_config()}
    config = json.loads(json.dumps(layer.get_config()))
    serialized = Serialized("EinsumDense", config, tuple(layer.get_weights()))
    return layer, Place("e", any_kind_of(entry), serialized, output_shape=made.shape[1:]), x


def run(layers: tuple[Serialized, ...], x: Any) -> Any:
    """Return what serialized layers in a row compute."""
    for layer in layers:
        built = keras.layers.EinsumDense.from_config(layer.config)
        built(x)
        built.set_weights([np.asarray(a) for a in layer.arrays])
        x = built(x)
    return np.asarray(x)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_two_factors_are_exact_at_full_rank_and_one_function_below(case: Any) -> None:
    """Whatever the equation: built, in place, and put together again."""
    layer, place, x = placed(case)
    kind = place.kind
    assert kind is not None and kind.refuse(place.layer) is None
    (form,) = kind.forms(place)
    arrays = {"e": tuple(layer.get_weights())}
    before = np.asarray(layer(x))
    seen = kind.gather(place, arrays, Batch((x,), before), None)

    assert form.largest == min(kind.kernel(place.layer, arrays["e"]).shape)  # type: ignore[attr-defined]
    for data in (None, seen):
        for size, solution in form.solve(arrays, data, [2, form.largest]).items():
            layers = solution.layers()["e"]
            found = run(layers, x)
            layer.set_weights(solution.in_place()["e"])
            np.testing.assert_allclose(found, np.asarray(layer(x)), atol=2e-5)
            layer.set_weights(arrays["e"])
            assert (np.abs(found - before).max() < 2e-5) == (size == form.largest)
            assert form.parameters(size) == sum(a.size for one in layers for a in one.arrays)
            merged = kind.merged(layers)
            assert merged is not None
            np.testing.assert_allclose(run((merged,), x), found, atol=2e-5)
            assert kind.merged((layers[1], layers[0])) is None
    positions = before.size // len(before) // kind.kernel(place.layer, arrays["e"]).shape[1]  # type: ignore[attr-defined]
    assert form.multiplications(2) == 2 * positions * sum(
        kind.kernel(place.layer, arrays["e"]).shape
    )  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", [CASES[3], CASES[9], CASES[12]], ids=str)
def test_the_constant_is_taken_in_by_the_bias(case: Any) -> None:
    """With data the mean of the responses stays what it was, where the bias has all their axes."""
    layer, place, x = placed(case)
    layer.activation = keras.activations.linear
    assert place.kind is not None
    arrays, before = {"e": tuple(layer.get_weights())}, np.asarray(layer(x))
    seen = place.kind.gather(place, arrays, Batch((x,), before), None)
    (form,) = place.kind.forms(place)

    layer.set_weights(form.solve(arrays, seen, [1])[1].in_place()["e"])

    axes = tuple(i for i, a in enumerate(case[0].split("->")[1]) if a not in case[3])
    np.testing.assert_allclose(np.asarray(layer(x)).mean(axes), before.mean(axes), atol=1e-4)


@pytest.mark.parametrize(
    "equation", ["abc,bcd->abd", "abc,b->abc", "ab,bc", "abc,cd->ad", "...a...,ab->...b..."]
)
def test_kernels_that_are_no_single_matrix_are_refused(equation: str) -> None:
    """One kernel for each position, one that scales, sums beside it, and what is no equation."""
    layer = Serialized("EinsumDense", {"equation": equation})
    kind = any_kind_of({"class_name": "EinsumDense", "config": layer.config})
    assert kind is not None

    refusal = kind.refuse(layer)

    assert refusal is not None and equation in refusal.why
    assert kind.forms(Place("e", kind, layer)) == ()


def test_steps_of_a_wrapper_are_samples_and_masked_ones_are_left_out() -> None:
    """Within TimeDistributed each step that counts gives rows of its own."""
    _, place, x = placed(CASES[8])
    steps = x.reshape(20, 2, 5, 7)
    mask = np.ones((20, 2), bool)
    mask[:, 1] = False
    wrapped = Place("e", place.kind, place.layer, per_step=True)

    rows = place.kind.rows(wrapped, Batch((steps,), steps, mask))  # type: ignore[union-attr]

    np.testing.assert_array_equal(rows, steps[:, 0].reshape(-1, 7))
