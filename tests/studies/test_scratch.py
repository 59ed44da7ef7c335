"""Training from random weights: seeds, kills, and networks of a user's own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.data.dataset import Dataset
from lrcompress.errors import OutputError, RankError, TrainingError
from lrcompress.events import listening

pytestmark = pytest.mark.keras


def tiny(rank: int | None) -> Any:
    """Return a small compiled network with dropout, low-rank where a rank is given."""
    import keras

    low = [] if rank is None else [keras.layers.Dense(rank, use_bias=False)]
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dropout(0.5),
            *low,
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    return model


@pytest.fixture(scope="module")
def recipe() -> Any:
    """Return the recipe of the small network."""
    from lrcompress.studies.networks import Recipe

    return Recipe(
        build=tiny, features=24, classes=10, ranks=(None,), epochs=3, batch_size=32,
        scaling="/16", paper_base=None, published={},
    )  # fmt: skip


def table(data: Dataset, recipe: Any, folder: Path, **options: Any) -> dict[str, Any]:
    """Train rows of the small network for three epochs."""
    from lrcompress.studies.scratch import train_rows

    return train_rows(data, data.name, recipe, folder, **options)


@pytest.fixture(scope="module")
def reference(
    few_digits: Dataset, recipe: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return a folder with one row, rank 2 and seed 0, trained without a break, and its document."""
    folder = tmp_path_factory.mktemp("reference")
    return folder, table(few_digits, recipe, folder, ranks=(2,))


def weights(path: Path) -> list[Any]:
    """Return the weights of a saved model."""
    from lrcompress.live.storing import load_model

    found: list[Any] = load_model(path).get_weights()
    return found


@pytest.mark.parametrize("killed_in", [1, 3])
def test_a_killed_row_ends_as_an_unkilled_one(
    few_digits: Dataset, recipe: Any, reference: Any, tmp_path: Path, killed_in: int
) -> None:
    """A row that is broken off in any epoch goes on there, to the same weights."""
    begun: list[str] = []

    def kill(task: str, done: int, total: int, figures: dict[str, float]) -> None:
        if f"epoch {killed_in}/3" in task and done % 13 == 5:
            raise KeyboardInterrupt

    def watch(task: str, done: int, total: int, figures: dict[str, float]) -> None:
        if "epoch" in task and task not in begun:
            begun.append(task)

    with pytest.raises(KeyboardInterrupt), listening(kill):
        table(few_digits, recipe, tmp_path, ranks=(2,))
    with listening(watch):
        resumed = table(few_digits, recipe, tmp_path, ranks=(2,))
    folder, unkilled = reference

    assert begun == [f"rank 2, seed 0, epoch {epoch}/3" for epoch in range(killed_in, 4)]
    name = resumed["rows"][0]["model"]
    pairs = zip(weights(tmp_path / name), weights(folder / name), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert resumed["rows"][0]["wrong"] == unkilled["rows"][0]["wrong"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "results.json"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 and no more", "network", "devices"])
def test_a_state_that_is_none_begins_anew(
    few_digits: Dataset,
    recipe: Any,
    reference: Any,
    tmp_path: Path,
    content: bytes | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stranger's file in its place, or the state of another network or batch: nobody has to delete it."""
    from lrcompress.live.devices import Replicas
    from lrcompress.studies.rows import UNFINISHED

    _, whole = reference
    state = tmp_path / UNFINISHED / "digits-rank2.npz"
    state.parent.mkdir()
    if isinstance(content, bytes):
        state.write_bytes(content)
    else:
        other = dataclasses.replace(recipe, build=lambda rank: tiny(3))
        with monkeypatch.context() as patch, listening(interrupt_in_epoch_2):
            if content == "devices":
                several = Replicas(("first", "second", "third"))
                patch.setattr("lrcompress.studies.scratch.replicas", lambda: several)
                other = recipe
            with pytest.raises(KeyboardInterrupt):
                table(few_digits, other, tmp_path, ranks=(2,))
        assert state.exists()

    anew = table(few_digits, recipe, tmp_path, ranks=(2,))

    assert anew["rows"][0]["wrong"] == whole["rows"][0]["wrong"]


def interrupt_in_epoch_2(task: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Press Control-C in the second epoch of training."""
    if "epoch 2/" in task:
        raise KeyboardInterrupt


def test_several_steps_at_once_are_the_same_steps(
    few_digits: Dataset,
    recipe: Any,
    reference: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What keeps an accelerator busy changes no weight, also where steps are left over."""
    import keras

    from lrcompress.studies import scratch

    if keras.backend.backend() == "torch":
        pytest.skip("Keras does one step at a time under PyTorch")
    folder, once = reference
    monkeypatch.setattr(scratch, "has_accelerator", lambda: True)
    monkeypatch.setattr(scratch, "STEPS_AT_ONCE", 5)

    several = table(few_digits, recipe, tmp_path, ranks=(2,))

    name = several["rows"][0]["model"]
    pairs = zip(weights(folder / name), weights(tmp_path / name), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert several["rows"][0]["wrong"] == once["rows"][0]["wrong"]


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    """Killed at twenty random moments, a table ends as an unkilled one, and no file is ever broken."""
    words = [sys.executable, "-m", "lrcompress", "train-from-scratch", "--dataset", "digits",
             "--ranks", "full,2", "--epochs", "10", "-q", "-o"]  # fmt: skip
    rng = np.random.default_rng(0)
    killed = tmp_path / "killed"

    for _ in range(20):
        running = subprocess.Popen([*words, str(killed)], stdout=subprocess.DEVNULL)
        # Keras takes most of the first seconds to start.
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=rng.uniform(2, 15))
        running.kill()
        running.wait()
        for path in killed.rglob("*"):
            if path.name == "results.json":
                json.loads(path.read_text())
            elif path.suffix in (".keras", ".npz") and ".partial" not in path.name:
                assert zipfile.ZipFile(path).testzip() is None
    for folder in (killed, tmp_path / "unkilled"):
        subprocess.run([*words, str(folder)], check=True, stdout=subprocess.DEVNULL)

    names = ["digits-full.keras", "digits-rank2.keras"]
    assert sorted(path.name for path in killed.iterdir() if path.suffix == ".keras") == names
    for name in names:
        pairs = zip(weights(killed / name), weights(tmp_path / "unkilled" / name), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)


def test_seeds_are_rows_and_together_a_mean(
    few_digits: Dataset, recipe: Any, reference: Any, tmp_path: Path
) -> None:
    """Each seed has its own model; more may be asked for later; the summary is over all."""
    first = reference[1]
    folder = shutil.copytree(reference[0], tmp_path / "more")
    stamp = (folder / "digits-rank2.keras").stat().st_mtime_ns

    both = table(few_digits, recipe, folder, ranks=(2,), seeds=(0, 1))

    assert [(row["rank"], row["seed"]) for row in both["rows"]] == [(2, 0), (2, 1)]
    assert both["rows"][0] == first["rows"][0]
    assert (folder / "digits-rank2.keras").stat().st_mtime_ns == stamp
    assert (folder / "digits-rank2-seed1.keras").is_file()
    rates = [row["error_rate"] for row in both["rows"]]
    assert rates[0] != rates[1]
    assert first["summary"][0]["interval"] == "wilson"
    assert both["summary"][0]["error_rate"] == pytest.approx(np.mean(rates))
    # By hand: t(0.975, 1) = 12.7062, s / sqrt(2) = |a - b| / 2.
    high = np.mean(rates) + 12.7062 * abs(rates[0] - rates[1]) / 2
    assert both["summary"][0]["error_rate_high"] == pytest.approx(min(100, high), rel=1e-4)


def test_rows_are_saved_as_each_is_done(few_digits: Dataset, recipe: Any, tmp_path: Path) -> None:
    """A deleted model is trained again, other settings and ranks that do not fit are refused."""
    calls: list[int | None] = []

    def one_at_a_time(rank: int | None) -> Any:
        calls.append(rank)
        if rank == 2 and calls.count(2) == 1:
            raise KeyboardInterrupt
        return tiny(rank)

    short = dataclasses.replace(recipe, build=one_at_a_time, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        table(few_digits, short, tmp_path, ranks=(4, 2))
    interrupted = json.loads((tmp_path / "results.json").read_text())
    resumed = table(few_digits, short, tmp_path, ranks=(4, 2))
    (tmp_path / "digits-rank4.keras").unlink()
    table(few_digits, short, tmp_path, ranks=(4, 2))

    assert [row["rank"] for row in interrupted["rows"]] == [4]
    assert [row["rank"] for row in resumed["rows"]] == [4, 2]
    assert calls == [4, 2, 2, 4]
    with pytest.raises(OutputError, match="epochs") as other:
        table(few_digits, short.lasting(2, None), tmp_path, ranks=(4,))
    with pytest.raises(RankError, match="Rank 11"):
        table(few_digits, short, tmp_path / "new", ranks=(11,))
    assert other.value.code == "results_differ"


def test_results_of_the_first_version_go_on(
    few_digits: Dataset, recipe: Any, reference: Any, tmp_path: Path
) -> None:
    """A file with one seed among its settings and none in its rows is read, and extended."""
    folder = shutil.copytree(reference[0], tmp_path / "old")
    document = reference[1]
    old = {**document, "schema_version": 1, "settings": {**document["settings"], "seed": 0}}
    del old["summary"]
    new = ("seed", "wrong", "images", "device")
    old["rows"] = [{k: v for k, v in row.items() if k not in new} for row in document["rows"]]
    (folder / "results.json").write_text(json.dumps(old))

    extended = table(few_digits, recipe, folder, ranks=(None, 2))

    assert [(row["rank"], row["seed"]) for row in extended["rows"]] == [(None, 0), (2, 0)]
    assert extended["rows"][1]["error_rate"] == document["rows"][0]["error_rate"]
    assert json.loads((folder / "results.json").read_text())["schema_version"] == 2


def test_a_file_is_trained_anew(trained_file: Path, few_digits: Dataset) -> None:
    """The architecture and the compile settings of a file stay, its weights are drawn anew."""
    import keras

    from lrcompress.live.storing import load_model
    from lrcompress.studies.networks import own_recipe
    from lrcompress.verbs.train_from_scratch import narrow

    found = own_recipe(trained_file, few_digits, narrow, "/16")

    keras.utils.set_random_seed(0)
    full, narrow = found.build(None), found.build(3)
    original = load_model(trained_file)
    assert (found.features, found.classes, found.paper_parameters(3)) == (24, 10, None)
    assert found.layer_parameters(3) == 3 * 34 + 10
    assert [w.shape for w in full.get_weights()] == [w.shape for w in original.get_weights()]
    assert not np.allclose(full.get_weights()[0], original.get_weights()[0])
    assert [layer.name for layer in narrow.layers[-2:]] == ["predictions_lowrank", "predictions"]
    assert not np.allclose(narrow.get_weights()[0], full.get_weights()[0])
    # Glorot's bound for the new kernel (24, 3): it is drawn, not the factor of an SVD.
    factor = narrow.layers[-2].get_weights()[0]
    assert np.abs(factor).max() < np.sqrt(6 / 27)
    assert isinstance(narrow.optimizer, keras.optimizers.Adam)
    assert narrow.loss == "sparse_categorical_crossentropy"


def test_what_training_would_not_change_is_kept() -> None:
    """Normalization adapted to data and frozen layers keep their weights; an uncompiled model gets Adam."""
    import keras

    from lrcompress.studies.networks import reinitialized

    norm = keras.layers.Normalization()
    norm.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential(
        [
            keras.Input((3,)), norm, keras.layers.Dense(4, trainable=False),
            keras.layers.BatchNormalization(), keras.layers.Dense(2),
        ]
    )  # fmt: skip
    model.layers[2].set_weights([np.full(4, 5.0)] * 4)

    twin = reinitialized(model)

    np.testing.assert_array_equal(twin.layers[0].mean, norm.mean)
    np.testing.assert_array_equal(twin.layers[1].get_weights()[0], model.layers[1].get_weights()[0])
    assert np.asarray(twin.layers[2].moving_mean).tolist() == [0, 0, 0, 0]
    assert not np.allclose(twin.layers[3].get_weights()[0], model.layers[3].get_weights()[0])
    assert isinstance(twin.optimizer, keras.optimizers.Adam)
    assert twin.loss.get_config()["from_logits"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return a module of functions that build networks, importable from the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_networks.py").write_text(
        "import keras\n"
        "def plain(units=6):\n"
        "    return keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(),\n"
        "        keras.layers.Dense(units, activation='relu'),\n"
        "        keras.layers.Dense(10, activation='softmax')])\n"
        "def ranked(rank):\n"
        "    low = [] if rank is None else [keras.layers.Dense(rank, name='mine')]\n"
        "    return keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), *low,\n"
        "        keras.layers.Dense(10, activation='softmax')])\n"
        "def nothing():\n    return 3\n"
        "def broken():\n    raise RuntimeError('no luck')\n"
    )
    yield "my_networks"
    sys.modules.pop("my_networks", None)


def test_functions_build_networks(module: str, few_digits: Dataset) -> None:
    """One that takes a rank is given it; the final Dense of any other's is made two."""
    from lrcompress.studies.networks import own_recipe
    from lrcompress.verbs.train_from_scratch import narrow

    plain = own_recipe(f"{module}:plain", few_digits, narrow, "/16").lasting(2, None)
    ranked = own_recipe(f"{module}:ranked", few_digits, narrow)

    assert [layer.units for layer in plain.build(2).layers[-2:]] == [2, 10]
    assert ranked.build(2).layers[-2].name == "mine"
    assert (plain.features, plain.epochs, ranked.features) == (6, 2, 64)
    with pytest.raises(RankError, match="expected 1 to 6"):
        plain.check_rank(7)


@pytest.mark.parametrize(
    ("name", "words"),
    [("nothing", "returned int"), ("broken", "no luck"), ("absent", "Cannot import")],
)
def test_functions_that_build_none(module: str, few_digits: Dataset, name: str, words: str) -> None:
    """What is no network is refused in one line."""
    from lrcompress.studies.networks import own_recipe
    from lrcompress.verbs.train_from_scratch import narrow

    with pytest.raises(TrainingError, match=words) as refused:
        own_recipe(f"{module}:{name}", few_digits, narrow)

    assert refused.value.code == "own_network"


def test_a_data_set_without_a_network() -> None:
    """Published networks are for their data sets; the names that are known early are all there are."""
    import lrcompress
    from lrcompress.studies.networks import RECIPES
    from lrcompress.studies.request import PUBLISHED

    with pytest.raises(TrainingError, match=r"cifar10'.*--model") as refused:
        lrcompress.train_from_scratch("cifar10")

    assert refused.value.code == "no_recipe"
    assert set(PUBLISHED) == set(RECIPES)


@pytest.mark.parametrize(
    ("name", "total", "rank", "by_rule", "layer"),
    [
        ("mnist", 1_192_042, 8, 19_536, 2_138),
        ("mnist", 1_192_042, 4, 18_472, 1_074),
        ("cifar100", 1_297_028, 75, 143_180, 46_000),
        ("cifar100", 1_297_028, 60, 134_000, 36_820),
    ],
)
def test_the_papers_networks(name: str, total: int, rank: int, by_rule: int, layer: int) -> None:
    """True counts are those of Keras, the paper's counts those that it printed."""
    from lrcompress.studies.networks import RECIPES

    recipe = RECIPES[name]

    assert recipe.build(None).count_params() == total
    small = recipe.build(rank)
    assert small.count_params() == total - recipe.layer_parameters(None) + layer
    assert recipe.layer_parameters(rank) == layer
    assert recipe.paper_parameters(rank) == by_rule
    assert [item.name for item in small.layers[-2:]] == ["predictions_lowrank", "predictions"]
