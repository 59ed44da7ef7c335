"""`lrcompress merge` and re-compression on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import UnsupportedModelError

Run = Callable[..., Result]


@pytest.fixture(params=["h5", "keras"])
def split(request: pytest.FixtureRequest, examples: Path, tmp_path: Path, run: Run) -> Path:
    """Return a model factorized at rank 4, in either format, in the working directory."""
    name = f"model.{request.param}"
    shutil.copy(examples / f"digits_cnn.{request.param}", tmp_path / name)
    assert run("factorize", name, "--rank", 4, "-o", f"small.{request.param}").exit_code == 0
    return Path(f"small.{request.param}")


def test_merge_says_what_it_did(run: Run, split: Path) -> None:
    """The table has both sizes; the new file and the layer that is gone are named."""
    before = split.read_bytes()

    result = run("merge", split)

    assert result.exit_code == 0
    assert "predictions: Dense 256 x 4 x 10 -> 256 x 10" in result.stdout
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["parameters,", "layer", "1,074", "2,570"] in rows
    assert ["parameters,", "model", "38,898", "40,394"] in rows
    assert "removed: predictions_lowrank" in result.stdout
    assert f"wrote small-merged{split.suffix}" in result.stdout
    assert split.read_bytes() == before
    assert Path(f"small-merged{split.suffix}").exists()


def test_json_has_the_same(run: Run, split: Path) -> None:
    """One document on stdout, with every figure."""
    result = run("merge", split, "-o", f"out{split.suffix}", "--json")

    document = json.loads(result.stdout)
    layer = document["layers"][0]
    assert (document["schema_version"], document["output"]) == (1, f"out{split.suffix}")
    assert (layer["path"], layer["first_name"]) == ("predictions", "predictions_lowrank")
    assert (layer["rank"], layer["kernel_shape"]) == (4, [256, 10])
    assert document["parameters_after"] - document["parameters_before"] == 2_570 - 1_074
    assert document["bytes_after"] == Path(f"out{split.suffix}").stat().st_size
    assert document["optimizer_bytes_after"] == 0


@pytest.mark.parametrize("name", ["predictions", "predictions_lowrank"])
def test_either_name_of_a_pair_will_do(run: Run, split: Path, name: str) -> None:
    """--layer names the one or the other; naming both merges once."""
    one = run("merge", split, "--layer", name, "--json")
    both = run(
        "merge", split, "--layer", name, "--layer", "predictions", "--json", "--overwrite"
    )  # fmt: skip

    assert [one.exit_code, both.exit_code] == [0, 0]
    assert one.stdout == both.stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["model{0}"], "not_split", "two in a row"),
        (["small{0}", "--layer", "dense"], "not_split", "choose with --layer: predictions"),
        (["small{0}", "--layer", "prediction"], "no_such_layer", "predictions"),
        (["small{0}", "--layer", "conv2d"], "no_such_layer", "Conv2D"),
        (["small{0}", "-o", "model{0}"], "output_exists", "--overwrite"),
        (["small{0}", "-o", "small{0}", "--overwrite"], "output_is_input", "input"),
        (["small{0}", "-o", "out.onnx"], "output_suffix", "must end in"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refusals_have_a_code_and_leave_nothing(
    run: Run, split: Path, words: list[str], code: str, message: str
) -> None:
    """What cannot be merged is refused in one line; no file appears or changes."""
    before = {path: path.read_bytes() for path in Path().iterdir()}

    result = run("merge", *(word.format(split.suffix) for word in words), "--json")

    error = json.loads(result.stdout)["error"]
    assert result.exit_code == 1
    assert (error["code"], message in error["message"]) == (code, True)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_the_other_format_needs_another_command(run: Run, split: Path) -> None:
    """Merging starts no Keras, so it keeps the format."""
    other = {".h5": ".keras", ".keras": ".h5"}[split.suffix]

    with pytest.raises(lrcompress.LRCompressError, match="must end in"):
        lrcompress.merge(split, output=f"out{other}")


def test_merging_twice_is_refused(run: Run, split: Path) -> None:
    """A merged file is one Dense again."""
    merged = lrcompress.merge(split).output

    with pytest.raises(UnsupportedModelError) as refused:
        lrcompress.merge(merged)

    assert refused.value.code == "not_split"
