"""Fine-tuning of a network that was made smaller as a whole, with labels and by its original alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def teacher() -> Any:
    """Return a network with batch normalization that tells where images are bright, trained."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)),
        layers.Conv2D(12, 3, padding="same", use_bias=False, name="a"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(16, activation="relu", name="b"),
        layers.Dense(3, activation="softmax", name="out"),
    ])  # fmt: skip
    x, y = images(600)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=10, batch_size=32, verbose=0)
    return model


def images(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Return stripes of three sorts, which a mirror leaves alone."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    grid = np.arange(8)
    sorts = np.stack(
        [np.add.outer(grid * a, grid * b) % 4 < 2 for a, b in ((1, 0), (0, 1), (1, 1))]
    )
    x = sorts[y][..., None] + 0.5 * rng.normal(size=(count, 8, 8, 1))
    return x.astype("float32"), y


@pytest.fixture(scope="module")
def small(teacher: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return it made smaller on inputs without labels."""
    folder = tmp_path_factory.mktemp("networks")
    teacher.save(folder / "model.keras")
    np.savez(folder / "inputs.npz", x_train=images(400)[0])
    lrcompress.factorize(
        folder / "model.keras", layers="all", reduction=0.5, scaling="as-is", samples=200,
        dataset=folder / "inputs.npz", output=folder / "small.keras",
    )  # fmt: skip
    return folder / "small.keras"


def told(small: Path, error: float) -> None:
    """Let the run record say how far the outputs are from the original's."""
    record = small.with_name("small.lrcompress.json")
    document = json.loads(record.read_text())
    document["network"]["measured"]["output_error"] = error
    record.write_text(json.dumps(document))


def weights(path: Path) -> list[Any]:
    """Return the weights of a model file."""
    return list(keras.saving.load_model(path, compile=False).get_weights())


def test_inputs_alone_and_the_original(small: Path) -> None:
    """Images are changed as the original allows, all factors are trained, statistics of normalizations stay."""
    told(small, 0.5)
    result = lrcompress.finetune(small, epochs=2, overwrite=True)

    before, after = (
        keras.saving.load_model(path, compile=False) for path in (small, result.output)
    )
    assert result.settings["augmentation"] == ("shift", "mirror")
    assert result.settings["learning_rate"] == 1e-3
    assert result.settings["teacher_weight"] == 1
    assert result.best_epoch > 0
    for old, new in zip(before.weights, after.weights, strict=True):
        stays = "moving" in old.path
        assert np.array_equal(old, new) == stays, old.path


def test_without_labels_the_outputs_nearest_to_the_originals_are_kept(
    small: Path, teacher: Any, tmp_path: Path
) -> None:
    """By the divergence from them on held-out inputs: the few decisions there tell little."""
    from lrcompress.data.sources import load
    from lrcompress.live.prepare import prepare

    inputs = load(str(small.with_name("inputs.npz")), None)
    held_out = prepare(inputs, teacher, scaling="as-is").split.x_val
    start, original = (
        np.asarray(model(held_out), np.float64)
        for model in (keras.saving.load_model(small, compile=False), teacher)
    )

    history = lrcompress.finetune(small, epochs=3, output=tmp_path / "tuned.keras").history

    losses = [look["validation_loss"] for look in history]
    divergence = float((original * np.log(original / start)).sum(-1).mean())
    assert losses[0] == pytest.approx(divergence, rel=1e-3)
    assert [look["kept"] for look in history] == [loss == min(losses) for loss in losses]


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("memory", [2**29, 0])
def test_statistics_move_only_where_they_are_asked_to(
    small: Path, teacher: Any, monkeypatch: pytest.MonkeyPatch, batches: bool, memory: int
) -> None:
    """Whether the teacher's outputs are remembered or it runs beside the student."""
    from lrcompress.data.sources import load
    from lrcompress.live.prepare import prepare
    from lrcompress.train import teacher as teachers
    from lrcompress.train.settings import FinetuneSettings
    from lrcompress.train.supervision import supervise

    monkeypatch.setattr(teachers, "IN_MEMORY_BYTES", memory)
    student = keras.saving.load_model(small, compile=False)
    data = prepare(load(str(small.with_name("inputs.npz")), None), teacher, scaling="as-is")
    settings = FinetuneSettings(batch_statistics=batches)
    before = [np.array(w) for w in student.get_weights()]

    model = supervise(student, teacher, data.taught(teacher), settings).model
    model(images(50, seed=1)[0] + 3, training=True)

    moved = not all(map(np.array_equal, before, student.get_weights()))
    assert moved == batches


def test_dropout_is_at_work_without_moving_statistics(few_digits: Any) -> None:
    """The network's own, where it is asked for; normalizations keep theirs unless that is asked for too."""
    from lrcompress.live.prepare import prepare
    from lrcompress.train.finetune import finetune
    from lrcompress.train.settings import FinetuneSettings

    def tuned(**chosen: bool) -> tuple[Any, bool]:
        keras.utils.set_random_seed(0)
        layers = keras.layers
        norm = layers.BatchNormalization()
        model = keras.Sequential([
            keras.Input((8, 8)), layers.Flatten(), layers.Dense(16), norm, layers.ReLU(),
            layers.Dropout(0.3), layers.Dense(10, activation="softmax"),
        ])  # fmt: skip
        before = norm.get_weights()[2:]
        outcome = finetune(
            model,
            None,
            prepare(few_digits, model, scaling="/16"),
            FinetuneSettings(epochs=1, **chosen),
        )
        assert outcome.state.best_epoch == 1
        moved = not all(map(np.array_equal, before, norm.get_weights()[2:]))
        return model.get_weights()[0], moved

    (plain, _), (dropped, still), (_, moved) = (
        tuned(), tuned(dropout=True), tuned(dropout=True, batch_statistics=True),
    )  # fmt: skip

    assert not np.array_equal(plain, dropped)
    assert (still, moved) == (False, True)


def test_a_start_that_is_close_is_not_undone(small: Path, tmp_path: Path) -> None:
    """Smaller steps by what the record measured; the start stays where no epoch is better, and that is said."""
    told(small, 0.05)

    first = lrcompress.finetune(small, epochs=1, output=tmp_path / "first.keras")
    ruined = lrcompress.finetune(
        small, epochs=1, learning_rate=100.0, output=tmp_path / "ruined.keras"
    )

    assert first.settings["learning_rate"] == 3e-4
    assert ruined.best_epoch == 0
    assert any("kept the start" in warning for warning in ruined.warnings)
    for old, new in zip(weights(small), weights(ruined.output), strict=True):
        np.testing.assert_array_equal(old, new)


def test_few_inputs_are_gone_through_often() -> None:
    """Without labels; as many as there are steps for, in larger batches."""
    from lrcompress.train.settings import FinetuneSettings

    few, many = (FinetuneSettings().decided(n, labelled=False) for n in (3_000, 50_000))

    assert (few.epochs, few.batch_size) == (10, 128)
    assert (many.epochs, many.batch_size) == (2, 128)
    assert FinetuneSettings().decided(3_000).epochs == 2


def test_images_are_changed_as_the_original_allows(teacher: Any) -> None:
    """By an eighth, mirrored; not where a decision hangs on the place, and not what is no image."""
    from lrcompress.data.scaling import parse
    from lrcompress.train.augment import augmented, ways_for

    x, _ = images(100)
    left = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Cropping2D(((0, 0), (0, 4))), keras.layers.Flatten(),
        keras.layers.Dense(2, use_bias=False, activation="softmax"),
    ])  # fmt: skip
    left.set_weights([np.full((32, 2), 0.1) * [1, -1]])
    bright = np.sign(np.arange(100) % 2 - 0.5)[:, None, None, None] * np.ones((1, 8, 8, 1))
    sided = (bright * np.where(np.arange(8) < 4, 1, -1)[:, None]).astype("float32")
    scaling = parse("as-is", x)

    assert ways_for(teacher, x, scaling) == ("shift", "mirror")
    assert ways_for(left, sided, scaling) == ("shift",)
    assert ways_for(teacher, x[..., 0], scaling) == ()
    change, again = (augmented(("shift", "mirror"), 1, 2) for _ in range(2))
    assert change is not None
    assert again is not None
    np.testing.assert_array_equal(change(x, 3), again(x, 3))
    assert not np.array_equal(change(x, 3), change(x, 4))
    ramp = np.broadcast_to(np.arange(16.0)[:, None, None], (9, 16, 16, 1))
    moved = augmented(("shift",), 0, 1)
    assert moved is not None
    assert np.abs(moved(ramp, 0) - ramp).max() == 2
    assert augmented((), 0, 1) is None
