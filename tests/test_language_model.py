"""The example of a language model, on a text that the test writes, through the everyday commands."""

from __future__ import annotations

import gzip
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

    full, small = lrcompress.evaluate(
        ["language_model.keras", "language_model-rank4-finetuned.keras"],
        dataset="language_model.npz",
    )
    assert tuned.exit_code == 0, tuned.stderr
    assert full.scaling == "as-is"
    assert full.samples == np.load("language_model.npz")["y_test"].size
    # A model that knows nothing has a perplexity as large as the vocabulary.
    assert math.exp(full.loss) < script["TINY"].vocabulary / 2
    assert math.exp(small.loss) < script["TINY"].vocabulary / 2
    before, model = (load_model(Path(found.model)) for found in (full, small))
    assert model.output_shape == (None, script["TINY"].steps, script["TINY"].vocabulary)
    assert model.count_params() < before.count_params()
