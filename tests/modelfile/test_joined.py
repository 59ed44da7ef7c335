"""Weights in a file of their own with an architecture as JSON: `--architecture`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import LRCompressError, UnsupportedModelError
from lrcompress.modelfile import open_model, whole_file


def split(whole: Path, folder: Path) -> tuple[Path, Path]:
    """Write what `save_weights` and `to_json` say of a model: names of layers in HDF5, numbers from an archive."""
    architecture = folder / "model.json"
    if whole.suffix == ".keras":
        with zipfile.ZipFile(whole) as archive:
            weights = folder / "net.weights.h5"
            weights.write_bytes(archive.read("model.weights.h5"))
            architecture.write_bytes(archive.read("config.json"))
        return weights, architecture
    weights = folder / "net.h5"
    with h5py.File(whole) as file, h5py.File(weights, "w") as alone:
        architecture.write_text(str(file.attrs["model_config"]), encoding="utf-8")
        for name in file["model_weights"]:
            file.copy(f"model_weights/{name}", alone)
        alone.attrs.update(file["model_weights"].attrs)
    return weights, architecture


@pytest.mark.parametrize("name", ["digits_cnn.h5", "digits_cnn.keras"])
def test_both_become_a_whole_model(
    name: str, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factors are those of the model that both are from; what was given stays as it was."""
    monkeypatch.chdir(tmp_path)
    weights, architecture = split(examples / name, tmp_path)
    before = weights.read_bytes(), architecture.read_bytes()

    result = lrcompress.factorize(weights, architecture=architecture, rank=3)

    expected = lrcompress.factorize(
        examples / name, rank=3, output=tmp_path / f"same{Path(name).suffix}"
    )
    np.testing.assert_array_equal(result.factors.B, expected.factors.B)
    assert (weights.read_bytes(), architecture.read_bytes()) == before
    whole = tmp_path / f"net-whole{Path(name).suffix}"
    assert result.input == Path(whole.name)
    assert result.output == Path(f"net-whole-rank3{Path(name).suffix}")
    assert open_model(whole).weights.problem is None
    found, meant = open_model(whole), open_model(examples / name)
    assert [(one.path, one.parameters) for one in found.layers] == [
        (one.path, one.parameters) for one in meant.layers
    ]


@pytest.mark.keras
@pytest.mark.parametrize("name", ["digits_cnn.h5", "digits_cnn.keras"])
def test_keras_loads_what_came_out(
    name: str, examples: Path, tmp_path: Path, load_keras: Callable[[Path], Any]
) -> None:
    """It predicts as the model that both are from."""
    whole = whole_file(*split(examples / name, tmp_path), tmp_path)
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)

    found, meant = (load_keras(path).predict(x, verbose=0) for path in (whole, examples / name))

    np.testing.assert_array_equal(found, meant)


def test_what_keras_2_writes_beside_numbered_weights(examples: Path, tmp_path: Path) -> None:
    """Its `to_json` leaves out where the outermost class is from, which archives of its time say."""
    weights, architecture = split(examples / "digits_cnn.keras", tmp_path)
    config = json.loads(architecture.read_text(encoding="utf-8"))
    old = {
        "class_name": config["class_name"],
        "config": config["config"],
        "keras_version": "2.15.0",
    }
    architecture.write_text(json.dumps(old), encoding="utf-8")

    whole = open_model(whole_file(weights, architecture, tmp_path))

    assert whole.config == {"module": "keras", "registered_name": config["class_name"]} | {
        key: config[key] for key in ("class_name", "config")
    }
    assert whole.keras_version == "2.15.0"


def test_inspect_and_sweep_leave_no_file(
    examples: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    """They only look, and name the file that they were given."""
    weights, architecture = split(examples / "digits_cnn.h5", tmp_path)
    before = sorted(tmp_path.iterdir())

    seen = run("inspect", weights, "--architecture", architecture, "--json")
    swept = run("sweep", weights, "--architecture", architecture, "--json")
    wrong = run("inspect", weights, "--architecture", architecture, "--layer", "nowhere")

    assert [json.loads(done.stdout)["model"] for done in (seen, swept)] == [str(weights)] * 2
    assert wrong.exit_code == 1
    assert str(weights) in wrong.stderr
    assert "lrcompress-" not in wrong.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_the_whole_file_is_made_once(
    examples: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    """The same again is no overwriting; another file of that name is."""
    weights, architecture = split(examples / "digits_cnn.h5", tmp_path)
    asked = ("factorize", weights, "--architecture", architecture, "--rank")

    first, second = run(*asked, 3), run(*asked, 4)

    assert (first.exit_code, second.exit_code) == (0, 0), second.stderr
    assert "wrote net-whole.h5: weights and architecture in one file" in first.stderr
    Path("net-whole.h5").write_bytes(b"another")
    third = run(*asked, 5)
    assert third.exit_code == 1
    assert "net-whole.h5 already exists; pass --overwrite" in third.stderr
    assert Path("net-whole.h5").read_bytes() == b"another"
    assert run(*asked, 5, "--overwrite").exit_code == 0


def _units(architecture: Path, units: int) -> None:
    text = architecture.read_text(encoding="utf-8")
    assert text.count('"units": 256') == 1
    architecture.write_text(text.replace('"units": 256', f'"units": {units}'), encoding="utf-8")


@pytest.mark.parametrize("name", ["digits_cnn.h5", "digits_cnn.keras"])
def test_weights_of_another_model(name: str, examples: Path, tmp_path: Path) -> None:
    """The layer that does not fit is named, and nothing is written."""
    weights, architecture = split(examples / name, tmp_path)
    _units(architecture, 300)

    with pytest.raises(UnsupportedModelError, match="layer dense has 300 outputs") as refused:
        whole_file(weights, architecture, tmp_path)

    assert refused.value.code == "weights_mismatch"
    assert not list(tmp_path.glob("*whole*"))


def _deep(weights: Path, architecture: Path) -> None:
    architecture.write_text('{"class_name": "Sequential", "config": ' + "[" * 300 + "]" * 300 + "}")


def _list(weights: Path, architecture: Path) -> None:
    architecture.write_text('{"class_name": "Sequential"}')


def _binary(weights: Path, architecture: Path) -> None:
    architecture.write_bytes(weights.read_bytes()[:500])


def _gone(weights: Path, architecture: Path) -> None:
    architecture.unlink()


def _cut(weights: Path, architecture: Path) -> None:
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def _linked(weights: Path, architecture: Path) -> None:
    with h5py.File(weights, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def _not_weights(weights: Path, architecture: Path) -> None:
    with h5py.File(weights, "w") as file:
        file["images"] = [1.0]


@pytest.mark.safety
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_deep, "hostile"), (_list, "config"), (_binary, "config"), (_gone, "missing"),
        (_cut, "truncated"), (_linked, "hostile"), (_not_weights, "not_keras"),
    ],
)  # fmt: skip
def test_files_that_are_refused(
    spoil: Callable[[Path, Path], None], code: str, examples: Path, tmp_path: Path
) -> None:
    """Within the limits of whole files, in one line, and nothing is written."""
    weights, architecture = split(examples / "digits_cnn.h5", tmp_path)
    spoil(weights, architecture)

    with pytest.raises(LRCompressError) as refused:
        whole_file(weights, architecture, tmp_path)

    assert refused.value.code == code
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("*whole*"))


@pytest.mark.parametrize("name", ["digits_cnn.h5", "digits_cnn.keras"])
def test_a_whole_model_needs_no_architecture(name: str, examples: Path, tmp_path: Path) -> None:
    """It has its own, and two might contradict each other."""
    _, architecture = split(examples / name, tmp_path)

    with pytest.raises(LRCompressError, match=r"leave (--architecture|it) out") as refused:
        whole_file(examples / name, architecture, tmp_path)

    assert refused.value.code == "not_weights"
