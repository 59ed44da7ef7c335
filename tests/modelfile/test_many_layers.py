"""What a model of many layers costs grows with their number, not with its square or cube."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lrcompress import factorize, inspect, merge, modernize
from lrcompress.modelfile import order

if TYPE_CHECKING:
    from lrcompress.modelfile.topology import Container, Item
    from tests.modelfile.conftest import Maker


def chain(make: Maker, count: int, kind: str) -> Path:
    """Write `count` Dense of 4 x 4 in a row: Sequential, functional, or functional inside another."""
    names = [f"d{i}" for i in range(count)]
    layers = [make.dense(name, 4, activation="relu" if i % 2 else "linear") for i, name in enumerate(names)]
    arrays = {name: make.pair(name, 4, 4) for name in names}
    if kind == "sequential":
        return make.hdf5(make.sequential(make.input(size=4), *layers), arrays, name=f"{kind}{count}.h5")
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
    work_out = order._work_out

    def counted(container: Container) -> list[Item]:
        seen.append(len(container.items))
        return work_out(container)

    monkeypatch.setattr(order, "_work_out", counted)
    counts = []
    for count in (5, 50):
        seen.clear()
        WORK["rank"](chain(make, count, "functional"), tmp_path / "out.keras")
        counts.append(len(seen))

    assert counts[0] == counts[1] <= 8
