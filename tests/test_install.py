"""The ways to install that docs/install.md describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lrcompress
from lrcompress.runtimes import TARGETS

tomllib = pytest.importorskip("tomllib", reason="it came with Python 3.11")
ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_without_an_engine_all_else_is_the_same() -> None:
    """The file for those who bring JAX or PyTorch lists the dependencies, TensorFlow apart."""
    lines = (ROOT / "requirements-no-engine.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith("#")]

    assert listed == [one for one in PROJECT["dependencies"] if not one.startswith("tensorflow")]
    assert len(listed) == len(PROJECT["dependencies"]) - 1


def test_extras_bring_what_targets_need() -> None:
    """Of every format, under the names that messages suggest."""
    brought = {re.split(r"[<>=]", one)[0] for one in PROJECT["optional-dependencies"]["export"]}
    needed = {name.replace("_", "-") for target in TARGETS.values() for name in target.packages}

    assert needed == brought


def test_no_message_names_an_extra_of_a_package_that_is_on_no_index() -> None:
    """It would not work from a checkout, or install what somebody else calls so."""
    package = Path(lrcompress.__file__).parent
    said = [
        f"{path.name}: {found}"
        for path in package.rglob("*.py")
        for found in re.findall(r"install .{0,12}lrcompress.*", path.read_text(encoding="utf-8"))
    ]

    assert said == []


def test_the_dockerfile_has_what_it_copies() -> None:
    """Everything that is copied exists, and the build needs nothing else of the project."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.*)$", text, re.M) for word in line.split()[:-1]]

    # Tests may stand apart from the package, as in CI.
    assert [name for name in copied if name != "lrcompress" and not (ROOT / name).exists()] == []
    needed = {"pyproject.toml", "lrcompress", PROJECT["readme"], PROJECT["license-files"][0]}
    assert needed <= {*copied}
