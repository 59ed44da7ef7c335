"""How far a layer's outputs are from the original's: what `refined` minimises and the guard compares.

softmax: ``KL(softmax(z) || softmax(z'))``; sigmoid: the Bernoulli KL of every unit, summed; any
other layer: ``||f(z) - f(z')||^2 / 2`` of its own activation f. Each is the mean over the inputs;
the KL is counted without the target's entropy, a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import over_shares

Array = NDArray[np.float32]
# From logits to the value and the derivative there, entry by entry.
Activation = Callable[[Array], tuple[Array, Array]]
# Rows that are worked on at once: inputs, logits and outputs then stay in the processor's cache.
BLOCK_ROWS = 2048
# Of a head with thousands of classes, fewer rows at once: so many logits.
BLOCK_OUTPUTS = 2**21
# Keras's own constants: `leaky_relu(negative_slope=0.2)`, and the two of self-normalizing networks.
LEAK = np.float32(0.2)
SELU_ALPHA, SELU_SCALE = np.float32(1.6732632), np.float32(1.0507010)


def expit(z: Array) -> Array:
    """Return ``1 / (1 + e^-z)``."""
    from scipy.special import expit as scipy_expit

    return np.asarray(scipy_expit(z))


def _exponential(alpha: np.float32, scale: np.float32) -> Activation:
    """Return ``scale z`` above zero and ``scale alpha (e^z - 1)`` below."""

    def activation(z: Array) -> tuple[Array, Array]:
        below = alpha * np.exp(np.minimum(z, 0))
        slope = np.where(z > 0, np.float32(1), below)
        return scale * np.where(z > 0, z, below - alpha), scale * slope

    return activation


def _gelu(z: Array) -> tuple[Array, Array]:
    from scipy.special import ndtr

    share = np.asarray(ndtr(z), np.float32)
    density = np.exp(-z * z / 2) * np.float32(1 / np.sqrt(2 * np.pi))
    return z * share, share + z * density


def _silu(z: Array) -> tuple[Array, Array]:
    share = expit(z)
    return z * share, share * (1 + z * (1 - share))


def _sigmoid(z: Array) -> tuple[Array, Array]:
    share = expit(z)
    return share, share * (1 - share)


def _tanh(z: Array) -> tuple[Array, Array]:
    value = np.tanh(z)
    return value, 1 - np.square(value)


ACTIVATIONS: dict[str, Activation] = {
    "elu": _exponential(np.float32(1), np.float32(1)),
    "gelu": _gelu,
    "hard_sigmoid": lambda z: (
        np.clip(z / 6 + np.float32(0.5), 0, 1),
        (np.abs(z) < 3) * np.float32(1 / 6),
    ),
    "leaky_relu": lambda z: (np.where(z > 0, z, LEAK * z), np.where(z > 0, np.float32(1), LEAK)),
    "relu": lambda z: (np.maximum(z, 0), (z > 0).astype(np.float32)),
    "relu6": lambda z: (np.clip(z, 0, 6), ((z > 0) & (z < 6)).astype(np.float32)),
    "selu": _exponential(SELU_ALPHA, SELU_SCALE),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": lambda z: (np.logaddexp(np.float32(0), z), expit(z)),
    "softsign": lambda z: (z / (1 + np.abs(z)), 1 / np.square(1 + np.abs(z))),
    "swish": _silu,
    "tanh": _tanh,
}


def head_of(activation: str, *, softmax: bool, is_head: bool = True) -> str:
    """Return the name of the objective of a layer with an activation, by Keras's name: linear if it is unknown."""
    if softmax and is_head:
        return "softmax"
    if activation == "sigmoid":
        return (
            "sigmoid" if is_head else "squared_sigmoid"
        )  # probabilities, or what a layer hands on
    return activation if activation in ACTIVATIONS else "linear"


@dataclass(frozen=True)
class Objective:
    """One of the objectives, by the name that `head_of` returns."""

    head: str
    # T of softmax: the KL is that of ``softmax(z / T)``, times T^2 (Hinton, Vinyals & Dean 2015). Above 1, inputs
    # that the original is sure of tell more than their class.
    temperature: float = 1.0
    # a of softmax: ``(1 - sum p q^a) / a`` for probabilities p of the original and q, at temperature 1 (Zhang &
    # Sabuncu 2018, with p for the labels). Towards 0 it is the KL, at 1 the expected share of mistakes; between,
    # inputs that are lost anyway weigh less.
    power: float = 0.0

    def target(self, logits: Array) -> Array:
        """Return what the original's logits (k, n) become, (k, n)."""
        if self.head == "softmax":
            powers: Array = logits - logits.max(axis=1, keepdims=True)
            powers /= np.float32(self.temperature)
            np.exp(powers, out=powers)
            powers /= powers.sum(axis=1, keepdims=True)
            return powers
        if self.head == "linear":
            return logits
        return ACTIVATIONS[self.head.removeprefix("squared_")](logits)[0]

    def loss_and_slope(self, logits: Array, target: Array) -> tuple[float, Array]:
        """Return the loss summed over inputs and its derivative by the logits, (k, n), which are overwritten."""
        if self.head == "softmax":
            return self._softmax(logits, target)
        if self.head == "sigmoid":
            # log(1 + e^z) - t z, written so that neither end overflows.
            soft = np.logaddexp(np.float32(0), logits) - target * logits
            return float(soft.sum(dtype=np.float64)), expit(logits) - target
        if self.head == "linear":
            slope = logits
            slope -= target
            difference = slope
        else:
            value, derivative = ACTIVATIONS[self.head.removeprefix("squared_")](logits)
            difference = value - target
            slope = difference * derivative
        return float(np.einsum("ij,ij->", difference, difference, dtype=np.float64)) / 2, slope

    def _softmax(self, logits: Array, target: Array) -> tuple[float, Array]:
        logits -= logits.max(axis=1, keepdims=True)
        if self.temperature != 1:
            logits /= np.float32(self.temperature)
        inner = 0.0 if self.power else float(np.einsum("ij,ij->", target, logits))
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        logits /= total
        if self.power:
            weights = target * logits ** np.float32(self.power)
            shares = weights.sum(axis=1, keepdims=True)
            logits *= shares
            logits -= weights
            lost = len(shares) - float(shares.sum(dtype=np.float64))
            return lost / self.power, logits
        logits -= target
        loss = float(np.log(total).sum(dtype=np.float64)) - inner
        if self.temperature != 1:
            logits *= np.float32(self.temperature)
        return loss * self.temperature**2, logits


@dataclass(frozen=True)
class Imitated:
    """Inputs of a layer (k, m), what the original makes of them (k, n), and what compares that with another head."""

    x: Array
    target: Array
    objective: Objective

    @property
    def block(self) -> int:
        """Rows that are worked on at once."""
        return block_rows(self.target.shape[1])

    def loss(self, first: Array, second: Array, bias: Array) -> float:
        """Return the mean loss of the head ``(x B) C + b'``."""

        def share(starts: range) -> float:
            total = 0.0
            for start in starts:
                part = slice(start, start + self.block)
                logits: Array = np.asarray(self.x[part] @ first @ second, np.float32)
                logits += bias
                total += self.objective.loss_and_slope(logits, self.target[part])[0]
            return total

        return sum(over_shares(len(self.x), share, self.block)) / len(self.x)

    def picked(self, first: Array, second: Array, bias: Array) -> Array:
        """Return the original's probability of the class that a head picks, (k,)."""
        found = np.empty(len(self.x), np.float32)

        def share(starts: range) -> None:
            for start in starts:
                part = slice(start, start + self.block)
                chosen = (self.x[part] @ first @ second + bias).argmax(axis=1)
                found[part] = np.take_along_axis(self.target[part], chosen[:, None], axis=1)[:, 0]

        over_shares(len(self.x), share, self.block)
        return found

    def mistakes(self, first: Array, second: Array, bias: Array) -> float:
        """Return the expected share of wrong classes, were the original's probabilities true."""
        return 1 - float(self.picked(first, second, bias).mean(dtype=np.float64))

    def loss_and_gradient(
        self, first: Array, second: Array, bias: Array
    ) -> tuple[float, tuple[Array, Array, Array]]:
        """Return the mean loss and its derivatives by B, C and b'."""

        def share(starts: range) -> tuple[float, Array, Array, Array]:
            total = 0.0
            by_first, by_second = np.zeros_like(first), np.zeros_like(second)
            by_bias = np.zeros_like(bias)
            for start in starts:
                part = slice(start, start + self.block)
                hidden: Array = self.x[part] @ first
                logits: Array = hidden @ second
                logits += bias
                loss, slope = self.objective.loss_and_slope(logits, self.target[part])
                total += loss
                by_first += self.x[part].T @ (slope @ second.T)
                by_second += hidden.T @ slope
                by_bias += slope.sum(axis=0)
            return total, by_first, by_second, by_bias

        losses, *gradients = zip(*over_shares(len(self.x), share, self.block), strict=True)
        scale = np.float32(1 / len(self.x))
        by_first, by_second, by_bias = (sum(parts[1:], parts[0]) * scale for parts in gradients)
        return sum(losses) / len(self.x), (by_first, by_second, by_bias)


def imitated(x: Array, kernel: Array, bias: Array | None, head: str) -> Imitated:
    """Return the problem of imitating ``x A + b`` on inputs (k, m)."""
    objective = Objective(head)
    target = np.empty((len(x), kernel.shape[1]), np.float32)
    # In blocks, so that the logits never stand beside what they become.
    for start in range(0, len(x), block_rows(kernel.shape[1])):
        part = slice(start, start + block_rows(kernel.shape[1]))
        logits = x[part] @ kernel
        if bias is not None:
            logits += bias
        target[part] = objective.target(logits)
    return Imitated(x, target, objective)


def block_rows(classes: int) -> int:
    """Return how many rows of so many logits are worked on at once."""
    return max(1, min(BLOCK_ROWS, BLOCK_OUTPUTS // classes))
