"""Convolutions in smaller ones: exact at full size, the same in place as in stock layers, better with data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcompress.kinds import Batch, Place, Serialized
from lrcompress.kinds.registry import any_kind_of

pytestmark = pytest.mark.keras

# Class, window, settings, input shape, forms.
CASES: dict[str, tuple[str, Any, dict[str, Any], tuple[int, ...], int]] = {
    "3x3": ("Conv2D", 3, {}, (7, 6, 4), 4),
    "same": ("Conv2D", 3, {"padding": "same", "activation": "relu"}, (7, 6, 4), 4),
    "strided": ("Conv2D", 3, {"padding": "same", "strides": 2}, (8, 7, 4), 4),
    "strided_valid": ("Conv2D", (5, 3), {"strides": (2, 1), "use_bias": False}, (9, 7, 4), 4),
    "dilated": ("Conv2D", 3, {"padding": "same", "dilation_rate": (2, 1)}, (8, 7, 4), 4),
    "groups": ("Conv2D", 3, {"padding": "same", "groups": 2}, (7, 6, 4), 1),
    "1x1": ("Conv2D", 1, {"strides": 2}, (7, 6, 4), 1),
    "1xN": ("Conv2D", (1, 4), {"padding": "same"}, (7, 6, 4), 3),
    "one_channel": ("Conv2D", 3, {"padding": "same"}, (7, 6, 1), 4),
    "causal": ("Conv1D", 3, {"padding": "causal", "dilation_rate": 2}, (9, 4), 3),
    "1d": ("Conv1D", 4, {"padding": "same", "strides": 3}, (10, 4), 3),
    "3d": ("Conv3D", (2, 3, 2), {"padding": "same", "strides": (1, 2, 1)}, (5, 6, 4, 4), 4),
    "3d_dilated": ("Conv3D", 2, {"dilation_rate": (1, 2, 1)}, (5, 6, 4, 3), 4),
    "transposed": ("Conv2DTranspose", 3, {"strides": 2, "padding": "same"}, (5, 4, 4), 3),
    "transposed_valid": ("Conv2DTranspose", (2, 3), {"strides": (3, 1)}, (5, 4, 4), 3),
    "transposed_padded": (
        "Conv2DTranspose", 3, {"strides": 2, "padding": "same", "output_padding": 1}, (5, 4, 4), 3
    ),
    "transposed_1d": (
        "Conv1DTranspose", 4, {"strides": 2, "use_bias": False, "activation": "tanh"}, (6, 4), 3
    ),
    "transposed_3d": ("Conv3DTranspose", 2, {"padding": "same"}, (3, 4, 3, 4), 3),
    "separable": (
        "SeparableConv2D", 3, {"padding": "same", "depth_multiplier": 2, "strides": 2}, (7, 6, 4), 1
    ),
    "separable_1d": (
        "SeparableConv1D", 3, {"dilation_rate": 2, "activation": "relu"}, (9, 4), 1
    ),
}  # fmt: skip


def layer_of(case: str) -> tuple[Any, Place, np.ndarray]:
    """Return a Keras layer with random weights, its place, and inputs with correlated channels."""
    import keras

    class_name, window, settings, shape, _ = CASES[case]
    layer = getattr(keras.layers, class_name)(6, window, name="conv", **settings)
    layer.build((None, *shape))
    draw = np.random.default_rng(sum(case.encode()))
    layer.set_weights([draw.normal(size=w.shape).astype(np.float32) for w in layer.get_weights()])
    mix = draw.normal(size=(shape[-1], shape[-1])) * 0.3 ** np.arange(shape[-1])
    inputs = (draw.normal(size=(60, *shape)) @ mix.T + draw.normal(size=shape[-1])).astype("f4")
    serialized = Serialized(class_name, layer.get_config(), tuple(layer.get_weights()))
    kind = any_kind_of({"class_name": class_name, "config": serialized.config})
    return layer, Place("conv", kind, serialized, input_shapes=(shape,)), inputs


def run(layers: tuple[Serialized, ...], inputs: np.ndarray) -> np.ndarray:
    """Return what stock layers in a row give."""
    import keras

    made = [getattr(keras.layers, one.class_name).from_config(one.config) for one in layers]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *made])
    for layer, one in zip(made, layers, strict=True):
        layer.set_weights(one.arrays)
    return np.asarray(model(inputs))


def multiplications(layers: tuple[Serialized, ...], shape: tuple[int, ...]) -> int:
    """Return those of stock layers in a row for one sample, by the shapes that Keras computes."""
    import keras

    found, before = 0, (1, *shape)
    for one in layers:
        layer = getattr(keras.layers, one.class_name).from_config(one.config)
        after = layer.compute_output_shape(before)
        grid = before if "Transpose" in one.class_name else after
        kernels = one.arrays[: 2 if "Separable" in one.class_name else 1]
        found += math.prod(grid[1:-1]) * sum(kernel.size for kernel in kernels)
        before = after
    return found


@pytest.mark.parametrize("with_data", [False, True], ids=["plain", "data"])
@pytest.mark.parametrize("case", CASES)
def test_every_form_is_exact_at_its_largest_size_and_the_same_in_place(
    case: str, with_data: bool
) -> None:
    """Stock layers at the largest size give the original's outputs, at half of it those of the arrays in place."""
    layer, place, inputs = layer_of(case)
    kind, arrays = place.kind, {"conv": place.layer.arrays}
    before = np.asarray(layer(inputs))
    close = 2e-5 * np.abs(before).max()
    seen = kind.gather(place, arrays, Batch((inputs,), before), None) if with_data else None
    forms = kind.forms(place)
    assert len(forms) == CASES[case][-1]
    for form in forms:
        half = max(1, form.largest // 2)
        found = form.solve(arrays, seen, (half, form.largest))

        exact = found[form.largest].layers()["conv"]
        assert [one.config["name"] for one in exact][-1] == "conv"
        np.testing.assert_allclose(run(exact, inputs), before, atol=close)
        assert found[form.largest].error < 1e-8

        small = found[half].layers()["conv"]
        whole = found[half].in_place()["conv"]
        assert [array.shape for array in whole] == [array.shape for array in place.layer.arrays]
        layer.set_weights(whole)
        np.testing.assert_allclose(run(small, inputs), np.asarray(layer(inputs)), atol=close)
        assert form.parameters(half) == sum(array.size for one in small for array in one.arrays)
        assert form.multiplications(half) == multiplications(small, inputs.shape[1:])
        assert form.errors(arrays, seen).shape == (form.largest,)
        assert form.errors(arrays, seen)[-1] < 1e-8

        merged = kind.merged(small)
        assert merged is not None
        assert merged.class_name == place.layer.class_name
        np.testing.assert_allclose(run((merged,), inputs), np.asarray(layer(inputs)), atol=close)


@pytest.mark.parametrize("case", [case for case in CASES if "separable" not in case])
def test_patches_times_the_kernel_are_outputs(case: str) -> None:
    """Each drawn row gives one of its sample's outputs; all of them where there are few positions."""
    layer, place, inputs = layer_of(case)
    layer.activation = lambda x: x
    kind = place.kind
    outputs = np.asarray(layer(inputs)).reshape(len(inputs), -1, 6)

    rows = kind.rows(place, Batch((inputs,), outputs, seed=3))
    bias = place.layer.arrays[1] if layer.use_bias else 0
    found = rows @ kind.kernel(place.layer, place.layer.arrays) + bias
    found = found.reshape(len(inputs), -1, 6)

    assert found.shape[1] == min(24, outputs.shape[1])
    for some, every in zip(found, outputs, strict=True):
        gap = np.abs(some[:, None] - every[None]).max(axis=2).min(axis=1)
        assert gap.max() < 1e-4


@pytest.mark.parametrize("case", ["3x3", "strided_valid", "groups", "transposed", "separable"])
def test_data_lower_the_error_on_other_inputs(case: str) -> None:
    """With the moments of correlated inputs each form responds nearer to the original than without."""
    layer, place, inputs = layer_of(case)
    layer.activation = lambda x: x
    kind, arrays = place.kind, {"conv": place.layer.arrays}
    seen = kind.gather(place, arrays, Batch((inputs[:40],), inputs), None)
    before = np.asarray(layer(inputs[40:]))
    for form in kind.forms(place):
        size = max(1, form.largest // 2)
        gaps = []
        for moments in (None, seen):
            layer.set_weights(form.solve(arrays, moments, (size,))[size].in_place()["conv"])
            gaps.append(((np.asarray(layer(inputs[40:])) - before) ** 2).mean())

        assert gaps[1] < 0.9 * gaps[0], form.name


def test_the_size_that_is_kept_is_fitted_longer() -> None:
    """A size asked for alone loses less on the rows that it is fitted to than beside others, where it is compared."""
    _, place, inputs = layer_of("3x3")
    kind, arrays = place.kind, {place.path: place.layer.arrays}
    seen = kind.gather(place, arrays, Batch((inputs,), inputs), None)
    for form in kind.forms(place):
        size = max(2, form.largest // 3)

        beside = form.solve(arrays, seen, (1, size))[size].error
        alone = form.solve(arrays, seen, (size,))[size].error

        if form.name in ("inputs", "rows x columns"):
            assert alone < beside
        else:
            assert alone <= beside * 1.001


def of_numpy(config: dict[str, Any], *arrays: np.ndarray, **more: Any) -> Place:
    """Return the place of a Conv2D without Keras."""
    layer = Serialized("Conv2D", {"name": "conv", **config}, arrays)
    return Place("conv", any_kind_of({"class_name": "Conv2D", "config": config}), layer, **more)


def test_channels_first_is_the_same_with_its_axes_turned() -> None:
    """Rows, costs and solutions are those of channels last; the layers keep the order of the axes."""
    draw = np.random.default_rng(0)
    kernel, inputs = draw.normal(size=(3, 3, 4, 6)), draw.normal(size=(5, 9, 7, 4))
    config = {"padding": "same", "strides": [2, 1], "use_bias": False}
    last = of_numpy(config, kernel, input_shapes=((9, 7, 4),))
    first = of_numpy(config | {"data_format": "channels_first"}, kernel, input_shapes=((4, 9, 7),))
    turned = np.moveaxis(inputs, -1, 1)
    arrays = {"conv": (kernel,)}

    rows = [
        last.kind.rows(last, Batch((inputs,), inputs)),
        first.kind.rows(first, Batch((turned,), turned)),
    ]
    np.testing.assert_array_equal(*rows)
    for one, other in zip(last.kind.forms(last), first.kind.forms(first), strict=True):
        assert one.multiplications(2) == other.multiplications(2) is not None
        layers = other.solve(arrays, None, (2,))[2].layers()["conv"]
        assert {layer.config["data_format"] for layer in layers} == {"channels_first"}


@pytest.mark.parametrize(("axis", "moves"), [(-1, True), ([3], True), (1, False)])
def test_a_normalization_takes_the_constant_where_it_normalizes_channels(
    axis: Any, moves: bool
) -> None:
    """Behind a layer without bias the moving mean gives way by what the mean response has lost."""
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(3, 3, 4, 6))
    normal = Serialized("BatchNormalization", {"axis": axis}, tuple(draw.normal(size=(4, 6))))
    place = of_numpy({"use_bias": False}, kernel, shift=Place("normal", None, normal))
    arrays = {"conv": (kernel,), "normal": normal.arrays}
    inputs = draw.normal(size=(50, 6, 6, 4)) + 1
    seen = place.kind.gather(place, arrays, Batch((inputs,), inputs), None)
    for form in place.kind.forms(place):
        found = form.solve(arrays, seen, (2,))[2]
        changed = found.in_place()

        assert ("normal" in changed) == ("normal" in found.layers()) == moves
        assert form.touches == (("conv", "normal") if moves else ("conv",))
        if moves:
            lost = place.kind.kernel(place.layer, (kernel - changed["conv"][0],))
            expected = normal.arrays[2] - seen.mean @ lost
            np.testing.assert_allclose(changed["normal"][2], expected)


def test_without_a_place_for_a_constant_the_mean_response_counts() -> None:
    """No bias and no normalization: what is kept is the response itself, not its deviation from the mean."""
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(2, 2, 4, 6))
    place = of_numpy({"use_bias": False}, kernel)
    inputs = draw.normal(size=(200, 5, 5, 4)) * 0.1 + draw.normal(size=4)
    batch = Batch((inputs,), inputs)
    arrays = {"conv": (kernel,)}
    seen = place.kind.gather(place, arrays, batch, None)
    rows = place.kind.rows(place, batch)
    for form in place.kind.forms(place):
        small = form.solve(arrays, seen, (1,))[1].in_place()["conv"][0]
        lost = rows @ place.kind.kernel(place.layer, (kernel - small,))
        whole = rows @ place.kind.kernel(place.layer, (kernel,))

        assert (lost**2).sum() < 0.1 * (whole**2).sum(), form.name


@pytest.mark.parametrize(
    ("class_name", "config", "code"),
    [
        ("Conv2D", {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8"}}}, "quantized"),
        ("Conv1D", {"lora_rank": 4}, "lora"),
        ("SeparableConv2D", {"lora_rank": 4}, "lora"),
    ],
)  # fmt: skip
def test_kernels_that_are_not_all_there_is_are_refused(
    class_name: str, config: dict[str, Any], code: str
) -> None:
    """A quantized kernel and one with adapters stay."""
    kind = any_kind_of({"class_name": class_name, "config": config})
    refusal = kind.refuse(Serialized(class_name, config))
    assert refusal is not None
    assert refusal.code == code


def test_a_depthwise_kernel_is_of_no_kind() -> None:
    """There is no rank to lose in it."""
    assert any_kind_of({"class_name": "DepthwiseConv2D", "config": {}}) is None


def test_chains_that_are_no_factors_are_not_merged() -> None:
    """Two convolutions stay two where the first is nonlinear, biased, too wide, or the second pads."""
    draw = np.random.default_rng(0)
    wide, narrow = draw.normal(size=(3, 3, 4, 2)), draw.normal(size=(1, 1, 2, 6))
    first, second = of_numpy({"use_bias": False}, wide), of_numpy({"use_bias": False}, narrow)
    kind = first.kind

    def chain(config: dict[str, Any], *arrays: np.ndarray, then: Any = second) -> Any:
        return kind.merged((of_numpy(config, *arrays).layer, then.layer))

    assert chain({"use_bias": False}, wide) is not None
    assert chain({"use_bias": False, "activation": "relu"}, wide) is None
    assert chain({}, wide, np.zeros(2)) is None
    broad = of_numpy({"use_bias": False}, draw.normal(size=(1, 1, 7, 6)))
    assert chain({"use_bias": False}, draw.normal(size=(3, 3, 4, 7)), then=broad) is None
    strided = of_numpy({"use_bias": False, "strides": 2}, narrow)
    assert chain({"use_bias": False}, wide, then=strided) is None
    square = of_numpy({"use_bias": False}, draw.normal(size=(3, 3, 2, 6)))
    assert chain({"use_bias": False}, wide, then=square) is None


def test_keras_1_keeps_its_spelling() -> None:
    """Layers made of one of Keras 1 are described in its words."""
    draw = np.random.default_rng(0)
    config = {
        "name": "conv", "nb_filter": 6, "nb_row": 3, "nb_col": 2, "border_mode": "same",
        "subsample": [2, 1], "dim_ordering": "tf", "bias": True, "activation": "relu",
        "W_regularizer": {"l2": 0.1},
    }  # fmt: skip
    arrays = (draw.normal(size=(3, 2, 4, 6)), np.zeros(6))
    layer = Serialized("Convolution2D", config, arrays)
    place = Place("conv", any_kind_of({"class_name": "Convolution2D", "config": config}), layer)
    crossed = {form.name: form for form in place.kind.forms(place)}["rows x columns"]
    down, along = crossed.solve({"conv": arrays}, None, (4,))[4].layers()["conv"]

    assert down.config == config | {
        "name": "conv_lowrank", "nb_filter": 4, "nb_col": 1, "subsample": [2, 1], "bias": False,
        "activation": "linear", "W_regularizer": None,
    }  # fmt: skip
    assert along.config == config | {"nb_row": 1, "subsample": [1, 1]}
    assert place.kind.merged((down, along)).config == config


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.data())
def test_any_window_is_exact_at_the_largest_size(data: st.DataObject) -> None:
    """Whatever window, stride, dilation, padding and groups, Keras computes the same with the stock layers."""
    import keras

    size = data.draw(st.tuples(*2 * (st.integers(1, 4),)))
    strides = data.draw(st.tuples(*2 * (st.integers(1, 3),)))
    plain = st.just((1, 1))
    dilation = data.draw(plain if max(strides) > 1 else st.tuples(*2 * (st.integers(1, 3),)))
    groups = data.draw(st.sampled_from([1, 1, 2]))
    channels, outputs = (groups * data.draw(st.integers(1, 5)) for _ in range(2))
    padding = data.draw(st.sampled_from(["same", "valid"]))
    layer = keras.layers.Conv2D(
        outputs, size, strides, padding, dilation_rate=dilation, groups=groups, name="conv"
    )
    shape = (data.draw(st.integers(10, 13)), data.draw(st.integers(10, 13)), channels)
    inputs = np.random.default_rng(0).normal(size=(3, *shape)).astype("f4")
    before = np.asarray(layer(inputs))
    arrays = tuple(layer.get_weights())
    place = of_numpy(layer.get_config(), *arrays, input_shapes=(shape,))
    seen = place.kind.gather(place, {"conv": arrays}, Batch((inputs,), before), None)
    for form in place.kind.forms(place):
        solution = form.solve({"conv": arrays}, seen, (form.largest,))[form.largest]
        layers = solution.layers()["conv"]
        close = 2e-5 * np.abs(before).max()
        np.testing.assert_allclose(run(layers, inputs), before, atol=close, err_msg=form.name)
        assert form.multiplications(form.largest) == multiplications(layers, shape)


def test_under_a_wrapper_each_step_is_an_input() -> None:
    """Rows are drawn from all steps, and costs count every step."""
    draw = np.random.default_rng(0)
    kernel, inputs = draw.normal(size=(3, 3, 4, 6)), draw.normal(size=(2, 3, 4, 5, 4))
    each = of_numpy({"use_bias": False}, kernel, input_shapes=((4, 5, 4),))
    stepped = of_numpy({"use_bias": False}, kernel, input_shapes=((3, 4, 5, 4),), per_step=True)

    rows = stepped.kind.rows(stepped, Batch((inputs,), inputs))
    flat = inputs.reshape(-1, 4, 5, 4)
    np.testing.assert_array_equal(rows, each.kind.rows(each, Batch((flat,), flat)))
    for one, other in zip(each.kind.forms(each), stepped.kind.forms(stepped), strict=True):
        assert other.multiplications(2) == 3 * one.multiplications(2)


@pytest.mark.parametrize("steep", [0, 1])
def test_a_square_window_is_split_the_better_way(steep: int) -> None:
    """Where only one of the two orders keeps the kernel, that one is taken."""
    draw = np.random.default_rng(0)
    shapes = [(3, 1, 4, 2), (1, 3, 2, 6)]
    if steep:
        shapes = [(1, 3, 4, 2), (3, 1, 2, 6)]
    kernel = np.matmul(*(draw.normal(size=shape) for shape in shapes))
    place = of_numpy({"use_bias": False, "padding": "same", "strides": 2}, kernel)
    form = {form.name: form for form in place.kind.forms(place)}["rows x columns"]
    solution = form.solve({"conv": (kernel,)}, None, (2,))[2]

    first, second = solution.layers()["conv"]
    assert solution.error < 1e-12
    assert form.errors({"conv": (kernel,)}, None)[1] < 1e-12
    assert first.arrays[0].shape == shapes[0]
    assert first.config["strides"] == [2, 1][:: 1 - 2 * steep]
    merged = place.kind.merged((first, second))
    np.testing.assert_allclose(merged.arrays[0], kernel)
    assert merged.config["strides"] == [2, 2]


@pytest.mark.parametrize("dead", ["inputs", "channels", "kernel", "weights", "sample"])
def test_what_is_dead_breaks_nothing(dead: str) -> None:
    """Inputs, channels and weights that are zero, and a single sample, still give finite factors, exact at the end."""
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(3, 3, 8, 10)).astype("f4")
    inputs = draw.normal(size=(1 if dead == "sample" else 9, 8, 8, 8)).astype("f4")
    if dead in ("inputs", "channels"):
        inputs[..., 3 * (dead == "channels") :] = 0
    if dead in ("kernel", "weights"):
        kernel[:, :, 2 * (dead == "weights") :] = 0
    place, arrays = of_numpy({"use_bias": False}, kernel), {"conv": (kernel,)}
    seen = place.kind.gather(place, arrays, Batch((inputs,), inputs), None)
    for form in place.kind.forms(place):
        assert np.isfinite(form.errors(arrays, seen)).all()
        for size, solution in form.solve(
            arrays, seen, (1, form.largest // 2, form.largest)
        ).items():
            layers = solution.layers()["conv"]
            assert all(
                np.abs(layer.arrays[0]).max() < 6e4 for layer in layers
            )  # as float16 can hold
            if size == form.largest:
                np.testing.assert_allclose(solution.in_place()["conv"][0], kernel, atol=1e-5)
