"""Files that are not whole Keras models: each gets its own sentence."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import pytest

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import open_model
from tests.modelfile.conftest import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker


def test_no_file_at_all(tmp_path: Path) -> None:
    """Nothing and a folder are refused; a TensorFlow SavedModel has its own code and advice."""
    assert refusal(tmp_path / "none.keras").code == "missing"
    assert refusal(tmp_path).code == "not_keras"

    (tmp_path / "saved_model.pb").write_bytes(b"x")

    error = refusal(tmp_path)
    assert error.code == "saved_model"
    assert 'model.save("model.keras")' in str(error)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b"hello, I am text\n", "not_keras"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not_keras"),
        (b"\x1c\x00\x00\x00TFL3", "not_keras"),
        (b"\x1f\x8b\x08", "not_keras"),
        (b"<!DOCTYPE html>", "not_keras"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"PK\x03\x04 but no more", "truncated"),
        (b"\x89HDF\r\n\x1a\n", "truncated"),
        (b"\0", "not_keras"),
        (b"\x80", "not_keras"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_content_decides_not_the_suffix(
    tmp_path: Path, content: bytes, code: str, suffix: str
) -> None:
    """What a file is not is told from its first bytes, whatever it is called."""
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)

    assert refusal(path).code == code


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    """The commonest wrong file in a repository gets the command that fetches the right one."""
    path = tmp_path / "model.h5"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")

    assert "git lfs pull" in str(refusal(path))


@pytest.mark.parametrize("kind", ["hdf5", "keras"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_cut_short_is_refused(make: Maker, kind: str, share: float) -> None:
    """A download that broke off is refused wherever it did."""
    path = make.small_hdf5() if kind == "hdf5" else make.small_keras()
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])

    assert refusal(path).code == "truncated"


def test_a_wrong_suffix_does_not_matter(make: Maker) -> None:
    """HDF5 named .keras and an archive named .h5 are read as what they are."""
    hdf5 = make.small_hdf5(name="really_hdf5.keras")
    archive = make.small_keras(name="really_zip.h5")

    assert (open_model(hdf5).format, open_model(archive).format) == ("hdf5", "keras")


@pytest.mark.parametrize("layout", ["legacy", "new"])
def test_weights_alone_are_refused(tmp_path: Path, layout: str) -> None:
    """A file of weights has its own code, and the message says what to save instead."""
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        if layout == "legacy":
            file.attrs["layer_names"] = [b"dense"]
            file["dense/kernel:0"] = [1.0]
        else:
            file["layers/dense/vars/0"] = [1.0]

    error = refusal(path)

    assert isinstance(error, UnsupportedModelError)
    assert error.code == "weights_only"
    assert "holds only weights" in str(error)


def test_other_hdf5_is_not_keras(tmp_path: Path) -> None:
    """HDF5 from elsewhere is not called a weights file."""
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["images"] = [1.0]

    assert refusal(path).code == "not_keras"


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (["readme.txt"], "not_keras"),
        (["model.weights.h5"], "weights_only"),
        (["archive/data.pkl"], "not_keras"),
        (["config.json"], "not_keras"),
        (["config.json", "model.weights.npz"], "npz_weights"),
        (["config.json", "model.weights.h5", "assets/table.npz"], "npz_weights"),
    ],
)
def test_other_archives_are_told_apart(tmp_path: Path, members: list[str], code: str) -> None:
    """A zip archive that is no .keras file is refused for what it holds."""
    path = tmp_path / "file.keras"
    with zipfile.ZipFile(path, "w") as archive:
        for name in members:
            archive.writestr(name, "{}")

    assert refusal(path).code == code
