"""Layers with inputs as after a relu, and what the tests ask of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank import Factors, InputMoments, Problem, factorize_ranks


def by_turns(last: list[Any], *axes: Iterable[Any]) -> list[tuple[Any, ...]]:
    """Return all combinations of two or more axes, each with one of the last by turns: all pairs are there."""
    places = itertools.product(*(enumerate(axis) for axis in axes))
    return [
        (*(value for _, value in place), last[sum(number for number, _ in place) % len(last)])
        for place in places
    ]


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return class probabilities."""
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def mean_free(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix whose rows have mean zero."""
    return np.asarray(matrix - matrix.mean(axis=-1, keepdims=True))


def moments_of(x: NDArray[Any]) -> InputMoments:
    """Return the moments of inputs."""
    moments = InputMoments(x.shape[-1])
    moments.update(x)
    return moments


def solve(
    kernel: NDArray[Any], bias: NDArray[Any] | None, rank: int, method: str, **options: Any
) -> Factors:
    """Factorize a layer that softmax follows, unless told otherwise, at one rank."""
    problem = Problem(kernel, bias, **{"softmax": True, **options})
    return factorize_ranks(problem, [rank], method)[rank]


@dataclass
class Layer:
    """A layer with correlated, uncentred, partly dead inputs."""

    m: int = 24
    n: int = 7
    samples: int = 800
    seed: int = 0
    x: NDArray[np.float32] = field(init=False)
    kernel: NDArray[np.float32] = field(init=False)
    bias: NDArray[np.float32] = field(init=False)
    moments: InputMoments = field(init=False)

    def __post_init__(self) -> None:
        """Draw it."""
        rng = np.random.default_rng(self.seed)
        m, n = self.m, self.n
        mixed = rng.standard_normal((self.samples, m)) @ rng.standard_normal((m, m)) / np.sqrt(m)
        self.x = np.maximum(mixed + 0.3, 0).astype(np.float32)
        self.x[:, 0] = 0
        self.kernel = rng.standard_normal((m, n)).astype(np.float32)
        self.bias = rng.standard_normal(n).astype(np.float32)
        self.moments = moments_of(self.x)

    def at(self, rank: int, method: str, **options: Any) -> Factors:
        """Factorize it."""
        return solve(self.kernel, self.bias, rank, method, **options)

    def logits(self, factors: Factors | None = None) -> NDArray[Any]:
        """Return the outputs on the inputs, before the activation."""
        x = self.x.astype(np.float64)
        if factors is None:
            return np.asarray(x @ self.kernel + self.bias)
        bias = self.bias if factors.bias is None else factors.bias
        return np.asarray(x @ factors.product() + bias)

    def output_error(self, factors: Factors) -> float:
        """Return the mean square of what the mean-free logits lose."""
        return float(np.square(mean_free(self.logits() - self.logits(factors))).mean())

    def kl(self, factors: Factors) -> float:
        """Return the mean KL from the original's predictions to the factors'."""
        p, q = softmax(self.logits()), softmax(self.logits(factors))
        return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())
