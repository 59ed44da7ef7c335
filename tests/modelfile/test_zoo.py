"""Model files written by other people with every Keras since 1.1; the folder is given from outside.

`INDEX.tsv` in that folder says what each file is and what its final Dense is, found independently.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import LRCompressError, UnsupportedModelError
from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    find_places,
    open_model,
    pair_of,
    read_arrays,
    write_changed,
    write_merged,
    write_replaced,
)

Splitter = Callable[[ModelFile, Site], Replacement]


def rows() -> list[Any]:
    """Return the index as test parameters; one that skips where there is no folder."""
    folder = os.environ.get("LRCOMPRESS_ZOO")
    if not folder or not (Path(folder) / "INDEX.tsv").is_file():
        skip = pytest.mark.skip(reason="LRCOMPRESS_ZOO names no folder with an INDEX.tsv")
        return [pytest.param({}, marks=skip, id="no-zoo")]
    with (Path(folder) / "INDEX.tsv").open(encoding="utf-8") as file:
        return [pytest.param(r, id=r["file"][:60]) for r in csv.DictReader(file, delimiter="\t")]


# What a tail that is no single Dense comes out as.
CODES = {
    "block": {"blocked_tail", "no_dense"},
    "merge": {"merged_branches", "no_dense"},
    "no_dense": {"no_dense"},
    "merged_branches": {"merged_branches"},
    "blocked_tail": {"blocked_tail"},
    "-": {"weights_only", "subclassed", "pickle"},
    "Dense; Dense": {"several_heads"},
}


@pytest.mark.parametrize("row", rows())
def test_the_head_is_the_one_in_the_index(zoo: Path, row: dict[str, str]) -> None:
    """For every file the final Dense, or the reason why there is none, is the known one."""
    if row["tail_status"] == "Dense":
        model = open_model(zoo / row["file"])
        head = find_head(model)
        shape = "x".join(map(str, head.kernel_shape))
        assert (head.path, shape, head.dtype) == (
            row["last_dense"],
            row["kernel_shape"],
            row["dtype"],
        )
        # The index has the layer's own; what makes probabilities of its output counts as well.
        applied = row["activation"]
        if applied == "linear" and row["after_dense"].startswith("Activation"):
            assert model.tree is not None
            after = [i for i in model.tree.walk() if i.class_name == "Activation"][-1]
            own = after.config["activation"]
            applied = own if own in ("softmax", "sigmoid") else "linear"
        assert head.activation == applied
        assert (">".join(head.following) or "-") == row["after_dense"]
    else:
        with pytest.raises(LRCompressError) as caught:
            find_head(open_model(zoo / row["file"]))
        kind = row["tail_status"].split(":")[0]
        assert caught.value.code in CODES[kind]


def whole(path: Path) -> ModelFile:
    """Return a model file; of weights alone there is nothing to test."""
    try:
        return open_model(path)
    except LRCompressError:
        pytest.skip("not a whole model")


@pytest.mark.parametrize("row", rows())
def test_every_dense_can_be_split_alike_and_merged_to_the_same(
    zoo: Path, tmp_path: Path, halves: Splitter, row: dict[str, str]
) -> None:
    """All Dense layers of a file at once, alike each time; then each array, name and setting is the old one."""
    model = whole(zoo / row["file"])
    if not model.sites:
        pytest.skip("no Dense layer")
    split, back = tmp_path / "split", tmp_path / "back"
    for path in (split, back):
        written = write_replaced(model, [halves(model, layer) for layer in model.sites], path)
    assert written.parameters == model.parameters + sum(map(_growth, model.sites))
    assert split.read_bytes() == back.read_bytes()

    # What the file had as two layers is not what it was before.
    layers = [layer for layer in model.sites if layer.rank is None]
    if not layers:
        return
    if len(layers) < len(model.sites):
        replaced = [halves(model, layer) for layer in layers]
        write_replaced(model, replaced, split, overwrite=True)
    names = {layer.path for layer in layers}
    again = open_model(split)
    pairs = [pair for pair in again.sites if pair.path in names]

    write_merged(again, [pair_of(again, pair) for pair in pairs], back, overwrite=True)

    merged = open_model(back)
    assert [pair.path for pair in pairs] == [layer.path for layer in layers]
    assert merged.config == model.config
    assert merged.weights.layer_names == model.weights.layer_names
    assert merged.weights.weight_names == model.weights.weight_names
    before, after = arrays(model), arrays(merged)
    assert set(after) == set(before)
    assert [name for name, values in before.items() if after[name] != values] == []


def _growth(layer: Site) -> int:
    """Return how many parameters a layer has more once it is split at full rank."""
    m, n = layer.kernel_shape
    if layer.rank is None:
        return min(m, n) * (m + n) - m * n
    # Two layers that are factors already; what the first adds goes into the bias of the second.
    return (min(m, n) - layer.rank) * (m + n) - (layer.rank if layer.layers[0].view.bias else 0)


def every_form(model: ModelFile) -> list[dict[str, Any]]:
    """Return the forms of all layers by path so that those of one turn change no layer twice."""
    known = find_places(model).known
    left = [(p, form) for p, place in known.items() for form in place.kind.forms(place)]  # type: ignore[union-attr]
    turns = []
    while left:
        chosen: dict[str, Any] = {}
        touched: set[str] = set()
        for path, form in left:
            if touched.isdisjoint(form.touches):
                chosen[path] = form
                touched.update(form.touches)
        left = [(path, form) for path, form in left if chosen.get(path) is not form]
        turns.append(chosen)
    return turns


@pytest.mark.parametrize("row", rows()[::6])
def test_every_form_of_every_layer_is_written(
    zoo: Path, tmp_path: Path, row: dict[str, str]
) -> None:
    """At full size each form has the weights that it says, alike each time, and the file reads back."""
    try:
        model = open_model(zoo / row["file"])
        turns = every_form(model)
    except LRCompressError:
        pytest.skip("not a whole model")
    known = find_places(model).known

    for chosen in turns:
        edits: dict[str, Any] = {}
        for path, form in chosen.items():
            near = {*form.touches, *(other.path for other in known[path].after)}
            values = {p: read_arrays(model, p) for p in near}
            edits |= form.solve(values, None, [form.largest])[form.largest].layers()
        written = [write_changed(model, edits, tmp_path / name, overwrite=True) for name in "ab"]

        more = sum(form.parameters(form.largest) - form.before for form in chosen.values())
        assert written[0].parameters == model.parameters + more
        assert written[0].sha256 == written[1].sha256


def arrays(model: ModelFile) -> dict[str, bytes]:
    """Return every array but the optimizer's, by canonical path, read with h5py alone."""
    found: dict[str, bytes] = {}
    with contextlib.ExitStack() as stack:
        source: Any = model.path
        if model.format == "keras":
            archive = stack.enter_context(zipfile.ZipFile(model.path))
            source = stack.enter_context(archive.open("model.weights.h5"))
        file = stack.enter_context(h5py.File(source))
        for name, array in model.weights.index.arrays.items():
            if not name.startswith("optimizer"):
                values = file[array.source][()]
                found[name] = values.tobytes() if hasattr(values, "tobytes") else bytes(values)
    return found


@pytest.mark.slow
@pytest.mark.keras
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("row", rows())
def test_a_full_rank_split_says_the_same_in_keras(
    zoo: Path, tmp_path: Path, halves: Splitter, row: dict[str, str]
) -> None:
    """Where Keras 3 loads the original, the split file gives the same output."""
    if row["load_status"] != "K3":
        pytest.skip("this Keras does not load the original")
    keras = pytest.importorskip("keras")
    model = open_model(zoo / row["file"])
    try:
        layers = [find_head(model)]
    except UnsupportedModelError:
        layers = list(model.sites)
    if not layers:
        pytest.skip("no Dense layer")
    suffix = ".keras" if model.format == "keras" else ".h5"
    old, new = tmp_path / f"old{suffix}", tmp_path / f"new{suffix}"
    shutil.copy(zoo / row["file"], old)

    write_replaced(model, [halves(model, layer) for layer in layers], new)

    before = keras.saving.load_model(old, compile=False)
    after = keras.saving.load_model(new, compile=False, safe_mode=True)
    rng = np.random.default_rng(0)
    embeds = any("Embedding" in type(layer).__name__ for layer in before.layers)
    inputs = []
    for x in before.inputs:
        shape = [3 if d is None else d for d in x.shape]
        values = rng.integers(0, 2, shape) if embeds else rng.normal(size=shape)
        inputs.append(values.astype(x.dtype))
    results = [
        keras.tree.flatten(m(inputs if len(inputs) > 1 else inputs[0])) for m in (before, after)
    ]
    for one, other in zip(*results, strict=True):
        a, b = (np.asarray(keras.ops.convert_to_numpy(t), "float64") for t in (one, other))
        assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    assert after.count_params() == open_model(new).parameters
