"""Optimizer state of archives made by hand: every slot goes where its variable goes, or none does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import Replacement, Written, find_head, open_model, write_replaced

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

State = dict[str, np.ndarray]
RANK = 2
# Dense(8) and Dense(5) on 6 inputs: kernel, bias, kernel, bias; the second one is split.
SHAPES = [(6, 8), (8,), (8, 5), (5,)]


def adam(**config: Any) -> dict[str, Any]:
    """Return a serialized Adam."""
    return serialized("Adam", **config)


def serialized(class_name: str, **config: Any) -> dict[str, Any]:
    """Return a serialized optimizer of Keras' own."""
    settings = {"name": class_name.lower(), "learning_rate": 0.001} | config
    return {"module": "keras.optimizers", "class_name": class_name, "config": settings}


def state(make: Maker, *slots: tuple[int, ...], scalars: int = 2) -> State:
    """Return the arrays of an optimizer: iterations, perhaps a learning rate, then slots."""
    first = [np.array(7, "int64"), np.array(0.01, "float32")][:scalars]
    arrays = [*first, *(make.array(*shape) for shape in slots)]
    return {f"optimizer/vars/{number}": array for number, array in enumerate(arrays)}


def archive(
    make: Maker,
    optimizer: object,
    arrays: State,
    *,
    version: str = "3.8.0",
    first: dict[str, Any] | None = None,
    weights: State | None = None,
    model: dict[str, Any] | None = None,
) -> Path:
    """Write Dense(8), or another first layer, and Dense(5) with an optimizer's state."""
    first = first or make.dense("hidden", 8)
    config = make.sequential(make.input(), first, make.dense("probs", 5)) | (model or {})
    if optimizer is not None:
        config["compile_config"] = {"optimizer": optimizer, "loss": "mse"}
    group = "layers/dense_1" if first["class_name"] == "Dense" else "layers/dense"
    stored = weights or {
        "layers/dense/vars/0": make.array(6, 8),
        "layers/dense/vars/1": make.array(8),
    }
    stored |= {f"{group}/vars/0": make.array(8, 5), f"{group}/vars/1": make.array(5)}
    return make.keras(config, stored | arrays, metadata={"keras_version": version})


def split(path: Path) -> tuple[State, Written]:
    """Split the head; return the optimizer's arrays in the new file, and what was written."""
    model = open_model(path)
    m, n = find_head(model).kernel_shape
    factors = Replacement(find_head(model), np.ones((m, RANK)), np.ones((RANK, n)))
    written = write_replaced(model, [factors], path.with_name("out.keras"))
    found: State = {}

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[f"optimizer/{name}"] = item[()]

    with (
        zipfile.ZipFile(written.path) as new,
        new.open("model.weights.h5") as member,
        h5py.File(member) as file,
    ):
        if "optimizer" in file:
            file["optimizer"].visititems(collect)
    return found, written


def check(found: State, old: State, places: list[int | tuple[int, ...]], start: float = 0) -> None:
    """Compare with the old number, or the shape of a new slot, expected at each place."""
    assert set(found) == {f"optimizer/vars/{number}" for number in range(len(places))}
    for number, place in enumerate(places):
        array = found[f"optimizer/vars/{number}"]
        expected = (
            old[f"optimizer/vars/{place}"]
            if isinstance(place, int)
            else np.full(place, start, "float32")
        )
        np.testing.assert_array_equal(array, expected, strict=True)


def test_each_slot_moves_with_its_variable(make: Maker) -> None:
    """Adam's pairs move as pairs; those of the two new kernels are zeros in the right shapes."""
    old = state(make, *(shape for shape in SHAPES for _ in "mv"))

    found, written = split(archive(make, adam(), old))

    new = [(8, RANK)] * 2 + [(RANK, 5)] * 2
    check(found, old, [0, 1, 2, 3, 4, 5, *new, 8, 9])
    assert written.warnings == ()
    assert written.optimizer_bytes == 12 + 4 * 2 * (48 + 8 + 40 + 5)
    assert written.optimizer_bytes_after == 12 + 4 * 2 * (48 + 8 + 16 + 10 + 5)
    assert open_model(written.path).optimizer_bytes == written.optimizer_bytes_after


@pytest.mark.parametrize(
    ("optimizer", "runs"),
    [
        (serialized("SGD", momentum=0.9), 1),
        (serialized("RMSprop", momentum=0.5, centered=True), 3),
        (serialized("Lion"), 1),
        (serialized("SGD", momentum=0.9, gradient_accumulation_steps=3), 2),
    ],
    ids=["SGD", "RMSprop", "Lion", "accumulated"],
)
def test_slots_that_stand_kind_by_kind(make: Maker, optimizer: dict[str, Any], runs: int) -> None:
    """Where all slots of a kind stand together, each kind gains one place."""
    old = state(make, *SHAPES * runs)

    found, _ = split(archive(make, optimizer, old))

    places: list[int | tuple[int, ...]] = [0, 1]
    for run in range(runs):
        start = 2 + 4 * run
        places += [start, start + 1, (8, RANK), (RANK, 5), start + 3]
    check(found, old, places)


def test_new_slots_start_where_the_optimizer_starts_them(make: Maker) -> None:
    """Adagrad's accumulators begin at the value its settings name."""
    old = state(make, *SHAPES)

    found, _ = split(archive(make, serialized("Adagrad", initial_accumulator_value=0.25), old))

    check(found, old, [0, 1, 2, 3, (8, RANK), (RANK, 5), 5], start=0.25)


@pytest.mark.parametrize(
    ("optimizer", "each"), [("adam", 2), (serialized("SGD", momentum=0.0), 1)], ids=["adam", "SGD"]
)
def test_archives_of_keras_2(make: Maker, optimizer: object, each: int) -> None:
    """Keras 2 stores no learning rate, momentums of an SGD without momentum, and perhaps a name."""
    old = state(make, *(shape for shape in SHAPES for _ in range(each)), scalars=1)

    found, _ = split(archive(make, optimizer, old, version="2.15.0"))

    before, after = range(1, 1 + 2 * each), range(1 + 3 * each, 1 + 4 * each)
    check(found, old, [0, *before, *[(8, RANK)] * each, *[(RANK, 5)] * each, *after])


def test_a_learning_rate_that_follows_a_schedule_is_not_stored(make: Maker) -> None:
    """One scalar then stands before the slots."""
    schedule = {"module": "keras.optimizers.schedules", "class_name": "CosineDecay", "config": {}}
    old = state(make, *SHAPES, scalars=1)

    found, _ = split(archive(make, serialized("Lion", learning_rate=schedule), old))

    check(found, old, [0, 1, 2, (8, RANK), (RANK, 5), 4])


def test_half_precision_slots_stay_so(make: Maker) -> None:
    """New slots have the type of those they stand in for."""
    old = state(make, *SHAPES)
    old |= {name: a.astype("float16") for name, a in old.items() if a.ndim}

    found, _ = split(archive(make, serialized("Lion"), old))

    assert found["optimizer/vars/4"].dtype == found["optimizer/vars/5"].dtype == np.float16


@pytest.mark.parametrize("class_name", ["Adam", "SGD"])
def test_state_without_slots_is_kept(make: Maker, class_name: str) -> None:
    """Iterations and learning rate fit any model, also one with layers of unknown kinds."""
    old = state(make)
    custom = make.layer("Own", "own") | {"module": "mine", "registered_name": "mine>Own"}
    weights = {"layers/own/vars/0": make.array(6, 8), "layers/own/vars/1": make.array(8)}

    found, written = split(
        archive(make, serialized(class_name), old, first=custom, weights=weights)
    )

    check(found, old, [0, 1])
    assert written.warnings == ()


def test_layers_of_unknown_kinds_that_train_all_they_store(make: Maker) -> None:
    """As many slots as arrays leave no doubt: a layer trains no more than it stores."""
    old = state(make, *SHAPES)
    custom = make.layer("Own", "own") | {"module": "mine", "registered_name": "mine>Own"}
    weights = {"layers/own/vars/0": make.array(6, 8), "layers/own/b/vars/0": make.array(8)}

    found, _ = split(archive(make, serialized("Lion"), old, first=custom, weights=weights))

    check(found, old, [0, 1, 2, 3, (8, RANK), (RANK, 5), 5])


def test_moving_statistics_have_no_slots(make: Maker) -> None:
    """A BatchNormalization trains what its settings say, and its statistics never."""
    norm = make.layer("BatchNormalization", "norm", scale=False)
    weights = {f"layers/batch_normalization/vars/{n}": make.array(8) for n in range(3)}
    old = state(make, (8,), (8, 5), (5,))

    found, _ = split(archive(make, serialized("Lion"), old, first=norm, weights=weights))

    check(found, old, [0, 1, 2, (8, RANK), (RANK, 5), 4])


def test_frozen_layers_have_no_slots(make: Maker) -> None:
    """The slots of a model whose first layer is frozen begin with the second layer's."""
    old = state(make, *SHAPES[2:])

    found, _ = split(
        archive(make, serialized("Lion"), old, first=make.dense("hidden", 8, trainable=False))
    )

    check(found, old, [0, 1, (8, RANK), (RANK, 5), 3])


def own(make: Maker, *shapes: tuple[int, ...]) -> dict[str, Any]:
    """Return a custom first layer that stores arrays of these shapes."""
    first = make.layer("Own", "own") | {"module": "mine", "registered_name": "mine>Own"}
    weights = {f"layers/own/vars/{n}": make.array(*shape) for n, shape in enumerate(shapes)}
    return {"first": first, "weights": weights}


PAIRS = [shape for shape in SHAPES for _ in "mv"]
TWINS = [(6, 8), (8,), (8,), (8,)]
REFUSED = {
    "another class": (serialized("Muon"), PAIRS, {}, "layout of optimizer Muon"),
    "a custom class": (adam() | {"module": "mine"}, PAIRS, {}, "layout of optimizer Adam"),
    "a legacy one": (adam(is_legacy_optimizer=True), PAIRS, {}, "layout of optimizer Adam"),
    "not compiled": (None, PAIRS, {}, "without settings"),
    "averages": (adam(use_ema=True), PAIRS, {}, "averages of the weights"),
    "odd start": (
        serialized("Adagrad", initial_accumulator_value=None), SHAPES, {}, "is not known",
    ),
    "one missing": (adam(), PAIRS[:-1], {}, "9 arrays"),
    # Three kinds of four variables would be as many as two kinds of six.
    "amsgrad in name only": (adam(amsgrad=True), [*PAIRS, *SHAPES], {"first": "frozen"}, "4 var"),
    "swapped": (serialized("Lion"), [SHAPES[n] for n in (1, 0, 2, 3)], {}, "other shapes"),
    "shifted": (serialized("Lion"), [SHAPES[n] for n in (1, 2, 3, 0)], {}, "other shapes"),
    "a twin not trained": (serialized("Lion"), SHAPES, {"first": TWINS}, "4 variables"),
    "trained in part": (serialized("Lion"), SHAPES[1:], {}, "3 variables"),
    "a custom model": (
        serialized("Lion"), SHAPES, {"model": {"module": "mine", "registered_name": "mine>Net"}},
        "custom class of model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_state_of_uncertain_owners_is_left_out(make: Maker, case: str) -> None:
    """One sentence says why; nothing of the state is in the new file."""
    optimizer, slots, extra, reason = REFUSED[case]
    settings: dict[str, Any] = dict(extra)
    if settings.get("first") == "frozen":
        settings["first"] = make.dense("hidden", 8, trainable=False)
    elif "first" in settings:
        settings |= own(make, *settings["first"])

    found, written = split(archive(make, optimizer, state(make, *slots), **settings))

    (sentence,) = written.warnings
    assert found == {}
    assert sentence.startswith("The optimizer's state is left out, because ")
    assert reason in sentence
    assert len(sentence.splitlines()) == 1
    assert written.optimizer_bytes > written.optimizer_bytes_after == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"optimizer/other/vars/0": np.zeros(3, "float32")},
        {"optimizer/vars/x": np.zeros((), "float32")},
        {"optimizer/vars/0": np.zeros(4, "int64")},
        {"optimizer/vars/2": np.zeros((6, 8), "int64")},
        {"vars/0": np.zeros(3, "float32")},
        {"layers/own": np.zeros(3, "float32")},
    ],
    ids=["another list", "a name", "no scalar", "integers", "the model's own", "a stray array"],
)
def test_arrays_that_do_not_belong_leave_the_state_out(make: Maker, extra: State) -> None:
    """What Keras would not have written there is a reason for doubt, not for an error."""
    arrays = state(make, *SHAPES) | extra

    found, written = split(archive(make, serialized("Lion"), arrays))

    assert found == {}
    assert len(written.warnings) == 1


def test_names_from_the_file_stay_in_one_line(make: Maker) -> None:
    """A class named to break a line does not."""
    path = archive(make, serialized("Evil\nAdam\x1b[31m"), state(make, *SHAPES))

    _, written = split(path)

    assert written.warnings[0].isprintable()


def test_state_from_the_wild_moves(zoo: Path, tmp_path: Path) -> None:
    """Archives that other people trained keep their state wherever there is a head to split."""
    kept, dropped = [], []
    for path in sorted(zoo.glob("*.keras")):
        model = open_model(path)
        if model.format != "keras" or not model.optimizer_bytes:
            continue
        try:
            head = find_head(model)
        except UnsupportedModelError:
            continue
        m, n = head.kernel_shape
        factors = Replacement(head, np.ones((m, 1)), np.ones((1, n)))
        written = write_replaced(model, [factors], tmp_path / "out.keras", overwrite=True)
        reasons = [w for w in written.warnings if w.startswith("The optimizer's state")]
        assert bool(reasons) != bool(written.optimizer_bytes_after), path.name
        if "optimizer" not in (model.compile_config or {}):
            # Nobody can say what the state is of.
            assert reasons, path.name
            continue
        (dropped if reasons else kept).append(path.name)

    assert len(kept) >= 15
    assert dropped == []


def test_config_is_untouched_by_the_move(make: Maker) -> None:
    """Compile settings, by which the state is read, are those of the input."""
    path = archive(make, adam(), state(make, *PAIRS))

    _, written = split(path)

    configs = [json.loads(zipfile.ZipFile(p).read("config.json")) for p in (path, written.path)]
    assert configs[0]["compile_config"] == configs[1]["compile_config"]
