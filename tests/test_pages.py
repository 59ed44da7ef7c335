"""The code blocks of README and docs run as they stand; the tutorial has a test of its own."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import lrcompress

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(sh|console|python)\n(.*?)^```", re.S | re.M)
# What these train takes minutes at any size; other tests run them on small networks.
TRAINERS = ("train-from-scratch", "compare")
# Pages whose blocks are of other data, or set up: test_tutorial.py and test_language_model.py run them.
ELSEWHERE = ("tutorial.md", "large-vocabularies.md")
PAGES = sorted(
    page
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
    if BLOCK.search(page.read_text(encoding="utf-8")) and page.name not in ELSEWHERE
)


@pytest.fixture(scope="module")
def ranked(examples: Path, tenths: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the bundled model in both formats and its run at rank 4, which most blocks go on from."""
    folder = tmp_path_factory.mktemp("ranked")
    for suffix in (".h5", ".keras"):
        shutil.copy(examples / f"digits_cnn{suffix}", folder / f"model{suffix}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LRCOMPRESS_DATA", str(tenths))
        lrcompress.factorize("model.h5", rank=4, dataset="mnist")
    return folder


def set_up(folder: Path, block: str, ranked: Path, data: Path) -> None:
    """Put there what a block takes for granted: a model, a run, a comparison."""
    names = ["model.h5", "model.keras"]
    if "factorize" not in block:
        names += [path.name for path in ranked.iterdir() if "rank4" in path.name]
    for name in names:
        if f"-o {name}" not in block:
            shutil.copy(ranked / name, folder)
    if "data.npz" in block:
        shutil.copy(data / "mnist.npz", folder / "data.npz")
    if "--architecture model.json" in block:
        import keras

        model = keras.saving.load_model("model.keras")
        model.save_weights("model.weights.h5")
        Path("model.json").write_text(model.to_json(), encoding="utf-8")
    (folder / "compare-mnist").mkdir()
    shutil.copy(
        ROOT / "benchmarks" / "results" / "compare-mnist.json",
        folder / "compare-mnist" / "compare.json",
    )


@pytest.mark.keras
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_a_page_run(
    page: Path, run: Callable[..., Result], ranked: Path, few_samples: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Each block runs in a folder of its own, line by line, and every line succeeds."""
    ran = 0
    if page.name in ("export.md", "compress.md"):
        for package in ("ai_edge_litert", "onnxruntime", "tf2onnx"):
            pytest.importorskip(package, reason="the page exports")
    for number, (language, block) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
        if "pip install" in block:
            continue  # CI runs these two by themselves.
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        set_up(folder, block, ranked, few_samples)
        if language == "python":
            run_python(block)
            ran += 1
            continue
        for line in block.splitlines():
            if language == "console" and not line.startswith("$ "):
                continue
            ran += run_line(line.removeprefix("$ "), run)
    assert ran or page.name in ("comparing.md", "install.md")


def run_line(line: str, run: Callable[..., Result]) -> bool:
    """Run one line of a shell as far as it is ours; return whether it was."""
    command, _, target = line.partition(" > ")
    program, *words = shlex.split(command, comments=True)
    if program != "lrcompress" or words[0] in TRAINERS:
        return False
    # Half a minute of timing would tell no more here.
    quick = ["--seconds", "0"] if words[0] == "benchmark" else []
    done = run(*words, *quick)
    assert done.exit_code == 0, f"{line}\n{done.output}"
    if target:
        Path(target).write_text(done.stdout, encoding="utf-8")
    return True


def run_python(block: str) -> None:
    """Run a block with what its page has introduced by then."""
    import keras

    model = keras.saving.load_model("model.keras")
    with np.load(Path(lrcompress.__file__).parent / "data" / "digits.npz") as arrays:
        x, y = arrays["x_train"][:64], arrays["y_train"][:64]
    if "categorical" in str(model.loss) and "sparse" not in str(model.loss):
        y = keras.utils.to_categorical(y, 10)
    exec(block, {"lrcompress": lrcompress, "model": model, "x": x, "y": y})
