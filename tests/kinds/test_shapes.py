"""The shapes of what layers give, told by their config alone, beside what Keras says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from lrcompress.kinds import Serialized
from lrcompress.kinds.shapes import agreed, multiplications, output_shape

pytestmark = pytest.mark.keras

LINE, IMAGE, BLOCK = (11, 4), (9, 12, 4), (5, 6, 7, 2)
# Class, its arguments, the shape of its input.
LAYERS: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("Dense", {"units": 3}, LINE),
    ("EinsumDense", {"equation": "abc,cde->abde", "output_shape": (None, 3, 5)}, LINE),
    ("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 6}, LINE),
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 6}, (4,)),
    *[
        ("Conv1D", {"filters": 3, "kernel_size": 3, "strides": s, "dilation_rate": d, "padding": p}, LINE)
        for s, d in ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3))
        for p in ("same", "valid", "causal")
    ],
    ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "strides": (2, 3)}, IMAGE),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "dilation_rate": (2, 1), "groups": 2}, IMAGE),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "padding": "same", "strides": 2}, IMAGE),
    ("Conv2D", {"filters": 6, "kernel_size": (3, 2), "data_format": "channels_first"}, IMAGE),
    ("Conv3D", {"filters": 6, "kernel_size": 3, "strides": (1, 2, 2), "padding": "same"}, BLOCK),
    *[
        (f"Conv{len(shape) - 1}DTranspose",
         {"filters": 6, "kernel_size": k, "strides": s, "padding": p, "output_padding": e}, shape)
        for shape in (LINE, IMAGE, BLOCK)
        for k, s, e in ((3, 1, None), (3, 2, None), (2, 3, None), (4, 3, 1), (5, 2, 0))
        for p in ("same", "valid")
    ],
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, LINE),
    ("DepthwiseConv2D", {"kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    ("SeparableConv1D", {"filters": 6, "kernel_size": 3, "strides": 2}, LINE),
    ("SeparableConv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    *[
        (f"{what}Pooling{len(shape) - 1}D", {"pool_size": k, "strides": s, "padding": p}, shape)
        for what in ("Max", "Average")
        for shape in (LINE, IMAGE, BLOCK)
        for k, s, p in ((2, None, "valid"), (3, 2, "same"), (3, 1, "valid"))
    ],
    ("GlobalMaxPooling1D", {}, LINE),
    ("GlobalAveragePooling2D", {"keepdims": True}, IMAGE),
    ("GlobalAveragePooling2D", {"data_format": "channels_first"}, IMAGE),
    ("GlobalAveragePooling3D", {}, BLOCK),
    ("Flatten", {}, IMAGE),
    ("Reshape", {"target_shape": (4, -1, 2)}, IMAGE),
    ("Reshape", {"target_shape": (44,)}, LINE),
    ("Permute", {"dims": (3, 1, 2)}, IMAGE),
    ("RepeatVector", {"n": 7}, (4,)),
    ("ZeroPadding1D", {"padding": (1, 3)}, LINE),
    ("ZeroPadding2D", {"padding": ((1, 2), (0, 3))}, IMAGE),
    ("ZeroPadding2D", {"padding": (2, 1), "data_format": "channels_first"}, IMAGE),
    ("ZeroPadding3D", {"padding": 1}, BLOCK),
    ("Cropping1D", {"cropping": 1}, LINE),
    ("Cropping2D", {"cropping": ((1, 2), (0, 3))}, IMAGE),
    ("Cropping3D", {"cropping": (1, 2, 1)}, BLOCK),
    ("UpSampling1D", {"size": 3}, LINE),
    ("UpSampling2D", {"size": (2, 3)}, IMAGE),
    ("UpSampling3D", {"size": 2}, BLOCK),
    ("Resizing", {"height": 5, "width": 8}, IMAGE),
    ("Embedding", {"input_dim": 9, "output_dim": 5}, (11,)),
    ("LSTM", {"units": 3}, LINE),
    ("GRU", {"units": 3, "return_sequences": True}, LINE),
    ("SimpleRNN", {"units": 3}, LINE),
    ("ConvLSTM2D", {"filters": 3, "kernel_size": 3, "return_sequences": True}, BLOCK),
    ("ConvLSTM1D", {"filters": 3, "kernel_size": 3, "padding": "same"}, IMAGE),
    ("BatchNormalization", {}, IMAGE),
    ("LayerNormalization", {}, LINE),
    ("Activation", {"activation": "relu"}, LINE),
    ("SpatialDropout2D", {"rate": 0.1}, IMAGE),
]  # fmt: skip


def described(layer: Any) -> dict[str, Any]:
    """Return the JSON of a layer as a file has it."""
    import keras

    found: dict[str, Any] = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    found.pop("build_config", None)
    return found


def identity(case: object) -> str:
    """Return how a test of one case is called."""
    name, arguments, shape = case  # type: ignore[misc]
    return f"{name}-{arguments}-{len(shape)}"


@pytest.mark.parametrize("case", LAYERS, ids=map(identity, LAYERS))
def test_a_layer_gives_the_shape_that_keras_says(case: Any) -> None:
    """For every class and setting the shape is the one that Keras computes, and no axis is free."""
    keras = pytest.importorskip("keras")
    name, arguments, shape = case
    layer = getattr(keras.layers, name)(**arguments)

    found = output_shape(described(layer), [shape])

    assert agreed(tuple(layer(keras.Input(shape)).shape)[1:], found) == found
    assert None not in found


def test_wrappers_and_cells_give_the_shape_that_keras_says() -> None:
    """What stands inside another layer is looked up there."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    cases = [
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.Bidirectional(layers.GRU(3), merge_mode="sum"),
        layers.TimeDistributed(layers.Dense(5)),
        layers.RNN(layers.LSTMCell(3)),
        layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(7)])),
        layers.RNN([layers.GRUCell(3), layers.GRUCell(7)], return_sequences=True),
    ]
    for layer in cases:
        computed = tuple(layer.compute_output_shape((None, *LINE)))
        assert output_shape(described(layer), [LINE]) == computed[1:]
    layer = layers.TimeDistributed(layers.Conv2D(3, 3, strides=2))
    computed = layer.compute_output_shape((None, 5, *IMAGE))
    assert output_shape(described(layer), [(5, *IMAGE)]) == tuple(computed)[1:]


def test_layers_of_several_inputs_give_the_shape_that_keras_says() -> None:
    """Merging layers broadcast, join or contract; attention takes the steps of its query."""
    keras = pytest.importorskip("keras")
    layers = keras.layers
    cases = [
        (layers.Concatenate(), [(11, 4), (11, 5), (11, 1)]),
        (layers.Concatenate(axis=1), [(3, 4), (2, 4)]),
        (layers.Add(), [(11, 4), (11, 4)]),
        (layers.Multiply(), [(9, 12, 4), (1, 1, 4)]),
        (layers.Dot(axes=(2, 1)), [(3, 4), (4, 5)]),
        (layers.Dot(axes=1), [(6,), (6,)]),
        (layers.Attention(), [(5, 4), (7, 4)]),
        (layers.MultiHeadAttention(2, 3), [(5, 4), (7, 6)]),
        (layers.MultiHeadAttention(2, 3, output_shape=9), [(5, 4), (7, 6)]),
    ]
    for layer, shapes in cases:
        inputs = [keras.Input(shape) for shape in shapes]
        many = not isinstance(layer, layers.MultiHeadAttention)
        computed = (layer(inputs) if many else layer(*inputs)).shape
        assert output_shape(described(layer), shapes) == tuple(computed)[1:], layer.name


OLD = [
    ("Convolution2D", {"nb_filter": 6, "nb_row": 3, "nb_col": 2, "subsample": [2, 1],
                       "border_mode": "valid", "dim_ordering": "th"}, (4, 9, 12), (6, 4, 11)),
    ("Convolution2D", {"nb_filter": 6, "nb_row": 3, "nb_col": 2, "border_mode": "full"},
     (9, 12, 4), (11, 13, 6)),
    ("Convolution1D", {"nb_filter": 6, "filter_length": 3, "subsample_length": 2,
                       "border_mode": "same"}, (11, 4), (6, 6)),
    ("MaxPooling1D", {"pool_length": 3, "stride": 2, "border_mode": "valid"}, (11, 4), (5, 4)),
    ("MaxPooling2D", {"pool_size": [2, 2], "strides": [2, 2], "dim_ordering": "th"},
     (4, 9, 12), (4, 4, 6)),
    ("UpSampling1D", {"length": 2}, (11, 4), (22, 4)),
    ("LSTM", {"output_dim": 5, "return_sequences": False}, (11, 4), (5,)),
    ("Embedding", {"output_dim": 5, "input_length": 7}, (None,), (7, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "config", "shape", "expected"), OLD, ids=str)
def test_the_terms_of_keras_1_are_known(
    name: str, config: Any, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """Keras 1 has other names for the same settings."""
    assert output_shape({"class_name": name, "config": config}, [shape]) == expected


def test_merge_of_keras_1_joins_or_adds() -> None:
    """One class of Keras 1 has all ways to merge."""
    merge: dict[str, Any] = {"class_name": "Merge", "config": {"mode": "concat", "concat_axis": 2}}

    assert output_shape(merge, [(3, 4), (3, 5)]) == (3, 9)
    merge["config"]["mode"] = "sum"
    assert output_shape(merge, [(3, 4), (3, 4)]) == (3, 4)
    merge["config"]["mode"] = "dot"
    assert output_shape(merge, [(3, 4), (3, 4)]) is None


@pytest.mark.parametrize(
    "entry",
    [
        {"class_name": "Mine", "config": {}},
        {"class_name": "Dense", "module": "mine", "config": {"units": 3}},
        {"class_name": ["Dense"], "config": {"units": 3}},
        {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": [3]}},
        {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3, "strides": 0}},
        {"class_name": "Reshape", "config": {"target_shape": [0, -1]}},
        {"class_name": "Permute", "config": {"dims": [7, 1]}},
        {"class_name": "TimeDistributed", "config": {"layer": 3}},
    ],
    ids=str,
)
def test_what_no_rule_tells_is_not_known(entry: dict[str, Any]) -> None:
    """Custom classes and configs that make no sense give no shape, and raise nothing."""
    assert output_shape(entry, [IMAGE]) is None


def test_an_axis_that_is_free_stays_so() -> None:
    """What depends on a free length is free; what does not is known."""
    conv = {"class_name": "Conv2D", "config": {"filters": 3, "kernel_size": 3}}
    flatten: dict[str, Any] = {"class_name": "Flatten", "config": {}}

    assert output_shape(conv, [(None, 12, 4)]) == (None, 10, 3)
    assert output_shape(conv, [(2, 12, 4)]) == (None, 10, 3)  # does not fit
    assert output_shape(flatten, [(None, 12, 4)]) == (None,)
    assert output_shape(conv, [None]) is None
    assert agreed((None, 3), (5, 4)) == (5, 3)
    assert agreed((None, 3), (5, 3), strict=True) == (None, 3)
    assert agreed(None, ()) == ()


def test_multiplications_are_counted_from_shapes_alone() -> None:
    """Gates with arrays of their own, channels first, an open length, a layer of unknown work."""

    def layer(name: str, *shapes: tuple[int, ...], **config: Any) -> Serialized:
        return Serialized(name, config, tuple(np.empty(shape) for shape in shapes))

    gates = layer("LSTM", *[(4, 3), (3, 3), (3,)] * 4)
    conv = layer("Conv2D", (3, 2, 4, 6), (6,), data_format="channels_first")
    dense = layer("Dense", (4, 3), (3,))

    assert multiplications(gates, [LINE], (3,)) == 11 * 4 * 7 * 3
    assert multiplications(conv, [(4, 9, 12)], (6, 7, 11)) == 7 * 11 * 24 * 6
    assert multiplications(conv, [(5, 4, 9, 12)], (5, 6, 7, 11)) == 5 * 7 * 11 * 24 * 6
    assert multiplications(conv, [(4, None, 12)], (6, None, 11), open_length=9) is None
    assert multiplications(dense, [(None, 4)], (None, 3)) is None
    assert multiplications(dense, [(None, 4)], (None, 3), open_length=5) == 60
    assert multiplications(layer("Mine", (4, 3)), [LINE], LINE) is None
    assert multiplications(layer("Mine", (4,)), [LINE], LINE) == 0
