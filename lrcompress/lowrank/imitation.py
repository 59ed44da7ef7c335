"""The kernel before a softmax that says what the original said, from other inputs than it had."""

from __future__ import annotations

import numpy as np

from lrcompress.lowrank.matrix import Array, Floats

# Of the softmax on both sides (Hinton, Vinyals & Dean 2015): at 1 nearly all that few inputs tell is
# the likeliest class.
TEMPERATURE = 2.0
# Of the distance from the start, in units of each input's standard deviation.
RIDGE = 3e-3
ITERATIONS = 60
# Every tenth row judges; rows x classes at most.
_HELD_OUT = 10
_MOST = 2**24


def imitating_kernel(
    start: tuple[Array, Array], rows: Array, logits: Array
) -> tuple[Floats, Floats]:
    """Return kernel and bias by which rows x (k, m) give what is nearest to logits z (k, n) through a softmax.

    Minimises the mean ``T^2 KL(softmax(z / T) || softmax((x A + b) / T))`` with a ridge around the
    start, which is convex, by L-BFGS; every tenth row judges, at temperature 1, whether the start stays.
    """
    step = max(1, -(-logits.size // _MOST))
    x, z = (np.asarray(a[::step], np.float64) for a in (rows, logits))
    held = np.arange(len(x)) % _HELD_OUT == _HELD_OUT - 1
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    x = (x - mean) / scale
    kernel, bias = (part.astype(np.float64) for part in start)
    first = (kernel * scale[:, None], bias + mean @ kernel)
    found = _descended(first, x[~held], z[~held]) if held.any() else first
    if _divergence(found, x[held], z[held]) >= _divergence(first, x[held], z[held]):
        found = first
    kernel = found[0] / scale[:, None]
    return kernel, found[1] - mean @ kernel


def _descended(start: tuple[Floats, Floats], x: Floats, z: Floats) -> tuple[Floats, Floats]:
    from scipy.optimize import minimize

    kernel, bias = start
    target = _softmax(z / TEMPERATURE)[0]

    def loss(flat: Floats) -> tuple[float, Floats]:
        own = flat[: kernel.size].reshape(kernel.shape)
        p, logs = _softmax((x @ own + flat[kernel.size :]) / TEMPERATURE)
        moved = own - kernel
        value = -(TEMPERATURE**2) * (target * logs).sum() / len(x) + RIDGE / 2 * (moved**2).sum()
        slope = TEMPERATURE * (p - target) / len(x)
        return value, np.concatenate([(x.T @ slope + RIDGE * moved).ravel(), slope.sum(axis=0)])

    flat = np.concatenate([kernel.ravel(), bias])
    found = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}).x
    return found[: kernel.size].reshape(kernel.shape), found[kernel.size :]


def _softmax(logits: Floats) -> tuple[Floats, Floats]:
    """Return probabilities and their logarithms."""
    logs = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return np.exp(logs), logs


def _divergence(head: tuple[Floats, Floats], x: Floats, z: Floats) -> float:
    p, logs = _softmax(z)
    return float((p * (logs - _softmax(x @ head[0] + head[1])[1])).sum())
