"""Folders of images as people lay them out: the error told, beside that of Keras' own loader."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers
from PIL import Image

import lrcompress
from lrcompress.errors import LRCompressError

SIZE, TRAINING, SAMPLES = 12, 300, 400
CLASSES = ("cats", "dogs")
Picture = Image.Image


def sweep(work: Path) -> dict[str, str]:
    """Return what `evaluate` says of each layout, against the error on what Keras reads of it."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, SAMPLES)
    faces = draw.uniform(0, 255, (2, SIZE, SIZE, 3))[labels]
    noisy = np.clip(faces / 2 + 64 + draw.normal(size=faces.shape) * 350, 0, 255).astype("uint8")
    images = [Image.fromarray(image) for image in noisy]
    models = {mode: _trained(work, mode, images, labels) for mode in ("rgb", "grayscale")}

    def lay(
        name: str, train: str, test: str, convert: Callable[[Picture], Picture] = lambda p: p,
        suffix: str = ".png",
    ) -> Path:  # fmt: skip
        shutil.rmtree(work / name, ignore_errors=True)
        for k, image in enumerate(images):
            place = work / name / (train if k < TRAINING else test) / CLASSES[labels[k]]
            place.mkdir(parents=True, exist_ok=True)
            convert(image).save(place / f"{k:03}{suffix}")
        return work / name

    outcomes = {}

    def judge(case: str, folder: Path, test: Path, mode: str = "rgb") -> None:
        outcomes[case] = _judged(models[mode], folder, test, mode)

    for train, test in (
        ("train", "test"), ("train", "validation"), ("train", "val"), ("training", "testing"),
        ("Train", "Test"), ("training_set", "test_set"), ("Training Set", "Valid"),
    ):  # fmt: skip
        folder = lay(f"{train}-{test}", train, test)
        judge(f"{train}/ and {test}/", folder, folder / test)
    folder = lay("three", "train", "test")
    shutil.copytree(folder / "train", folder / "validation")
    judge("train/, validation/ and test/", folder, folder / "test")
    folder = lay("system", "train", "test")
    (folder / "train" / "cats" / "._000.png").write_bytes(b"\0\5\x16\7" * 20)
    (folder / "__MACOSX").mkdir()
    judge("files of macOS", folder, folder / "test")
    folder = lay("one-grey", "train", "test")
    first = min((folder / "train" / "cats").iterdir())
    Image.open(first).convert("L").save(first)
    judge("one grey image, sorted first", folder, folder / "test")
    folder = lay("grey", "train", "test", lambda image: image.convert("L"))
    judge("grey images for a network of colours", folder, folder / "test")
    judge("grey images for a network of grey", folder, folder / "test", "grayscale")
    folder = lay("colour-to-grey", "train", "test")
    judge("coloured images for a network of grey", folder, folder / "test", "grayscale")
    folder = lay("palette", "train", "test", lambda image: image.quantize(256).convert("RGBA"))
    judge("images with alpha", folder, folder / "test")
    folder = lay("upper", "train", "test", suffix=".JPG")
    judge("JPEG by upper-case names", folder, folder / "test")
    return outcomes


def _trained(work: Path, mode: str, images: list[Picture], labels: np.ndarray) -> Path:
    """Train a network on the images in one mode, and return its file."""
    keras.utils.set_random_seed(0)
    converted = [
        np.asarray(image.convert("L" if mode == "grayscale" else "RGB")) for image in images
    ]
    x = np.stack(converted).reshape(len(images), SIZE, SIZE, -1) / 255.0
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), layers.Flatten(), layers.Dense(48, activation="relu"),
         layers.Dense(2, activation="softmax")]
    )  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:TRAINING], labels[:TRAINING], epochs=15, verbose=0)
    model.save(work / f"{mode}.keras")
    return work / f"{mode}.keras"


def _judged(model: Path, folder: Path, test: Path, mode: str) -> str:
    """Compare the error that is told with the one on what Keras' loader reads."""
    # The loader of flow_from_directory: TensorFlow's own decoder weighs colours otherwise for grey.
    paths = [
        (path, k) for k, name in enumerate(CLASSES) for path in sorted((test / name).iterdir())
    ]
    x = np.stack([np.asarray(keras.utils.load_img(path, color_mode=mode)) for path, _ in paths])
    x, y = x.reshape(len(x), SIZE, SIZE, -1), np.array([k for _, k in paths])
    predicted = keras.saving.load_model(model).predict(x / 255.0, verbose=0).argmax(axis=1)
    expected = 100 * float(np.mean(predicted != y))
    try:
        told = lrcompress.evaluate([model], dataset=str(folder), scaling="/255")[0].error_rate
    except LRCompressError as error:
        return f"refused: {error}"
    if told is None or abs(told - expected) > 1e-6:
        return f"wrong: {told} %, expected {expected} %"
    return f"right: {told:.2f} %"
