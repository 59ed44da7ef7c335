"""The tutorial, followed step by step."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

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
    examples: Path,
    run: Callable[..., Result],
    few_samples: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command and every Python line runs, and what needs no data prints what is shown."""
    steps = STEP.findall(PAGE.read_text(encoding="utf-8"))
    shutil.copy(examples / "digits_cnn.h5", "model.h5")
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
    # Printed there of all the digits, here of a tenth.
    page = PAGE.read_text(encoding="utf-8")
    (told,) = re.findall(r"print\(.*\)  # (\d+)", page)
    assert f" {int(told):,} " in page
    assert f" {int(capsys.readouterr().out.split()[-1]):,} " in done.stdout
