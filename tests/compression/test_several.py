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


def test_a_reduction_is_shared_out(model: Path, tmp_path: Path) -> None:
    """All layers together save the share, by the best ranks that a search over all pairs finds."""
    opened = open_model(model)
    sigma = {
        layer.name: np.linalg.svd(read_kernel(opened, layer).astype("f8"), compute_uv=False)
        for layer in opened.sites
    }
    centred = read_kernel(opened, find_head(opened)).astype("f8")
    centred -= centred.mean(axis=1, keepdims=True)
    sigma["predictions"] = np.linalg.svd(centred, compute_uv=False)

    result = lrcompress.factorize(
        model, layers="dense", reduction=0.8, output=tmp_path / f"o{model.suffix}"
    )

    whole = 128 * 256 + 256 * 10
    ranks = {layer.name: layer.rank for layer in result.layers}
    prices = {"dense": 384, "predictions": 266}
    full = {"dense": 128 * 256, "predictions": 2_560}

    def price(name: str, rank: int | None) -> int:
        return full[name] if rank is None else prices[name] * rank

    def lost(name: str, rank: int | None) -> float:
        squares = np.square(sigma[name])
        return 0.0 if rank is None else float(squares[rank:].sum() / squares.sum())

    spent = sum(price(name, ranks.get(name)) for name in prices)
    assert spent <= 0.2 * whole
    best = min(
        lost("dense", a) + lost("predictions", b)
        for a in (*range(1, 86), None)
        for b in (*range(1, 10), None)
        if price("dense", a) + price("predictions", b) <= 0.2 * whole
    )
    assert sum(lost(name, ranks.get(name)) for name in prices) <= best + 0.02


def test_energy_is_kept_on_average(model: Path, tmp_path: Path) -> None:
    """The mean of the energies that the layers keep reaches what was asked, and barely."""
    result = lrcompress.factorize(
        model, layers="dense", energy=0.7, output=tmp_path / f"o{model.suffix}"
    )

    kept = {}
    for layer in result.layers:
        certificate = layer.factors.certificate
        truncated = certificate.truncated or certificate
        kept[layer.name] = 1 - truncated.frobenius_error**2
    mean = (sum(kept.values()) + (2 - len(kept))) / 2
    assert 0.7 <= mean < 0.76


@pytest.mark.keras
def test_a_drop_is_kept_by_the_whole_network(examples: Path, tmp_path: Path) -> None:
    """With data the ranks are tried in the network, and the written file loses about as little."""
    result = lrcompress.factorize(
        examples / "digits_cnn.keras", layers="dense", max_drop=1.0, dataset="digits",
        output=tmp_path / "small.keras",
    )  # fmt: skip

    assert result.parameters_after < 0.6 * result.parameters_before
    assert result.error_rate_before is not None
    assert result.error_rate_after is not None
    # Held-out samples chose, test samples judge: 360 of them move by a point or two.
    assert result.error_rate_after - result.error_rate_before < 3.0
    assert {layer.factors.method for layer in result.layers} <= {
        "svd", "centered", "whitened", "refined",
    }  # fmt: skip


@pytest.mark.keras
def test_the_product_in_the_network_is_the_file(examples: Path, tmp_path: Path) -> None:
    """What the probe measures with other kernels is what the written model does."""
    from lrcompress.data import sources
    from lrcompress.live import storing
    from lrcompress.live.trial import NetworkTrial

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
    with pytest.raises(RankError) as too_much:
        lrcompress.factorize(model, layers="dense", reduction=0.999)
    with pytest.raises(RankError) as wrong:
        lrcompress.factorize(model, layers="all", rank=2)  # type: ignore[arg-type]
    both = run("factorize", model.name, "--layers", "dense", "--layer", "dense", "--rank", 2)

    assert (twice.value.code, too_much.value.code) == ("layer_twice", "reduction_unreachable")
    assert wrong.value.code == "bad_layers"
    assert both.exit_code == 2
    assert not list(tmp_path.glob("*rank*"))


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
