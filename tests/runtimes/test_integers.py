"""`export --int8 full`: LiteRT files that compute in 8-bit integers throughout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError, OutputError, TrainingError
from lrcompress.events import listening
from lrcompress.runtimes import TARGETS

pytestmark = pytest.mark.keras
WORDS = 2_000


@pytest.mark.usefixtures("litert")
def test_a_device_without_floats_can_run_it(examples: Path, run: Callable[..., Result]) -> None:
    """Inputs, outputs and all between are integers, and what the record says of them is how to use them."""
    from ai_edge_litert.interpreter import Interpreter

    done = run("export", "--int8", "full", examples / "digits_cnn.h5", "-o", "net.tflite", "--json")

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    numbers = found["full_integer"]
    assert found["int8"] == "full"
    assert numbers["float_operations"] == []
    assert numbers["calibration_samples"] == 300
    assert found["errors"]["exported"]["error_rate"] < found["errors"]["keras"]["error_rate"] + 1.5
    assert found["bytes_after"] < 1.5 * 40_394

    interpreter = Interpreter("net.tflite")
    interpreter.allocate_tensors()
    kinds = {str(np.dtype(about["dtype"])) for about in interpreter.get_tensor_details()}
    assert kinds <= {"int8", "int32", "int64"}
    # As a user of the file does it: by scale and zero point, without lrcompress.
    network = interpreter.get_signature_runner()
    entry, end = numbers["inputs"][0], numbers["outputs"][0]
    digits = load("digits")
    x = digits.x_test[:100].astype(np.float32) / 16
    q = np.round(x / entry["scale"] + entry["zero_point"]).clip(-128, 127).astype(entry["dtype"])
    given = [{entry["name"]: one.reshape(1, 8, 8, 1)} for one in q]
    predicted = [network(**one)[end["name"]].argmax() for one in given]
    assert np.mean(predicted == digits.y_test[:100]) > 0.95


@pytest.fixture(scope="module")
def texts() -> Any:
    """Return a model of word numbers, which it takes as float32 like most, with a GRU, and data of its own."""
    import keras

    wide = keras.initializers.RandomNormal
    keras.utils.set_random_seed(0)
    inner = keras.Sequential([
        keras.Input((6,)),
        keras.layers.Embedding(WORDS, 16, embeddings_initializer=wide(stddev=1)),
        keras.layers.GRU(12),
    ])  # fmt: skip
    words, sizes = keras.Input((6,), name="the words"), keras.Input((3,), name="sizes")
    joined = keras.layers.Concatenate()([inner(words), sizes])
    outputs = keras.layers.Dense(4, "softmax", kernel_initializer=wide(stddev=2))(joined)
    model = keras.Model({"the words": words, "sizes": sizes}, outputs)
    rng = np.random.default_rng(0)
    x = {"the words": rng.integers(0, WORDS, (200, 6)), "sizes": rng.normal(size=(200, 3))}
    return model, (x, model.predict(x, verbose=0).argmax(-1))


@pytest.mark.usefixtures("litert")
def test_token_ids_and_recurrent_layers(texts: Any, tmp_path: Path) -> None:
    """Ids stay integers that no scale rounds off; a loop is unrolled, and the user is told."""
    model, data = texts

    with pytest.warns(lrcompress.LRCompressWarning, match="recurrent layers are unrolled"):
        found = lrcompress.export(
            model, int8="full", dataset=data, scaling="as-is", seconds=0,
            output=tmp_path / "texts.tflite",
        )  # fmt: skip

    numbers = found.full_integer
    assert numbers is not None
    assert {one["name"]: one["dtype"] for one in numbers["inputs"]} == {
        "the_words": "int32", "sizes": "int8",
    }  # fmt: skip
    assert numbers["float_operations"] == []
    # A fifth of the data is set aside, and nothing of it calibrates.
    assert (numbers["calibration_samples"], found.difference["samples"]) == (144, 40)
    assert found.errors is not None
    assert found.errors["exported"]["error_rate"] < 10
    assert b"gru" not in (tmp_path / "texts.tflite").read_bytes()


@pytest.mark.usefixtures("litert")
@pytest.mark.parametrize("kind", ["steps left open", "a loop of its own"])
def test_loops_that_stay_are_refused(kind: str, tmp_path: Path) -> None:
    """LiteRT's calibration would end the process; one line says what to do, and nothing is written."""
    import keras

    class Looped(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            ends = keras.ops.max(x) < 5
            return keras.ops.while_loop(lambda y: ends & (keras.ops.sum(y) < 9), lambda y: y + 1, x)

    middle = keras.layers.LSTM(4) if kind == "steps left open" else Looped()
    shape = (None, 4) if kind == "steps left open" else (4,)
    model = keras.Sequential([keras.Input(shape), middle, keras.layers.Dense(3, "softmax")])
    x = np.random.default_rng(0).random((50, *[size or 5 for size in shape]), np.float32)

    with pytest.raises(TrainingError, match="LiteRT has no loops in 8-bit integers") as refused:
        lrcompress.export(
            model, int8="full", dataset=x, scaling="as-is", output=tmp_path / "loop.tflite"
        )
    assert refused.value.code == "int8_loops"
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_before_keras_starts(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data to calibrate on, or a word that is none."""
    # Beside the file itself is a record, in which another test may have named data.
    small_file = Path(shutil.copy(small_file, tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)

    with listening(before_keras=pytest.fail):  # type: ignore[arg-type]
        with pytest.raises(DatasetError, match="give --dataset, or take --int8 alone"):
            lrcompress.export(small_file, int8="full")
        with pytest.raises(OutputError, match="expected False, True for the weights, or 'full'"):
            lrcompress.export(small_file, int8="whole")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "int8"),
    [
        ([], False),
        (["--int8"], True),
        (["--int8", "weights"], True),
        (["--int8", "full"], "full"),
        (["--int8=full"], "full"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_word_may_be_left_out(
    words: list[str], int8: bool | str, first: bool, run: Callable[..., Result],
    small_file: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A model file behind --int8 is the model file."""
    called: dict[str, Any] = {}

    def export(model: Path, **options: Any) -> None:
        called.update(options, model=model)
        msg = "as far as this"
        raise OutputError(msg)

    monkeypatch.setattr("lrcompress.verbs.export.export", export)

    run("export", *(words if first else []), small_file, *([] if first else words))

    assert (called["model"], called["int8"]) == (small_file, int8)


def test_another_word_is_a_mistake(run: Callable[..., Result], small_file: Path) -> None:
    """It is named, and no model file is looked for under it."""
    done = run("export", small_file, "--int8=all")

    assert done.exit_code == 2
    assert "'all' is not one of 'weights', 'full'" in done.stderr


def test_only_litert_computes_in_integers(small_file: Path) -> None:
    """Other formats say which one does."""
    assert [name for name, target in TARGETS.items() if target.has_int8] == ["litert"]
    with pytest.raises(OutputError, match="8-bit integers are for LiteRT"):
        lrcompress.export(small_file, int8="full", format="onnx")


def test_compress_refuses_before_the_work(small_file: Path, tmp_path: Path) -> None:
    """Without data nothing is compressed first, only to be refused at the end."""
    with listening(before_keras=pytest.fail), pytest.raises(DatasetError) as refused:  # type: ignore[arg-type]
        lrcompress.compress(small_file, int8="full", output=tmp_path / "out.keras")

    assert refused.value.code == "no_dataset"
    assert list(tmp_path.iterdir()) == []
