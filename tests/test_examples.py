"""Every example runs, in a folder of its own, on bundled data."""

from __future__ import annotations

import json
import os
import re
import runpy
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
NOTEBOOK = "smaller_model.ipynb"


@pytest.mark.keras
@pytest.mark.parametrize("name", EXAMPLES)
def test_example(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It ends well, says what it should, and leaves what it names; one starts Keras in its own process."""
    # The phone counts what it gets right of all test images.
    request.getfixturevalue("litert" if name == "export_to_phone.py" else "few_samples")
    arguments, said, files = EXAMPLES[name]
    line = [str(ROOT / "examples" / name), *arguments]
    monkeypatch.chdir(tmp_path)

    if name == "strangers_file.py":
        printed = subprocess.run(
            [sys.executable, *line], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    else:
        monkeypatch.setattr(sys, "argv", line)
        runpy.run_path(line[0], run_name="__main__")
        printed = capsys.readouterr().out

    assert re.search(said, printed), printed
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


@pytest.mark.keras
def test_the_notebook(tmp_path: Path) -> None:
    """All cells run; what is committed holds no outputs, and so no paths of a machine."""
    path = ROOT / "examples" / NOTEBOOK
    committed = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in committed["cells"] if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []

    nbformat = pytest.importorskip("nbformat", reason="it comes with nbclient, of the extra `test`")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()

    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    told = "".join(output.get("text", "") for output in outputs)
    assert "'ranks': {'conv2d'" in told
    assert re.search(r"37738 -> 1\d{4}\n", told)
    tables = [output["data"].get("text/html", "") for output in outputs if "data" in output]
    assert [
        name for name in ("FactorizeResult", "FinetuneResult") if name not in "".join(tables)
    ] == []
    assert (tmp_path / "small.keras").is_file()


def test_no_example_is_left_out() -> None:
    """Each script has a test, and a line in the README of the folder."""
    scripts = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert {path.name for path in (ROOT / "examples").glob("*.ipynb")} == {NOTEBOOK}
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")

    assert scripts == set(EXAMPLES) | ELSEWHERE
    assert [name for name in {*scripts, NOTEBOOK} if f"`{name}`" not in page] == []
