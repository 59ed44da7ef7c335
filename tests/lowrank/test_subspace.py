"""Filtered iteration finds the leading pairs, and its proof holds only where it is true."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lrcompress.lowrank import subspace
from lrcompress.lowrank.gram import Pairs, leading_pairs
from lrcompress.lowrank.subspace import (
    OutOfPrecision,
    filtered_pairs,
    orthonormal,
    orthonormal_pair,
    proven_pairs,
    rayleigh_ritz,
)

SIDE = 400

SPECTRA: dict[str, Callable[[int], Any]] = {
    "flat": lambda k: np.linspace(1.2, 0.8, k),
    "one value": lambda k: np.ones(k),
    "power law": lambda k: np.arange(1, k + 1.0) ** -1.4,
    "steps": lambda k: np.repeat(2.0 ** -np.arange(k // 20 + 1), 20)[:k] + 1e-3,
    "cliff at the rank": lambda k: np.where(np.arange(k) < 30, 10.0, 1.0),
    "cliff in the block": lambda k: np.where(np.arange(k) < 35, 10.0, 1.0),
    "one large": lambda k: np.r_[1e3, np.linspace(1, 0.5, k - 1)],
}


def symmetric(values: NDArray[Any], seed: int = 0, dtype: Any = np.float64) -> NDArray[Any]:
    """Return a symmetric matrix with stated eigenvalues."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    made = (Q * values) @ Q.T
    return np.asarray((made + made.T) / 2, dtype)


def solve(gram: NDArray[Any], rank: int, *, prove: bool = True, seed: int = 0) -> Pairs:
    """Return the leading pairs of a matrix to a thousandth."""
    return filtered_pairs(
        gram.__matmul__, len(gram), rank, float(np.trace(gram, dtype=np.float64)),
        np.random.default_rng(seed), gram.dtype.type, tolerance=1e-3,
        prove=partial(proven_pairs, gram, rank) if prove else None,
    )  # fmt: skip


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("rank", [1, 5, 30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bound_holds_and_is_near(name: str, rank: int, dtype: Any) -> None:
    """What is found is below the true sum, the bound above it, both within what was asked for."""
    values = SPECTRA[name](SIDE)
    gram = symmetric(values, dtype=dtype)

    found = solve(gram, rank)

    truth, trace = values[:rank].sum(), values.sum()
    rounding = 1e-5 * trace if dtype == np.float32 else 1e-10 * trace
    assert found.values.sum() <= truth + rounding
    assert truth <= found.most + rounding
    least = np.sqrt(trace - truth)
    assert np.sqrt(trace - found.values.sum()) <= least * 1.001
    assert np.sqrt(trace - found.most) >= least / 1.0011
    V = found.vectors.astype(np.float64)
    np.testing.assert_allclose(V.T @ V, np.eye(rank), atol=1e-5)
    rest = np.eye(SIDE) - V @ V.T
    beyond = np.linalg.eigvalsh(rest @ gram.astype(np.float64) @ rest)[-1]
    assert beyond <= found.beyond * (1 + 1e-5)


@given(
    seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 25), power=st.floats(0, 2.5),
    noise=st.floats(1e-3, 1),
)  # fmt: skip
@settings(max_examples=40)
def test_bound_holds_for_any_spectrum(seed: int, rank: int, power: float, noise: float) -> None:
    """For power laws with noise the true sum lies between what is found and the bound."""
    rng = np.random.default_rng(seed)
    values = np.sort(np.arange(1, 121.0) ** -power + noise * rng.random(120))[::-1]
    gram = symmetric(values, seed)

    found = solve(gram, rank, seed=seed)

    truth = values[:rank].sum()
    assert found.values.sum() <= truth * (1 + 1e-12)
    assert truth <= found.most * (1 + 1e-12)


def test_missed_eigenvector_is_not_proven() -> None:
    """Where a leading eigenvector was missed, no bound is given, however well the rest converged."""
    values = np.r_[np.linspace(10, 5, 20), np.linspace(1, 0.5, 180)]
    gram = symmetric(values)
    vectors = np.linalg.eigh(gram)[1][:, ::-1]
    seen = np.delete(np.arange(40), 3)
    basis = vectors[:, seen]
    ritz = rayleigh_ritz(gram @ basis, basis, 10, float(values.sum()))

    assert ritz.missing(10, 1e-3) < 1e-12
    assert proven_pairs(gram, 10, ritz, 2e-3 * ritz.tail) is None
    everything = vectors[:, :40]
    ritz = rayleigh_ritz(gram @ everything, everything, 10, float(values.sum()))
    found = proven_pairs(gram, 10, ritz, 2e-3 * ritz.tail)
    assert found is not None
    assert found.most == pytest.approx(values[:10].sum(), rel=1e-3)


def test_tail_below_float32_is_refused() -> None:
    """Where what is left beside the leading values is rounding, float32 says so."""
    gram = symmetric(np.r_[np.linspace(2, 1, 10), np.full(190, 1e-8)], dtype=np.float32)

    with pytest.raises(OutOfPrecision):
        solve(gram, 10)


def test_deficient_matrix_is_solved_in_float64() -> None:
    """More pairs than there are: the values are right to rounding, and nothing is claimed beyond."""
    gram = symmetric(np.r_[np.linspace(2, 1, 10), np.zeros(190)])

    found = solve(gram, 15)

    np.testing.assert_allclose(found.values[:10], np.linspace(2, 1, 10), rtol=1e-9)
    np.testing.assert_allclose(found.values[10:], 0, atol=1e-12)
    assert found.most == pytest.approx(np.linspace(2, 1, 10).sum(), rel=1e-9)


def test_iteration_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without convergence in the products allowed it fails, as LAPACK does."""
    monkeypatch.setattr(subspace, "MOST_PRODUCTS", 3)

    with pytest.raises(np.linalg.LinAlgError, match="products"):
        solve(symmetric(np.linspace(1.2, 0.8, 200)), 20)


@pytest.mark.parametrize("rank", [1, 7, 40])
@pytest.mark.parametrize("side", [40, 600])
def test_leading_pairs_are_numpys(rank: int, side: int) -> None:
    """LAPACK's pairs, by NumPy or SciPy, and the largest eigenvalue that is left."""
    values = np.linspace(3, 1, side)
    gram = symmetric(values)

    found = leading_pairs(gram.copy(), rank)

    np.testing.assert_allclose(found.values[:rank], values[:rank], rtol=1e-10)
    assert found.most == pytest.approx(values[:rank].sum(), rel=1e-10)
    assert found.beyond == pytest.approx(values[rank] if rank < side else 0, rel=1e-10)


@pytest.mark.parametrize("condition", [1e0, 1e2, 1e5, 1e9])
def test_orthonormal(condition: float) -> None:
    """Nearly parallel columns too become an orthonormal basis of the same space."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((200, 12)))[0]
    mix = np.linalg.qr(rng.standard_normal((12, 12)))[0] * np.geomspace(1, 1 / condition, 12)
    block = basis @ mix @ np.linalg.qr(rng.standard_normal((12, 12)))[0]

    found = orthonormal(block)

    np.testing.assert_allclose(found.T @ found, np.eye(12), atol=1e-12)
    np.testing.assert_allclose(basis @ (basis.T @ found), found, atol=1e-15 * condition + 1e-12)


@pytest.mark.parametrize("condition", [1e0, 1e3])
def test_recurrence_goes_on_in_the_new_basis(condition: float) -> None:
    """Both blocks are multiplied from the right by one matrix."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((50, 6)) * np.geomspace(1, 1 / condition, 6)
    other = rng.standard_normal((50, 6))

    found, moved = orthonormal_pair(block, other)

    turn = np.linalg.lstsq(found, block, rcond=None)[0]
    np.testing.assert_allclose(found @ turn, block, atol=1e-12)
    np.testing.assert_allclose(moved @ turn, other, atol=1e-10 * condition)


def test_zero_columns_are_not_divided_by() -> None:
    """A block of dependent or zero columns gives a basis without NaN."""
    block = np.zeros((30, 4))
    block[:, 0] = 1

    found = orthonormal(block)
    pair, moved = orthonormal_pair(block, block)

    for array in (found, pair, moved):
        assert np.isfinite(array).all()
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-12)
