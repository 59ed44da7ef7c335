"""Activations that a Dense layer computes entry by entry, with their derivatives.

By Keras's names and defaults; each takes logits in float32 and returns the value and the
derivative there, both of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Activation = Callable[[Array], tuple[Array, Array]]

# Keras's own constants: `leaky_relu(negative_slope=0.2)`, and the two of self-normalizing networks.
LEAK = np.float32(0.2)
SELU_ALPHA, SELU_SCALE = np.float32(1.6732632), np.float32(1.0507010)


def expit(z: Array) -> Array:
    """Return ``1 / (1 + e^-z)``."""
    from scipy.special import expit as scipy_expit

    return np.asarray(scipy_expit(z))


def _relu(z: Array) -> tuple[Array, Array]:
    return np.maximum(z, 0), (z > 0).astype(np.float32)


def _relu6(z: Array) -> tuple[Array, Array]:
    return np.clip(z, 0, 6), ((z > 0) & (z < 6)).astype(np.float32)


def _leaky_relu(z: Array) -> tuple[Array, Array]:
    slope = np.where(z > 0, np.float32(1), LEAK)
    return z * slope, slope


def _elu(z: Array) -> tuple[Array, Array]:
    below = np.exp(np.minimum(z, 0))
    return np.where(z > 0, z, below - 1), np.where(z > 0, np.float32(1), below)


def _selu(z: Array) -> tuple[Array, Array]:
    below = SELU_ALPHA * np.exp(np.minimum(z, 0))
    value = np.where(z > 0, z, below - SELU_ALPHA)
    return SELU_SCALE * value, SELU_SCALE * np.where(z > 0, np.float32(1), below)


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


def _hard_sigmoid(z: Array) -> tuple[Array, Array]:
    return np.clip(z / 6 + np.float32(0.5), 0, 1), (np.abs(z) < 3) * np.float32(1 / 6)


def _softplus(z: Array) -> tuple[Array, Array]:
    return np.logaddexp(np.float32(0), z), expit(z)


def _softsign(z: Array) -> tuple[Array, Array]:
    below = 1 + np.abs(z)
    return z / below, 1 / np.square(below)


def _tanh(z: Array) -> tuple[Array, Array]:
    value = np.tanh(z)
    return value, 1 - np.square(value)


ACTIVATIONS: dict[str, Activation] = {
    "elu": _elu,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "leaky_relu": _leaky_relu,
    "relu": _relu,
    "relu6": _relu6,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "silu": _silu,
    "softplus": _softplus,
    "softsign": _softsign,
    "swish": _silu,
    "tanh": _tanh,
}
