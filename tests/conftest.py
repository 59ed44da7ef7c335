"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from lrcompress.data.dataset import Dataset

ROOT = Path(__file__).parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # A process a core: more threads would wait for each other. Read as the libraries are loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")

# Every output is forced onto its disk: milliseconds each, thousands of times, but none where that is memory.
MEMORY = Path("/dev/shm")
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# The same cases in every run, however busy the machine is. Others are looked for by hand:
# `pytest --hypothesis-profile=explore`.
_BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", _BUSY)
settings.register_profile("repeatable", _BUSY, derandomize=True, database=None)
settings.load_profile("repeatable")


# A file is one process's: whichever of these came last would keep one busy while the others wait.
LONGEST = (
    "test_fuzz.py",
    "test_examples.py",
    "test_pages.py",
    "test_compress.py",
    "test_crash_safety.py",
    "test_shell.py",
    "test_site.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files that take minutes begin first."""
    items.sort(key=lambda item: LONGEST.index(name) if (name := item.path.name) in LONGEST else 99)


@pytest.fixture(scope="session")
def litert() -> None:
    """Skip where models cannot be exported to LiteRT."""
    for name in ("ai_edge_litert", "onnx", "onnxruntime", "tf2onnx"):
        if find_spec(name) is None:
            pytest.skip(f"{name}, of the extra `export`, is not installed")
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        pytest.skip("models are exported under TensorFlow")
    if tuple(map(int, version("keras").split(".")[:2])) < (3, 13):
        pytest.skip("Keras exports to LiteRT from 3.13 on")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Give a headless browser; skip where there is none, or nothing to lead it by."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    for name in ("playwright", "axe_playwright_python"):
        pytest.importorskip(name, reason=f"{name}, of the extra `browser`, is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=0)
        yield browser
        browser.close()


class Visit:
    """A page in a browser.

    Attributes:
        tab: What Playwright leads.
        said: What it wrote to its console, and its errors.
        asked: What it asked the network for.
    """

    def __init__(self, browser: Any, url: str, **context: Any) -> None:
        """Open a page and wait until it is there."""
        self.tab = browser.new_context(**context).new_page()
        # As long as a busy machine needs.
        self.tab.set_default_timeout(600_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.tab.on("console", lambda message: self.said.append(message.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.goto(url, wait_until="load")

    def barriers(self) -> list[str]:
        """Return what axe-core finds that keeps people out."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.tab).response["violations"]
        return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]

    @property
    def is_too_wide(self) -> bool:
        """Whether the page as a whole scrolls sideways."""
        return bool(self.tab.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens pages, each in a fresh context."""
    yield lambda url, **context: Visit(chromium, url, **context)
    for context in chromium.contexts:
        context.close()


@pytest.fixture(scope="session")
def examples() -> Path:
    """Return the folder of example models."""
    return ROOT / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs the command line in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: Any) -> Result:
        from lrcompress.cli import main

        result = CliRunner().invoke(main, [str(word) for word in arguments])
        # Anything but a clean exit is a bug: the test should show its traceback.
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session")
def refuses() -> Refuses:
    """Return a context manager that expects one class, one code, and one line with some words."""
    from lrcompress.errors import LRCompressError

    @contextmanager
    def expect(kind: type[Exception], code: str, *words: str) -> Iterator[None]:
        with pytest.raises(LRCompressError) as refused:
            yield
        message = str(refused.value)
        assert type(refused.value) is kind
        assert refused.value.code == code
        assert "\n" not in message
        assert [word for word in words if word not in message] == []

    return expect


@pytest.fixture(scope="session")
def few_digits() -> Dataset:
    """Return 400 training and 150 test images of the bundled digits."""
    from lrcompress.data.dataset import Dataset
    from lrcompress.data.sources import load

    data = load("digits")
    return Dataset(
        "digits",
        data.source,
        data.x_train[:400],
        data.y_train[:400],
        data.x_test[:150],
        data.y_test[:150],
    )


@pytest.fixture(scope="session")
def tenths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a tenth of the bundled digits stands for them and for MNIST."""
    import numpy as np

    from lrcompress.data.named import BUNDLED

    folder = tmp_path_factory.mktemp("tenths")
    with np.load(BUNDLED / "digits.npz") as arrays:
        few = {name: arrays[name][::10] for name in arrays.files}
    for name in ("digits", "mnist"):
        np.savez(folder / f"{name}.npz", **few)
    return folder


@pytest.fixture
def few_samples(tenths: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the names of data sets mean those with few samples, here and for MNIST in other processes."""
    monkeypatch.setattr("lrcompress.data.named.BUNDLED", tenths)
    monkeypatch.setenv("LRCOMPRESS_DATA", str(tenths))
    return tenths


@pytest.fixture(scope="session")
def trained_file(few_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a network of two Dense layers, trained on the few digits divided by 16."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax", name="predictions"),
        ],
        name="tiny",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = few_digits.x_train.astype(np.float32) / 16
    model.fit(x, few_digits.y_train, epochs=15, batch_size=32, verbose=0)
    path = tmp_path_factory.mktemp("trained") / "tiny.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def small_file(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained network at rank 3, by the truncated SVD."""
    import lrcompress

    output = tmp_path_factory.mktemp("factorized") / "tiny-rank3.keras"
    return lrcompress.factorize(trained_file, rank=3, method="svd", output=output).output


@pytest.fixture
def load_keras() -> Callable[[Path], Any]:
    """Return the function that loads a whole Keras model."""
    from lrcompress.live.storing import load_model

    return load_model
