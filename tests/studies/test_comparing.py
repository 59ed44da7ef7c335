"""`compare` on small networks: rows, pairs, kills, rows of earlier runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import DatasetError, OutputError, RankError, TrainingError
from lrcompress.events import listening

Run = Callable[..., Result]
SHORT: dict[str, Any] = {"epochs": 1, "finetune_epochs": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a file with a few digits."""
    from lrcompress.data.sources import load

    digits = load("digits")
    path = tmp_path_factory.mktemp("data") / "few.npz"
    np.savez(
        path, x_train=digits.x_train[:300], y_train=digits.y_train[:300],
        x_test=digits.x_test[:100], y_test=digits.y_test[:100],
    )  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, data: str) -> Path:
    """Return a small network trained on them."""
    import keras

    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10, activation="softmax", name="predictions"),
        ]
    )
    net.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    with np.load(data) as arrays:
        net.fit(arrays["x_train"] / 16, arrays["y_train"], epochs=30, verbose=0)
    path = tmp_path_factory.mktemp("model") / "net.keras"
    net.save(path)
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory, data: str, model: Path) -> Any:
    """Return the folder and the document of a comparison with a model file, killed once on its way."""
    folder = tmp_path_factory.mktemp("compared")
    options = {"dataset": data, "scaling": "/16", "ranks": [3, 2], "output": folder, **SHORT}
    arms = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")

    def kill(task: str, done: int, total: int, figures: dict[str, float]) -> None:
        if task == "test, after":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listening(kill):
        lrcompress.compare(model, arms=arms, **options)
    begun = json.loads((folder / "compare.json").read_text())
    return folder, begun, lrcompress.compare(model, arms=arms, **options)


@pytest.mark.keras
def test_every_arm_has_its_row(compared: Any) -> None:
    """A kill costs the row that was in work; all arms are there in the end, once."""
    _, begun, document = compared

    assert [row["arm"] for row in begun["rows"]] == ["full"]
    assert [(row["arm"], row["rank"], row["seed"]) for row in document["rows"]] == [
        ("full", None, None), ("full-finetuned", None, 0),
        ("svd", 3, None), ("refined", 3, 0), ("finetuned", 3, 0), ("scratch", 3, 0),
        ("svd", 2, None), ("refined", 2, 0), ("finetuned", 2, 0), ("scratch", 2, 0),
    ]  # fmt: skip
    assert document["rows"][0] == begun["rows"][0]


@pytest.mark.keras
def test_rows_are_measured_as_evaluate_does(
    compared: Any, data: str, model: Path, tmp_path: Path
) -> None:
    """Full rank and truncated SVD agree with `factorize` and `evaluate`, differences included."""
    _, _, document = compared
    small = lrcompress.factorize(model, rank=2, method="svd", output=tmp_path / "small.keras")

    full, svd = lrcompress.evaluate([model, small.output], dataset=data, scaling="/16")

    row = document["rows"][0]
    entry = next(e for e in document["summary"] if (e["arm"], e["rank"]) == ("svd", 2))
    assert row["error_rate"] == full.error_rate
    assert entry["error_rate"] == svd.error_rate
    assert svd.difference is not None
    for key in ("difference", "low", "high", "p_value"):
        assert entry["against_full"][key] == pytest.approx(svd.difference[key])
    parameters = 64 * 16 + 16 + 16 * 10 + 10
    assert row["model_parameters"] == parameters
    assert entry["model_parameters"] == parameters - 160 + 2 * 26
    assert entry["layer_parameters"] == 2 * 26 + 10


@pytest.mark.keras
def test_images_are_those_that_were_seen(compared: Any) -> None:
    """A tenth is held out of what fine-tuning sees; nothing else trains on less than all."""
    _, _, document = compared
    images = {(e["arm"], e["rank"]): e["images"] for e in document["summary"]}

    assert images["finetuned", 3] == images["full-finetuned", None] == 270
    assert images["scratch", 3] == 300
    assert images["svd", 3] == images["refined", 3] == 0
    assert images["full", None] is None


@pytest.mark.keras
def test_a_comparison_goes_on_only_as_it_began(
    compared: Any, data: str, model: Path, tmp_path: Path
) -> None:
    """Other epochs and other models are refused; the same call again trains nothing."""
    folder, _, document = compared
    options = {"dataset": data, "scaling": "/16", "ranks": [3, 2], "output": folder}
    other = shutil.copy(model, tmp_path / "net.keras")
    with Path(other).open("ab") as file:
        file.write(b" ")

    def never(task: str, done: int, total: int, figures: dict[str, float]) -> None:
        raise AssertionError(task)

    with listening(never):
        again = lrcompress.compare(model, **options, **SHORT)
    with pytest.raises(OutputError, match="finetune_epochs"):
        lrcompress.compare(model, **options, epochs=1, finetune_epochs=2)
    with pytest.raises(OutputError) as refused:
        lrcompress.compare(other, **options, **SHORT)

    assert again == document
    assert refused.value.code == "results_differ"


@pytest.mark.keras
def test_rows_of_earlier_runs_are_taken_over(compared: Any, tmp_path: Path) -> None:
    """Rows of `train-from-scratch` stand in a comparison, measured anew where they hold no predictions."""
    trained = lrcompress.train_from_scratch(
        "digits", ranks=[None, 2], epochs=1, output=tmp_path / "scratch-digits"
    )
    path = tmp_path / "scratch-digits" / "results.json"
    old = json.loads(path.read_text())
    for row in old["rows"]:
        del row["wrong"]
        row["seconds"] = 12345.0
    path.write_text(json.dumps(old))

    document = lrcompress.compare(
        dataset="digits", ranks=[2], arms=["svd", "scratch"], epochs=1,
        rows_from=[tmp_path / "scratch-digits"], output=tmp_path / "compare",
    )  # fmt: skip

    full, svd, scratch = document["rows"]
    assert [full["arm"], svd["arm"], scratch["arm"]] == ["full", "svd", "scratch"]
    assert full["seconds"] == scratch["seconds"] == 12345.0
    assert full["errors"] == trained["rows"][0]["errors"]
    assert full["wrong"] == trained["rows"][0]["wrong"]
    assert scratch["errors"] == trained["rows"][1]["errors"]
    assert (tmp_path / "compare" / full["model"]).is_file()
    with pytest.raises(OutputError, match="made with") as refused:
        lrcompress.compare(
            dataset="digits", ranks=[2], epochs=2, output=tmp_path / "other",
            rows_from=[tmp_path / "scratch-digits"],
        )  # fmt: skip
    assert refused.value.code == "results_differ"


@pytest.mark.keras
def test_the_command_prints_draws_and_writes(
    compared: Any, run: Run, data: str, model: Path, tmp_path: Path
) -> None:
    """One table, one figure, one document."""
    folder = shutil.copytree(compared[0], tmp_path / "copy")
    words = ("compare", model, "--dataset", data, "--scaling", "/16", "--ranks", "3,2", "--scratch",
             "--epochs", 1, "--finetune-epochs", 1, "-o", folder)  # fmt: skip

    table, document = run(*words), run(*words, "--json", "-q")

    assert table.exit_code == 0
    for text in ("SVD + 1 epoch", "full rank + 1 epoch", "best head, nothing trained", "from scratch",
                 "rank 2: SVD + 1 epoch against from scratch", "90% of its samples"):  # fmt: skip
        assert text in table.stdout
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(document.stdout)["summary"] == compared[2]["summary"]
    assert document.stderr == ""


@pytest.mark.parametrize("command", ["compare", "train-from-scratch"])
def test_a_control_c_says_what_it_leaves(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """One line: where the finished rows are, and that the same command goes on."""
    from lrcompress.data import sources

    def interrupt(*words: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "load", interrupt)

    result = run(command, "--dataset", "digits", "-o", "here", "--json", "-q")

    assert result.exit_code == 1
    assert "Interrupted; here holds the rows that are done" in result.stderr
    assert json.loads(result.stdout)["error"]["code"] == "interrupted"


@pytest.mark.parametrize(
    ("options", "error", "code"),
    [
        ({"dataset": "mnist", "arms": ["svd", "magic"]}, TrainingError, "unknown_arm"),
        ({"dataset": "mnist", "budget": 2}, TrainingError, "budget"),
        ({"dataset": "mnist", "budget": 9, "epochs": 3}, TrainingError, "budget"),
        ({"model": "net.keras", "dataset": "mnist", "budget": 9}, TrainingError, "budget"),
        ({"dataset": "cifar10"}, TrainingError, "no_recipe"),
        ({}, DatasetError, "no_dataset"),
    ],
)
def test_what_cannot_be_compared(
    options: dict[str, Any], error: type[Exception], code: str
) -> None:
    """What cannot work is refused before any data are read or any engine is started."""
    with pytest.raises(error) as refused:
        lrcompress.compare(**options)

    assert refused.value.code == code  # type: ignore[attr-defined]


@pytest.mark.keras
def test_ranks_that_do_not_fit(data: str, model: Path, tmp_path: Path) -> None:
    """A rank above the smaller side is refused, and so is a call without any."""
    with pytest.raises(RankError, match="16 x 10"):
        lrcompress.compare(model, dataset=data, scaling="/16", ranks=[11], output=tmp_path)
    with pytest.raises(RankError, match="--ranks") as refused:
        lrcompress.compare(model, dataset=data, scaling="/16", output=tmp_path)

    assert refused.value.code == "no_ranks"


def test_a_budget_is_shared(tmp_path: Path) -> None:
    """Full rank gets the budget less fine-tuning, from scratch all of it, at full rank too."""
    from lrcompress.studies.arms import Plan, jobs
    from lrcompress.studies.full_rank import Data
    from lrcompress.studies.request import CompareRequest

    asked = CompareRequest(budget=10)
    counts = asked.trained_epochs(None)
    nothing: Any = None
    plan = Plan(asked, nothing, Data("mnist", nothing), {}, counts)

    keys = [key for job in jobs(plan, [4, 2], 1) for key in job.keys]

    assert counts == {"full": 8, "scratch": 10}
    assert keys == [
        ("full", None, 1), ("full-finetuned", None, 1), ("svd", 4, 1), ("svd", 2, 1),
        ("refined", 4, 1), ("refined", 2, 1), ("finetuned", 4, 1), ("finetuned", 2, 1),
        ("scratch", None, 1), ("scratch", 4, 1), ("scratch", 2, 1),
    ]  # fmt: skip
