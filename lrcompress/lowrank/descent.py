"""L-BFGS on the factors of a head, stopped by inputs that it does not descend on.

Liu & Nocedal, Math. Programming 45 (1989).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.coordinates import Head
from lrcompress.lowrank.cores import one_blas_thread
from lrcompress.lowrank.objectives import Problem

MEMORY = 20
# Steps without a better iterate on the held-out inputs after which no better one is to come.
PATIENCE = 15

Judge = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], float]


def descend(
    train: Problem, judge: Judge, start: Head, iterations: int, *, has_bias: bool
) -> tuple[Head, float]:
    """Return the best iterate, judged on other inputs, and its judgement; at worst the start.

    Args:
        train: What is descended on.
        judge: Lower is better; takes B, C and the bias in float32.
        start: B (m, r), C (r, n) and the bias (n,), of balanced scales.
        iterations: At most.
        has_bias: Whether the bias may move.
    """
    from scipy.optimize import minimize

    (m, r), n = start[0].shape, start[1].shape[1]
    fixed = start[2].astype(np.float32)

    def unpack(
        flat: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        narrow = flat.astype(np.float32)
        bias = narrow[m * r + r * n :] if has_bias else fixed
        return narrow[: m * r].reshape(m, r), narrow[m * r : m * r + r * n].reshape(r, n), bias

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, parts = train.loss_and_gradient(*unpack(flat))
        wanted = parts if has_bias else parts[:2]
        return loss, np.concatenate([part.ravel() for part in wanted]).astype(np.float64)

    flat = np.concatenate([part.ravel() for part in (start if has_bias else start[:2])])
    flat = flat.astype(np.float64)
    best, best_flat, waited = judge(*unpack(flat)), flat, 0

    def keep_best(current: NDArray[np.float64]) -> None:
        nonlocal best, best_flat, waited
        found = judge(*unpack(current))
        waited += 1
        if found < best:
            best, best_flat, waited = found, current.copy(), 0
        if waited >= PATIENCE:
            raise StopIteration

    with one_blas_thread():
        minimize(
            value_and_gradient, flat, jac=True, method="L-BFGS-B", callback=keep_best,
            options={"maxiter": iterations, "maxcor": MEMORY, "ftol": 1e-9, "gtol": 1e-9},
        )  # fmt: skip
    return unpack(best_flat), best
