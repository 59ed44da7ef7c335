"""A run that is killed or broken off: what it leaves, and that it ends as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.data.dataset import Dataset
from lrcompress.errors import OutputError, TrainingError
from lrcompress.events import listening

pytestmark = pytest.mark.keras

EPOCHS = 4
SCALING = "/16"


class Killed(BaseException):
    """Stands for a kill: nothing but a test catches it."""


def killer(at: int) -> Callable[..., None]:
    """Return a progress that kills at its so many-th step of training."""
    seen = 0

    def progress(task: str, done: int, total: int, figures: dict[str, float]) -> None:
        nonlocal seen
        if task.startswith("fine-tuning"):
            seen += 1
            if seen == at:
                raise Killed

    return progress


@pytest.fixture
def tune(
    small_file: Path, trained_file: Path, few_digits: Dataset, tmp_path: Path
) -> Callable[..., tuple[Any, list[Any]]]:
    """Return a function that fine-tunes with dropout and a checkpoint; its outcome and weights."""
    from lrcompress.live import storing
    from lrcompress.live.prepare import prepare
    from lrcompress.train.checkpoint import Checkpoint
    from lrcompress.train.finetune import finetune
    from lrcompress.train.settings import FinetuneSettings

    def call(name: str = "state.npz", **options: Any) -> tuple[Any, list[Any]]:
        student, teacher = storing.load_model(small_file), storing.load_model(trained_file)
        data = prepare(few_digits, teacher, scaling=SCALING)
        settings = FinetuneSettings(epochs=EPOCHS, dropout=True, learning_rate=3e-3)
        checkpoint = Checkpoint(tmp_path / name, {"who": "test"})
        outcome = finetune(student, teacher, data, settings, checkpoint=checkpoint, **options)
        return outcome, student.get_weights()

    return call


def test_a_killed_run_ends_as_an_unbroken_one(
    tune: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in an epoch, in the midst of writing its state, and after all: the same weights, bit by bit."""
    whole, weights = tune("whole.npz")

    with pytest.raises(Killed), listening(killer(at=30)):
        tune()
    first = (tmp_path / "state.npz").read_bytes()

    def half(file: Any, **arrays: Any) -> None:
        file.write(first[: len(first) // 2])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", half)
        with pytest.raises(Killed):
            tune(resume=True)
    assert (tmp_path / "state.npz").read_bytes() == first
    resumed, again = tune(resume=True)
    tasks: list[str] = []
    with listening(lambda task, *rest: tasks.append(task)):
        done, once_more = tune(resume=True)

    assert [o.resumed_from for o in (whole, resumed, done)] == [0, 1, EPOCHS]
    assert not any(task.startswith("fine-tuning") for task in tasks)
    assert resumed.state.best_epoch == done.state.best_epoch == whole.state.best_epoch
    assert whole.state.history == resumed.state.history == done.state.history
    assert all(map(np.array_equal, weights, again))
    assert all(map(np.array_equal, weights, once_more))


@pytest.fixture
def digits_run(
    small_file: Path, trained_file: Path, few_digits: Dataset, tmp_path: Path
) -> dict[str, Any]:
    """Return the arguments of `lrcompress.finetune` for the small model and few digits."""
    data = tmp_path / "few.npz"
    np.savez(
        data, x_train=few_digits.x_train, y_train=few_digits.y_train,
        x_test=few_digits.x_test, y_test=few_digits.y_test,
    )  # fmt: skip
    for path in (small_file, trained_file):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return {
        "model": tmp_path / small_file.name,
        "dataset": str(data),
        "scaling": SCALING,
        "epochs": 3,
        "output": tmp_path / "tuned.keras",
    }


def interrupted_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Press Control-C at a step of training, counted from now."""
    from lrcompress.train.loop import StepReporter

    report, seen = StepReporter.on_train_batch_end, 0

    def press(self: Any, batch: int, logs: Any = None) -> None:
        nonlocal seen
        seen += 1
        if seen == step:
            raise KeyboardInterrupt
        report(self, batch, logs)

    patch.setattr(StepReporter, "on_train_batch_end", press)


def test_control_c_keeps_the_best_so_far(
    digits_run: dict[str, Any],
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model and the record are there, the command says so and fails; --resume goes on."""
    options = ["--dataset", digits_run["dataset"], "--scaling", SCALING, "--epochs", 3]
    words = ["finetune", digits_run["model"], *options, "-o", "tuned.keras", "--json"]
    with monkeypatch.context() as patch:
        interrupted_at(patch, step=30)
        broken = run(*words, "--resume")
    record = json.loads((tmp_path / "tiny-rank3.lrcompress.json").read_text())
    inspected = lrcompress.inspect("tuned.keras")
    refused = run(*words)
    resumed = run(*words, "--resume")

    found = json.loads(broken.stdout)
    assert broken.exit_code == 1
    assert (found["stopped"], found["epochs_done"], len(found["history"])) == ("interrupted", 1, 2)
    # It may always be said, also where there is nothing yet to go on with.
    assert "no unfinished run (tuned.checkpoint.npz): started from the beginning" in broken.stderr
    assert "Interrupted in epoch 2 of 3; kept the best so far" in broken.stderr
    assert record["finetune"][-1]["stopped"] == "interrupted"
    assert inspected["parameters"] > 0
    assert refused.exit_code == 1
    assert resumed.exit_code == 0
    ended = json.loads(resumed.stdout)
    assert (ended["stopped"], ended["resumed_from"]) == ("done", 1)
    assert [entry["epoch"] for entry in ended["history"]] == [0, 1, 2, 3]
    assert not list(tmp_path.glob("*.checkpoint.npz"))


def test_control_c_before_anything_was_looked_at_leaves_nothing(
    digits_run: dict[str, Any], tmp_path: Path
) -> None:
    """An interrupt before the first look is an interrupt like any other."""

    def press(task: str, *rest: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(press):
        lrcompress.finetune(**digits_run)

    assert not (tmp_path / "tuned.keras").exists()


def test_what_lies_there_is_refused_before_keras_starts(
    digits_run: dict[str, Any], tmp_path: Path
) -> None:
    """An unfinished run is neither lost nor taken up unasked."""
    unfinished = tmp_path / "tuned.checkpoint.npz"
    unfinished.write_bytes(b"something")
    started: list[bool] = []

    hook = listening(before_keras=lambda: started.append(True))
    with pytest.raises(OutputError, match="--resume to continue") as refused, hook:
        lrcompress.finetune(**digits_run)
    with pytest.raises(TrainingError, match="delete it") as unreadable:
        lrcompress.finetune(**digits_run, resume=True)

    assert refused.value.code == "unfinished_run"
    assert unreadable.value.code == "checkpoint_unreadable"
    assert unfinished.read_bytes() == b"something"
    assert started == []


def test_another_run_is_not_taken_up(tmp_path: Path) -> None:
    """A checkpoint of other settings is refused with both values; of other arrays, too."""
    from lrcompress.train.checkpoint import Checkpoint, State, assign

    arrays = [np.ones((2, 3), np.float32)]
    history = [{"epoch": 1, "loss": 0.5, "validation_loss": 1.0, "kept": True}]
    state = State(1, history, 1, (1.0,), 2.0, 1.0, arrays, arrays, arrays)
    path = tmp_path / "state.npz"
    Checkpoint(path, {"epochs": 3, "seed": 0}).save(state)

    with pytest.raises(TrainingError, match="epochs was 3, now 5") as differs:
        Checkpoint(path, {"epochs": 5, "seed": 0}).load()
    loaded = Checkpoint(path, {"epochs": 3, "seed": 0}).load()
    with pytest.raises(TrainingError, match="not this model's"):
        assign([np.ones((2, 2))], arrays)

    assert differs.value.code == "checkpoint_differs"
    assert loaded is not None
    assert loaded.merit == (1.0,)
    np.testing.assert_array_equal(loaded.best[0], arrays[0])
