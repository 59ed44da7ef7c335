"""Layers of any name run: what they are called is nobody's program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import Result
from keras import layers

NAMES = (
    "a b", "ä", "a,b", "a'\"b", "a\nb", "x" * 300, "-a", "a\\b", "\x1b[31mred", "a:b", "[red]", "$\\frac{1}{$", "日本",
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    """Return the options that name a small data set."""
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3
    np.savez(tmp_path / "data.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    return ["--dataset", "data.npz", "--scaling", "as-is"]


def build(path: Path, names: tuple[str, ...], last: str, model: str) -> None:
    """Save a network of a layer for each name."""
    inner = [layers.Dense(8, activation="relu", name=name) for name in names]
    network = keras.Sequential(
        [keras.Input((4,), name=f"{model} in"), *inner, layers.Dense(3, "softmax", name=last)],
        name=model,
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.save(path)


def test_layers_of_any_name_run(
    run: Callable[..., Result], data: list[str], tmp_path: Path
) -> None:
    """All in one network, in every command that runs it."""
    build(tmp_path / "model.keras", NAMES, "b c", "größe 1")
    for words in (
        ["evaluate", "model.keras", *data], ["sweep", "model.keras", *data, "--plot", "sweep.svg"],
        ["factorize", "model.keras", "--rank", 1, "-o", "small.keras", *data],
        ["finetune", "small.keras", "--epochs", 1, *data], ["benchmark", "--seconds", 0, "--batch-sizes", 1],
        ["report", "-o", "report.html"],
        ["factorize", "model.keras", "--layer", "ä", "--rank", 1, "-o", "x.keras", *data],
    ):  # fmt: skip
        result = run(*words)

        assert result.exit_code == 0, (words, result.stderr)
        assert "\x1b" not in result.output


@pytest.mark.parametrize("name", NAMES[4:-1:3])
def test_a_formula_is_a_name_in_figures(
    run: Callable[..., Result], tmp_path: Path, name: str
) -> None:
    """Matplotlib would read what stands between dollars, and stop where it is none."""
    build(tmp_path / "model.keras", (), name, "model")

    assert run("sweep", "model.keras", "--plot", "sweep.svg").exit_code == 0
    assert (tmp_path / "sweep.svg").exists()
