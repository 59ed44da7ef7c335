"""The example of a language model, on a text that the test writes, through the everyday commands."""

from __future__ import annotations

import gzip
import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

pytestmark = pytest.mark.keras
NAMES, VERBS, THINGS = ("Ann", "Bob", "Eve"), ("sees", "takes", "likes"), ("tea", "bread", "jam")


@pytest.fixture(scope="module")
def script(examples: Path) -> dict[str, Any]:
    """Return the functions of the example."""
    return runpy.run_path(str(examples / "language_model.py"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a gzipped text of short sentences with a rare word here and there."""
    rng = np.random.default_rng(0)
    lines = [
        " ".join(str(rng.choice(words)) for words in (NAMES, VERBS, THINGS)) + f", word{i}."
        for i in range(400)
    ]
    path = tmp_path_factory.mktemp("text") / "book.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_words_and_samples(script: dict[str, Any], text: Path) -> None:
    """Marks are words, rare words are one word, and each target is the word that follows."""
    words = script["read_words"](text)
    vocabulary = script["make_vocabulary"](words, 12)
    data = script["make_dataset"](words, vocabulary, steps=5)

    assert words[3:6] == [",", "word0", "."]
    assert vocabulary[0] == script["UNKNOWN"]
    assert set(vocabulary[1:]) == {",", "."} | {word.lower() for word in NAMES + VERBS + THINGS}
    both = np.concatenate([data["x_train"], data["x_test"]])
    assert len(both) == (len(words) - 1) // 5
    np.testing.assert_array_equal(data["x_train"][0, 1:], data["y_train"][0, :-1])
    assert [vocabulary[i] for i in data["y_train"][0]][3:5] == [script["UNKNOWN"], "."]
    assert len(data["x_test"]) in range(len(both) // 30, len(both) // 10)


def test_language_model_through_the_commands(
    script: dict[str, Any],
    text: Path,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It trains, is factorized on its own data, recovers, and predicts a word at every step."""
    import lrcompress
    from lrcompress.live.storing import load_model

    monkeypatch.setattr("sys.argv", ["language_model.py", "--text", str(text), "--tiny"])
    script["main"]()
    run("factorize", "language_model.keras", "--dataset", "language_model.npz", "--rank", 4)
    tuned = run("finetune", "--epochs", 1)
    by_drop = run("factorize", "language_model.keras", "--dataset", "language_model.npz",
                  "--max-drop", "20%", "--method", "whitened", "-o", "by-drop.keras")  # fmt: skip

    full, small = lrcompress.evaluate(
        ["language_model.keras", "language_model-rank4-finetuned.keras"],
        dataset="language_model.npz",
    )
    assert tuned.exit_code == 0, tuned.stderr
    assert by_drop.exit_code == 0, by_drop.stderr
    assert "loses at most 20 % of perplexity on held-out data" in by_drop.stdout
    assert full.scaling == "as-is"
    assert full.samples == np.load("language_model.npz")["y_test"].size
    # A model that knows nothing has a perplexity as large as the vocabulary.
    assert math.exp(full.loss) < script["TINY"].vocabulary / 2
    assert math.exp(small.loss) < script["TINY"].vocabulary / 2
    before, model = (load_model(Path(found.model)) for found in (full, small))
    assert model.output_shape == (None, script["TINY"].steps, script["TINY"].vocabulary)
    assert model.count_params() < before.count_params()


def test_perplexity_is_the_measure_of_many_words(run: Callable[..., Result]) -> None:
    """From 100 words at each step on it is told first, chosen by, and written down; not of other models."""
    import keras

    words = keras.Input((5,), dtype="int32")
    rows = keras.layers.Embedding(120, 8)(words)
    keras.Model(words, keras.layers.Dense(120, activation="softmax", name="next")(rows)).save(
        "m.keras"
    )
    keras.Model(words, keras.layers.Dense(2)(keras.layers.Flatten()(rows))).save("other.keras")
    x = np.random.default_rng(0).integers(0, 120, (60, 6))
    given = {"x_train": x[:40, :5], "x_test": x[40:, :5]}
    np.savez("d.npz", **given, y_train=x[:40, 1:], y_test=x[40:, 1:])
    np.savez("numbers.npz", **given, y_train=x[:40, :2] / 9, y_test=x[40:, :2] / 9)

    made = run("factorize", "m.keras", "--dataset", "d.npz", "--method", "whitened", "--force")
    told = run("evaluate", "m.keras", "--dataset", "d.npz")
    swept = run(
        "sweep", "m.keras", "--ranks", "2,4", "--dataset", "d.npz", "--method", "svd", "--json"
    )
    shown = run("report", "m-rank1.keras", "--format", "markdown")
    refused = run(
        "factorize", "other.keras", "--dataset", "numbers.npz", "--max-drop", "1%", "--force"
    )

    assert made.exit_code == 0, made.stderr
    assert "loses at most 1 % of perplexity" in made.stdout
    assert "test data perplexity 120" in made.stdout
    assert "perplexity 120" in told.stdout and "top-1 error" in told.stdout
    rows = json.loads(swept.stdout)["rows"]
    assert [row["measure"] for row in rows] == ["perplexity"] * 2
    assert rows[0]["held_out_perplexity_rise"] == pytest.approx(
        100 * math.expm1(rows[0]["output_error"])
    )
    assert "perplexity 120" in shown.stdout
    assert refused.exit_code == 1
    assert "in percent of perplexity" in refused.stderr
    assert run("factorize", "m.keras", "--max-drop", "some").exit_code == 2
