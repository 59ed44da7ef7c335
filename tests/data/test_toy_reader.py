"""A data format is one class and one entry in READERS: here one from outside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lrcompress.cli import main
from lrcompress.data import sources
from lrcompress.errors import UnknownDatasetError


class Csv:
    """Reads ``*.csv``, the label in the last column."""

    says = "a .csv file whose last column is the label"

    def serves(self, word: Any) -> bool:
        """Return whether a word ends as such a file does."""
        return str(word).endswith(".csv")

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Read all rows; a part of them is left out as the test part."""
        rows = np.loadtxt(word, delimiter=",", ndmin=2)
        return word, {"x_train": rows[:, :-1], "y_train": rows[:, -1]}


def test_a_reader_from_outside_serves_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are data sets, errors name it, and so does the help of --dataset."""
    monkeypatch.setattr(sources, "READERS", [Csv(), *sources.READERS])
    path = tmp_path / "flowers.csv"
    np.savetxt(path, np.arange(60).reshape(20, 3) % 3, delimiter=",")

    data = sources.load(str(path))

    assert data.x_train.shape == (16, 2)
    assert data.classes == 3
    assert data.source == str(path)
    with pytest.raises(UnknownDatasetError, match=Csv.says):
        sources.load("flowers.parquet")
    assert "last column" in CliRunner().invoke(main, ["evaluate", "--help"]).output
