"""The walk back from the outputs: which Dense is the final one, and what is said where none is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import ModelFile, find_head, head_paths, open_model
from tests.modelfile.models import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


@pytest.mark.parametrize(
    ("class_name", "config"),
    [
        ("Activation", {"activation": "tanh"}),
        ("Softmax", {"axis": -1}),
        ("Dropout", {"rate": 0.5}),
        ("BatchNormalization", {"axis": -1}),
        ("Reshape", {"target_shape": [5, 1]}),
        ("Flatten", {}),
        ("Rescaling", {"scale": 2.0}),
        ("LeakyReLU", {}),
        ("ReLU", {}),
    ],
)
def test_layers_that_keep_it_the_last_are_passed_over(
    chain: Callable[..., ModelFile], make: Maker, class_name: str, config: Any
) -> None:
    """Element-wise layers, changes of shape and normalisation may follow the head."""
    model = chain(make.layer(class_name, "after", **config))

    assert find_head(model).following == (class_name,)


@pytest.mark.parametrize(
    ("class_name", "config"),
    [("Conv1D", {"filters": 3}), ("LSTM", {"units": 3}), ("Mystery", {}), ("Embedding", {})],
)
def test_layers_with_weights_of_their_own_block_the_way(
    chain: Callable[..., ModelFile], make: Maker, class_name: str, config: Any
) -> None:
    """The last Dense in the list is not the head if another weighted or custom layer follows."""
    error = refusal(chain(make.layer(class_name, "after", **config)))

    assert error.code == "blocked_tail"
    assert f"after ({class_name})" in str(error)
    assert "--layer: probs" in str(error)


def test_a_custom_layer_of_a_known_name_blocks_the_way(
    chain: Callable[..., ModelFile], make: Maker
) -> None:
    """A class from a module of its own is not Keras' class of the same name."""
    custom = make.layer("Activation", "after") | {"module": "my_package.layers"}

    assert refusal(chain(custom)).code == "blocked_tail"


def test_a_model_without_dense_says_so(make: Maker) -> None:
    """Without any Dense there is nothing to choose from."""
    config = make.sequential(make.input(), make.layer("Flatten", "f"))
    model = open_model(make.hdf5(config, {}))

    assert refusal(model).code == "no_dense"


@pytest.mark.parametrize(
    ("class_name", "code"),
    [("ReversibleEmbedding", "tied_embedding"), ("QuantizeWrapperV2", "quantize_wrapper")],
)
@pytest.mark.parametrize("with_dense", [False, True])
def test_a_matrix_that_is_not_to_be_factorized_is_named(
    make: Maker, class_name: str, code: str, with_dense: bool
) -> None:
    """A tied embedding and a quantize wrapper at the end are refused for what they are."""
    end = make.layer(class_name, "end", layer=make.dense("inner", 5))
    before = [make.dense("d", 6)] if with_dense else []
    config = make.sequential(make.input(), *before, end)
    weights = {"d": make.pair("d", 6, 6)} if with_dense else {}

    with pytest.raises(UnsupportedModelError, match=r"ends in end") as refused:
        find_head(open_model(make.hdf5(config, {**weights, "end": make.pair("end", 6, 5)})))

    assert refused.value.code == code


def test_a_subclassed_model_is_refused(make: Maker) -> None:
    """A model without a list of layers is refused, with what to do."""
    config = {"class_name": "Mine", "config": {"units": 3}}
    model = open_model(make.hdf5(config, {}))

    assert refusal(model).code == "subclassed"
    assert (model.class_name, model.layers, model.sites) == ("Mine", (), ())


@pytest.fixture
def forked(make: Maker) -> Callable[..., ModelFile]:
    """Return a function that opens trunk -> (one, two) -> optional merge."""

    def opened(merge: str | None = None, outputs: Any = ("one", "two")) -> ModelFile:
        links = [
            (make.input(), []),
            (make.dense("trunk", 6), ["x"]),
            (make.dense("one", 6), ["trunk"]),
            (make.dense("two", 6), ["trunk"]),
        ]
        if merge:
            links.append((make.layer(merge, "join"), ["one", "two"]))
            outputs = ("join",)
        names = ("trunk", "one", "two")
        weights = {name: make.pair(name, 6, 6) for name in names}
        return open_model(make.hdf5(make.functional(links, outputs), weights))

    return opened


def test_several_heads_are_listed(forked: Callable[..., ModelFile]) -> None:
    """A model with two outputs needs a choice, and the message lists what there is."""
    error = refusal(forked())

    assert error.code == "several_heads"
    assert "one, two; choose with --layer" in str(error)


@pytest.mark.parametrize("merge", ["Add", "Concatenate", "Multiply"])
def test_merged_branches_have_no_final_dense(forked: Callable[..., ModelFile], merge: str) -> None:
    """Where two Dense layers meet, neither is the last."""
    error = refusal(forked(merge))

    assert error.code == "merged_branches"
    assert f"join ({merge})" in str(error)


def test_one_of_several_heads_can_be_chosen(forked: Callable[..., ModelFile]) -> None:
    """A name settles it."""
    assert find_head(forked(), "two").path == "two"


def test_each_output_has_its_head(forked: Callable[..., ModelFile]) -> None:
    """The Dense layers that end outputs are told from those below, and where branches meet there is none."""
    assert head_paths(forked()) == ["one", "two"]
    assert head_paths(forked(outputs=("two",))) == ["two"]
    assert head_paths(forked("Add")) == []


def test_a_dense_that_gates_itself_is_the_head(make: Maker) -> None:
    """Branches that meet again behind the same Dense do not make it ambiguous."""
    links = [
        (make.input(), []),
        (make.dense("d", 6), ["x"]),
        (make.layer("Activation", "gate", activation="sigmoid"), ["d"]),
        (make.layer("Multiply", "swish"), ["d", "gate"]),
    ]
    model = open_model(make.hdf5(make.functional(links, ["swish"]), {"d": make.pair("d", 6, 6)}))

    assert find_head(model).name == "d"


def test_an_unknown_name_suggests_near_ones(forked: Callable[..., ModelFile]) -> None:
    """A slip of the pen gets the name that was meant."""
    error = refusal(forked(), "trunc")

    assert error.code == "no_such_layer"
    assert "Did you mean 'trunk'?" in str(error)


def test_a_layer_of_another_class_is_named_as_such(forked: Callable[..., ModelFile]) -> None:
    """Choosing a layer that is no Dense says what it is."""
    error = refusal(forked("Add"), "join")

    assert error.code == "no_such_layer"
    assert "Layer join" in str(error)
    assert "is of class Add" in str(error)


def test_a_head_inside_a_nested_model_has_a_path(make: Maker) -> None:
    """The way back enters nested models, and the path says where the head stands."""
    inner = make.sequential(make.input("y"), make.dense("last", 5), name="decoder")
    config = make.sequential(make.input(), make.dense("first", 6), inner)
    weights = {
        "first": make.pair("first", 6, 6),
        "decoder": make.pair("last", 6, 5),
    }
    model = open_model(make.hdf5(config, weights))

    head = find_head(model)

    assert (head.name, head.path, head.kernel_shape) == ("last", "decoder/last", (6, 5))
    assert [layer.path for layer in model.sites] == ["first", "decoder/last"]
    assert find_head(model, "last") == find_head(model, "decoder/last") == head


def test_a_dense_behind_a_nested_model_of_passes_is_found(make: Maker) -> None:
    """The way back leaves a nested model again through its input."""
    inner = make.sequential(make.input("y"), make.layer("Softmax", "s"), name="post")
    config = make.sequential(make.input(), make.dense("d", 5), inner)
    model = open_model(make.hdf5(config, {"d": make.pair("d", 6, 5)}))

    assert find_head(model).name == "d"
