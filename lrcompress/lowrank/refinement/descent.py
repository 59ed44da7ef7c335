"""L-BFGS on the factors of a layer, towards what the original makes of its inputs.

It descends on nine tenths of the inputs and is stopped by the others (Liu & Nocedal, Math.
Programming 45, 1989). The inputs are brought to mean 0 and covariance 1, where it takes half the
steps: a head ``x B C + b'`` is the same head ``y B' C + b''`` on ``y = (x - mu) L^{-T}``, with
``B' = L^T B`` and ``b'' = b' + mu^T B C``; Sigma = L L^T is the damped covariance of `input_root`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.factors import rebalance
from lrcompress.lowrank.matrix import one_blas_thread
from lrcompress.lowrank.moments import InputMoments, check_moments, input_root, solve_upper
from lrcompress.lowrank.objectives import BLOCK_ROWS, Imitated, Objective, imitated
from lrcompress.lowrank.refinement.outputs import PROBABILITIES, Array
from lrcompress.lowrank.refinement.steps import Head

# Every tenth input is held out. Not the last tenth: data sets are often stored class by class,
# and a held-out part of one class stops the descent where that class is best.
HELD_OUT_STEP = 10
# Probabilities of inputs x classes, 128 MiB in float32. A head of 10,000 classes and 256 features was
# refined no worse on 1,500 inputs than on 6,000: each tells as many numbers as there are classes.
MOST_OUTPUTS = 2**25
# Fewer inputs a feature than this are learned by heart: copies with some of their features dropped
# and the others scaled up (Srivastava et al., JMLR 15, 2014) are added to make up for them.
AMPLE = 40
MOST_COPIES = 8
DROPPED = 0.25
# Where the original's probabilities have less entropy than this share of the most they could have,
# nearly all that they tell at temperature 1 is the class, and few inputs decide. Temperature 2 is
# then tried beside it; elsewhere it was never the better one.
SURE = 0.1
SOFTER = 2.0
# Power of the last descent; see `objectives.Objective`. Larger ones learn the inputs by heart.
POWER = 0.3
# How much smaller or larger logits may be made after it.
SCALES = (0.25, 1.5)
# Of so many inputs one shows the way through a rank that is not asked for.
PASSING = 6
# Of L-BFGS; and steps without a better iterate on the held-out inputs after which none is to come.
MEMORY = 20
PATIENCE = 15


def split(inputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the inputs to descend on and those held out, (..., m): none of fewer than ten."""
    # Along the first axis: steps of one sequence are too alike to check each other.
    if len(inputs) < HELD_OUT_STEP:
        inputs = inputs.reshape(-1, inputs.shape[-1])
    held = np.arange(len(inputs)) % HELD_OUT_STEP == HELD_OUT_STEP - 1
    return inputs[~held], inputs[held]


def rows(inputs: NDArray[Any], classes: int) -> Array:
    """Return inputs as rows, (k, m), thinned to what `most_rows` says, always to the same."""
    flat = inputs.reshape(-1, inputs.shape[-1])
    most = most_rows(classes)
    if len(flat) > most:
        # Not every so-manieth: where that is a multiple of the steps of a sequence, all rows would
        # be of the same step, with as much or as little context.
        picked = np.random.default_rng(0).choice(len(flat), most, replace=False, shuffle=False)
        flat = flat[np.sort(picked)]
    return flat.astype(np.float32, copy=False)


def most_rows(classes: int) -> int:
    """Return how many inputs are made use of, at most, to descend on or to judge by."""
    return max(1, MOST_OUTPUTS // classes)


def enlarged(x: Array, classes: int) -> Array:
    """Return inputs (k, m), followed by copies with dropped features where they are few."""
    count, m = x.shape
    most = min(AMPLE * m, most_rows(classes))
    copies = min(most // max(count, 1) - 1, MOST_COPIES)
    if copies < 1:
        return x
    generator = np.random.default_rng(0)
    kept = [generator.random(x.shape, dtype=np.float32) >= DROPPED for _ in range(copies)]
    return np.concatenate([x, *(x * mask / np.float32(1 - DROPPED) for mask in kept)])


class Imitation:
    """A layer on inputs to descend on and inputs to judge by, in the coordinates y."""

    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        inputs: NDArray[Any],
        head: str,
        *,
        has_bias: bool,
    ) -> None:
        """Split the inputs (..., m) and run the layer on them; `head` names the objective."""
        n = kernel.shape[1]
        inner, outer = split(inputs)
        x = rows(inner, n)
        judging = rows(outer, n) if len(outer) else x
        if head in PROBABILITIES:  # which tell as much of inputs with dropped features as of others
            x = enlarged(x, n)
        # What judges the descent must not have shaped its coordinates or its start.
        self.moments = InputMoments(len(kernel))
        self.moments.update(x)
        check_moments(kernel, self.moments)
        # Without a bias to make up for it, the mean stays where it is.
        self._mean = self.moments.mean if has_bias else np.zeros_like(self.moments.mean)
        self._root = input_root(self.moments, has_bias=has_bias)
        self._has_bias = has_bias
        narrow = kernel.astype(np.float32)
        offset = None if bias is None else bias.astype(np.float32)
        self._train, self._held_out = (
            replace(found, x=self._whitened(found.x))
            for found in (imitated(part, narrow, offset, head) for part in (x, judging))
        )
        softer = _softer(self._train) if head == "softmax" else None
        # The objectives to descend on: temperature 1, and 2 beside it where the targets are sure of themselves.
        self._problems = [self._train] if softer is None else [self._train, softer]
        self.ways = len(self._problems)

    def nearest(
        self, head: Head, iterations: int, way: int = 0, *, passing: bool = False
    ) -> tuple[Head, float]:
        """Return a head at least as near to the layer, and its loss on the held-out inputs by the layer's objective."""
        problem = self._problems[way]
        if passing:  # of a rank that is not asked for some of the inputs show the way
            problem = _thinned(problem)
        found, loss = descend(
            problem, self._held_out.loss, self._enter(head), iterations,
            has_bias=self._has_bias,
        )  # fmt: skip
        return self._leave(found), loss

    def surest(self, head: Head, iterations: int) -> Head:
        """Return the head with the fewest expected mistakes on the held-out inputs (softmax only)."""
        powered = replace(self._train, objective=Objective("softmax", power=POWER))
        start = self._enter(head)
        found, _ = descend(
            powered, self._held_out.mistakes, start, iterations, has_bias=self._has_bias
        )
        before = self._held_out.picked(*(part.astype(np.float32) for part in start))
        gain = self._held_out.picked(*found) - before
        # The best of many iterates is always a little better, where it was chosen.
        if gain.mean() <= gain.std() / np.sqrt(len(gain)):
            return head
        # Scaled to be near the layer's logits again, which changes no class.
        return self._leave(self._scaled(found))

    def _whitened(self, x: Array) -> Array:
        inverse = solve_upper(self._root, np.eye(len(self._root))).astype(np.float32)
        shift = (self._mean @ inverse).astype(np.float32)
        moved = np.empty(x.shape, np.float32)
        for start in range(0, len(x), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            np.matmul(x[part], inverse, out=moved[part])
            moved[part] -= shift
        return moved

    def _enter(self, head: Head) -> Head:
        first, second, bias = (part.astype(np.float64) for part in head)
        return (*rebalance(self._root @ first, second), bias + (self._mean @ first) @ second)

    def _leave(self, head: Head) -> Head:
        first, second, bias = (part.astype(np.float64) for part in head)
        first = solve_upper(self._root, first)
        return first, second, bias - (self._mean @ first) @ second

    def _scaled(self, head: Head) -> Head:
        from scipy.optimize import minimize_scalar

        first, second, bias = head

        def loss(scale: float) -> float:
            narrow = np.float32(scale)
            return self._held_out.loss(first, second * narrow, bias * narrow)

        best = np.float32(minimize_scalar(loss, bounds=SCALES, method="bounded").x)
        return first, second * best, bias * best


def _thinned(problem: Imitated) -> Imitated:
    """Return a problem on a part of its inputs, evenly spread, but `AMPLE` a feature."""
    count, m = problem.x.shape
    step = min(PASSING, max(count // (AMPLE * m), 1))
    x, target = (np.ascontiguousarray(part[::step]) for part in (problem.x, problem.target))
    return replace(problem, x=x, target=target)


def _softer(problem: Imitated) -> Imitated | None:
    """Return the problem at a higher temperature, where the targets are sure of themselves."""
    p = problem.target
    n = p.shape[1]
    entropy = -float(np.einsum("ij,ij->", p, np.log(np.maximum(p, 1e-30)), dtype=np.float64))
    if n < 2 or entropy > SURE * len(p) * np.log(n):
        return None
    target = p ** np.float32(1 / SOFTER)
    target /= target.sum(axis=1, keepdims=True)
    return replace(problem, target=target, objective=Objective("softmax", temperature=SOFTER))


def descend(
    train: Imitated,
    judge: Callable[[Array, Array, Array], float],
    start: Head,
    iterations: int,
    *,
    has_bias: bool,
) -> tuple[Head, float]:
    """Return the best iterate, judged on other inputs (lower is better), and its judgement; at worst the start."""
    from scipy.optimize import minimize

    (m, r), n = start[0].shape, start[1].shape[1]
    fixed = start[2].astype(np.float32)

    def unpack(flat: NDArray[np.float64]) -> tuple[Array, Array, Array]:
        narrow = flat.astype(np.float32)
        bias = narrow[m * r + r * n :] if has_bias else fixed
        return narrow[: m * r].reshape(m, r), narrow[m * r : m * r + r * n].reshape(r, n), bias

    def pack(parts: Head) -> NDArray[np.float64]:
        moving = parts if has_bias else parts[:2]
        return np.concatenate([part.ravel() for part in moving]).astype(np.float64)

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        loss, gradient = train.loss_and_gradient(*unpack(flat))
        return loss, pack(gradient)

    flat = pack(start)
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
