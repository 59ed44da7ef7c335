"""All layers of a network under one budget: on data, on synthetic inputs, by the weights alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import RankError
from lrcompress.records import runs

Run = Callable[..., Result]


@pytest.fixture
def model(examples: Path) -> Path:
    """Return a network without BatchNormalization."""
    return examples / "digits_cnn.keras"


@pytest.fixture(scope="module")
def normalized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small network with BatchNormalization."""
    import keras

    keras.utils.set_random_seed(0)
    network = keras.Sequential([
        keras.Input((12,)),
        keras.layers.Dense(32, use_bias=False, name="wide"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.ReLU(),
        keras.layers.Dense(24, activation="relu", name="deep"),
        keras.layers.Dense(6, activation="softmax", name="classes"),
    ])  # fmt: skip
    path = tmp_path_factory.mktemp("normalized") / "normalized.keras"
    network.save(path)
    return path


def synthesize(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Any]:
    """Let random inputs stand for synthetic ones; return the models that they were made for."""
    from lrcompress.live import synthetic

    asked: list[Any] = []

    def made(network: Any, **_: Any) -> Any:
        asked.append(network)
        x = np.random.default_rng(0).normal(size=(64, 12)).astype("float32")
        known = {"x": x, "fit": 48, "loss": 0.01, "matched": 1, "trusted": True, "seconds": 0.5}
        return synthetic.Synthetic(**(known | changes))

    monkeypatch.setattr(synthetic, "synthetic_inputs", made)
    return asked


def test_without_data_nothing_is_measured_and_that_is_said(run: Run, model: Path) -> None:
    """In the output, in the record and in the report, with the command that measures; no certificate."""
    done = run("factorize", model, "--layers", "all", "--reduction", 0.5, "-o", "small.keras")

    assert done.exit_code == 0, done.output
    command = f"lrcompress evaluate {model} small.keras --dataset DATA"
    assert "nothing was measured" in done.stdout
    assert command in done.stdout
    assert "certificate" not in done.stdout
    record = runs.read(Path("small.lrcompress.json")).document
    assert record["network"]["inputs"] == "none"
    assert record["network"]["measured"] is None
    assert all(layer["share"] is None for layer in record["layers"])
    saved = 1 - record["parameters_after"] / record["parameters_before"]
    assert 0.5 <= saved < 0.6
    assert "nothing was measured" in run("report").stdout


@pytest.mark.keras
def test_data_choose_and_the_record_tells_what_they_cost(model: Path, tmp_path: Path) -> None:
    """Each layer has its form and its share of the error, and all that were looked at their curves."""
    result = lrcompress.factorize(
        model, layers="all", reduction=0.5, dataset="digits", samples=300,
        output=tmp_path / "small.keras",
    )  # fmt: skip

    network = result.network
    assert network is not None
    assert (network.inputs, network.samples) == ("data set", 300)
    assert network.measured is not None
    assert network.predicted == pytest.approx(sum(layer.share for layer in result.layers))
    assert {"conv2d", "conv2d_1", "dense", "predictions"} == set(network.curves)
    for curve in network.curves.values():
        for form in curve["forms"].values():
            assert len(form["size"]) == len(form["error"]) == len(form["measured"])
    assert result.record is not None
    record = runs.read(result.record).document
    assert [layer["form"] for layer in record["layers"]] == [x.form for x in result.layers]
    assert result.error_rate_after is not None
    assert record["network"] == json.loads(json.dumps(network.to_json()))


@pytest.mark.keras
def test_synthetic_inputs_measure_before_the_file_is_written(
    normalized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they estimate is said while the output is not there yet; the record names the inputs."""
    asked = synthesize(monkeypatch)
    output = tmp_path / "small.keras"
    heard: list[tuple[str, bool]] = []

    with lrcompress.listening(remark=lambda text: heard.append((text, output.exists()))):
        result = lrcompress.factorize(normalized, layers="all", reduction=0.3, output=output)

    assert len(asked) == 1
    assert result.network is not None
    assert (result.network.inputs, result.network.samples) == ("synthetic", 48)
    assert result.network.measured is not None
    estimates = [(text, there) for text, there in heard if "output error" in text]
    assert len(estimates) == 1
    assert not estimates[0][1]
    assert "synthetic" in estimates[0][0]


@pytest.mark.keras
def test_the_default_on_synthetic_inputs_keeps_decisions(
    normalized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 5 % of them change, or a tenth of the parameters goes and a warning says so; energy would not tell."""
    synthesize(monkeypatch)

    result = lrcompress.factorize(normalized, layers="all", output=tmp_path / "small.keras")

    assert result.network is not None
    assert result.network.measured is not None
    budget = result.network.budget or {}
    assert budget["default"]
    if budget["name"] == "max_drop":
        assert result.network.measured["agreement"] >= 95
    else:
        assert (budget["name"], budget["value"]) == ("reduction", 0.1)
        assert any("too much" in warning for warning in result.warnings)


@pytest.mark.keras
def test_the_default_of_numbers_gives_way_where_too_much_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kernel keeps more of its energy then, or a tenth of the parameters goes; a warning says which."""
    import keras

    keras.utils.set_random_seed(0)
    network = keras.Sequential([
        keras.Input((12,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(2, use_bias=False),
    ])  # fmt: skip
    path = tmp_path / "numbers.keras"
    network.save(path)
    synthesize(monkeypatch)
    monkeypatch.setattr("lrcompress.verbs.networks.compress.WORST", 1e-9)

    result = lrcompress.factorize(path, layers="all", output=tmp_path / "small.keras")

    assert result.network is not None
    assert result.network.measured is not None
    budget = result.network.budget or {}
    assert budget["default"]
    assert (budget["name"], budget["value"]) != ("energy", 0.95)
    assert any("The default loses" in warning for warning in result.warnings)


@pytest.mark.keras
def test_inputs_that_do_not_match_are_not_used(
    normalized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights alone decide then, and a warning says why."""
    synthesize(monkeypatch, trusted=False, loss=2.5)

    result = lrcompress.factorize(
        normalized, layers="all", reduction=0.3, output=tmp_path / "small.keras"
    )

    assert result.network is not None
    assert result.network.inputs == "none"
    assert any("loss 2.5" in warning for warning in result.warnings)


def test_synthetic_inputs_can_be_forbidden(
    run: Run, normalized: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--synthetic no makes none."""
    asked = synthesize(monkeypatch)

    done = run("factorize", normalized, "--layers", "all", "--reduction", 0.3, "--synthetic", "no")

    assert done.exit_code == 0, done.output
    assert asked == []
    assert "nothing was measured" in done.stdout


def test_a_file_of_a_size(run: Run, model: Path) -> None:
    """--target-size is of the file that is written."""
    done = run("factorize", model, "--layers", "all", "--target-size", "100kB", "-o", "small.keras")

    assert done.exit_code == 0, done.output
    assert 50_000 < Path("small.keras").stat().st_size <= 100_000


def test_sizes_are_multiples(model: Path, tmp_path: Path) -> None:
    """--multiple 8 rounds every size but that at which a form is exact."""
    result = lrcompress.factorize(
        model, layers="dense", multiplications=0.2, multiple=8, output=tmp_path / "small.keras"
    )

    assert all(x.size % 8 == 0 or x.size == x.largest for x in result.layers)


def test_names_families_and_lists(run: Run, model: Path) -> None:
    """Commas, repetition, families and names select the same layers."""
    found = []
    for words in (["conv,predictions"], ["conv", "predictions"], ["conv2d,conv2d_1,predictions"]):
        options = [part for word in words for part in ("--layers", word)]
        done = run(
            "factorize",
            model,
            *options,
            "--reduction",
            0.05,
            "--json",
            "-o",
            "o.keras",
            "--overwrite",
        )
        document = json.loads(done.stdout)
        found.append((document["parameters_after"], set(document["network"]["curves"])))

    assert found[0] == found[1] == found[2]
    assert found[0][1] == {"conv2d", "conv2d_1", "predictions"}


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_drop": 1.0, "layers": "all"}, "needs_data"),
        ({"multiplications": 0.5}, "bad_rule"),
        ({"target_size": "200kB"}, "bad_rule"),
        ({"multiple": 8}, "bad_rule"),
        ({"layers": "all", "target_size": "large"}, "bad_rule"),
        ({"layers": "all", "multiplications": 1.5}, "bad_rule"),
        ({"layers": "all", "multiple": 0}, "bad_rule"),
        ({"layers": "all", "rank": 4}, "bad_layers"),
        ({"layers": "conv", "method": "svd"}, "bad_layers"),
        ({"layers": "all", "layer": "dense"}, "bad_layers"),
        ({"layers": "all", "energy": 0.9, "multiplications": 0.5}, "several_rules"),
    ],
)
def test_what_cannot_be_asked(model: Path, options: dict[str, Any], code: str) -> None:
    """Each is refused before any work, with its code."""
    with pytest.raises(RankError) as error:
        lrcompress.factorize(model, **options)

    assert error.value.code == code


@pytest.mark.parametrize(
    "options",
    [
        ["--multiplications", 0.5],
        ["--target-size", "200kB"],
        ["--layers", "all", "--target-size", "200 parsecs"],
        ["--layers", "all", "--reduction", 0.5, "--energy", 0.9],
        ["--layers", "all", "--multiple", 0],
        ["--layers", "all", "--synthetic", "maybe"],
    ],
)
def test_a_wrong_command_line_exits_with_2(run: Run, model: Path, options: list[Any]) -> None:
    """One line, and nothing is written."""
    done = run("factorize", model, *options)

    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(Path().glob("*lowrank*"))


def test_sweep_shows_what_each_layer_costs(run: Run, model: Path) -> None:
    """Without data by the kernels, and that is said; the JSON has every form and size."""
    done = run("sweep", model, "--layers", "all", "--plot", "sensitivity.svg")
    document = json.loads(run("sweep", model, "--layers", "all", "--json").stdout)

    assert done.exit_code == 0, done.output
    assert "Error of the kernel with one layer alone made smaller" in done.stdout
    assert "nothing was measured" in done.stdout
    assert "conv2d_1" in Path("sensitivity.svg").read_text(encoding="utf-8")
    assert document["inputs"] == "none"
    assert document["curves"]["dense"]["parameters"] == 33_024
    assert "rank" in document["curves"]["dense"]["forms"]
    assert run("sweep", model, "--layers", "all", "--ranks", "3").exit_code == 2


@pytest.mark.keras
def test_sweep_measures_on_data(model: Path) -> None:
    """With data the errors are of the outputs, some of them measured."""
    found = lrcompress.sweep(model, layers="predictions", dataset="digits", samples=200)

    assert found.inputs == "data set"
    (form,) = found.curves["predictions"]["forms"].values()
    assert any(form["measured"])
    assert form["error"] == sorted(form["error"], reverse=True)


@pytest.mark.keras
def test_a_model_in_memory(normalized: Path) -> None:
    """The smaller model comes back, and no file stays."""
    import keras

    network = keras.models.load_model(normalized)

    result = lrcompress.factorize(network, layers="all", reduction=0.3, synthetic=False)

    assert result.output is None
    assert result.model.count_params() == result.parameters_after
    assert result.parameters_after <= 0.7 * network.count_params()


def test_layers_that_are_not_finite_stay(run: Run, tmp_path: Path, examples: Path) -> None:
    """NaN in one layer leaves it as it is, and says so; named, it is refused."""
    import h5py

    path = tmp_path / "nan.h5"
    path.write_bytes((examples / "digits_cnn.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["model_weights/conv2d_1/digits_cnn/conv2d_1/kernel"][0, 0, 0, 0] = np.nan

    done = run("factorize", path, "--layers", "all", "--reduction", 0.5, "--json", "-o", "o.h5")
    named = run("factorize", path, "--layers", "conv2d_1", "--reduction", 0.1)

    document = json.loads(done.stdout)
    assert "NaN" in document["network"]["kept"]["conv2d_1"]
    assert "conv2d_1" not in {layer["path"] for layer in document["layers"]}
    assert named.exit_code == 1
    assert "NaN" in named.stderr
