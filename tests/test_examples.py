"""Every example runs, in a folder of its own, on bundled data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Script to (its arguments, what it prints, files that it writes).
EXAMPLES: dict[str, tuple[list[str], str, list[str]]] = {
    "strangers_file.py": ([], r"\ndigits_cnn-modern.h5 against .* 100%\n", ["digits_cnn-rank4.h5"]),
    "choose_rank.py": ([], r"wrote report.html", ["chosen.keras", "report.html", "sweep.json"]),
    "in_training.py": (["--quick"], r"test accuracy: 0\.\d+ full", ["small.keras"]),
    "paper_tables.py": (["--quick"], r"\nfinetuned +2 ", ["compare-digits/compare.json"]),
    "mnist_walkthrough.py": (["--quick"], r"fine-tuned: ", ["refined.keras"]),
    "export_to_phone.py": ([], r"factors: two.*\n3[45]\d of 360 test", ["digits-int8.tflite"]),
}
# It needs a text; test_language_model.py writes one.
ELSEWHERE = {"language_model.py"}


@pytest.mark.keras
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """It ends well, says what it should, and leaves what it names."""
    if name == "export_to_phone.py":
        request.getfixturevalue("litert")
    arguments, said, files = EXAMPLES[name]

    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert re.search(said, done.stdout), done.stdout
    assert [file for file in files if not (tmp_path / file).is_file()] == []


@pytest.mark.keras
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_training_script_under_another_engine(backend: str, tmp_path: Path) -> None:
    """A live model is watched, factorized in one layer and in all, and trained on; TensorFlow is not imported."""
    pytest.importorskip(backend)
    script = ROOT / "examples" / "in_training.py"
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = None; sys.argv[1:] = ['--quick']; "
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"KERAS_BACKEND": backend},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert re.search(r"\ntest accuracy: 0\.\d+ full", done.stdout), done.stdout
    assert "half of the weights: <FactorizeResult" in done.stdout
    assert "Warning" not in done.stderr


def test_no_example_is_left_out() -> None:
    """Each script has a test, and a line in the README of the folder."""
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")

    assert scripts == set(EXAMPLES) | ELSEWHERE
    assert [name for name in scripts if f"`{name}`" not in page] == []
