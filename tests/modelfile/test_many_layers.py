"""What a model of many layers costs grows with their number, not with its square or cube."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lrcompress import factorize, inspect, merge, modernize
from lrcompress.errors import ModelFileError
from lrcompress.modelfile import end, find_head, open_model, order
from lrcompress.modelfile.graph import build

if TYPE_CHECKING:
    from lrcompress.modelfile.graph import Container, Item
    from tests.modelfile.conftest import Maker


def chain(make: Maker, count: int, kind: str) -> Path:
    """Write `count` Dense of 4 x 4 in a row: Sequential, functional, or functional inside another."""
    names = [f"d{i}" for i in range(count)]
    layers = [
        make.dense(name, 4, activation="relu" if i % 2 else "linear")
        for i, name in enumerate(names)
    ]
    arrays = {name: make.pair(name, 4, 4) for name in names}
    if kind == "sequential":
        return make.hdf5(
            make.sequential(make.input(size=4), *layers), arrays, name=f"{kind}{count}.h5"
        )
    links = [(layer, [names[i - 1] if i else "x"]) for i, layer in enumerate(layers)]
    inner = make.functional([(make.input(size=4), []), *links], [names[-1]])
    if kind == "functional":
        groups = ["dense" if i == 0 else f"dense_{i}" for i in range(count)]
        stored = {
            f"layers/{group}/vars/{number}": array
            for group, name in zip(groups, names, strict=True)
            for number, array in enumerate(arrays[name].values())
        }
        return make.keras(inner, stored, name=f"{kind}{count}.keras")
    inner["config"]["name"] = "inner"
    outer = make.functional([(make.input(size=4), []), (inner, ["x"])], ["inner"])
    flat = {name: array for pair in arrays.values() for name, array in pair.items()}
    return make.hdf5(outer, {"inner": flat}, name=f"{kind}{count}.h5")


WORK: dict[str, Callable[[Path, Path], object]] = {
    "rank": lambda path, out: factorize(path, layers="dense", rank=1, output=out, overwrite=True),
    "energy": lambda path, out: factorize(path, layers="dense", output=out, overwrite=True),
    "reduction": lambda path, out: factorize(
        path, layers="dense", reduction=0.3, output=out, overwrite=True
    ),
    "inspect": lambda path, _: inspect(path),
    "modernize": lambda path, out: modernize(path, output=out, overwrite=True),
    "merge": lambda path, out: merge(
        path, layer=[d["path"] for d in inspect(path)["dense_layers"] if d["rank"]],
        output=out, overwrite=True,
    ),
}  # fmt: skip


def calls(work: Callable[[], object]) -> int:
    """Return how many function calls it takes, which unlike seconds are the same every time."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("sequential", "rank"), *((kind, name) for kind in ("functional", "nested") for name in WORK)],
)
def test_twice_the_layers_cost_twice_as_much(
    make: Maker, tmp_path: Path, kind: str, name: str
) -> None:
    """Between 20 and 40 layers the calls double; quadratic work would make them 3 to 4 times as many."""
    found = []
    for count in (20, 40):
        path = chain(make, count, kind)
        out = tmp_path / f"out{path.suffix}"
        found.append(calls(lambda path=path, out=out: WORK[name](path, out)))

    assert found[1] < 2.3 * found[0]


def test_the_graph_is_ordered_once(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of layers is worked out once a reading of the file, whatever the number of layers."""
    seen: list[int] = []
    work_out = order._by_depth

    def counted(container: Container) -> list[Item]:
        seen.append(len(container.items))
        return work_out(container)

    monkeypatch.setattr(order, "_by_depth", counted)
    counts = []
    for count in (5, 50):
        seen.clear()
        WORK["rank"](chain(make, count, "functional"), tmp_path / "out.keras")
        counts.append(len(seen))

    assert counts[0] == counts[1] <= 8


def models_in_a_model(make: Maker, count: int) -> Path:
    """Write `count` models of one Dense in a row, their calls counted from 1 as in Keras 2."""
    links, arrays = [(make.input(size=4), [])], {}
    for i in range(count):
        name = f"d{i}"
        inner = make.functional([(make.input(size=4), []), (make.dense(name, 4), ["x"])], [name])
        inner["config"]["name"] = f"m{i}"
        links.append((inner, [f"m{i - 1}" if i else "x"]))
        arrays[f"m{i}"] = make.pair(name, 4, 4)
    config = make.functional(links, [f"m{count - 1}"])
    for layer in config["config"]["layers"][2:]:
        layer["inbound_nodes"][0][0][1] = 1
    config["config"]["output_layers"][0][1] = 1
    return make.hdf5(config, arrays, name=f"models{count}.h5")


@pytest.mark.parametrize("name", ["build", "modernize"])
def test_twice_the_nested_models_cost_twice_as_much(make: Maker, tmp_path: Path, name: str) -> None:
    """4,000 of them, 400 kB, took ten seconds to read, and ten times as many a quarter of an hour."""
    found = []
    for count in (20, 40):
        path = models_in_a_model(make, count)
        config = open_model(path).config
        work = {"build": lambda config=config: build(config)}
        work["modernize"] = lambda path=path: WORK["modernize"](path, tmp_path / "out.h5")
        found.append(calls(work[name]))

    assert found[1] < 2.1 * found[0]


def chain_behind(make: Maker, heads: int, outputs: int) -> Path:
    """Write some Dense, added up, and a chain of dropouts, each of which is an output, or the last."""
    arrays = {f"d{i}": make.pair(f"d{i}", 4, 4) for i in range(heads)}
    links = [(make.input(size=4), []), *((make.dense(name, 4), ["x"]) for name in arrays)]
    links.append((make.layer("Add", "r"), [*arrays]))
    links += [
        (make.layer("Dropout", f"r{i}", rate=0.5), [f"r{i - 1}" if i else "r"]) for i in range(20)
    ]
    return make.hdf5(make.functional(links, [f"r{i}" for i in range(20)][-outputs:]), arrays)


def test_ways_back_from_many_outputs_are_bounded(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of outputs with thousands of layers before each, in a file of a megabyte, took minutes."""
    model = open_model(chain_behind(make, heads=1, outputs=20))
    assert find_head(model).path == "d0"

    monkeypatch.setattr(end, "MOST_STEPS", 200)

    with pytest.raises(ModelFileError, match="200 steps back"):
        find_head(open_model(model.path))


def test_what_follows_many_dense_is_bounded(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain behind a thousand Dense the first layers are looked at for each; then no order is taken for kept."""
    path = chain_behind(make, heads=2, outputs=1)
    whole = open_model(path).sites
    monkeypatch.setattr(end, "LONGEST_WAY", 10)
    cut = open_model(path).sites

    assert [len(layer.following) for layer in (*whole, *cut)] == [21, 21, 10, 10]
    drops = [make.layer("Dropout", f"r{i}", rate=0.5) for i in range(10)]
    config = make.sequential(make.input(size=4), make.dense("d", 4), *drops)
    head = make.hdf5(config, {"d": make.pair("d", 4, 4)})
    assert not find_head(open_model(head)).keeps_order
    monkeypatch.undo()
    assert find_head(open_model(head)).keeps_order
