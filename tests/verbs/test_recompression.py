"""A network that was made smaller is merged again, or made smaller anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import find_chains, open_model
from lrcompress.records import runs

Run = Callable[..., Result]


@pytest.fixture
def small(examples: Path, tmp_path: Path) -> Path:
    """Return a network of which several layers are factors."""
    path = tmp_path / "small.keras"
    lrcompress.factorize(
        examples / "digits_cnn.keras", layers=["conv", "dense"], energy=0.8, output=path
    )
    return path


def test_merging_undoes_all_that_the_record_says(run: Run, small: Path, examples: Path) -> None:
    """Every layer that is several is one again, and is named; layers in a row are no more."""
    record = runs.read(runs.record_path(small)).document
    split = {layer["path"] for layer in record["layers"] if layer["first_names"]}

    done = run("merge", small, "-o", "whole.keras")

    assert done.exit_code == 0, done.output
    assert all(f"{path}: " in done.stdout for path in split)
    assert len(split) > 1
    whole = open_model(Path("whole.keras"))
    assert find_chains(whole) == ()
    old = open_model(examples / "digits_cnn.keras")
    assert [layer.path for layer in whole.layers] == [layer.path for layer in old.layers]


def test_families_and_names_are_merged(small: Path, tmp_path: Path) -> None:
    """The others stay factors; what is none is refused."""
    chains = find_chains(open_model(small))
    conv = [chain.path for chain in chains if chain.family == "conv"]
    first = chains[0].gone[0]

    families = lrcompress.merge(small, layers="conv", output=tmp_path / "conv.keras")
    named = lrcompress.merge(small, layer=first, output=tmp_path / "named.keras")

    assert [layer.path for layer in families.layers] == conv != []
    assert [layer.path for layer in named.layers] == [chains[0].path]
    with pytest.raises(UnsupportedModelError, match="nothing to merge") as refused:
        lrcompress.merge(small, layers="recurrent")
    assert refused.value.code == "not_split"


def test_factors_are_merged_before_a_network_is_made_smaller_anew(
    small: Path, tmp_path: Path
) -> None:
    """Layers are looked at whole, and the share to save is one of the file that is given."""
    again = lrcompress.factorize(
        small, layers="all", reduction=0.3, output=tmp_path / "again.keras"
    )

    assert any("merged first" in warning for warning in again.warnings)
    assert again.network is not None
    assert not any("lowrank" in path for path in again.network.curves)
    assert again.network.budget == {"name": "reduction", "value": 0.3, "default": False}
    assert again.parameters_before == open_model(small).parameters
    assert 0.6 < again.parameters_after / again.parameters_before <= 0.7


@pytest.mark.keras
def test_so_it_is_with_data(small: Path, tmp_path: Path) -> None:
    """The file that is given is what the outcome is measured against."""
    x = np.random.default_rng(0).uniform(size=(300, 8, 8, 1)).astype("float32")
    np.savez(tmp_path / "x.npz", x_train=x)

    again = lrcompress.factorize(
        small, layers="all", reduction=0.1, dataset=tmp_path / "x.npz", scaling="as-is", samples=100,
        output=tmp_path / "again.keras",
    )  # fmt: skip

    assert again.network is not None
    assert again.network.measured is not None
    assert not any("lowrank" in path for path in again.network.curves)
    assert again.parameters_after <= 0.9 * again.parameters_before
