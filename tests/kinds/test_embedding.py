"""Embeddings of lower rank, with a Dense behind them or in what takes them in, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Arrays, Batch, Form, Place, Serialized
from lrcompress.kinds.embedding import Embedding
from lrcompress.modelfile import open_model, write_changed
from lrcompress.modelfile.places import find_places

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)
WORDS, WIDTH, STEPS = 40, 6, 4
layers = keras.layers

CONSUMERS = {
    "lstm": lambda x: layers.LSTM(4)(x),
    "both ways": lambda x: layers.Bidirectional(layers.GRU(3))(x),
    "dropout and dense": lambda x: layers.Dense(8, "relu")(layers.Dropout(0.5)(x)),
    "few units": lambda x: layers.Dense(3)(x),
    "at each step": lambda x: layers.TimeDistributed(layers.Dense(7))(x),
    "mean": lambda x: layers.Dense(1)(layers.GlobalAveragePooling1D()(x)),
    "all words": lambda x: layers.Dense(2)(layers.Flatten()(x)),
    "convolutions": lambda x: [layers.Conv1D(5, k, padding="same")(x) for k in (2, 3)],
}
# No dropout, and nothing that could take the kernel in.
OTHERS = {
    "largest": lambda x: layers.Dense(3)(layers.GlobalMaxPooling1D()(x)),
    "normalized": lambda x: layers.Dense(3)(layers.LayerNormalization()(x)),
    "two": lambda x: [layers.Dense(3)(x), layers.LayerNormalization()(x)],
    "output": lambda x: [layers.Dense(3)(x), x],
}


def made(behind: Callable[[Any], Any], *, masked: bool = False) -> Any:
    """Return a model of an Embedding and others, its rows of all directions alike."""
    x = keras.Input((STEPS,))
    words = layers.Embedding(WORDS, WIDTH, mask_zero=masked, name="words")
    model = keras.Model(x, behind(words(x)))
    model.set_weights([RNG.normal(size=w.shape) for w in model.get_weights()])
    return model


def placed(model: Any, path: Path) -> tuple[Place, Arrays]:
    """Return the Embedding of a model as its file shows it, and all arrays."""
    model.save(path)
    places = find_places(open_model(path)).known
    weights = {layer.name: tuple(layer.get_weights()) for layer in model.layers}
    return places["words"], weights


def draw(samples: int = 60) -> Any:
    """Return texts in which the first words are much more frequent, and padding."""
    words = np.minimum(RNG.geometric(0.25, (samples, STEPS)), WORDS - 1)
    return np.where(np.arange(STEPS) < RNG.integers(2, STEPS + 1, (samples, 1)), words, 0)


def values(model: Any, x: Any) -> Any:
    """Return all that a model gives."""
    return np.concatenate(
        [np.asarray(y).reshape(len(x), -1) for y in keras.tree.flatten(model(x))], 1
    )


def outputs(
    model: Any, path: Path, form: Form, arrays: Arrays, seen: Any, size: int, x: Any
) -> list[Any]:
    """Return what the model of a file gives with other arrays, and what a file of the stock layers gives."""
    solution = form.solve(arrays, seen, [size])[size]
    output = path.with_stem("smaller")
    write_changed(open_model(path), solution.layers(), output, overwrite=True)
    stock = keras.saving.load_model(output)
    before = model.get_weights()
    for name, changed in solution.in_place().items():
        model.get_layer(name).set_weights([np.asarray(a) for a in changed])
    in_place = values(model, x)
    model.set_weights(before)
    return [in_place, values(stock, x)]


@pytest.mark.parametrize("name", CONSUMERS)
def test_a_consumer_takes_the_factor_in(tmp_path: Path, name: str) -> None:
    """At full rank each form is the original, below it new layers do what other arrays in the old do."""
    model = made(CONSUMERS[name], masked=name not in ("convolutions", "all words"))
    path = tmp_path / "model.keras"
    place, arrays = placed(model, path)
    x = draw()
    original = values(model, x)
    seen = Embedding().gather(place, arrays, Batch((x,), x), None)
    forms = Embedding().forms(place)

    assert [form.name for form in forms] == ["rank", "absorbed"]
    for form in forms:
        both = outputs(model, path, form, arrays, seen, 2, x)
        np.testing.assert_allclose(*both, atol=1e-4)
        for output in outputs(model, path, form, arrays, None, form.largest, x):
            np.testing.assert_allclose(output, original, atol=1e-4)
        solution = form.solve(arrays, seen, [2])[2]
        touched = [part for parts in solution.layers().values() for part in parts]
        assert sum(np.size(a) for part in touched for a in part.arrays) == form.parameters(2)
        before = model.count_params() if form.name != "rank" else WORDS * WIDTH
        assert form.before == before
        errors = form.errors(arrays, seen)
        assert errors.shape == (form.largest,)
        assert errors[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_linear_at_each_word_takes_nothing_in(tmp_path: Path, name: str) -> None:
    """Then a Dense stands behind the Embedding."""
    place, _ = placed(made(OTHERS[name]), tmp_path / "model.keras")

    assert [form.name for form in Embedding().forms(place)] == ["rank"]


def test_a_layer_that_takes_in_something_else_too_takes_nothing_in(tmp_path: Path) -> None:
    """Its kernel would no longer fit that."""
    x, other = keras.Input((STEPS,)), keras.Input((STEPS, WIDTH))
    dense = layers.Dense(3)
    words = layers.Embedding(WORDS, WIDTH, name="words")(x)
    place, _ = placed(keras.Model([x, other], [dense(words), dense(other)]), tmp_path / "m.keras")

    assert [form.name for form in Embedding().forms(place)] == ["rank"]


def test_words_that_come_and_what_is_made_of_them_count(tmp_path: Path) -> None:
    """On other texts the products are nearer than by the table alone, or by frequencies alone."""
    model = made(layers.Dense(8, name="next"))
    kernel, bias = model.get_layer("next").get_weights()
    model.get_layer("next").set_weights([kernel * np.geomspace(1, 0.05, WIDTH)[:, None], bias])
    path = tmp_path / "model.keras"
    place, arrays = placed(model, path)
    seen = Embedding().gather(place, arrays, Batch((draw(200),), np.empty(0)), None)
    x = draw()
    original = values(model, x)
    rank, absorbed = Embedding().forms(place)

    lost = [
        np.mean((outputs(model, path, form, known, counts, 3, x)[1] - original) ** 2)
        for form, known, counts in (
            (absorbed, arrays, seen), (absorbed, arrays, None),
            (rank, arrays, seen), (rank, {"words": arrays["words"]}, seen),
        )
    ]  # fmt: skip

    assert lost[0] < lost[1]
    assert lost[0] == pytest.approx(lost[2], rel=1e-3)
    assert lost[0] < lost[3] / 2
    assert absorbed.solve(arrays, seen, [3])[3].error == absorbed.errors(arrays, seen)[2]


def test_what_the_outputs_care_for_is_what_stays(tmp_path: Path) -> None:
    """A metric of the rows goes before the kernel that they meet; what that does not let through is nothing."""
    model = made(lambda x: layers.Dense(3)(x))
    place, arrays = placed(model, tmp_path / "model.keras")
    seen = Embedding().gather(place, arrays, Batch((draw(),), np.empty(0)), None)
    kernel = arrays[place.after[0].path][0]
    matters = kernel[:, 0] / np.linalg.norm(kernel[:, 0])
    seen.metric = np.outer(matters, matters) + 1e-3 * np.eye(WIDTH)
    _, absorbed = Embedding().forms(place)
    table = arrays["words"][0]

    found = absorbed.solve(arrays, seen, [1, 3])
    one, whole = (found[size].in_place()["words"][0] for size in (1, 3))

    np.testing.assert_allclose((one - table) @ matters, 0, atol=1e-2)
    assert np.abs((one - table) @ kernel).max() > 0.1
    np.testing.assert_allclose(whole @ kernel, table @ kernel, atol=1e-4)


@pytest.mark.parametrize(("mask_zero", "padding"), [(True, 0), (False, 2)])
def test_padding_is_not_counted_where_it_is_masked(mask_zero: bool, padding: int) -> None:
    """What is outside the table is no word."""
    config = {"input_dim": 3, "output_dim": 2, "mask_zero": mask_zero}
    layer = Serialized("Embedding", config, (np.ones((3, 2)),))
    batch = Batch((np.array([[1.0, 2.0, 0.0], [2.0, 0.0, 5.0]]),), np.empty(0))
    place = Place("words", Embedding(), layer)

    seen = None
    for times in (1, 2):
        seen = Embedding().gather(place, {"words": layer.arrays}, batch, seen)
        np.testing.assert_array_equal(seen.counts, [times * padding, times, 2 * times])


def test_table_and_dense_are_merged_again(tmp_path: Path) -> None:
    """The Embedding has its name and width again."""
    model = made(layers.LayerNormalization(), masked=True)
    path = tmp_path / "model.keras"
    place, arrays = placed(model, path)
    (form,) = Embedding().forms(place)
    found = form.solve(arrays, None, [WIDTH])[WIDTH].layers()["words"]

    merged = Embedding().merged(found)

    assert found[1].config["name"] == "words"
    assert merged is not None
    assert merged.config == place.layer.config
    np.testing.assert_allclose(merged.arrays[0], arrays["words"][0], atol=1e-6)
    assert Embedding().merged((found[1], found[0])) is None


@pytest.mark.parametrize(
    ("config", "arrays"),
    [({"output_dim": 5}, [(4, 3)]), ({}, [(4, 3), (3,)]), ({"input_dim": 1}, [(1, 3)])],
)
def test_arrays_that_do_not_fit_have_no_form(
    config: dict[str, Any], arrays: list[tuple[int, ...]]
) -> None:
    """Nor has a table of one row."""
    stated = {"input_dim": 4, "output_dim": 3} | config
    layer = Serialized("Embedding", stated, tuple(np.ones(shape) for shape in arrays))

    assert Embedding().forms(Place("words", Embedding(), layer)) == ()
