"""A head that is two factors already: compressed further, swept, inspected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import RankError
from lrcompress.modelfile import find_head, open_model, read_kernel

Run = Callable[..., Result]


@pytest.fixture(params=["h5", "keras"])
def split(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Path:
    """Return the example with its head at rank 8."""
    source = shutil.copy(examples / f"digits_cnn.{request.param}", tmp_path / f"m.{request.param}")
    return lrcompress.factorize(source, rank=8, output=tmp_path / f"split.{request.param}").output


def test_the_pair_is_compressed_in_place(split: Path, tmp_path: Path) -> None:
    """Rank 8 becomes rank 3 in the two layers that are there, as NumPy would truncate B C."""
    before = open_model(split)
    product = read_kernel(before, find_head(before)).astype("float64")
    u, s, vt = np.linalg.svd(product, full_matrices=False)

    result = lrcompress.factorize(split, rank=3, method="svd", output=split.with_stem("again"))

    after = open_model(result.output)
    assert [layer.path for layer in after.layers] == [layer.path for layer in before.layers]
    head = find_head(after)
    assert head.rank == 3
    assert np.allclose(read_kernel(after, head), (u[:, :3] * s[:3]) @ vt[:3], atol=1e-5)
    (layer,) = result.layers
    assert layer.first_name == "predictions_lowrank"
    assert (layer.parameters_before, layer.parameters_after) == (8 * 266 + 10, 3 * 266 + 10)
    assert result.parameters_before - result.parameters_after == 5 * 266


def test_ranks_that_save_nothing_are_refused(split: Path) -> None:
    """The rank it has, and above, would not make it smaller; the message says what would."""
    for rank in (8, 9):
        with pytest.raises(RankError, match="below 8") as refused:
            lrcompress.factorize(split, rank=rank)
        assert refused.value.code == "rank_saves_nothing"


def test_rules_count_from_what_is_stored(split: Path) -> None:
    """Half of the two factors is rank 4; half of the kernel they came from would be 4.8."""
    result = lrcompress.factorize(split, reduction=0.5, output=split.with_stem("half"))

    assert result.rank == 4


def test_inspect_and_sweep_see_one_matrix(run: Run, split: Path) -> None:
    """`inspect` says that it is split at rank 8; `sweep` offers the ranks below."""
    shown = run("inspect", split).stdout
    document = json.loads(run("sweep", split, "--method", "svd", "--json").stdout)

    assert "already split at rank 8" in shown
    assert [row["rank"] for row in document["rows"]] == list(range(1, 8))
    assert document["rows"][3]["layer_reduction"] == pytest.approx(0.5)


def test_every_dense_layer_counts_once(split: Path) -> None:
    """--layers dense takes the pair as one layer beside the hidden Dense."""
    assert [layer.path for layer in open_model(split).sites] == ["dense", "predictions"]

    result = lrcompress.factorize(split, layers="dense", rank=2, output=split.with_stem("all"))

    assert [layer.name for layer in result.layers] == ["dense", "predictions"]
    assert find_head(open_model(result.output)).rank == 2


@pytest.mark.keras
def test_with_data_the_network_is_measured(split: Path) -> None:
    """Refinement and the probe reach through both layers; the figures are those of the file."""
    result = lrcompress.factorize(
        split, layers="dense", max_drop=2.0, method="whitened", dataset="digits",
        output=split.with_stem("probed"),
    )  # fmt: skip
    head = lrcompress.factorize(
        split, rank=4, method="whitened", dataset="digits", output=split.with_stem("head")
    )

    assert result.error_rate_after is not None
    assert result.error_rate_before is not None
    assert result.error_rate_after - result.error_rate_before < 5
    assert head.error_rate_after is not None
    assert head.error_rate_after < 30
