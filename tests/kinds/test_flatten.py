"""A Dense behind a Flatten with a 1x1 convolution before it: exact at full size, the same in place."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Batch, Place, Serialized, linear
from lrcompress.kinds.conv import shared_forms
from lrcompress.kinds.dense import flatten
from lrcompress.kinds.dense.kind import Dense
from lrcompress.modelfile import find_places, open_model, read_arrays, write_changed

KIND = Dense()
RNG = np.random.default_rng(0)
SHAPES = {"image": (3, 4, 6), "steps": (5, 6), "block": (2, 3, 2, 6)}


def place_of(shape: tuple[int, ...], units: int = 20, **flatten: Any) -> Place:
    """Return a Dense behind a Flatten of some shape."""
    inputs = math.prod(shape)
    arrays = (RNG.normal(size=(inputs, units)).astype("f4"), RNG.normal(size=units).astype("f4"))
    config = {"name": "dense", "units": units, "use_bias": True, "activation": "tanh"}
    layer = Serialized("Dense", config, arrays)
    before = Place(
        "flat", None, Serialized("Flatten", {"name": "flat", **flatten}), input_shapes=(shape,)
    )
    return Place("dense", KIND, layer, input_shapes=((inputs,),), before=before)


def mixed(shape: tuple[int, ...], samples: int) -> np.ndarray:
    """Return inputs of which few channels tell nearly all, and few pixels."""
    pixels = math.prod(shape[:-1])
    channels = RNG.normal(size=(shape[-1], shape[-1])) * 0.4 ** np.arange(shape[-1])
    places = RNG.normal(size=(pixels, pixels)) * 0.7 ** np.arange(pixels)
    drawn = places @ RNG.normal(size=(samples, pixels, shape[-1])) @ channels.T
    return (drawn + RNG.normal(size=shape[-1])).reshape(samples, *shape).astype("f4")


def run(layers: Any, inputs: np.ndarray) -> np.ndarray:
    """Return what stock layers in a row give."""
    import keras

    made = [getattr(keras.layers, one.class_name).from_config(one.config) for one in layers]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *made])
    for layer, one in zip(made, layers, strict=True):
        layer.set_weights(one.arrays)
    return np.asarray(model(inputs))


@pytest.mark.keras
@pytest.mark.parametrize("with_data", [False, True], ids=["plain", "data"])
@pytest.mark.parametrize("units", [20, 10])
@pytest.mark.parametrize("case", SHAPES)
def test_the_form_is_exact_at_its_largest_size_and_the_same_in_place(
    case: str, units: int, with_data: bool
) -> None:
    """Stock layers at full size give the original's outputs, at half of it those of the arrays in place."""
    pytest.importorskip("keras")
    shape = SHAPES[case]
    place = place_of(shape, units)
    flat, inputs = place.before, mixed(shape, 300)
    assert flat is not None
    arrays = {"dense": place.layer.arrays}
    rows = inputs.reshape(len(inputs), -1)
    seen = KIND.gather(place, arrays, Batch((rows,), rows), None) if with_data else None
    before = run((flat.layer, place.layer), inputs)
    forms = [form for form in KIND.forms(place) if form.name == "flatten"]
    assert len(forms) == 1
    for form in forms:
        half = max(1, form.largest // 2)
        found = form.solve(arrays, seen, (half, form.largest))

        exact = found[form.largest].layers()
        assert set(exact) == set(form.touches) == {"dense", "flat"}
        assert exact["flat"][1] is flat.layer
        np.testing.assert_allclose(
            run([*exact["flat"], *exact["dense"]], inputs), before, atol=1e-4
        )
        small = found[half].layers()
        layers = [*small["flat"], *small["dense"]]
        own = replace(place.layer, arrays=found[half].in_place()["dense"])
        whole = run((flat.layer, own), inputs)
        np.testing.assert_allclose(run(layers, inputs), whole, atol=1e-4)
        kernel, bias = KIND.merged((*layers,)).arrays  # type: ignore[union-attr]
        np.testing.assert_allclose(kernel, own.arrays[0], atol=1e-5)
        np.testing.assert_array_equal(bias, own.arrays[1])
        assert form.parameters(half) == sum(a.size for one in layers for a in one.arrays)
        times = [math.prod(one.arrays[0].shape) for one in layers if one.arrays]
        assert form.multiplications(half) == times[0] * math.prod(shape[:-1]) + sum(times[1:])
        assert form.errors(arrays, seen)[-1] < 1e-8
        assert form.largest == len(form.errors(arrays, seen))


@pytest.mark.keras
def test_data_help_to_choose_channels() -> None:
    """On inputs of few channels the form that saw them is nearer than the one of the kernel alone."""
    pytest.importorskip("keras")
    shape = SHAPES["image"]
    inputs = mixed(shape, 400)
    rows = inputs.reshape(len(inputs), -1)
    for units in (20, 10):
        place = place_of(shape, units)
        arrays = {"dense": place.layer.arrays}
        seen = KIND.gather(place, arrays, Batch((rows[:300],), rows), None)
        (form,) = (form for form in KIND.forms(place) if form.name == "flatten")
        errors = []
        for data in (None, seen):
            kernel, bias = form.solve(arrays, data, (3,))[3].in_place()["dense"]
            change = rows[300:] @ (kernel - arrays["dense"][0]) + bias - arrays["dense"][1]
            errors.append(float((change**2).mean()))
        assert errors[1] < 0.5 * errors[0]


def test_where_no_convolution_can_stand_there_is_no_such_form() -> None:
    """One channel, one pixel, channels first, a free axis, or a Flatten that says what the model takes in."""
    image = SHAPES["image"]
    refused = [
        place_of((3, 4, 1)),
        place_of((1, 1, 6)),
        place_of((12,)),
        place_of(image, data_format="channels_first"),
        place_of(image, batch_input_shape=[None, *image]),
        replace(place_of(image), before=None),
    ]
    free = place_of(image)
    assert free.before is not None
    refused.append(replace(free, before=replace(free.before, input_shapes=((None, 4, 6),))))

    assert all([form.name for form in KIND.forms(place)] == ["rank"] for place in refused)
    assert [form.name for form in KIND.forms(place_of(image, 10))] == ["rank", "flatten"]


def test_a_chain_that_is_no_low_rank_is_not_merged() -> None:
    """A bias, an activation, a window, or more filters than channels: someone's own design."""
    place = place_of(SHAPES["image"], 10)
    form = KIND.forms(place)[1]
    layers = form.solve({"dense": place.layer.arrays}, None, (3,))[3].layers()
    conv, flatten = layers["flat"]
    (dense,) = layers["dense"]
    wide = Serialized("Dense", dense.config, (np.ones((7 * 12, 10)), dense.arrays[1]))
    others = [
        replace(conv, config=conv.config | {"activation": "relu"}),
        replace(conv, config=conv.config | {"use_bias": True}, arrays=(*conv.arrays, np.ones(3))),
        replace(conv, config=conv.config | {"strides": [2, 2]}),
        replace(conv, class_name="DepthwiseConv2D"),
    ]

    assert KIND.merged((conv, flatten, dense)) is not None
    assert all(KIND.merged((other, flatten, dense)) is None for other in others)
    assert KIND.merged((conv, dense, dense)) is None
    more = replace(conv, config=conv.config | {"filters": 7}, arrays=(np.ones((1, 1, 6, 7)),))
    assert KIND.merged((more, flatten, wide)) is None


@pytest.mark.keras
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_file_with_a_convolution_before_its_flatten_computes_the_same(
    examples: Path, tmp_path: Path, suffix: str
) -> None:
    """Found in a file, solved at the largest size and written, it gives what the original gives."""
    keras = pytest.importorskip("keras")
    model = open_model(examples / f"digits_cnn{suffix}")
    place = find_places(model).known["dense"]
    old = keras.saving.load_model(model.path, compile=False)
    inputs = RNG.random((3, 8, 8, 1))
    (form,) = (f for f in place.kind.forms(place) if f.name == "flatten")  # type: ignore[union-attr]
    arrays = {path: read_arrays(model, path) for path in form.touches}
    layers = form.solve(arrays, None, (form.largest,))[form.largest].layers()
    target = tmp_path / f"new{suffix}"

    written = write_changed(model, layers, target)

    new = keras.saving.load_model(target, compile=False)
    first = {"dense": ("dense_lowrank",), "flatten": ("flatten_lowrank",)}
    assert written.first_names == first
    np.testing.assert_allclose(new(inputs), old(inputs), atol=1e-5)


def test_a_kernel_of_which_no_copy_is_made_gets_the_same_factors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without data a large kernel gets the errors and the arrays that a small one gets."""
    place = place_of((3, 4, 12), 40)
    arrays = {"dense": place.layer.arrays}

    def found() -> tuple[np.ndarray, list[np.ndarray]]:
        (form,) = (form for form in KIND.forms(place) if form.name == "flatten")
        solved = form.solve(arrays, None, (1, 8, 20, 40))
        return form.errors(arrays, None), [s.in_place()["dense"][0] for s in solved.values()]

    errors, kernels = found()
    for module in (linear, flatten, shared_forms):
        monkeypatch.setattr(module, "LARGE", 0)
    again, others = found()
    np.testing.assert_allclose(again, errors, atol=1e-6)
    for kernel, other in zip(kernels, others, strict=True):
        np.testing.assert_allclose(other, kernel, atol=1e-5)
