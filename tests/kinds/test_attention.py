"""Attention with fewer dimensions: exact at full size, one function in place and as a layer, better with data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.kinds import Batch, Place, Serialized, Solution
from lrcompress.kinds.registry import any_kind_of

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
Floats = NDArray[np.float64]


@dataclass
class Case:
    """A layer of Keras at its place, with tensors for its call."""

    layer: Any
    place: Place
    tensors: tuple[Floats, ...]
    call: dict[str, Any]

    @property
    def arrays(self) -> dict[str, tuple[Floats, ...]]:
        """The layer's arrays by its path."""
        return {"a": tuple(self.layer.get_weights())}

    def run(self, layer: Any, tensors: tuple[Floats, ...] | None = None) -> Floats:
        """Return what a layer makes of the tensors."""
        query, *others = tensors or self.tensors
        return np.asarray(layer(query, *others, **self.call))

    def built(self, solution: Solution) -> Floats:
        """Return what the narrower layer makes of the tensors."""
        ((path, (made,)),) = solution.layers().items()
        assert path == "a"
        layer = type(self.layer).from_config(made.config)
        self.run(layer)
        layer.set_weights([np.asarray(a) for a in made.arrays])
        return self.run(layer)

    def in_place(self, solution: Solution, tensors: tuple[Floats, ...] | None = None) -> Floats:
        """Return what the layer makes of the tensors with other arrays."""
        old = self.layer.get_weights()
        self.layer.set_weights(solution.in_place()["a"])
        found = self.run(self.layer, tensors)
        self.layer.set_weights(old)
        return found

    def seen(self, tensors: tuple[Floats, ...]) -> Any:
        """Return what the kind gathers of one batch."""
        inputs = (*tensors, *(tensors[1:] if len(tensors) == 2 else ()))
        batch = Batch(inputs, self.run(self.layer, tensors))
        return self.place.kind.gather(self.place, self.arrays, batch, None)  # type: ignore[union-attr]


def correlated(rng: np.random.Generator, *shape: int) -> Floats:
    """Return rows of which a few directions hold most."""
    mix = rng.normal(size=(shape[-1], shape[-1])) * 0.7 ** np.arange(shape[-1])
    return (rng.normal(size=shape) @ mix.T + rng.normal(size=shape[-1])).astype("f4")


def case(
    seed: int = 0, query: int = 12, value: int | None = None, key: int | None = None, samples: int = 6,
    classes: str = "MultiHeadAttention", call: dict[str, Any] | None = None, axes: int = 1, **config: Any,
) -> Case:  # fmt: skip
    """Return a layer with random weights, biases too; without `value` it attends to its query."""
    rng = np.random.default_rng(seed)
    steps = (5, 3)[:axes]
    tensors = [correlated(rng, samples, *steps, query)]
    tensors.append(correlated(rng, samples, *(7, 2)[:axes], value) if value else tensors[0])
    if key:
        tensors.append(correlated(rng, samples, *(7, 2)[:axes], key))
    layer = getattr(keras.layers, classes)(name="a", **config)
    made = Case(layer, Place("a", None, Serialized("", {})), tuple(tensors), call or {})
    made.run(layer)
    layer.set_weights([rng.normal(size=w.shape) / w.shape[0] ** 0.5 for w in layer.get_weights()])
    entry = {"class_name": type(layer).__name__, "config": layer.get_config()}
    serialized = Serialized(entry["class_name"], entry["config"], tuple(layer.get_weights()))
    made.place = Place("a", any_kind_of(entry), serialized)
    return made


CASES: dict[str, dict[str, Any]] = {
    "self": {"num_heads": 2, "key_dim": 5},
    "value_dim": {"num_heads": 3, "key_dim": 4, "value_dim": 6},
    "cross": {"num_heads": 2, "key_dim": 5, "value": 9},
    "three tensors": {"num_heads": 2, "key_dim": 5, "value": 9, "key": 8},
    "no bias": {"num_heads": 2, "key_dim": 5, "use_bias": False},
    "output_shape": {"num_heads": 2, "key_dim": 5, "output_shape": (7,)},
    "output of two axes": {"num_heads": 2, "key_dim": 5, "output_shape": (3, 2)},
    "causal": {"num_heads": 2, "key_dim": 5, "call": {"use_causal_mask": True}},
    "window": {"num_heads": 2, "key_dim": 5, "sliding_window": 2},
    "wider than inputs": {"num_heads": 2, "key_dim": 8, "query": 6},
    "two axes": {"num_heads": 2, "key_dim": 5, "axes": 2},
    "one of two axes": {"num_heads": 2, "key_dim": 5, "axes": 2, "attention_axes": (1,), "value": None},
    "dropout": {"num_heads": 2, "key_dim": 5, "dropout": 0.5},
    "gate": {"num_heads": 2, "key_dim": 5, "use_gate": True},
    "groups": {"classes": "GroupQueryAttention", "head_dim": 5, "num_query_heads": 6, "num_key_value_heads": 2},
    "groups across, no bias": {
        "classes": "GroupQueryAttention", "head_dim": 5, "num_query_heads": 4, "num_key_value_heads": 2,
        "value": 9, "use_bias": False,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_full_size_computes_the_same_and_lower_sizes_the_same_in_both_ways(name: str) -> None:
    """At its largest a form changes nothing; below, arrays in place are what the narrower layer computes."""
    it = case(**CASES[name])
    kind, before = it.place.kind, it.run(it.layer)
    assert kind is not None
    forms = kind.forms(it.place)
    grouped, gated = name.startswith("groups"), name == "gate"
    settings = ["head_dim"] if grouped else ["key_dim"]
    settings += ["value_dim", "key_dim, value_dim"] * (not grouped and not gated)
    assert [f.name for f in forms] == settings
    for form in forms:
        for seen in (None, it.seen(it.tensors)):
            found = form.solve(it.arrays, seen, [2, form.largest])
            whole, small = found[form.largest], found[2]
            np.testing.assert_allclose(it.in_place(whole), before, atol=2e-5)
            errors = form.errors(it.arrays, seen)
            assert errors.shape == (form.largest,)
            assert errors[-1] < 1e-6 < errors[1]
            assert whole.error < 1e-6 < small.error
        made = it.built(small)
        np.testing.assert_allclose(made, it.in_place(small), atol=2e-5)
        assert np.abs(made - before).max() > 1e-3
        arrays = small.layers()["a"][0].arrays
        assert form.parameters(2) == sum(a.size for a in arrays)
        assert form.parameters(form.largest) == form.before


@pytest.mark.parametrize(
    "name", ["self", "value_dim", "three tensors", "no bias", "causal", "groups"]
)
def test_data_loses_less_on_other_inputs_than_weights_alone(name: str) -> None:
    """Calibrated on some inputs, the output on others is nearer to the original's."""
    wide = "head_dim" if name == "groups" else "key_dim"
    it = case(**CASES[name] | {wide: 8}, samples=300)
    halves = tuple(t[:200] for t in it.tensors), tuple(t[200:] for t in it.tensors)
    if it.tensors[0] is it.tensors[1]:
        halves = (halves[0][0],) * 2, (halves[1][0],) * 2
    calibration, others = halves
    seen, before = it.seen(calibration), it.run(it.layer, others)
    assert it.place.kind is not None
    for form in it.place.kind.forms(it.place):
        size = form.largest // 2
        lost = [
            np.mean((it.in_place(form.solve(it.arrays, s, [size])[size], others) - before) ** 2)
            for s in (None, seen)
        ]
        assert lost[1] < 0.7 * lost[0], form.name


@pytest.mark.parametrize(
    "name", ["none", "padding", "causal", "given", "window", "groups", "two axes"]
)
def test_what_is_attended_to_is_what_the_layer_lets_through(name: str) -> None:
    """From the mean of the values that are gathered follows that of the output, whatever is masked."""
    window = {"sliding_window": 2} if name == "window" else {}
    it = case(**CASES[name if name in CASES else "self"] | window)
    assert it.place.kind is not None
    x = it.tensors[0]
    mask = np.ones(x.shape[:-1], bool)
    mask[:, -2:] = name not in ("padding", "both")
    given = np.random.default_rng(1).random((len(x), x.shape[1], x.shape[1])) < 0.7
    call = {
        "padding": {"query_mask": mask, "value_mask": mask}, "causal": {"use_causal_mask": True},
        "given": {"attention_mask": given},
        "both": {"query_mask": mask, "value_mask": mask, "use_causal_mask": True},
    }.get(name, {})  # fmt: skip
    output = np.asarray(it.layer(x, x, **call))
    batch = Batch((x, x.copy(), *[given] * (name == "given")), output, mask)

    seen = it.place.kind.gather(it.place, it.arrays, batch, None)

    *_, value_bias, kernel, bias = it.layer.get_weights()
    values = seen.value.mean.reshape(kernel.shape[:2])
    values = values + np.repeat(value_bias, len(values) // len(value_bias), axis=0)
    expected = output[mask].mean(axis=0)
    np.testing.assert_allclose(np.tensordot(values, kernel, 2) + bias, expected, atol=1e-4)


def test_the_padding_of_other_tensors_is_known_by_the_output() -> None:
    """Which mask among the inputs is that of the keys, nothing says: the output shows it."""
    it = case(**CASES["cross"])
    assert it.place.kind is not None
    x, y = it.tensors[0], it.tensors[1][:, :5]
    asking, asked = np.ones((2, 6, 5), bool)
    asking[:, -1], asked[:, -3:] = False, False
    output = np.asarray(it.layer(x, y, query_mask=asking, value_mask=asked))
    seen = []
    for tensor in (y, np.where(asked[..., None], y, 100)):
        batch = Batch((x, tensor, asking, asked), output, asking)
        seen.append(it.place.kind.gather(it.place, it.arrays, batch, None))

    assert seen[0].query.count == asking.sum()
    assert seen[0].key.count == asked.sum()
    np.testing.assert_allclose(seen[0].value.mean, seen[1].value.mean, atol=1e-5)


def test_what_all_keys_of_a_sequence_share_counts_for_nothing() -> None:
    """Softmax does not see it: what is gathered is the same without."""
    it = case(**CASES["three tensors"])
    query, value, key = it.tensors
    shared = np.random.default_rng(0).normal(size=(len(key), 1, key.shape[-1])).astype("f4")

    seen = [it.seen((query, value, tensor)) for tensor in (key, key + 5 * shared)]

    np.testing.assert_allclose(seen[0].key.covariance, seen[1].key.covariance, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(seen[0].value.mean, seen[1].value.mean, atol=1e-4)
