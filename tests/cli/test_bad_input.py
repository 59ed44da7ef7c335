"""Bad input gets one clear line and the right exit code, and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def model(examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example model in the working directory."""
    return Path(shutil.copy(examples / "digits_cnn.h5", tmp_path / "model.h5"))


@pytest.fixture
def archive(examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example archive in the working directory."""
    return Path(shutil.copy(examples / "digits_cnn.keras", tmp_path / "model.keras"))


def refused(result: Result, exit_code: int, *words: str) -> None:
    """Check one line on stderr that holds the words, and the exit code."""
    assert result.exit_code == exit_code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]
    assert result.stdout == ""


@pytest.fixture(autouse=True)
def nothing_new_but_the_input(tmp_path: Path) -> Iterator[None]:
    """Check after every test that no file was left beside those it made itself."""
    yield
    left = [p.name for p in tmp_path.rglob("*") if ".partial" in p.name or "rank" in p.name]
    assert [name for name in left if name != "model-rank4.h5"] == []


@pytest.mark.parametrize(
    ("line", "exit_code", "words"),
    [
        ("factorize nowhere.h5 --rank 4", 2, "nowhere.h5|does not exist"),
        ("factorize folder.h5 --rank 4", 2, "folder.h5|a folder"),
        ("factorize saved --rank 4", 2, "SavedModel|model.save"),
        ("factorize empty.h5 --rank 4", 1, "empty.h5"),
        ("factorize notes.h5 --rank 4", 1, "notes.h5"),
        *((f"factorize model.h5 --rank={r}", 2, f"--rank|{r}") for r in (0, -1, "four", 2.5)),
        *((f"factorize model.h5 --rank {r}", 1, f"{r}|256|10") for r in (11, 1000)),
        # At or above break-even, which is named, and the way to do it all the same.
        ("factorize model.h5 --rank 10", 1, "10|9|force"),
        ("factorize model.h5 --rank 4 --energy 0.9", 2, "--rank|--energy"),
        ("factorize model.h5 --rank 4 --layer prediction", 1, "predictions"),
        ("factorize model.h5 --rank 4 -o no/where.h5", 1, "no"),
        ("factorize model.h5 --rank 4 -o model.onnx", 1, ".h5"),
        ("finetune", 1, "factorize"),
        ("report", 1, "factorize"),
        ("fatorize", 2, "--help"),
        ("factorize", 2, "--help"),
        ("factorize x.h5 --nope", 2, "--help"),
    ],
)
@pytest.mark.usefixtures("model")
def test_one_line_says_what_is_wrong(
    run: Run, tmp_path: Path, line: str, exit_code: int, words: str
) -> None:
    """Files that are none, ranks that are none, outputs that cannot be, and usage: each word is in the line."""
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "notes.h5").write_text("these are my notes\n" * 100)

    refused(run(*line.split()), exit_code, *words.split("|"))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95, 0.999])
@pytest.mark.parametrize("kind", ["model", "archive"])
def test_truncated(run: Run, request: pytest.FixtureRequest, kind: str, share: float) -> None:
    """A truncated file of either format is refused."""
    path: Path = request.getfixturevalue(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    refused(run("factorize", path.name, "--rank", 4), 1, path.name)


def test_weights_only(run: Run, model: Path, tmp_path: Path) -> None:
    """A file without an architecture is refused with the advice to save the whole model."""
    with h5py.File(model) as whole, h5py.File(tmp_path / "weights.h5", "w") as file:
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
        file.attrs.update(whole["model_weights"].attrs)

    refused(run("factorize", "weights.h5", "--rank", 4), 1, "weights.h5", "only weights", "save")


def test_no_dense(run: Run, model: Path) -> None:
    """A model without a Dense layer is refused."""
    with h5py.File(model, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        layers = config["config"]["layers"]
        config["config"]["layers"] = [la for la in layers if la["class_name"] != "Dense"]
        file.attrs["model_config"] = json.dumps(config)

    refused(run("factorize", "model.h5", "--rank", 4), 1)


def test_existing_output(run: Run, model: Path, tmp_path: Path) -> None:
    """An existing output is kept, unless --overwrite is given."""
    (tmp_path / "model-rank4.h5").write_text("precious")

    refused(run("factorize", "model.h5", "--rank", 4), 1, "model-rank4.h5", "--overwrite")

    assert (tmp_path / "model-rank4.h5").read_text() == "precious"


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_output_is_input(run: Run, model: Path, tmp_path: Path, link: str | None) -> None:
    """The input is never overwritten, also not with --overwrite and not through a link."""
    before = model.read_bytes()
    target = tmp_path / "other.h5" if link else model
    if link == "symbolic":
        target.symlink_to(model)
    elif link == "hard":
        target.hardlink_to(model)

    result = run("factorize", "model.h5", "--rank", 4, "-o", target, "--overwrite")

    refused(result, 1, "input")
    assert model.read_bytes() == before


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in which this process cannot write."""
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.name == "posix" and os.geteuid() == 0:
        # Root may write everywhere, but for what the kernel keeps to itself.
        yield Path("/proc")
    else:
        yield folder
    folder.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_unwritable_folder(run: Run, model: Path, locked: Path) -> None:
    """A folder that may not be written is named, and nothing is left in it."""
    result = run("factorize", "model.h5", "--rank", 4, "-o", locked / "x.h5")

    refused(result, 1, str(locked), "--output")
    assert not (locked / "x.h5").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_kernel_that_is_not_finite(run: Run, model: Path, value: float) -> None:
    """NaN or infinity in the kernel is refused with the layer's name."""
    with h5py.File(model, "r+") as file:
        names: list[h5py.Dataset] = []
        file["model_weights/predictions"].visititems(
            lambda _, item: names.append(item) if isinstance(item, h5py.Dataset) else None
        )
        kernel = next(item for item in names if item.ndim == 2)
        kernel[3, 3] = value

    refused(run("factorize", "model.h5", "--rank", 4), 1, "predictions")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 99}', "\x00" * 50])
def test_run_record_is_none(run: Run, tmp_path: Path, content: str) -> None:
    """A record that is not one is refused by name."""
    (tmp_path / "broken.lrcompress.json").write_text(content)

    refused(run("report"), 1, "broken.lrcompress.json")


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("factorize model.h5 --rank 10 --json", 1, "rank_saves_nothing"),
        ("factorize nowhere.h5 --json", 2, "usage"),
    ],
)
@pytest.mark.usefixtures("model")
def test_error_as_json(run: Run, line: str, exit_code: int, code: str) -> None:
    """With --json an error is one document on stdout and the same line on stderr."""
    result = run(*line.split())

    document = json.loads(result.stdout)
    assert result.exit_code == exit_code
    assert document["schema_version"] == 1
    assert document["error"]["code"] == code
    assert result.stderr.strip() == f"Error: {document['error']['message']}"


@pytest.mark.keras
class TestWithData:
    """Errors about data: these start Keras."""

    def test_unknown_data_set(self, run: Run, model: Path) -> None:
        """An unknown name is a usage error that suggests the near one."""
        result = run("factorize", "model.h5", "--rank", 4, "--dataset", "digit", "-q")

        refused(result, 2, "digit", "'digits'")

    @pytest.mark.parametrize(
        ("shape", "classes", "word"),
        [((20, 9, 9), 10, "(9, 9)"), ((20, 8, 8), 12, "up to 11"), ((20, 3), 10, "(3,)")],
    )
    def test_data_that_do_not_fit(
        self, run: Run, model: Path, tmp_path: Path, shape: tuple[int, ...], classes: int, word: str
    ) -> None:
        """Data of the wrong shape or class count are refused with both sides."""
        x = np.zeros(shape, np.uint8)
        y = np.arange(len(x)) % classes
        np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_test=x, y_test=y)

        result = run("factorize", "model.h5", "--rank", 4, "--dataset", "other.npz", "-q")

        refused(result, 1, word)

    def test_finetune_without_a_data_set(self, run: Run, model: Path, tmp_path: Path) -> None:
        """A model that names no data set needs --dataset."""
        with h5py.File(model, "r+") as file:
            del file.attrs["lrcompress"]
        assert run("factorize", "model.h5", "--rank", 4).exit_code == 0

        refused(run("finetune", "-q"), 1, "--dataset")

        for path in tmp_path.glob("model-rank4*"):
            path.unlink()
