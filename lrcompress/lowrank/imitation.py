"""A layer on its calibration inputs, and the descent of other heads towards it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.coordinates import Coordinates, Head
from lrcompress.lowrank.descent import descend
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.objectives import Objective, Problem, make_problem
from lrcompress.lowrank.sampling import enlarged, rows, split
from lrcompress.lowrank.whitening import check_moments, rebalance

# Heads whose output on inputs with dropped features tells as much as on others.
PROBABILITIES = ("softmax", "sigmoid")
# Where the original's probabilities have less entropy than this share of the most they could have,
# nearly all that they tell at temperature 1 is the class, and few inputs decide. Temperature 2 is
# then tried beside it; elsewhere it was never the better one.
SURE = 0.1
SOFTER = 2.0
# Power of the last descent; see `objectives.Objective`. Larger ones learn the inputs by heart.
POWER = 0.3
# How much smaller or larger logits may be made after it.
SCALES = (0.25, 1.5)


class Imitation:
    """Inputs to descend on and inputs to judge by, in coordinates where descent is fast.

    Attributes:
        moments: Of the inputs that are descended on.
        ways: How many objectives there are to descend on: temperature 1, and 2 beside it where the
            targets are sure of themselves.
    """

    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        activations: NDArray[Any],
        head: str,
        *,
        has_bias: bool,
    ) -> None:
        """Split the inputs (..., m), every tenth to judge by, and run the layer on them.

        Raises:
            KernelError: If the inputs are not finite, or not those of the layer.
        """
        n = kernel.shape[1]
        inner, outer = split(activations)
        x = rows(inner, n)
        judging = rows(outer, n) if len(outer) else x
        if head in PROBABILITIES:
            x = enlarged(x, n)
        # What judges the descent must not have shaped its coordinates or its start.
        self.moments = InputMoments(kernel.shape[0])
        self.moments.update(x)
        check_moments(kernel, self.moments)
        self._has_bias = has_bias
        self._coordinates = Coordinates(self.moments, has_bias=has_bias)
        narrow = kernel.astype(np.float32)
        offset = None if bias is None else bias.astype(np.float32)

        def problem(part: NDArray[np.float32]) -> Problem:
            found = make_problem(part, narrow, offset, head)
            return replace(found, x=self._coordinates.inputs(part))

        self._train = problem(x)
        self._held_out = problem(judging)
        softer = _softer(self._train) if head == "softmax" else None
        self._problems = [self._train] if softer is None else [self._train, softer]
        self.ways = len(self._problems)

    def nearest(self, head: Head, iterations: int, way: int = 0) -> tuple[Head, float]:
        """Return a head nearer to the layer, and its loss on the held-out inputs.

        Args:
            head: Where to start, and at worst what is returned.
            iterations: Of L-BFGS, at most.
            way: Number of the objective that is descended on; all are judged alike, by that of
                the layer itself.
        """
        found, loss = descend(
            self._problems[way], self._held_out.loss, self._enter(head), iterations,
            has_bias=self._has_bias,
        )  # fmt: skip
        return self._coordinates.leave(found), loss

    def surest(self, head: Head, iterations: int) -> Head:
        """Return the head with the fewest expected mistakes on the held-out inputs (softmax only).

        The given one, unless the gain exceeds its own standard error. The logits are scaled to be
        near the layer's again, which changes no class.
        """
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
        return self._coordinates.leave(self._scaled(found))

    def _enter(self, head: Head) -> Head:
        first, second, bias = self._coordinates.enter(head)
        return (*rebalance(first, second), bias)

    def _scaled(self, head: Head) -> Head:
        from scipy.optimize import minimize_scalar

        first, second, bias = head

        def loss(scale: float) -> float:
            narrow = np.float32(scale)
            return self._held_out.loss(first, second * narrow, bias * narrow)

        best = np.float32(minimize_scalar(loss, bounds=SCALES, method="bounded").x)
        return first, second * best, bias * best


def _softer(problem: Problem) -> Problem | None:
    """Return the problem at a higher temperature, where the targets are sure of themselves."""
    p = problem.target
    n = p.shape[1]
    entropy = -float(np.einsum("ij,ij->", p, np.log(np.maximum(p, 1e-30)), dtype=np.float64))
    if n < 2 or entropy > SURE * len(p) * np.log(n):
        return None
    target = p ** np.float32(1 / SOFTER)
    target /= target.sum(axis=1, keepdims=True)
    return replace(problem, target=target, objective=Objective("softmax", temperature=SOFTER))
