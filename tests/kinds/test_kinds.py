"""Layer kinds by themselves, and a new one that is registered from outside."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress import kinds
from lrcompress.kinds import HEADS, Serialized, View, kind_of, peeled
from lrcompress.modelfile import Replacement, find_head, open_model, read_kernel, write_replaced

RNG = np.random.default_rng(0)
PACKAGE = Path(lrcompress.__file__).parent


def test_nobody_outside_a_kind_asks_for_its_classes() -> None:
    """Class names stand in the kinds alone, and in what translates the terms of old Keras versions."""
    asked = {
        f"{path.relative_to(PACKAGE)}: {node.value}"
        for path in PACKAGE.rglob("*.py")
        if not {"kinds", "modern"} & set(path.parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in {*kinds.CLASSES, "TimeDistributed"}
    }

    assert asked == set()


class Embedding:
    """A table (vocabulary, width): an Embedding of r units, then a Dense without bias."""

    name, classes, per_step = "Embedding", frozenset({"Embedding"}), frozenset[str]()

    def refuse(self, layer: Serialized) -> None:
        """Take every one."""

    def views(self, layer: Serialized) -> tuple[View, ...]:
        """Return the table."""
        return (View("", layer.arrays[0].shape, 0),)

    def matrix(self, view: View, arrays: Any) -> Any:
        """Return the table."""
        return arrays[0]

    def bias(self, view: View, arrays: Any) -> None:
        """There is none."""

    def arrays(self, view: View, matrix: Any, bias: Any) -> tuple[Any, ...]:
        """Return the table."""
        return (matrix,)

    def refit(self, layer: Serialized, arrays: tuple[Any, ...]) -> Serialized:
        """State another width."""
        return Serialized("Embedding", layer.config | {"output_dim": arrays[0].shape[1]}, arrays)

    def split(
        self, view: View, layer: Serialized, halves: Any, name: str
    ) -> tuple[Serialized, ...]:
        """Return a narrower table, and what widens its rows."""
        first, second, _ = halves
        dense = {"name": layer.config["name"], "units": view.shape[1], "use_bias": False}
        table = self.refit(layer, (first,))
        return (
            Serialized("Embedding", table.config | {"name": name}, table.arrays),
            Serialized("Dense", dense, (second,)),
        )

    def join(self, layers: tuple[Serialized, ...]) -> None:
        """Two tables in a row are none."""


@pytest.mark.keras
@pytest.mark.parametrize("style", ["sequential", "functional"])
def test_a_kind_of_ones_own_is_found_read_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    """One class is enough: at full rank the new file computes what the old one does."""
    keras = pytest.importorskip("keras")
    monkeypatch.setattr(kinds, "HEADS", (*HEADS, Embedding()))
    monkeypatch.setattr(kinds, "CLASSES", kinds.CLASSES | Embedding.classes)
    layers = [
        keras.Input((7,)), keras.layers.Embedding(11, 6, name="words"),
        keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3, name="out"),
    ]  # fmt: skip
    model = keras.Sequential(layers)
    if style == "functional":
        model = keras.Model(model.inputs, model.outputs)
    model.save(tmp_path / "model.keras")
    opened = open_model(tmp_path / "model.keras")

    site = find_head(opened, "words")
    kernel = read_kernel(opened, site)
    written = write_replaced(
        opened, [Replacement(site, kernel, np.eye(6, dtype="f4"))], tmp_path / "out.keras"
    )

    assert [s.path for s in opened.sites] == ["words", "out"]
    assert written.first_names == {"words": ("words_lowrank",)}
    x = RNG.integers(0, 11, (5, 7))
    split = keras.saving.load_model(written.path)
    assert type(split.get_layer("words")).__name__ == "Dense"
    np.testing.assert_allclose(split.predict(x), model.predict(x), atol=1e-6)


def dense(**config: Any) -> dict[str, Any]:
    """Return the entry of a Dense."""
    return {"class_name": "Dense", "config": {"name": "d", "units": 3} | config}


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (dense(), "Dense"),
        (dense() | {"class_name": "TimeDistributedDense"}, "Dense"),
        ({"class_name": "TimeDistributed", "config": {"layer": dense()}}, "Dense"),
        (dense() | {"module": "mine"}, None),
        (dense() | {"registered_name": "mine>Dense"}, None),
        (dense() | {"class_name": {"name": "Dense"}}, None),
        ({"class_name": "Dense"}, None),
        ({"class_name": "TimeDistributed", "config": {}}, None),
    ],
    ids=str,
)
def test_wrappers_are_peeled_and_strangers_are_none(
    entry: dict[str, Any], kind: str | None
) -> None:
    """Keras' own classes are known in all their spellings; a custom class of the same name is not."""
    found = kind_of(entry)

    assert (found and found.name) == kind
    if kind is not None:
        assert peeled(entry)["config"]["units"] == 3


@pytest.mark.parametrize(
    ("shapes", "config", "fits"),
    [
        ([(4, 3), (3,)], {}, True),
        ([(4, 3)], {"use_bias": False}, True),
        ([(4, 3)], {"bias": False}, True),
        ([(4, 3)], {}, False),
        ([(4, 3), (4,)], {}, False),
        ([(4, 5), (5,)], {}, False),
        ([(4, 2, 3), (3,)], {}, False),
        ([], {}, False),
    ],
)
def test_a_dense_whose_arrays_do_not_fit_has_no_matrix(
    shapes: list[tuple[int, ...]], config: dict[str, Any], fits: bool
) -> None:
    """Shapes alone tell: kernel (m, units), and a bias (units,) where the config has one."""
    arrays = tuple(np.empty(shape) for shape in shapes)
    layer = Serialized("Dense", {"name": "d", "units": 3} | config, arrays)

    views = HEADS[0].views(layer)

    assert bool(views) == fits
    if fits:
        assert views == (View("", (4, 3), 3 if len(shapes) > 1 else 0),)


@pytest.mark.parametrize("keras", [1, 2])
def test_a_split_dense_keeps_what_it_is_and_the_new_one_is_bare(keras: int) -> None:
    """The first is linear, without bias and regularizers; the second keeps its name and settings."""
    config: dict[str, Any] = {"name": "d", "activation": "softmax"}
    config |= {"units": 3, "use_bias": True, "kernel_regularizer": {"l2": 1}} if keras == 2 else {
        "output_dim": 3, "bias": True, "W_regularizer": {"l2": 1},
    }  # fmt: skip
    layer = Serialized("Dense", config, (np.ones((4, 3)), np.ones(3)))
    (view,) = HEADS[0].views(layer)

    first, second = HEADS[0].split(view, layer, (np.ones((4, 2)), np.ones((2, 3)), None), "new")

    units, bias, regularizer = (
        ("units", "use_bias", "kernel_regularizer") if keras == 2
        else ("output_dim", "bias", "W_regularizer")
    )  # fmt: skip
    bare = {"name": "new", "activation": "linear", units: 2, bias: False, regularizer: None}
    assert first.config == config | bare
    assert second.config == config
    assert second.arrays[1] is None  # the stored bias stays
