"""The shapes of what flows through a model file, told without Keras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lrcompress.errors import LRCompressError
from lrcompress.modelfile import find_places, open_model
from lrcompress.modelfile.shapes import multiplications_of, shapes_of


def written(model: Any, folder: Path, suffix: str) -> dict[str, Any]:
    """Return the shapes of a model's file."""
    path = folder / f"model{suffix}"
    model.save(path)
    return shapes_of(open_model(path).tree)


def branches() -> Any:
    """Return a functional model with nested models, a shared layer and joined branches."""
    import keras
    from keras import layers

    inner = keras.Sequential([layers.Conv2D(3, 3, name="in_sequential"), layers.MaxPooling2D()])
    a = keras.Input((None, None, 4))
    free = keras.Model(a, layers.Conv2D(5, 2, strides=2, name="in_free")(a), name="free")
    image = keras.Input((10, 12, 4), name="image")
    shared = layers.Conv2D(4, 1, name="shared")
    x = inner(image)
    y = free(shared(shared(image)))
    x = layers.Concatenate(name="joined")([layers.Flatten()(x), layers.Flatten()(y)])
    steps = keras.Input((7,), name="steps")
    z = layers.Embedding(9, 6, name="embedded")(steps)
    z, *states = layers.LSTM(3, return_sequences=True, return_state=True, name="first")(z)
    z = layers.LSTM(3, name="second")(z, initial_state=states)
    x = layers.Dense(2, name="out")(layers.Concatenate()([x, z]))
    return keras.Model([image, steps], x)


@pytest.mark.keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_shapes_are_followed_through_a_graph(tmp_path: Path, suffix: str) -> None:
    """Nested models, states, joined branches: all shapes are those that Keras has."""
    pytest.importorskip("keras")
    model = branches()

    found = written(model, tmp_path, suffix)

    for layer in model.layers:
        output = layer.output[0] if isinstance(layer.output, list) else layer.output
        if layer.name not in ("shared", "free"):  # whose `output` is that of another call
            assert found[layer.name][1] == output.shape[1:], layer.name
    assert found["shared"] == (((10, 12, 4),), (10, 12, 4))
    assert found["second"][0] == ((7, 3), (3,), (3,))
    # The nested model leaves its lengths open; the call tells them.
    assert found["free/in_free"] == (((10, 12, 4),), (5, 6, 5))
    assert next(out for path, (_, out) in found.items() if "in_sequential" in path) == (8, 10, 3)
    # The shared layer is called twice.
    convolutions = 8 * 10 * 9 * 4 * 3 + 5 * 6 * 4 * 4 * 5 + 2 * 120 * 4 * 4
    recurrent = 7 * ((6 + 3) * 12 + (3 + 3) * 12)
    dense = (4 * 5 * 3 + 5 * 6 * 5 + 3) * 2
    opened = open_model(tmp_path / f"model{suffix}")
    assert multiplications_of(opened) == (convolutions + recurrent + dense, [])


@pytest.mark.keras
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_layer_of_several_calls_has_the_axes_in_which_they_agree(
    tmp_path: Path, suffix: str
) -> None:
    """A convolution on maps of two sizes has none, but its channels are known."""
    keras = pytest.importorskip("keras")
    a, b = keras.Input((8, 8, 3)), keras.Input((4, 4, 3))
    conv = keras.layers.Conv2D(5, 3, name="conv")
    model = keras.Model([a, b], [conv(a), conv(b)])

    assert written(model, tmp_path, suffix)["conv"] == (((None, None, 3),), (None, None, 5))


@pytest.mark.keras
def test_what_keras_3_states_beside_a_tensor_fills_gaps(tmp_path: Path) -> None:
    """Of a function of keras.ops no rule is known, but the next layer's file says what it takes in."""
    keras = pytest.importorskip("keras")
    a = keras.Input((6, 4))
    b = keras.ops.transpose(a, (0, 2, 1))
    model = keras.Model(a, keras.layers.Dense(3, name="out")(b))

    assert written(model, tmp_path, ".keras")["out"] == (((4, 6),), (4, 3))


@pytest.mark.keras
def test_what_feeds_a_layer_is_found_behind_dropout(tmp_path: Path) -> None:
    """A Flatten before a dropout is what stands before a Dense, unless something else takes it in too."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    x = keras.Input((4, 5, 3))
    y = layers.Dropout(0.5)(layers.Flatten(name="flat")(layers.Conv2D(6, 1)(x)))
    z = layers.Flatten()(x)
    both = [
        layers.Dense(20, name="one")(y),
        layers.Dense(20, name="two")(layers.Dropout(0.5)(z)),
        z,
    ]
    keras.Model(x, both).save(tmp_path / "model.keras")

    places = find_places(open_model(tmp_path / "model.keras")).known

    before = places["one"].before
    assert before is not None
    assert (before.path, before.input_shapes) == ("flat", ((4, 5, 6),))
    assert places["two"].before is None


def files() -> list[Any]:
    """Return the files of the zoo as test parameters; one that skips where there are none."""
    folder = Path(os.environ.get("LRCOMPRESS_ZOO") or "nowhere")
    names = sorted(p for p in folder.glob("*") if p.suffix in (".h5", ".hdf5", ".keras"))
    skip = pytest.mark.skip(reason="LRCOMPRESS_ZOO names no folder with model files")
    return [pytest.param(p, id=p.name[:60]) for p in names] or [
        pytest.param(folder, marks=skip, id="no-zoo")
    ]


@pytest.mark.parametrize("path", files())
def test_files_of_others_tell_their_shapes(path: Path) -> None:
    """Whatever wrote a file, nothing raises, and a Dense takes in what its kernel is for."""
    try:
        model = open_model(path)
    except LRCompressError:
        pytest.skip("is no model that can be read")

    found = {} if model.tree is None else shapes_of(model.tree)
    total, unknown = multiplications_of(model)

    assert (total is None) == bool(unknown)
    for site in model.sites:
        inputs, output = found.get(site.path, (None, None))
        if len(site.layers) == 1:
            assert inputs is None or inputs[0][-1] in (None, site.kernel_shape[0])
            assert output is None or output[-1] in (None, site.kernel_shape[1])
