"""Examples in docstrings print what they show."""

from __future__ import annotations

import doctest
import importlib
import shutil
from pathlib import Path

import pytest

import lrcompress

PACKAGE = Path(lrcompress.__file__).parent
MODULES = sorted(
    ".".join(("lrcompress", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    )
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(
    name: str, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs in a folder with the bundled model."""
    shutil.copy(examples / "digits_cnn.keras", tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)

    found = doctest.testmod(importlib.import_module(name))

    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples() -> None:
    """The package shows how it is used."""
    assert {"lrcompress", "lrcompress.verbs.inspect", "lrcompress.lowrank.svd"} <= set(MODULES)
