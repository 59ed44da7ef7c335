"""The result of a factorization: a truncated SVD holds those of all lower ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import Certificate, certify
from lrcompress.lowrank.matrix import Array, Floats

# Numbers that draw any spectrum well.
OUTLINE = 256


@dataclass(frozen=True, eq=False)
class Factors:
    """``A ~ B C``, Keras orientation: a layer computes ``x A + b``, two layers ``(x B) C + b``.

    Attributes:
        B: (m, r), in the dtype of A.
        C: (r, n), in the dtype of A.
        bias: New bias, (n,), in the dtype of the old one; None keeps the layer's own.
        singular_values: Of the matrix that was truncated, those known, descending; float64.
            After refinement, which truncates none, of the kernel.
        method: One of the methods.
        measured: The measured error of B C against A, or what measures it once it is asked for.
        spectrum_of: The matrix that has the singular values.
    """

    B: NDArray[Any] = field(repr=False)
    C: NDArray[Any] = field(repr=False)
    bias: NDArray[Any] | None = field(repr=False)
    singular_values: NDArray[np.float64] = field(repr=False)
    method: str
    measured: Certificate | Callable[[], Certificate] = field(repr=False)
    spectrum_of: str = field(default="kernel", repr=False)

    @property
    def certificate(self) -> Certificate:
        """The measured error of B C against A: of a large kernel it takes longer than the factors."""
        found = self.measured
        if not isinstance(found, Certificate):
            found = found()
            # What measured it held the kernel.
            object.__setattr__(self, "measured", found)
        return found

    @property
    def rank(self) -> int:
        """Columns of B."""
        return int(self.B.shape[1])

    def product(self) -> NDArray[np.float64]:
        """Return ``B C``, (m, n), float64."""
        return self.B.astype(np.float64) @ self.C.astype(np.float64)


def rebalance(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale each column of B and row of C to equal norms; their product stays."""
    left, right = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    alive = (left > 0) & (right > 0)
    ratio = np.ones_like(left)
    ratio[alive] = np.sqrt(right[alive] / left[alive])
    return first * ratio, second / ratio[:, None].astype(second.dtype)


def optima(found: Factors) -> Floats:
    """Return the relative Frobenius error of the best matrix of each rank up to that of a truncated SVD."""
    sigma, rank = found.singular_values, found.rank
    if not sigma[0]:
        return np.zeros(rank)
    squares = np.square(sigma / sigma[0])
    if len(sigma) == min(len(found.B), found.C.shape[1]):
        total, rest = squares.sum(), 0.0
    else:
        # Only the leading values are known; what lies beyond them is known by its norm.
        beyond = found.certificate.optimum_frobenius_error**2
        total = squares.sum() / max(1.0 - beyond, np.finfo(np.float64).tiny)
        rest = beyond * total
    tails = rest + np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])
    return np.asarray(np.sqrt(tails[1 : rank + 1] / total))


def at_rank(found: Factors, rank: int, matrix: Array) -> Factors:
    """Return the truncated SVD of a matrix at a lower rank, with its own certificate."""
    if rank == found.rank:
        return found
    B, C = np.ascontiguousarray(found.B[:, :rank]), np.ascontiguousarray(found.C[:rank])
    best, largest = float(optima(found)[rank - 1]), float(found.singular_values[0])
    measured = partial(certify, matrix, B, C, best, found.certificate.algorithm, largest=largest)
    return replace(found, B=B, C=C, measured=measured)


class Reference:
    """The kernel that certificates are measured against, decomposed once for all ranks."""

    def __init__(self, kernel: Array, literal: Factors) -> None:
        self.kernel = kernel
        self.literal = literal
        self._optima = optima(literal)
        self._largest = float(literal.singular_values[0])

    def certify(
        self, B: Array, C: Array, algorithm: str, own: Certificate | None = None
    ) -> Certificate:
        """Measure factors as they will be stored; `own` is of the matrix that was truncated."""
        best = float(self._optima[B.shape[1] - 1])
        return certify(self.kernel, B, C, best, algorithm, largest=self._largest, truncated=own)


@dataclass(frozen=True)
class Outline:
    """A spectrum in a few hundred numbers."""

    of: str  # what was decomposed
    ranks: list[int]  # which values stand here, 1 for the largest; all that are known, if few
    values: list[float]  # singular values at these ranks, descending
    energy: list[float]  # share of the squares kept by each of these ranks, rising to 1 at most


def outline(found: Factors, most: int = OUTLINE) -> Outline:
    """Return the spectrum that factors were cut from (for refined heads the kernel's) in 4 or more numbers at most."""
    sigma, certificate = found.singular_values, found.certificate
    if certificate.truncated is not None:
        certificate = certificate.truncated
    known = len(sigma)
    ranks = np.arange(1, known + 1)
    if known > most:
        # The first half of them stays, the others are taken at ranks in even ratios; r and r + 1 are always there.
        spaced = np.rint(np.geomspace(most // 2, known, most - most // 2 - 1))
        wanted = {*range(1, most // 2), *(int(r) for r in spaced), found.rank, found.rank + 1}
        ranks = np.array(sorted(rank for rank in wanted if rank <= known))
    squares = np.square(sigma / sigma[0]) if sigma[0] > 0 else np.zeros(known)
    kept = np.cumsum(squares)
    # Of the values beyond those known only the norm is, from the error of the best rank-r matrix.
    share = 1.0 - certificate.optimum_frobenius_error**2
    is_whole = known == min(len(found.B), found.C.shape[1])
    total = kept[-1] if is_whole or share <= 0 else max(kept[found.rank - 1] / share, kept[-1])
    energy = kept / total if total > 0 else np.ones(known)
    return Outline(
        found.spectrum_of,
        [int(r) for r in ranks],
        [float(sigma[r - 1]) for r in ranks],
        [float(min(energy[r - 1], 1.0)) for r in ranks],
    )
