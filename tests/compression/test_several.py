"""Several Dense layers under one rule."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import RankError, UnsupportedModelError
from lrcompress.modelfile import find_head, open_model, read_kernel

Run = Callable[..., Result]


@pytest.fixture(params=["h5", "keras"])
def model(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example: Dense layers of 128 x 256 and 256 x 10."""
    name = f"digits_cnn.{request.param}"
    return Path(shutil.copy(examples / name, tmp_path / f"model.{request.param}"))


def test_named_layers_are_factorized_together(run: Run, model: Path) -> None:
    """--layer twice splits both at the rank asked for; one record holds both."""
    result = run("factorize", model.name, "--layer", "dense", "--layer", "predictions", "--rank", 4,
                 "--json")  # fmt: skip

    document = json.loads(result.stdout)
    assert [layer["name"] for layer in document["layers"]] == ["dense", "predictions"]
    assert [layer["rank"] for layer in document["layers"]] == [4, 4]
    saved = (128 * 256 - 4 * 384) + (256 * 10 - 4 * 266)
    assert document["parameters_before"] - document["parameters_after"] == saved
    record = json.loads(Path(document["record"]).read_text(encoding="utf-8"))
    assert len(record["layers"]) == 2
    assert "dense: Dense 128 x 256" in run("report").stdout


def test_a_reduction_is_of_the_whole_model(model: Path, tmp_path: Path) -> None:
    """All layers together save the share of the model's parameters, with hardly more than is asked."""
    result = lrcompress.factorize(
        model, layers="dense", reduction=0.5, output=tmp_path / f"o{model.suffix}"
    )

    saved = 1 - result.parameters_after / result.parameters_before
    assert 0.5 <= saved < 0.53
    assert result.network is not None
    assert result.network.budget == {"name": "reduction", "value": 0.5, "default": False}


def test_a_reduction_of_one_layer_is_of_that_layer(model: Path, tmp_path: Path) -> None:
    """--layer alone keeps the old meaning: a share of the kernel."""
    result = lrcompress.factorize(
        model, layer="dense", reduction=0.5, output=tmp_path / f"o{model.suffix}"
    )

    assert result.rank == 128 * 256 // 2 // 384
    assert result.network is None


def test_energy_is_kept_by_each_layer(model: Path, tmp_path: Path) -> None:
    """No kernel loses more than was allowed."""
    result = lrcompress.factorize(
        model, layers="dense", energy=0.7, output=tmp_path / f"o{model.suffix}"
    )

    assert result.layers
    assert all(layer.error <= 0.3 for layer in result.layers)


def test_methods_are_of_single_kernels(model: Path, tmp_path: Path) -> None:
    """With a method the Dense kernels are factorized one by one, and share a reduction of themselves."""
    result = lrcompress.factorize(
        model, layers="dense", reduction=0.8, method="svd", output=tmp_path / f"o{model.suffix}"
    )

    saved = sum(x.parameters_before - x.parameters_after for x in result.layers)
    assert saved >= 0.8 * (128 * 256 + 256 * 10)
    assert {layer.method for layer in result.layers} == {"svd"}


@pytest.mark.keras
def test_a_drop_is_kept_by_the_whole_network(examples: Path, tmp_path: Path) -> None:
    """With data the sizes are tried in the network, and the written file loses about as little."""
    result = lrcompress.factorize(
        examples / "digits_cnn.keras", layers="dense", max_drop=1.0, dataset="digits",
        output=tmp_path / "small.keras",
    )  # fmt: skip

    assert result.parameters_after < 0.6 * result.parameters_before
    assert result.error_rate_before is not None
    assert result.error_rate_after is not None
    # Held-out samples chose, test samples judge: 360 of them move by a point or two.
    assert result.error_rate_after - result.error_rate_before < 3.0
    assert result.network is not None
    assert result.network.measured is not None
    assert (result.network.measured["drop"] or 0) <= 1.0


@pytest.mark.keras
def test_the_product_in_the_network_is_the_file(examples: Path, tmp_path: Path) -> None:
    """What the probe measures with other kernels is what the written model does."""
    from lrcompress.data import sources
    from lrcompress.live import storing
    from lrcompress.live.evaluate import NetworkTrial

    x = (sources.load("digits").x_test / 16.0).astype("float32")[..., None]
    original = storing.load_model(examples / "digits_cnn.keras")
    before = original.get_weights()
    result = lrcompress.factorize(
        examples / "digits_cnn.keras", layers="dense", rank=5, output=tmp_path / "small.keras"
    )
    trial = NetworkTrial(original, x, None)

    sites = {site.path: site for site in open_model(examples / "digits_cnn.keras").sites}

    outcome = trial({sites[layer.path]: layer.factors for layer in result.layers})

    small = storing.load_model(result.output)
    ours, theirs = (model.predict(x, verbose=0).argmax(axis=-1) for model in (original, small))
    agreement = 100 * (ours == theirs).mean()
    assert outcome.agreement == pytest.approx(agreement)
    assert trial.original.output_error == 0
    assert all(np.array_equal(a, b) for a, b in zip(before, original.get_weights(), strict=True))


def test_requests_that_cannot_be_met(run: Run, model: Path, tmp_path: Path) -> None:
    """Doubled and unknown layers, both options, and too much to save are refused in one line."""
    with pytest.raises(RankError) as twice:
        lrcompress.factorize(model, layer=["dense", "dense"], rank=2)
    with pytest.raises(UnsupportedModelError):
        lrcompress.factorize(model, layer=["dense", "conv2d"], rank=2)
    with pytest.raises(RankError) as one_rank:
        lrcompress.factorize(model, layers="all", rank=2)
    with pytest.raises(RankError) as two:
        lrcompress.factorize(model, layers="all", energy=0.9, reduction=0.5)
    both = run("factorize", model.name, "--layers", "dense", "--layer", "dense", "--rank", 2)

    assert twice.value.code == "layer_twice"
    assert (one_rank.value.code, two.value.code) == ("bad_layers", "several_rules")
    assert both.exit_code == 2
    assert not list(tmp_path.glob("*rank*"))


def test_too_much_gets_what_there_is(run: Run, model: Path) -> None:
    """A reduction that no sizes reach gets the smallest network, and the figures are told."""
    result = run("factorize", model.name, "--layers", "dense", "--reduction", 0.999, "--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["parameters_after"] < 0.2 * document["parameters_before"]
    saved = document["parameters_before"] - document["parameters_after"]
    assert any(f"{saved:,}" in warning for warning in document["warnings"])


def test_a_layer_that_gains_nothing_stays_whole(run: Run, model: Path) -> None:
    """--layers dense at a rank that is too high for one layer leaves that layer and says so."""
    result = run("factorize", model.name, "--layers", "dense", "--rank", 20)

    assert result.exit_code == 0
    assert "predictions stays whole" in result.stderr
    assert "128 x 20 x 256" in result.stdout


def test_one_layer_of_several_rules(examples: Path, tmp_path: Path) -> None:
    """A hidden layer alone goes by its own outputs: nothing is centred."""
    result = lrcompress.factorize(
        examples / "digits_cnn.keras", layer="dense", rank=8, output=tmp_path / "o.keras"
    )

    opened = open_model(examples / "digits_cnn.keras")
    kernel = read_kernel(opened, find_head(opened, "dense")).astype("float64")
    u, s, vt = np.linalg.svd(kernel, full_matrices=False)
    assert result.method == "svd"
    assert np.allclose(result.factors.product(), (u[:, :8] * s[:8]) @ vt[:8], atol=1e-5)
