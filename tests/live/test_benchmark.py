"""`benchmark`: what is timed, what is counted, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import Result
from keras import layers as k

import lrcompress
from lrcompress.errors import RunRecordError, TrainingError
from lrcompress.live.outputs import STEPS, random_inputs
from lrcompress.live.timing import FEWEST, WARM_UP, Timing, interleaved, multiplications, speed

pytestmark = pytest.mark.keras


def count(layers: list[Any], shape: tuple[int | None, ...]) -> Any:
    """Return what is counted for a Sequential model of some layers."""
    return multiplications(keras.Sequential([keras.Input(shape), *layers]))


def test_multiplications_are_those_of_the_kernels() -> None:
    """Each kind of layer by its own rule, worked out by hand."""
    assert count([k.Dense(5)], (3,)) == (15, [])
    assert count([k.Dense(5)], (None, 3)) == (STEPS * 15, [])
    assert count([k.Conv2D(4, 3, strides=2)], (9, 9, 2)) == (4 * 4 * 9 * 2 * 4, [])
    assert count([k.Conv2D(4, 3, groups=2)], (9, 9, 2)) == (7 * 7 * 9 * 1 * 4, [])
    assert count([k.DepthwiseConv2D(3)], (5, 5, 2)) == (9 * 9 * 2, [])
    assert count([k.SeparableConv2D(4, 3)], (5, 5, 2)) == (9 * (9 * 2 + 2 * 4), [])
    assert count([k.Conv2DTranspose(4, 3)], (5, 5, 2)) == (25 * 9 * 2 * 4, [])
    assert count([k.LSTM(6)], (10, 3)) == (10 * (3 + 6) * 24, [])
    assert count([k.Bidirectional(k.GRU(6))], (10, 3)) == (2 * 10 * (3 + 6) * 18, [])
    assert count([k.TimeDistributed(k.Dense(5))], (10, 3)) == (150, [])
    assert count([k.TimeDistributed(k.Conv1D(5, 2))], (10, 4, 3)) == (10 * 3 * 30, [])
    assert count([k.TimeDistributed(keras.Sequential([k.Dense(5)]))], (10, 3)) == (150, [])
    assert count([k.DepthwiseConv1D(3, strides=2)], (7, 2)) == (3 * 3 * 2, [])
    assert count([k.ConvLSTM1D(2, 3)], (10, 7, 4)) == (10 * 5 * 3 * (4 + 2) * 8, [])
    assert count([k.RNN([k.GRUCell(6), k.LSTMCell(2)])], (10, 3)) == (10 * (9 * 18 + 8 * 8), [])
    assert count([k.EinsumDense("abc,cde->abde", (None, 2, 4))], (10, 3)) == (10 * 24, [])
    assert count([k.EinsumDense("...x,xy->...y", 4)], (7, 5, 3)) == (35 * 12, [])
    assert count([k.Embedding(50, 3), k.BatchNormalization(), k.Dense(2)], (4,)) == (24, [])


def test_attention_is_counted_with_the_products_of_activations() -> None:
    """Four projections, and what grows with the product of both lengths."""
    query, value = keras.Input((5, 4)), keras.Input((7, 6))
    heads, key, width = 2, 3, 8
    layer = k.MultiHeadAttention(heads, key, value_dim=width, output_shape=9)
    model = keras.Model([query, value], layer(query, value))

    projections = heads * (5 * 4 * key + 7 * 6 * key + 7 * 6 * width + 5 * width * 9)
    assert multiplications(model) == (projections + 5 * 7 * heads * (key + width), [])
    alike = keras.Model([query, value], k.Attention()([k.Dense(6)(query), value]))
    assert multiplications(alike) == (5 * 4 * 6 + 5 * 7 * (6 + 6), [])


def test_what_cannot_be_counted_is_named() -> None:
    """A layer of unknown work leaves the whole uncounted."""

    class Own(k.Layer):
        def build(self, shape: Any) -> None:
            self.matrix = self.add_weight(shape=(shape[-1], 4))

        def call(self, x: Any) -> Any:
            return x @ self.matrix

    assert count([Own(), k.Dense(2)], (3,)) == (None, ["Own"])
    assert count([k.Conv1D(2, 3)], (None, 3)) == (None, ["Conv1D"])


def test_layers_of_nested_and_shared_models_are_counted_once_a_use() -> None:
    """A layer that is called twice works twice."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
    x = keras.Input((4,))
    model = keras.Model(x, keras.layers.Dense(3)(inner(inner(x))))

    assert multiplications(model) == (2 * 16 + 12, [])


def test_calls_take_turns_and_begin_a_round_in_turn() -> None:
    """Every round runs each call once; warm-up runs are not counted."""
    order: list[str] = []

    found = interleaved({name: lambda n=name: order.append(n) for name in "abc"}, seconds=0)

    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert rounds[:WARM_UP] == ["abc"] * WARM_UP
    assert rounds[WARM_UP : WARM_UP + 4] == ["abc", "bca", "cab", "abc"]
    assert [len(found[name].seconds) for name in "abc"] == [FEWEST] * 3
    assert len(rounds) == WARM_UP + FEWEST


def test_figures_are_those_of_the_runs() -> None:
    """Median and quartiles are of the seconds, runs their number."""
    timing = Timing(np.array([5.0, 1.0, 2.0, 4.0, 3.0]))

    assert timing.to_json() == {"median": 3.0, "q1": 2.0, "q3": 4.0, "runs": 5}


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [(2.0, 0.02, "faster"), (0.5, 0.02, "slower"), (1.0, 0.02, "same"), (1.05, 0.5, "unclear")],
)
def test_verdict_goes_by_the_interval(factor: float, noise: float, verdict: str) -> None:
    """What is within noise is not called faster; load that both rounds share does not matter."""
    generator = np.random.default_rng(1)
    load = generator.uniform(1, 10, 41)
    after = load * np.exp(noise * generator.standard_normal(41))

    found = speed(Timing(factor * load), Timing(after))

    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high


def test_fewest_runs_give_an_interval() -> None:
    """The smallest number of rounds bounds the median on both sides."""
    found = speed(Timing(np.arange(1.0, FEWEST + 1)), Timing(np.ones(FEWEST)))

    assert (found.low, found.ratio, found.high) == (1.0, 4.0, 7.0)


def test_inputs_suit_the_model() -> None:
    """Indices stay below the smallest embedding, several inputs come by name, lengths are filled."""
    words, more = keras.Input((None,), name="words"), keras.Input((3,), name="more")
    embedded = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(5, 2)(words))
    model = keras.Model([words, more], keras.layers.Concatenate()([embedded, more]))

    found = random_inputs(model, 200)

    assert isinstance(found, dict)
    assert (found["words"].shape, found["more"].shape) == ((200, STEPS), (200, 3))
    assert set(np.unique(found["words"])) == set(range(5))


@pytest.fixture
def pair(trained_file: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a model and what rank 2 makes of it, with its record."""
    small = tmp_path / f"small{trained_file.suffix}"
    lrcompress.factorize(trained_file, rank=2, output=small)
    return trained_file, small


def test_the_last_run_is_timed_and_its_report_tells(
    pair: tuple[Path, Path], run: Callable[..., Result], tmp_path: Path
) -> None:
    """Without models the record names them, takes the result in, and the report shows it."""
    result = run("benchmark", "--seconds", "0", "--batch-sizes", "1,3")

    assert result.exit_code == 0, result.stderr
    assert "Whole model, at" in result.stdout
    assert "multiplications a sample, small" in result.stdout
    record = json.loads((tmp_path / "small.lrcompress.json").read_text(encoding="utf-8"))
    rows = record["benchmark"]["rows"]
    places = [(row["batch_size"], row["what"], row["model"]) for row in rows]
    assert places == [(b, w, i) for b in (1, 3) for w in ("model", "head") for i in (0, 1)]
    assert all(0 < row["q1"] <= row["median"] <= row["q3"] for row in rows)
    before, after = record["benchmark"]["models"]
    saved = before["multiplications"] - after["multiplications"]
    m, n = record["layers"][0]["kernel_shape"]
    assert saved == m * n - 2 * (m + n)
    assert before["head_multiplications"] == m * n
    assert "speed: Whole model" in run("report").stdout
    assert "### Speed" in run("report", "--format", "markdown").stdout
    page = run("report", "--format", "html").stdout
    assert 'id="speed-title"' in page


def test_models_that_take_other_inputs_are_refused(
    trained_file: Path, examples: Path, run: Callable[..., Result]
) -> None:
    """Only models of the same inputs can be compared."""
    other = Path("other.keras").absolute()
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(other)

    with pytest.raises(TrainingError, match="takes inputs of shape") as refused:
        lrcompress.benchmark([trained_file, other], seconds=0)
    assert refused.value.code == "inputs_differ"


def test_a_record_whose_models_are_gone_is_refused(pair: tuple[Path, Path]) -> None:
    """The line names what is missing and the way out."""
    pair[1].unlink()

    with pytest.raises(RunRecordError, match="lrcompress benchmark ORIGINAL COMPRESSED"):
        lrcompress.benchmark(run=pair[1].with_suffix(".lrcompress.json"))


def test_a_head_that_does_not_stand_alone_is_left_out(tmp_path: Path) -> None:
    """A model with two outputs is timed as a whole only, and alone it is compared with nothing."""
    x = keras.Input((4,))
    model = keras.Model(x, [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)])
    model.save(tmp_path / "two.keras")

    found = lrcompress.benchmark([tmp_path / "two.keras"], seconds=0, batch_sizes=(2,))

    assert [(row["what"], row["speed"]) for row in found.rows] == [("model", None)]
    assert found.models[0]["head_multiplications"] is None


@pytest.mark.parametrize("value", ["", "0", "1,x", "-1"])
def test_wrong_batch_sizes_are_a_usage_error(
    run: Callable[..., Result], examples: Path, value: str
) -> None:
    """Refused before Keras starts."""
    result = run("benchmark", examples / "digits_cnn.h5", f"--batch-sizes={value}")

    assert result.exit_code == 2
    assert "is not a list of batch sizes" in result.stderr


def test_the_layers_that_were_factorized_are_timed_alone(
    tmp_path: Path, run: Callable[..., Result]
) -> None:
    """Not the head, where that is the same in both: 30 x 20 became 30 x 3 x 20."""
    keras.Sequential([
        keras.Input((12,)),
        keras.layers.Dense(30, activation="relu", name="first"),
        keras.layers.Dense(20, activation="relu", name="hidden"),
        keras.layers.Dense(4, name="head"),
    ]).save(tmp_path / "model.keras")  # fmt: skip
    one, two = tmp_path / "one.keras", tmp_path / "two.keras"
    lrcompress.factorize(tmp_path / "model.keras", layer="hidden", rank=3, output=one)
    lrcompress.factorize(tmp_path / "model.keras", layer=["first", "hidden"], rank=3, output=two)

    done = run("benchmark", "model.keras", one, "--batch-sizes", "2", "--seconds", "0")
    found = lrcompress.benchmark([tmp_path / "model.keras", two], batch_sizes=(2,), seconds=0)

    assert "Factorized layers alone, at batch 2" in done.stdout
    assert (
        "multiplications a sample, one.keras: 590, of them 150 by the factorized layers"
        in done.stdout
    )
    assert (
        "multiplications a sample, model.keras: 1,040, of them 600 by the factorized layers"
        in done.stdout
    )
    assert [(row["what"], row["model"]) for row in found.rows] == [
        ("model", 0), ("model", 1), ("layers", 0), ("layers", 1)
    ]  # fmt: skip
    counts = [(one["head_multiplications"], one["head_parameters"]) for one in found.models]
    # 12 x 30 and 30 x 20, with their biases; r (m + n) of each.
    assert counts == [(960, 1010), (3 * 42 + 3 * 50, 3 * 42 + 3 * 50 + 50)]


def test_layers_of_every_kind_are_timed_beside_what_became_of_them(tmp_path: Path) -> None:
    """Rows are told by the layers put before one; what takes in less for it is a row of its own."""

    def network(*, small: bool) -> keras.Model:
        keras.backend.clear_session()  # for the names of the others
        x = keras.Input((6, 6, 3))
        y = k.Conv2D(3, 3, use_bias=False, name="conv_lowrank")(x) if small else x
        y = k.Conv2D(8, 1 if small else 3, name="conv")(y)
        y = k.Conv2D(4, 1, use_bias=False, name="flat_lowrank")(y) if small else y
        y = k.Dense(2 if small else 5, name="narrow")(k.Flatten(name="flat")(y))
        y = k.Reshape((5, 4))(k.Dense(20, name="behind")(y))
        y = k.MultiHeadAttention(2, 2 if small else 3, name="attention")(y, y)
        return keras.Model(x, k.Dense(3, name="head")(k.Flatten()(y)))

    paths = [tmp_path / "large.keras", tmp_path / "small.keras"]
    network(small=False).save(paths[0])
    network(small=True).save(paths[1])

    found = lrcompress.benchmark(paths, batch_sizes=(2,), seconds=0)

    assert [row["what"] for row in found.rows] == ["model", "model", "layers", "layers"]
    whole = [16 * 27 * 8, 128 * 5, 5 * 20, 4 * 5 * 4 * 6 + 2 * 25 * 6]
    parts = [16 * 27 * 3 + 16 * 24, 16 * 8 * 4, 64 * 2, 2 * 20, 4 * 5 * 4 * 4 + 2 * 25 * 4]
    assert [one["head_multiplications"] for one in found.models] == [sum(whole), sum(parts)]
    assert [one["multiplications"] for one in found.models] == [sum(whole) + 60, sum(parts) + 60]
