"""Every rank from one decomposition: a truncated SVD holds those of all lower ranks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import Certificate, certify
from lrcompress.lowrank.factors import Factors

# Numbers that draw any spectrum well.
OUTLINE = 256


def optima(found: Factors) -> NDArray[np.float64]:
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


def at_rank(found: Factors, rank: int, matrix: NDArray[Any]) -> Factors:
    """Return the truncated SVD of a matrix at a lower rank, with its own certificate."""
    if rank == found.rank:
        return found
    B, C = np.ascontiguousarray(found.B[:, :rank]), np.ascontiguousarray(found.C[:rank])
    best, largest = float(optima(found)[rank - 1]), float(found.singular_values[0])
    measured = partial(certify, matrix, B, C, best, found.certificate.algorithm, largest=largest)
    return replace(found, B=B, C=C, measured=measured)


class Reference:
    """The kernel that certificates are measured against, decomposed once for all ranks."""

    def __init__(self, kernel: NDArray[Any], literal: Factors) -> None:
        """Take A (m, n) and its truncated SVD at the largest rank that will be asked for."""
        self.kernel = kernel
        self.literal = literal
        self._optima = optima(literal)
        self._largest = float(literal.singular_values[0])

    def certify(
        self, B: NDArray[Any], C: NDArray[Any], algorithm: str, own: Certificate | None = None
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
