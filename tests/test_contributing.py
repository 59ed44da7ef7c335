"""What the page for contributors says is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import lrcompress

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
PACKAGE = Path(lrcompress.__file__).parent


def test_files_that_it_names_are_there() -> None:
    """Every path of the package, the tests and the benchmarks exists; NAME stands for a new file."""
    named = re.findall(r"`((?:lrcompress|tests|benchmarks|docs)/[\w/.]+)`", PAGE)

    assert len(named) > 10
    for path in named:
        place = PACKAGE.parent if path.startswith("lrcompress") else ROOT
        assert (place / path).exists() or re.search("NAME|ROOM", path), path


def test_the_way_of_a_kernel_is_as_short_as_it_says() -> None:
    """The counts are those of today, and a factorization opens its input no oftener than twice."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "way_of_a_kernel.py")],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    rows = re.findall(r"^\| ([\w ]+) \| \d+ \| (\d+) \|$", PAGE, re.M)

    assert dict(rows) == {
        "modules imported": str(found["modules_imported"]),
        "modules in which a function runs": str(found["modules_entered"]),
        "openings of the model file": str(found["openings_of_the_input"]),
        "architectures built": str(found["architectures_built"]),
        "searches for the head": str(found["searches_for_the_head"]),
    }
    assert found["openings_of_the_input"] <= 2
    assert found["architectures_built"] <= 2
    assert found["searches_for_the_head"] <= 1
