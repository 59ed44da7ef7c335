"""Folders of images: what is read as what, and what is refused."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.data.images import read_image_folder
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError, MissingExtraError

Image = pytest.importorskip("PIL.Image", reason="needs Pillow")
Refuses = Callable[..., AbstractContextManager[None]]
Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Return a function that writes one small image of a given mode and brightness."""

    def write(name: str, value: int = 0, mode: str = "L", size: tuple[int, int] = (4, 3)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size[::-1], value, np.uint8)).convert(mode).save(path)
        return path

    return write


def test_images_are_grey_only_where_all_are(draw: Draw, tmp_path: Path) -> None:
    """One coloured image, wherever it stands, and all are read in three channels."""
    for place, name in enumerate(("a/0.png", "a/1.png", "b/0.png", "b/1.png")):
        draw(f"grey/{name}", 10 * place)
        draw(f"last/{name}", 10 * place, "RGB" if name == "b/1.png" else "L")
        draw(f"parts/train/{name}", 10 * place)
        draw(f"parts/test/{name}", 10 * place, "P")

    found = {name: read_image_folder(tmp_path / name, seed=0) for name in ("grey", "last", "parts")}

    shapes = {
        name: {arrays[key].shape[1:] for key in ("x_train", "x_test")}
        for name, arrays in found.items()
    }
    assert shapes == {"grey": {(3, 4, 1)}, "last": {(3, 4, 3)}, "parts": {(3, 4, 3)}}
    assert np.unique(found["parts"]["x_train"]).tolist() == [0, 10, 20, 30]
    assert found["parts"]["x_test"].dtype == np.uint8


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "validation"), ("train", "val"), ("training", "testing"), ("Train", "Test"), ("TRAIN", "valid"),
        ("training_set", "test_set"), ("Training Set", "eval"), ("train-images", "dev"), ("train", "holdout"),
    ],
)  # fmt: skip
def test_parts_by_their_usual_names(draw: Draw, tmp_path: Path, train: str, test: str) -> None:
    """Folders of parts are known by what people call them, and are never two classes."""
    for number, name in enumerate(("ant", "bee", "cat")):
        draw(f"{train}/{name}/0.png", 10 * number)
        draw(f"{test}/{name}/0.png", 100 + 10 * number)

    found = read_image_folder(tmp_path, seed=0)

    assert found["x_train"][:, 0, 0, 0].tolist() == [0, 10, 20]
    assert found["x_test"][:, 0, 0, 0].tolist() == [100, 110, 120]
    assert found["y_test"].tolist() == [0, 1, 2]


def test_without_pillow_the_package_is_named(
    draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images need a package that not everybody has."""
    draw("ant/0.png")
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(MissingExtraError, match="pip install pillow"):
        load(str(tmp_path))


def test_three_parts(draw: Draw, tmp_path: Path) -> None:
    """With training, validation and test data each is what it says."""
    for number, part in enumerate(("train", "valid", "test")):
        for name in ("a", "b"):
            draw(f"{part}/{name}/0.png", 10 * number)

    found = read_image_folder(tmp_path, seed=0)

    values = {key: set(found[key].ravel()) for key in ("x_train", "x_val", "x_test")}
    assert values == {"x_train": {0}, "x_val": {10}, "x_test": {20}}


def test_training_data_alone_are_split(draw: Draw, tmp_path: Path) -> None:
    """A folder with nothing but `train/` is that folder's classes, split."""
    for k in range(5):
        draw(f"train/a/{k}.png", k)
        draw(f"train/b/{k}.png", k)

    found = read_image_folder(tmp_path, seed=0)

    assert len(found["x_train"]) == 8
    assert np.bincount(found["y_test"]).tolist() == [1, 1]


def test_a_class_may_be_called_train(draw: Draw, tmp_path: Path) -> None:
    """Among planes and ships `train` is a class."""
    for name in ("plane", "ship", "train"):
        for k in range(5):
            draw(f"{name}/{k}.png", k)

    found = read_image_folder(tmp_path, seed=0)

    assert set(found["y_train"]) == {0, 1, 2}


def test_what_systems_leave_is_no_image(draw: Draw, tmp_path: Path) -> None:
    """`._x.png` of macOS, and its folders in archives, are passed over."""
    for name in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
        draw(name)
    (tmp_path / "a" / "._0.png").write_bytes(b"\0\5\x16\7" * 20)
    (tmp_path / "__MACOSX" / "a").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "a" / "._0.png").write_bytes(b"\0\5\x16\7" * 20)

    found = read_image_folder(tmp_path, seed=0)

    assert len(found["x_train"]) + len(found["x_test"]) == 4


def test_values_are_those_of_the_files(draw: Draw, tmp_path: Path) -> None:
    """Each image carries the number of its folder, in the order of the folders' names."""
    for number, name in enumerate(["zebra", "ant", "cat"]):
        for part in ("train", "test"):
            draw(f"{part}/{name}/0.png", 50 * number)

    found = read_image_folder(tmp_path, seed=0)

    for part in ("train", "test"):
        assert found[f"y_{part}"].tolist() == [0, 1, 2]
        assert found[f"x_{part}"][:, 0, 0, 0].tolist() == [50, 100, 0]


def test_other_files_and_hidden_folders_are_passed_over(draw: Draw, tmp_path: Path) -> None:
    """Notes and hidden folders are no classes; suffixes count in any case, folders at any depth."""
    for name in ("a/0.png", "a/1.PNG", "a/deep/2.bmp", "b/0.png", "b/1.tif", ".cache/0.png"):
        draw(name)
    (tmp_path / "a" / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / "README.md").write_text("not a class", encoding="utf-8")

    found = read_image_folder(tmp_path, seed=0)

    assert len(found["x_train"]) + len(found["x_test"]) == 5
    assert set(found["y_train"]) == {0, 1}


@pytest.mark.parametrize("counts", [(5, 5), (10, 40), (3, 7, 29)])
def test_the_split_takes_the_same_share_of_every_class(
    draw: Draw, tmp_path: Path, counts: tuple[int, ...]
) -> None:
    """A fifth of each class, rounded and at least one image, is test data; nothing is lost."""
    for label, count in enumerate(counts):
        for k in range(count):
            draw(f"{label}/{k:02}.png", k + 60 * label)

    found = read_image_folder(tmp_path, seed=3)
    again, other = (load(str(tmp_path), seed=seed) for seed in (3, 4))

    np.testing.assert_array_equal(again.x_test, found["x_test"])
    assert sum(counts) < 30 or not np.array_equal(again.x_test, other.x_test)

    def pixels(part: str) -> NDArray[np.uint8]:
        return np.asarray(found[f"x_{part}"][:, 0, 0, 0])

    shares = [max(1, round(0.2 * count)) for count in counts]
    assert np.bincount(found["y_test"]).tolist() == shares
    assert np.bincount(found["y_train"]).tolist() == list(np.subtract(counts, shares))
    every = np.concatenate([pixels("train"), pixels("test")])
    assert len(set(every)) == len(every) == sum(counts)
    assert (pixels("test") // 60).tolist() == found["y_test"].tolist()


@pytest.mark.parametrize(
    ("names", "code", "words"),
    [
        ([], "dataset", ["0 class folders with 0 images"]),
        (["loose.png"], "dataset", ["0 class folders"]),
        (["only/0.png", "only/1.png"], "dataset", ["1 class folders with 2 images", ".png"]),
        (["train/a/0.png", "train/b/0.png"], "dataset", ["one image only"]),
        (["a/0.png", "b/0.png"], "dataset", ["one image only", "train/ and test/"]),
        (
            ["train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png", "cats/0.png"],
            "dataset_parts",
            ["cats"],
        ),
        (["train/a/0.png", "training/a/0.png"], "dataset_parts", ["train and training"]),
    ],
)
def test_folders_that_are_no_data_set(
    draw: Draw,
    tmp_path: Path,
    refuses: Refuses,
    names: list[str],
    code: str,
    words: list[str],
) -> None:
    """Too few classes or images are refused with what was found; unclear parts are asked about."""
    for name in names:
        draw(name)

    with refuses(DatasetError, code, *words):
        read_image_folder(tmp_path, seed=0)


def test_images_of_other_sizes(draw: Draw, tmp_path: Path, refuses: Refuses) -> None:
    """The first image of another size is named with both shapes."""
    draw("a/0.png")
    other = draw("b/0.png", size=(9, 8))

    with refuses(DatasetError, "dataset_shape", str(other), "(8, 9)", "(3, 4)"):
        read_image_folder(tmp_path, seed=0)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n\x00\x00"])
def test_files_that_are_no_images(
    draw: Draw, tmp_path: Path, refuses: Refuses, content: bytes
) -> None:
    """An empty, foreign or truncated file is named."""
    draw("a/0.png")
    draw("b/0.png").write_bytes(content)

    with refuses(DatasetError, "dataset", str(tmp_path / "b" / "0.png"), "remove it or replace it"):
        read_image_folder(tmp_path, seed=0)


def test_an_image_that_ends_early(draw: Draw, tmp_path: Path, refuses: Refuses) -> None:
    """An image whose header is whole and whose pixels are not is named."""
    draw("a/0.bmp")
    path = draw("b/0.bmp", size=(40, 30))
    path.write_bytes(path.read_bytes()[:300])

    with refuses(DatasetError, "dataset", str(path)):
        read_image_folder(tmp_path, seed=0)


def test_classes_that_differ_between_the_parts(
    draw: Draw, tmp_path: Path, refuses: Refuses
) -> None:
    """A class that only one part has is refused with both folders."""
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png"):
        draw(name)

    with refuses(DatasetError, "dataset_labels", str(tmp_path / "train"), str(tmp_path / "test")):
        read_image_folder(tmp_path, seed=0)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    """65,535 is white as 255 is; Pillow alone would clip all but the darkest 1 in 257 to white."""
    values = np.array([[0, 257, 32_768, 65_535]], np.uint16)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        path = tmp_path / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(values).save(path)

    x = read_image_folder(tmp_path, 0)["x_train"]

    assert x.shape[1:] == (1, 4, 1)
    assert x[0, 0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    ("dtype", "what"), [(np.float32, "floating-point"), (np.int32, "32-bit integers")]
)
def test_pixels_without_a_known_range_are_refused(
    tmp_path: Path, refuses: Refuses, dtype: type, what: str
) -> None:
    """Nothing says what is white."""
    for name in ("a/0.tif", "b/0.tif"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.full((4, 3), 2, dtype)).save(tmp_path / name)

    with refuses(DatasetError, "dataset", what, "0.tif"):
        read_image_folder(tmp_path, 0)


@pytest.mark.safety
@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n%%EOF\n",
        b"P6 4 3 255\n" + bytes(36),
        b"\x00\x00\x01\x00\x01\x00\x04\x04\x00\x00\x01\x00 \x00",
        b"%PDF-1.4\n",
    ],
)
def test_only_the_formats_named_are_opened(
    draw: Draw, tmp_path: Path, refuses: Refuses, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """What a suffix hides is no image here: EPS does not reach Ghostscript, nor others their readers."""
    monkeypatch.setattr(
        "PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript")
    )
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        draw(name)
    (tmp_path / "b" / "1.png").write_bytes(content)

    with refuses(DatasetError, "dataset", "1.png", "PNG", "remove it"):
        read_image_folder(tmp_path, 0)


@pytest.mark.safety
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_an_image_that_unpacks_to_much(
    draw: Draw, tmp_path: Path, refuses: Refuses, side: int
) -> None:
    """A header that claims more pixels than samples have is refused before memory is set aside."""
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        draw(name)
    bomb = bytearray((tmp_path / "a" / "0.png").read_bytes())
    bomb[16:24] = 2 * side.to_bytes(4, "big")
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    (tmp_path / "b" / "1.png").write_bytes(bomb)

    with refuses(DatasetError, "dataset", "1.png", "decompression bomb", "remove it"):
        read_image_folder(tmp_path, 0)
