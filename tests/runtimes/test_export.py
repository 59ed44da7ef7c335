"""`export`: what is written, what it does in its runtime, what is refused; 8 bits after factors."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

import lrcompress
from lrcompress.errors import MissingExtraError, OutputError, TrainingError, VerificationError
from lrcompress.events import listening
from lrcompress.runtimes import TARGETS, check
from lrcompress.verbs.export import size_of

pytestmark = pytest.mark.keras
WORDS, STEPS, UNITS, RANK = 300, 6, 64, 32


def needs(form: str) -> None:
    """Skip where a runtime is not installed, or Keras has no such exporter."""
    import keras

    for name in {"litert": ["ai_edge_litert"], "onnx": ["tf2onnx", "onnxruntime"]}.get(form, []):
        pytest.importorskip(name, reason=f"{form} needs the extra `export`")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("models are exported under TensorFlow")
    if form == "litert" and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 13):
        pytest.skip("Keras exports to LiteRT from 3.13 on")


@pytest.fixture
def exporters() -> None:
    """Skip where Keras has none."""
    needs("saved-model")


@pytest.fixture
def small(trained_file: Path, tmp_path: Path) -> Path:
    """Return the trained network at rank 3 with its record, in the working directory."""
    return lrcompress.factorize(
        trained_file, rank=3, method="svd", output=tmp_path / "small.keras"
    ).output


@pytest.mark.parametrize(
    ("form", "name"),
    [("litert", "small.tflite"), ("onnx", "small.onnx"), ("saved-model", "small-saved-model")],
)
def test_each_format_does_what_keras_does(small: Path, form: str, name: str) -> None:
    """Outputs are Keras', both factors are there, and the original is exported beside it."""
    needs(form)

    found = lrcompress.export(small, format=form, seconds=0)

    assert found.output == small.with_name(name)
    assert found.bytes_after == size_of(found.output) > 0
    assert found.difference["largest_difference"] < 1e-5
    assert found.difference["agreement"] == 100
    assert [(layer["kernel_shape"], layer["factors"]) for layer in found.layers] == [
        ([24, 10], "two")
    ]
    assert found.errors is None
    assert found.inputs["why_random"] == "no data set is named"
    assert found.original is not None
    assert found.original["model"].endswith("tiny.keras")
    assert found.original["latency"]["runs"] == found.latency["runs"] >= 7
    left = {path.name for path in small.parent.iterdir()} - {small.name, name}
    assert left == {"small.lrcompress.json"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small language model at a rank whose factors are large enough for 8 bits."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((STEPS,), dtype="int32", name="the words"),
        keras.layers.Embedding(WORDS, 8),
        keras.layers.LSTM(UNITS, return_sequences=True),
        keras.layers.Dense(WORDS, activation="softmax", name="next_word"),
    ])  # fmt: skip
    folder = tmp_path_factory.mktemp("words")
    model.save(folder / "words.keras")
    x = np.random.default_rng(0).integers(0, WORDS, (20, STEPS))
    np.savez(folder / "words.npz", x_train=x, y_train=x, x_test=x, y_test=x)
    output = folder / "words-small.keras"
    return lrcompress.factorize(folder / "words.keras", rank=RANK, output=output).output


def test_eight_bits_after_factorization(words: Path, run: Callable[..., Result]) -> None:
    """Both factors are 8-bit integers, recurrent layers need no operations of TensorFlow's."""
    needs("litert")
    from ai_edge_litert.interpreter import Interpreter

    data = words.with_name("words.npz")
    done = run("export", words, "--int8", "--dataset", data, "-o", "words.tflite", "--json")

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["runtime"].startswith("ai-edge-litert")
    assert found["layers"][0]["factors"] == "two"
    # A fresh network tells its words hardly apart: most likely is a matter of luck.
    assert (
        0 < found["difference"]["largest_difference"] < 0.1 * found["difference"]["largest_output"]
    )
    assert found["errors"]["exported"]["samples"] == 20 * STEPS
    # Four bytes a weight became one, but for the small ones.
    assert found["bytes_after"] < found["bytes_before"] / 2
    interpreter = Interpreter("words.tflite")
    eight = {tuple(d["shape"]) for d in interpreter.get_tensor_details() if d["dtype"] is np.int8}
    assert {(RANK, UNITS), (WORDS, RANK)} <= eight
    assert (WORDS, UNITS) not in eight


def test_quantized_by_keras_after_factorization(words: Path, tmp_path: Path) -> None:
    """`quantize("int8")` of Keras works on the factors: it saves, loads, and predicts alike."""
    import keras

    model = keras.saving.load_model(words)
    x = np.load(words.with_name("words.npz"))["x_test"]
    before = model.predict(x, verbose=0)
    with pytest.warns(UserWarning, match="does not have a `quantize` method"):
        model.quantize("int8")
    model.save(tmp_path / "quantized.keras")

    again = keras.saving.load_model(tmp_path / "quantized.keras")

    for layer in again.layers[-2:]:
        assert keras.backend.standardize_dtype(layer._kernel.dtype) == "int8"
    assert np.abs(again.predict(x, verbose=0) - before).max() < 0.1 * before.max()


@pytest.mark.usefixtures("exporters")
def test_errors_on_labelled_data_are_told(small: Path, run: Callable[..., Result]) -> None:
    """With a data set both are measured on its test part, and the text says what came of it."""
    done = run(
        "export", small, "--format", "saved-model", "--dataset", "digits", "--scaling", "/16"
    )

    assert done.exit_code == 0, done.stderr
    assert "predictions: still two products, 24 x 3 and 3 x 10" in done.stdout
    assert "on all test data, 360 predictions:" in done.stdout
    assert "+0.00 pt [" in done.stdout
    assert "latency against the original, exported the same way:" in done.stdout


@pytest.mark.parametrize(
    ("form", "int8"), [("litert", False), ("litert", True), ("onnx", False), ("saved-model", False)]
)
def test_errors_are_those_of_the_runtime(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, int8: bool
) -> None:
    """A runtime that turns the classes round has that error."""
    needs(form)
    monkeypatch.setattr(check, "check", lambda found: None)
    wanted: dict[str, Any] = {
        "format": form, "int8": int8, "dataset": "digits", "scaling": "/16", "seconds": 0, "overwrite": True,
        "output": tmp_path / f"out{TARGETS[form].suffix}",
    }  # fmt: skip
    right = lrcompress.export(trained_file, **wanted).errors
    assert right is not None
    kind = TARGETS[form].runtime
    compute = kind.compute
    monkeypatch.setattr(kind, "compute", lambda self, x: [y[:, ::-1] for y in compute(self, x)])

    wrong = lrcompress.export(trained_file, **wanted).errors

    assert wrong is not None
    assert wrong["keras"] == right["keras"]
    # Ten classes the other way round: none stays where it was.
    assert right["exported"]["errors"] < 100
    assert wrong["exported"]["errors"] > 300
    assert wrong["exported"]["loss"] > 2 * right["exported"]["loss"]


@pytest.mark.usefixtures("exporters")
def test_a_runtime_that_fails_on_the_way_is_told(
    trained_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it was opened and its outputs were compared, where the errors are measured."""
    kind, calls = TARGETS["saved-model"].runtime, []
    compute = kind.compute

    def fails(self: Any, x: Any) -> Any:
        calls.append(len(x))
        if len(calls) > 2:
            msg = "out of order"
            raise OSError(msg)
        return compute(self, x)

    monkeypatch.setattr(kind, "compute", fails)
    with pytest.raises(TrainingError, match=r"does not run \(OSError: out of order\)"):
        lrcompress.export(
            trained_file, format="saved-model", dataset="digits", scaling="/16", seconds=0,
            output=tmp_path / "out",
        )  # fmt: skip
    assert len(calls) == 3


@pytest.mark.usefixtures("exporters")
def test_several_outputs_and_fixed_batches_in_the_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each output of the runtime is measured against its own labels; the batch is the file's."""
    import keras

    from lrcompress.runtimes.saved_model import SavedModelRuntime as SavedModel

    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(40, 8)).astype("float32")
    entry = keras.Input(batch_shape=(16, 8))
    names = ("zeta", "alpha")
    model = keras.Model(entry, [keras.layers.Dense(5, "softmax", name=n)(entry) for n in names])
    model.save(tmp_path / "two.keras")
    found = [model(np.resize(x, (48, 8))[i : i + 16]) for i in (0, 16, 32)]
    labels = {
        name: np.concatenate([np.asarray(part[place]).argmax(-1) for part in found])[:40]
        for place, name in enumerate(names)
    }
    arrays = {f"y_{part}.{n}": y for part in ("train", "test") for n, y in labels.items()}
    np.savez(tmp_path / "two.npz", x_train=x, x_test=x, **arrays)
    wanted: dict[str, Any] = {
        "format": "saved-model",
        "dataset": str(tmp_path / "two.npz"),
        "scaling": "as-is",
        "seconds": 0,
    }

    errors = lrcompress.export(tmp_path / "two.keras", **wanted).errors

    assert errors is not None
    rates = {n: o["error_rate"] for n, o in errors["exported"]["outputs"].items()}
    assert rates == {"zeta": 0, "alpha": 0}
    compute = SavedModel.compute
    monkeypatch.setattr("lrcompress.runtimes.check.check", lambda found: None)
    monkeypatch.setattr(
        SavedModel, "compute",
        lambda self, x: [compute(self, x)[0], compute(self, x)[1][:, ::-1]],
    )  # fmt: skip
    errors = lrcompress.export(tmp_path / "two.keras", overwrite=True, **wanted).errors
    assert errors is not None
    rates = {n: o["error_rate"] for n, o in errors["exported"]["outputs"].items()}
    assert rates["zeta"] == 0
    assert rates["alpha"] > 50


@pytest.mark.usefixtures("exporters")
def test_a_data_set_that_is_not_at_hand_is_not_downloaded(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record's data set is used where it lies; else inputs are random, and the result says so."""
    record = small.with_name("small.lrcompress.json")
    document = json.loads(record.read_text(encoding="utf-8"))
    document["dataset"] = {"name": "cifar100", "scaling": "/255"}
    record.write_text(json.dumps(document), encoding="utf-8")
    for name in ("LRCOMPRESS_DATA", "KERAS_HOME"):
        monkeypatch.setenv(name, str(small.parent))

    found = lrcompress.export(small, format="saved-model", seconds=0)

    assert found.inputs["why_random"] == "data set cifar100 is not available"


@pytest.mark.usefixtures("exporters")
def test_outputs_that_differ_leave_the_old_export(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not compute as Keras does is not put in place, and nothing is left of it."""
    from lrcompress.runtimes.saved_model import SavedModelRuntime as SavedModel

    output = lrcompress.export(small, format="saved-model", seconds=0).output
    shutil.rmtree(output / "variables")
    before = sorted(path.name for path in small.parent.iterdir())
    with pytest.raises(OutputError, match="pass --overwrite"):
        lrcompress.export(small, format="saved-model")
    right = SavedModel.compute
    monkeypatch.setattr(SavedModel, "compute", lambda self, x: [y + 0.1 for y in right(self, x)])

    with pytest.raises(VerificationError, match=r"differ from Keras' by up to 0\.1"):
        lrcompress.export(small, format="saved-model", overwrite=True)
    assert sorted(path.name for path in small.parent.iterdir()) == before
    assert not (output / "variables").exists()

    monkeypatch.undo()
    lrcompress.export(small, format="saved-model", overwrite=True, seconds=0)
    assert (output / "variables").exists()


class Held:
    """The weights that a runtime holds."""

    def __init__(self, *arrays: NDArray[Any]) -> None:
        self._arrays = arrays

    def constants(self) -> Iterator[NDArray[Any]]:
        """Yield the weights."""
        yield from self._arrays


def test_folded_factors_are_told(small: Path, load_keras: Callable[[Path], Any]) -> None:
    """By the numbers, not by the shapes: another layer may have the same."""
    from lrcompress.runtimes.check import factors_kept

    model = load_keras(small)
    b, c = (np.asarray(layer.kernel) for layer in model.layers[-2:])
    other = np.ones((24, 10), np.float32)

    def kept(*arrays: NDArray[Any]) -> list[str]:
        held: Any = Held(*arrays)
        return list(factors_kept([([b, c], b @ c)], held))

    assert kept(other, b.T, c) == ["two"]
    assert kept(other, b.reshape(1, 1, 24, 3), c.T * 1.01) == ["two"]
    assert kept(b, c, (b @ c).T) == ["one"]
    assert kept(b, other) == ["unknown"]


def test_factors_of_convolutions_are_told_in_any_order_of_axes() -> None:
    """Also where a normalization was multiplied into their outputs, some of them turned round."""
    from lrcompress.runtimes.check import factors_kept

    rng = np.random.default_rng(0)
    first, core, last = (rng.normal(size=s) for s in ((1, 1, 6, 3), (3, 3, 3, 4), (1, 1, 4, 8)))
    whole = np.einsum("ic,hwcd,do->hwio", first[0, 0], core, last[0, 0])

    def kept(*arrays: NDArray[Any]) -> list[str]:
        held: Any = Held(*arrays)
        return list(factors_kept([([first, core, last], whole)], held))

    moved = core.transpose(3, 0, 1, 2)
    scaled = last * rng.normal(size=8)
    assert kept(first, moved, scaled.transpose(3, 2, 0, 1)) == ["three"]
    assert kept(first, scaled) == ["unknown"]
    assert kept(first, moved, scaled, whole.transpose(3, 2, 0, 1)) == ["one"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output": "small.pb"}, "expected .tflite for LiteRT"),
        ({"output": "small.onnx", "format": "litert"}, "must end in .tflite"),
        ({"output": "small.onnx", "int8": True}, "are for LiteRT"),
        ({"format": "saved-model", "output": "mine", "overwrite": True}, "holds no saved_model.pb"),
        ({"output": "nowhere/small.onnx"}, "does not exist"),
    ],
)
def test_outputs_that_do_not_go(
    small: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
) -> None:
    """Refused before Keras is loaded; a folder that is no SavedModel is never replaced."""
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    Path("mine").mkdir()

    with pytest.raises(OutputError) as refused, listening(before_keras=pytest.fail):  # type: ignore[arg-type]
        lrcompress.export(small, **options)

    assert words in str(refused.value)
    assert Path("mine").is_dir()


def test_missing_packages_name_the_extra(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with what to install, before Keras is loaded."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    expected = pytest.raises(
        MissingExtraError,
        match=r"needs ai-edge-litert; install with: python -m pip install ai-edge-litert\.",
    )
    with expected, listening(before_keras=pytest.fail):  # type: ignore[arg-type]
        lrcompress.export(small)


def test_an_original_of_other_inputs_is_refused(small: Path) -> None:
    """Only what takes the same inputs can be compared."""
    import keras

    other = small.with_name("other.keras")
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(other)

    with pytest.raises(TrainingError, match="takes inputs of shape"):
        lrcompress.export(small, format="saved-model", against=other)


def test_another_engine_is_refused_before_tensorflow_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Keras runs on another one, TensorFlow may not even be importable."""
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(type(TARGETS["litert"]), "options", lambda self, *, int8: pytest.fail())

    with pytest.raises(TrainingError, match=r"Keras runs on jax; .* KERAS_BACKEND=tensorflow"):
        TARGETS["litert"].write(None, tmp_path / "model.tflite", int8=True)


@pytest.mark.usefixtures("exporters")
def test_what_an_exporter_cannot_do_is_one_line(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a converter raises names the format, and no file is left."""
    import keras

    def fail(*args: Any, **kwargs: Any) -> None:
        msg = "loc(1): error:\n  no such op"
        raise RuntimeError(msg)

    monkeypatch.setattr(keras.Model, "export", fail)

    with pytest.raises(
        TrainingError, match=r"to saved-model \(RuntimeError: loc\(1\): error: no such op"
    ):
        lrcompress.export(small, format="saved-model", seconds=0)
    assert [path.name for path in small.parent.iterdir() if "saved" in path.name] == []
