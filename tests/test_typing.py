"""The package is typed for those who use it: a strict checker sees what its functions return."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="the lint extra is not installed")

USE = """\
import lrcompress
import numpy as np

made = lrcompress.factorize("model.keras", rank=4)
reveal_type(made.output)
reveal_type(made.factors.B)
reveal_type(lrcompress.truncated_svd(np.eye(3), 2).certificate.optimality)
reveal_type(lrcompress.finetune(made.output).error_rate_after)
reveal_type(lrcompress.benchmark([made.output]).rows)
lrcompress.factorize("model.keras", rank="four")
"""


def test_public_functions_are_typed(tmp_path: Path) -> None:
    """What comes back has its type, and a wrong argument is an error."""
    (tmp_path / "use.py").write_text(USE, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "use.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    found = [line.split("use.py:")[1] for line in done.stdout.splitlines() if "use.py:" in line]
    revealed = [line.split('"')[1] for line in found if "Revealed type" in line]
    assert "Any" not in revealed[0] and "Path" in revealed[0], done.stdout
    assert "ndarray" in revealed[1]
    assert revealed[2].removeprefix("builtins.") == "float"
    assert "float" in revealed[3]
    assert "dict" in revealed[4]
    errors = [line for line in found if "error:" in line]
    assert len(errors) == 1
    assert '"rank"' in errors[0]
