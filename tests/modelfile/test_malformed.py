"""No content of a file, however wrong, comes out as anything but one of our errors."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrcompress.errors import LRCompressError
from lrcompress.modelfile import (
    Replacement,
    find_head,
    open_model,
    read_bias,
    read_kernel,
    write_replaced,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.modelfile.conftest import Json, Maker

# Values of every JSON type, and strings and lists that look like something meant.
STRANGE = [
    None, True, 0, -1, 2, 1e300, float("nan"), float("inf"), 10**30, "", "x", "a/b", "..", "\0",
    "\ud800", "Dense", "Functional", "InputLayer", "TimeDistributed", [], [[]], {}, [None, 0, 0],
    ["d", 0, 0], ["d", -5, 10**20], ["d", 0, 0, {"k": ["h", 0, 0]}], {"config": None},
    {"class_name": "__tuple__", "items": [None, "x"]}, {"config": {"keras_history": ["d", 0, 0]}},
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container and key in a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in list(keys):
        if isinstance(value[key], (dict, list)):
            found += places(value[key])
    return found


def drive(path: Path, out: Path) -> None:
    """Use a file in every way; errors of ours are answers, one line each."""
    try:
        model = open_model(path)
        layers = list(model.sites)
        for layer in layers:
            kernel = read_kernel(model, layer)
            read_bias(model, layer)
            write_replaced(
                model, [Replacement(layer, kernel, np.eye(kernel.shape[1]))], out, overwrite=True
            )
        find_head(model)
    except LRCompressError as error:
        assert "\n" not in str(error)


def graph(make: Maker) -> Json:
    """Return a functional model with a nested one, a wrapper and two outputs."""
    inner = make.sequential(make.input("y"), make.dense("d", 6), name="inner")
    wrapper = make.layer("TimeDistributed", "td", layer=make.dense("w", 6))
    links = [
        (make.input(), []),
        (inner, ["x"]),
        (make.dense("h", 6), ["inner"]),
        (make.layer("Add", "sum"), ["h", "inner"]),
        (make.layer("Softmax", "soft"), ["sum"]),
        (wrapper, ["x"]),
    ]
    return make.functional(links, ["soft", "td"])


@given(data=st.data())
@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_change_of_a_config_is_survived(make: Maker, tmp_path: Path, data: Any) -> None:
    """Wrong types, missing keys and moved parts, in both formats, end in a sentence or a model."""
    config = graph(make)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(places(config)))
        action = data.draw(st.sampled_from(["replace", "remove", "copy"]))
        if action == "replace":
            holder[key] = copy.deepcopy(data.draw(st.sampled_from(STRANGE)))
        elif action == "remove":
            del holder[key]
        else:
            other, name = data.draw(st.sampled_from(places(config)))
            holder[key] = copy.deepcopy(other[name])
        if not config:
            break
    pairs = {name: make.pair(name, 6, 6) for name in ("h", "td")} | {"inner": make.pair("d", 6, 6)}
    groups = {"dense": "h", "sequential/layers/dense": "inner", "time_distributed/layer": "td"}
    arrays = {
        f"layers/{group}/vars/{number}": array
        for group, layer in groups.items()
        for number, array in enumerate(pairs[layer].values())
    }

    drive(make.hdf5(config, pairs), tmp_path / "out.h5")
    drive(make.keras(config, arrays), tmp_path / "out.keras")


@given(data=st.data())
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_cut_and_any_changed_byte_is_survived(make: Maker, tmp_path: Path, data: Any) -> None:
    """A file cut anywhere, or with bytes changed anywhere, ends in a sentence or a model."""
    path = make.small_hdf5() if data.draw(st.booleans()) else make.small_keras()
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    else:
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)

    drive(path, tmp_path / f"out{path.suffix}")
