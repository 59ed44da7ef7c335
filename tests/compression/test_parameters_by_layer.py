"""Which layer of a model has how many weights, before and after."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result


@pytest.mark.parametrize("options", [("--rank", "4"), ("--layers", "all", "--reduction", "0.5")])
def test_all_weights_are_counted_once(
    run: Callable[..., Result], examples: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The layers' weights add up to the model's, new layers with those that they stand for."""
    done = run("factorize", examples / "digits_cnn.keras", *options, "-o", tmp_path / "small.keras")
    record = json.loads((tmp_path / "small.lrcompress.json").read_text(encoding="utf-8"))
    rows = {row["path"]: row for row in record["parameters_by_layer"]}

    assert done.exit_code == 0, done.output
    for when in ("parameters_before", "parameters_after"):
        assert sum(row[when] for row in rows.values()) == record[when]
    assert all(row["parameters_before"] for row in rows.values())
    assert rows["predictions"]["class_name"] == "Dense"
    if "--rank" in options:
        assert (
            rows["predictions"]["parameters_before"],
            rows["predictions"]["parameters_after"],
        ) == (2570, 1074)
