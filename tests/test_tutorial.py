"""The tutorial, followed step by step."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
# A block of a language, and the text that is shown below it, if any.
STEP = re.compile(r"```(sh|python)\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.S)
SETTING_UP = """\
python -m pip install .
mkdir tutorial && cd tutorial
cp ../examples/digits_cnn.h5 model.h5
"""


@pytest.mark.keras
def test_tutorial(
    tmp_path: Path,
    examples: Path,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command and every Python line runs, and what needs no data prints what is shown."""
    steps = STEP.findall(PAGE.read_text(encoding="utf-8"))
    shutil.copy(examples / "digits_cnn.h5", "model.h5")
    # A tenth of the data: the commands are the page's, the training is short.
    tenth = {name: array[::10] for name, array in digits().items()}
    np.savez(tmp_path / "digits.npz", **tenth)
    monkeypatch.setenv("LRCOMPRESS_DATA", str(tmp_path))
    commands = []

    assert steps[0] == ("sh", SETTING_UP, "")
    for language, block, shown in steps[1:]:
        if language == "python":
            exec(block, {})
            continue
        for line in block.splitlines():
            program, *words = line.split()
            done = run(*words)
            commands.append(words[0])
            assert program == "lrcompress"
            assert done.exit_code == 0, done.output
        # What data chose or training found differs from machine to machine.
        if "inspect" in block or block.endswith("--rank 4\n"):
            assert set(shown.splitlines()) <= set(done.stdout.splitlines()), block

    assert commands == [
        "inspect", "factorize", "evaluate", "factorize", "factorize", "finetune", "report"
    ]  # fmt: skip
    printed = re.findall(r"print\(.*\)  # (\d+)", PAGE.read_text(encoding="utf-8"))
    assert printed == [capsys.readouterr().out.split()[-1]]


def digits() -> dict[str, np.ndarray]:
    """Return the arrays of the bundled data set."""
    import lrcompress

    with np.load(Path(lrcompress.__file__).parent / "data" / "digits.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}
