"""The ways to a truncated SVD; which is tried when is for `svd` to say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.blocks import KernelSource, panels
from lrcompress.lowrank.certificate import certify, certify_projection
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.gram import SMALL_SIDE, Pairs, gram_matrix, leading_pairs
from lrcompress.lowrank.lapack import Driver, decompose, triangular_factor
from lrcompress.lowrank.projection import project
from lrcompress.lowrank.proof import proven_pairs
from lrcompress.lowrank.subspace import OutOfPrecision, filtered_pairs, width
from lrcompress.lowrank.survey import Survey

# A result further than this above the optimum is computed again by a safer method.
TOLERANCE = 1e-3
# What the iteration aims at, so that rounding does not push its results over the tolerance.
AIM = 0.9 * TOLERANCE
# The optimum out of a Gram matrix, ``1 - sum_{i<=r} sigma_i^2 / ||A||_F^2``, is a difference of
# numbers near 1: it is known to this many units of rounding (at most 0.7 measured, on shapes up
# to 4096 x 1000 and 768 x 20000).
CANCELLATION = 8
# The error of a float32 projection is a difference too, ||A||^2 - 2 <A, BC> + ||BC||^2: above this
# share of ||A||^2 it is known to 1e-5 (2e-5 measured at a share of 0.004).
LARGE_SHARE = 0.05
# Filtered iteration with blocks of w columns pays where w is at most k^2 over this (128 for a side
# of 1,024) and a third of k; otherwise LAPACK's exact eigenvectors are as fast.
FEW = 2**13
# Of the random starts.
SEED = 0

# From A, r and the survey of A to the factors, and whether the optimum is known to the tolerance.
Attempt = Callable[[KernelSource, int, Survey], tuple[Factors, bool]]


def by_gram(
    kernel: KernelSource, rank: int, size: Survey, dtype: type[np.floating[Any]]
) -> tuple[Factors, bool]:
    """Take the singular vectors of the short side from the Gram matrix."""
    gram, trace = gram_matrix(kernel, dtype, size.unit)
    pairs, algorithm = eigenpairs(gram, rank, trace)
    del gram
    return _projected(kernel, size, pairs, least_error(pairs, trace), algorithm)


def by_products(
    kernel: KernelSource, rank: int, size: Survey, dtype: type[np.floating[Any]]
) -> tuple[Factors, bool]:
    """Find the singular vectors of the short side by products with the kernel alone."""

    def apply(block: NDArray[Any]) -> NDArray[Any]:
        product = np.zeros_like(block)
        for _, panel in panels(kernel, dtype, size.unit):
            product += panel.T @ (panel @ block)
        return product

    pairs = filtered_pairs(
        apply, min(kernel.shape), rank, size.total, np.random.default_rng(SEED), dtype,
        tolerance=AIM,
    )  # fmt: skip
    return _projected(kernel, size, pairs, least_error(pairs, size.total), "randomized")


def by_triangle(kernel: KernelSource, rank: int, size: Survey) -> tuple[Factors, bool]:
    """Take them from LAPACK's SVD of the triangular factor, panel by panel."""
    R = triangular_factor(kernel, size.unit)
    try:
        _, sigma, vt = decompose(R, "gesdd")
    except np.linalg.LinAlgError:
        _, sigma, vt = decompose(R, "gesvd")
    squares = np.square(sigma)
    beyond = float(squares[rank]) if rank < len(sigma) else 0.0
    pairs = Pairs(squares, vt[:rank].T, float(squares[:rank].sum()), beyond)
    found, _ = _projected(kernel, size, pairs, tail_error(sigma, rank), "qr")
    return found, True


def by_lapack(
    kernel: KernelSource, rank: int, size: Survey, driver: Driver
) -> tuple[Factors, bool]:
    """Decompose the kernel itself."""
    u, sigma, vt = decompose(np.asarray(kernel[:, :]), driver)
    B, C = _balanced(u[:, :rank], sigma[:rank], vt[:rank], kernel.dtype)
    best, largest = tail_error(sigma, rank), float(sigma[0])
    certificate = certify(kernel, B, C, best, driver, largest=largest)
    return Factors(B, C, None, sigma, "svd", certificate), True


def _projected(
    kernel: KernelSource, size: Survey, pairs: Pairs, least: float, algorithm: str
) -> tuple[Factors, bool]:
    """Return factors from eigenpairs of the short side, and whether the optimum is known."""
    rank, unit = pairs.vectors.shape[1], size.unit
    sigma = np.sqrt(np.maximum(pairs.values, 0.0))
    vectors = pairs.vectors
    if kernel.dtype == np.float32 and least**2 >= LARGE_SHARE:
        # What more precise products would add is lost when they are stored.
        vectors = vectors.astype(np.float32, copy=False)
    found = project(kernel, vectors, sigma[:rank], unit)
    B, C = found.B, found.C
    if unit:
        B, C = np.ldexp(B, unit // 2), np.ldexp(C, unit // 2)
    certificate = certify_projection(kernel, found, size.total, pairs.beyond, least, algorithm)
    # Each at least what was found for the next.
    sigma[:rank] = np.sort(found.sigma)[::-1]
    sigma = np.ldexp(sigma, unit)
    if certificate is None:
        largest = float(sigma[0])
        certificate = certify(kernel, B, C, least, algorithm, largest=largest)
    factors = Factors(B, C, None, sigma, "svd", certificate)
    return factors, is_known(least, pairs.vectors.dtype.type)


def eigenpairs(gram: NDArray[Any], rank: int, trace: float) -> tuple[Pairs, str]:
    """Return the leading eigenpairs of the Gram matrix and how they were had."""
    side, dtype = len(gram), gram.dtype.type
    if side > SMALL_SIDE and width(rank, side) <= min(side**2 / FEW, side / 3):
        try:
            found = filtered_pairs(
                gram.__matmul__, side, rank, trace, np.random.default_rng(SEED), dtype,
                tolerance=AIM, prove=partial(proven_pairs, gram, rank),
            )  # fmt: skip
            return found, "subspace"
        except OutOfPrecision:
            raise
        except np.linalg.LinAlgError:
            pass
    return leading_pairs(gram, rank), "gram"


def least_error(pairs: Pairs, trace: float) -> float:
    """Return the relative error of the best matrix of the rank, at least."""
    return float(np.sqrt(max(1.0 - pairs.most / trace, 0.0)))


def is_known(optimum: float, dtype: type[np.floating[Any]]) -> bool:
    """Return whether cancellation left the optimum of a Gram matrix its digits."""
    return optimum**2 * 2 * TOLERANCE >= CANCELLATION * float(np.finfo(dtype).eps)


def tail_error(sigma: NDArray[np.floating[Any]], rank: int) -> float:
    """Return the relative error of the best matrix of the rank from all singular values."""
    if sigma[0] == 0:
        return 0.0
    squares = np.square(sigma / sigma[0])
    return float(np.sqrt(squares[rank:].sum() / squares.sum()))


def _balanced(
    u: NDArray[Any], sigma: NDArray[np.float64], vt: NDArray[Any], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ``B = U sqrt(S)`` and ``C = sqrt(S) V^T`` with fixed signs, in `dtype`."""
    signs = np.sign(np.take_along_axis(u, np.abs(u).argmax(axis=0)[None], axis=0)[0])
    signs[signs == 0] = 1
    root = np.sqrt(sigma)
    return (u * (signs * root)).astype(dtype), ((signs * root)[:, None] * vt).astype(dtype)
