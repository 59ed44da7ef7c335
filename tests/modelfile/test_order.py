"""The order in which Keras holds the layers of a functional model, computed from its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lrcompress.modelfile.graph import build
from lrcompress.modelfile.model import Numbering
from lrcompress.modelfile.order import layer_groups, layer_order

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def order(config: Any) -> list[str]:
    """Return the names in Keras' order."""
    return [item.name for item in layer_order(build(config))]


def links(make: Maker, **sources: str) -> list[Any]:
    """Return Dense layers by the names of what feeds them; `x` is the input."""
    inner = [(make.dense(name, 6), source.split()) for name, source in sources.items()]
    return [(make.input(), []), *inner]


def test_a_longer_way_to_the_output_comes_first(make: Maker) -> None:
    """The split of the second head moves it before the first head: depth decides."""
    config = make.functional(
        links(make, trunk="x", h1="trunk", h2_first="trunk", h2="h2_first"), ["h1", "h2"]
    )

    assert order(config) == ["x", "trunk", "h2_first", "h1", "h2"]


@pytest.mark.parametrize("outputs", [["a", "b"], ["b", "a"]])
def test_ties_follow_the_order_of_the_outputs(make: Maker, outputs: list[str]) -> None:
    """Layers of one depth stand as the search from the outputs meets them."""
    config = make.functional(links(make, a="x", b="x"), outputs)

    assert order(config) == ["x", *outputs]


def test_a_shared_layer_counts_at_its_deepest_use(make: Maker) -> None:
    """A layer called twice stands where its first call stands."""
    config = make.functional(links(make, shared="x", mid="shared", out="mid"), ["out"])
    shared = next(e for e in config["config"]["layers"] if e["name"] == "shared")
    shared["inbound_nodes"] = [[["x", 0, 0, {}]], [["mid", 0, 0, {}]]]
    out = next(e for e in config["config"]["layers"] if e["name"] == "out")
    out["inbound_nodes"] = [[["shared", 1, 0, {}]]]

    assert order(config) == ["x", "shared", "mid", "out"]


def test_an_unused_input_stands_first_among_the_last(make: Maker) -> None:
    """Keras keeps inputs that nothing uses, at depth zero and before all others there."""
    config = make.functional([(make.input("idle"), []), *links(make, out="x")], ["out"])

    assert order(config) == ["x", "idle", "out"]


def test_outputs_in_a_dictionary_are_taken_by_sorted_key(make: Maker) -> None:
    """Dictionaries are flattened by key, as Keras does."""
    config = make.functional(links(make, a="x", b="x"), ["a"])
    config["config"]["output_layers"] = {"z": ["a", 0, 0], "m": ["b", 0, 0]}

    assert order(config) == ["x", "b", "a"]


def test_a_graph_deeper_than_pythons_stack_is_ordered(make: Maker) -> None:
    """Five thousand layers in a row are no problem: no walk is recursive in the graph."""
    names = [f"d{i}" for i in range(5000)]
    feeding = dict(zip(names, ["x", *names[:-1]], strict=True))
    config = make.functional(links(make, **feeding), [names[-1]])

    assert order(config) == ["x", *names]


def test_groups_count_classes_in_each_container(make: Maker) -> None:
    """Paths in an archive are class names and counters, restarted in nested models."""
    inner = make.sequential(
        make.input("y"), make.dense("p", 6), make.layer("Conv2DTranspose", "c"), name="inner"
    )
    tree = build(make.sequential(make.input(), make.dense("a", 6), inner, make.dense("b", 6)))

    assert layer_groups(tree, lambda *_: True) == {
        ("a",): "layers/dense",
        ("inner",): "layers/sequential",
        ("inner", "p"): "layers/sequential/layers/dense",
        ("inner", "c"): "layers/sequential/layers/conv2d_transpose",
        ("b",): "layers/dense_1",
    }


def test_functions_have_no_group(make: Maker) -> None:
    """A bare operation in the graph is no layer and owns no place among the weights."""
    operation = make.layer("Add", "op") | {"module": "keras.src.ops.numpy"}
    graph = [*links(make, a="x"), (operation, ["a", "x"]), (make.dense("b", 6), ["op"])]
    tree = build(make.functional(graph, ["b"]))

    assert layer_groups(tree, lambda *_: True) == {
        ("x",): "layers/input_layer",
        ("a",): "layers/dense",
        ("b",): "layers/dense_1",
    }


def test_keras_2_13_gave_weighted_layers_two_numbers(make: Maker) -> None:
    """It listed layers with weights twice, so every second number is unused."""
    layers = [make.dense("a", 6), make.layer("Dropout", "r"), make.dense("b", 6)]
    tree = build(make.sequential(*layers, make.layer("Dropout", "s"), make.dense("c", 6)))

    groups = layer_groups(tree, lambda path, _: path[0] in "abc", Numbering("old", doubled=True))

    assert list(groups.values()) == [
        "old/dense",
        "old/dropout",
        "old/dense_2",
        "old/dropout_1",
        "old/dense_4",
    ]
