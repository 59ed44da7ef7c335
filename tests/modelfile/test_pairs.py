"""Two Dense layers in a row that are one matrix are found as one; all others are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lrcompress.modelfile import (
    ModelFile,
    find_head,
    open_model,
    read_bias,
    read_kernel,
)
from tests.modelfile.models import each_alone, stored

if TYPE_CHECKING:
    from tests.modelfile.conftest import Json, Maker

M, R, N = 6, 2, 5


def chain(make: Maker, *layers: Json, shapes: dict[str, tuple[int, int]]) -> ModelFile:
    """Return a Sequential model of 6 inputs in HDF5; `shapes` has the kernels of its Dense layers."""
    weights: dict[str, Any] = {entry["config"]["name"]: {} for entry in layers}
    for entry in layers:
        name, config = entry["config"]["name"], entry["config"]
        config = config.get("layer", {}).get("config", config)
        if name in shapes:
            arrays = make.pair(name, *shapes[name])
            if not config["use_bias"]:
                del arrays[f"{name}/bias:0"]
            kind = config["dtype"] if isinstance(config["dtype"], str) else "float32"
            weights[name] = {key: value.astype(kind) for key, value in arrays.items()}
    return open_model(make.hdf5(make.sequential(make.input(), *layers), weights))


def pair(make: Maker, *between: Json, rank: int = R, **first: Any) -> ModelFile:
    """Return Dense(rank) named b, what stands between, and Dense(5, softmax) named c."""
    layers = [make.dense("b", rank, **{"use_bias": False, **first}), *between]
    layers.append(make.dense("c", N, activation="softmax"))
    return chain(make, *layers, shapes={"b": (M, rank), "c": (rank, N)})


@pytest.mark.parametrize("name", [None, "c", "b"])
def test_a_pair_is_one_layer_by_either_name(make: Maker, name: str | None) -> None:
    """The head of two factors is their product under the second's name; its input is the first's."""
    model = pair(make)
    arrays, _ = stored(model.path)
    first, second = arrays["model_weights/b/b/kernel:0"], arrays["model_weights/c/c/kernel:0"]

    head = find_head(model, name)

    assert (head.name, head.path, head.input_path, head.rank) == ("c", "c", "b", R)
    assert (head.kernel_shape, head.activation, head.softmax) == ((M, N), "softmax", True)
    assert head.stored_parameters == M * R + R * N + N
    assert tuple(half.kernel_shape for half in each_alone(head)) == ((M, R), (R, N))
    assert model.sites == (head,)
    expected = (first.astype("f8") @ second.astype("f8")).astype("f4")
    np.testing.assert_array_equal(read_kernel(model, head), expected, strict=True)
    np.testing.assert_array_equal(read_kernel(model, each_alone(head)[1]), second, strict=True)


@pytest.mark.parametrize("second_has_one", [True, False])
def test_a_bias_between_is_folded(make: Maker, second_has_one: bool) -> None:
    """Sent through C, b1 adds b1 C to the bias, or makes one."""
    layers = [make.dense("b", R), make.dense("c", N, use_bias=second_has_one)]
    model = chain(make, *layers, shapes={"b": (M, R), "c": (R, N)})
    arrays, _ = stored(model.path)
    expected = arrays["model_weights/b/b/bias:0"] @ arrays["model_weights/c/c/kernel:0"]
    if second_has_one:
        expected = expected + arrays["model_weights/c/c/bias:0"]

    head = find_head(model)

    assert head.use_bias
    assert head.stored_parameters == sum(array.size for array in arrays.values())
    np.testing.assert_allclose(read_bias(model, head), expected, rtol=1e-5, strict=True)


@pytest.mark.parametrize(
    ("class_name", "config"),
    [("Activation", {"activation": "relu"}), ("Dropout", {"rate": 0.5}), ("LeakyReLU", {})],
)
def test_anything_between_makes_two_matrices(make: Maker, class_name: str, config: Json) -> None:
    """Only layers that follow each other directly are one matrix."""
    model = pair(make, make.layer(class_name, "between", **config))

    assert find_head(model).rank is None
    assert [layer.path for layer in model.sites] == ["b", "c"]


@pytest.mark.parametrize(
    "first",
    [
        {"activation": "relu"},
        {"activation": {"class_name": "function", "config": "tanh"}},
        {"dtype": "float16"},
        {"dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8_from_float32"}}},
        {"lora_rank": 1},
        {"rank": 7},
    ],
    ids=["activation", "activation as an object", "types", "quantized", "lora", "wider than both"],
)
def test_a_first_layer_that_is_no_factor(make: Maker, first: Json) -> None:
    """An activation, other types or special weights of the first leave the second by itself."""
    model = pair(make, **first)

    assert find_head(model).rank is None
    assert find_head(model).kernel_shape == (first.get("rank", R), N)


def fork(make: Maker, *links: tuple[Json, list[str]], outputs: list[str]) -> ModelFile:
    """Return a functional model with b (6, 2) and every other Dense (2, 5)."""
    layers = [(make.input(), []), (make.dense("b", R), ["x"]), *links]
    names = [entry["config"]["name"] for entry, _ in layers if entry["class_name"] == "Dense"]
    weights = {name: make.pair(name, *((M, R) if name == "b" else (R, N))) for name in names}
    return open_model(make.hdf5(make.functional(layers, outputs), weights))


def test_an_output_used_twice_is_no_inside_of_a_matrix(make: Maker) -> None:
    """A first layer that feeds two, or is an output itself, stays what it is."""
    two = fork(
        make, (make.dense("c", N), ["b"]), (make.dense("d", N), ["b"]), outputs=["c", "d"]
    )  # fmt: skip
    seen = fork(make, (make.dense("c", N), ["b"]), outputs=["b", "c"])

    for model in (two, seen):
        assert all(layer.rank is None for layer in model.sites)
        assert find_head(model, "b").kernel_shape == (M, R)


def test_a_layer_called_twice_is_in_no_pair(make: Maker) -> None:
    """One layer at two places of the graph cannot be multiplied into one of them."""
    links = [
        (make.input(), []), (make.input("y"), []), (make.dense("b", R), []),
        (make.dense("c", N), ["b"]), (make.layer("Add", "sum"), ["c"]),
    ]  # fmt: skip
    config = make.functional(links, ["sum"])
    layers = {entry["name"]: entry for entry in config["config"]["layers"]}
    layers["b"]["inbound_nodes"] = [[["x", 0, 0, {}]], [["y", 0, 0, {}]]]
    layers["c"]["inbound_nodes"] = [[["b", 0, 0, {}]], [["b", 1, 0, {}]]]
    layers["sum"]["inbound_nodes"] = [[["c", 0, 0, {}], ["c", 1, 0, {}]]]
    weights = {"b": make.pair("b", M, R), "c": make.pair("c", R, N)}

    model = open_model(make.hdf5(config, weights))

    assert find_head(model, "c").rank is None


def test_of_three_in_a_row_the_last_two_are_the_pair(make: Maker) -> None:
    """No layer is in two pairs; of four there are two."""
    sizes = {"a": (M, R), "b": (R, R), "c": (R, R), "d": (R, N)}
    layers = [make.dense(name, shape[1]) for name, shape in sizes.items()]

    four = chain(make, *layers, shapes=sizes).sites
    three = chain(make, *layers[1:], shapes={**sizes, "b": (M, R)}).sites

    assert [(pair.path, pair.input_path) for pair in four] == [("b", "a"), ("d", "c")]
    assert [(pair.path, pair.input_path) for pair in three] == [("b", "b"), ("d", "c")]


def test_only_layers_of_one_class_are_a_pair(make: Maker) -> None:
    """A wrapped Dense and a plain one are not taken together; two wrapped ones are."""
    wrapped = make.layer("TimeDistributed", "b", layer=make.dense("inner", R, use_bias=False))
    other = make.layer("TimeDistributed", "c", layer=make.dense("inner_c", N))
    shapes = {"b": (M, R), "c": (R, N)}

    both, one = (
        find_head(chain(make, wrapped, second, shapes=shapes))
        for second in (other, make.dense("c", N))
    )

    assert (both.rank, both.per_step, both.kernel_shape) == (R, True, (M, N))
    assert one.rank is None
