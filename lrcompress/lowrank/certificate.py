"""How far B C is from A, measured, beside the least that any matrix of the rank could be.

With ``R = A - B C``: ``||R||_F^2`` is the sum of its squared entries and ``||R||_2^2`` the largest
eigenvalue of the Gram matrix of its short side. `certify` forms R block by block, for factors of
any origin. For factors out of a projection, `certify_projection` has both without another pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lrcompress.lowrank.gram import SMALL_SIDE, Projection
from lrcompress.lowrank.matrix import Array, Dtype, KernelSource, magnitude, panels

# Residuals below this share of ||A|| are rounding of the stored factors, not of the method.
ROUNDING = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}
# Multiplications of a Gram matrix up to which it is formed in float64, about a second's worth.
# Beyond, float32 serves: it rounds R relative to R itself, so the norm keeps six digits.
EXACT_WORK = 2**34
# Up to this side LAPACK finds the largest eigenvalue in a tenth of a second, beyond ARPACK does.
DIRECT_SIDE = 1024
# Differences of traces keep four digits of ``||R||_F`` where its square is above this share of
# ``||A||_F^2`` (2e-7 of that lost, measured), and eigenvalues of the Gram matrix of A keep three
# above this share of the largest.
TRACE_SHARE = {"float32": 2e-3, "float64": 1e-9}
EIGENVALUE_SHARE = {"float32": 1e-4, "float64": 1e-9}


@dataclass(frozen=True)
class Certificate:
    """Measured errors of a factorization against the original kernel A.

    Attributes:
        frobenius_error: ``||A - B C||_F / ||A||_F``, measured on the factors as stored.
        spectral_error: ``||A - B C||_2 / ||A||_2``. By `subspace` a proven upper bound, within
            two hundredths; by `randomized` an estimate; measured otherwise.
        optimum_frobenius_error: The same as the first for the best matrix of this rank, by
            Eckart & Young (1936): ``sqrt(sum_{i>r} sigma_i^2 / sum sigma_i^2)``. By `subspace` a
            proven lower bound, by `randomized` an estimate, exact to rounding otherwise.
        optimality: The first over the third, 1 or more; 1 where the first is rounding. A third
            below rounding counts as rounding. What it says is as certain as the third: by
            `subspace` the truth is proven to be no larger.
        algorithm: What computed the singular vectors: gesdd, gesvd and qr are LAPACK's SVD of the
            kernel or of its triangular factor, gram its eigenvectors of the Gram matrix, subspace
            and randomized filtered subspace iteration on the Gram matrix and on the kernel.
        truncated: The certificate of the matrix that was truncated, where that is not A: the
            mean-free kernel, or the whitened one. Its optimality is 1 although that against A
            is more. None after refinement, which truncates nothing.
        outputs: After refinement: the error of the layer's outputs on its calibration inputs,
            beside the least in squares at this rank. Refinement lowers the loss of what follows,
            for which no least is known.
        exact: Whether the first is nothing but rounding of the stored type.
    """

    frobenius_error: float
    spectral_error: float
    optimum_frobenius_error: float
    optimality: float
    algorithm: str
    truncated: Certificate | None = None
    outputs: Certificate | None = None
    exact: bool = False

    @property
    def minimised(self) -> Certificate:
        """The certificate of what the method minimises: of A itself only for `svd`."""
        return self.outputs or self.truncated or self


def within_rounding(found: Certificate, scale: float, dtype: object) -> Certificate:
    """Return the certificate of a matrix so large against A, exact where its error is A's rounding."""
    if found.frobenius_error * scale > ROUNDING.get(str(dtype), 1e-6):
        return found
    return replace(found, optimality=1.0, exact=True)


def share_of_norm(part: Array, kernel: Array) -> float:
    """Return how large a matrix made of A is against A, both in the Frobenius norm."""
    unit = magnitude(kernel)
    if unit is None:
        return 0.0
    return _norms(part, unit, spectral=False)[0] / _norms(kernel, unit, spectral=False)[0]


def certify(
    kernel: KernelSource,
    B: Array,
    C: Array,
    optimum: float,
    algorithm: str,
    *,
    largest: float | None = None,
    truncated: Certificate | None = None,
) -> Certificate:
    """Measure factors as they will be stored beside the least relative error; `largest` is ``||A||_2`` if known."""
    unit = magnitude(kernel)
    if unit is None:
        return Certificate(0.0, 0.0, 0.0, 1.0, algorithm, truncated, exact=True)
    total, top = _norms(kernel, unit, spectral=largest is None)
    if largest is not None:
        top = float(np.ldexp(largest, -unit))
    residual, spectral = _norms(kernel, unit, (B, C))
    found = _certificate(residual / total, spectral / top, optimum, algorithm, kernel)
    return replace(found, truncated=truncated)


def certify_projection(
    kernel: KernelSource,
    found: Projection,
    total: float,
    beyond: float,
    optimum: float,
    algorithm: str,
) -> Certificate | None:
    """Return the certificate of factors out of a projection, None where errors are too small for differences."""
    # ||A - B C||_F^2 = ||A||_F^2 - 2 <A, B C> + ||B C||_F^2, where the first is `total`, and ||A - B C||_2^2
    # is `beyond`, the largest eigenvalue of the Gram matrix outside the basis. Stored in float16 the factors differ
    # from what was projected in the fourth digit.
    precision = str(kernel.dtype)
    if precision not in TRACE_SHARE or not total:
        return None
    square = (total - 2 * found.captured + found.product) / total
    spectral = beyond / float(np.square(found.sigma).max())
    if square < TRACE_SHARE[precision] or spectral < EIGENVALUE_SHARE[precision]:
        return None
    return _certificate(
        float(np.sqrt(square)), float(np.sqrt(spectral)), optimum, algorithm, kernel
    )


def _certificate(
    error: float, spectral: float, optimum: float, algorithm: str, kernel: KernelSource
) -> Certificate:
    # No matrix of rank r is nearer than the optimum: where one is, the optimum was rounded.
    optimum = min(optimum, error)
    rounding = ROUNDING.get(str(kernel.dtype), 1e-6)
    exact = error <= rounding
    optimality = 1.0 if exact else error / max(optimum, rounding)
    return Certificate(error, spectral, optimum, optimality, algorithm, exact=exact)


def _norms(
    kernel: KernelSource,
    unit: int,
    factors: tuple[Array, Array] | None = None,
    *,
    spectral: bool = True,
) -> tuple[float, float]:
    """Return ``||R||_F`` and, if `spectral`, ``||R||_2`` over ``2^unit``, for ``R = A - B C`` or ``R = A``."""
    m, n = kernel.shape
    short = min(m, n)
    exact = m * n * short <= EXACT_WORK
    dtype: Dtype = np.float64 if exact else np.float32
    gram: Array = np.zeros((short, short), dtype)
    if factors is not None:
        # Along the long side, as the panels are: ||R|| = ||R^T||.
        long, inner = factors if m >= n else (factors[1].T, factors[0].T)
        right = np.ldexp(inner.astype(np.float64), -unit)
    total = 0.0
    for where, panel in panels(kernel, np.float64, unit):
        block = panel if factors is None else panel - long[where].astype(np.float64) @ right
        flat = block.ravel(order="K")
        total += float(flat @ flat)
        if spectral:
            narrow = block.astype(dtype, copy=False)
            gram += narrow.T @ narrow
    if not spectral or total == 0.0:
        return float(np.sqrt(total)), 0.0
    return float(np.sqrt(total)), float(np.sqrt(max(_largest_eigenvalue(gram), 0.0)))


def _largest_eigenvalue(gram: Array) -> float:
    size = len(gram)
    if size <= SMALL_SIDE:
        return float(np.linalg.eigvalsh(gram)[-1])
    if size > DIRECT_SIDE:
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        start = np.random.default_rng(0).standard_normal(size).astype(gram.dtype)
        try:
            found = eigsh(gram, 1, which="LA", v0=start, tol=1e-5, return_eigenvectors=False)
            return float(found[0])
        except ArpackNoConvergence:
            pass
    from scipy.linalg import eigh

    last = [size - 1, size - 1]
    values = eigh(gram, eigvals_only=True, subset_by_index=last, check_finite=False)
    # Of many equal ones LAPACK's search for one misses it, on some processors.
    return float(values[0] if len(values) else np.linalg.eigvalsh(gram)[-1])
