"""What the cells of recurrent layers hold after each step, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Function = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x))


FUNCTIONS: dict[str, Function] = {
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x * _sigmoid(x),
    "swish": lambda x: x * _sigmoid(x),
    "softplus": lambda x: np.logaddexp(x, 0),
    # Of Keras 3; others are told by what they give.
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


def all_states(
    inputs: Array,
    kernel: Array,
    recurrent: Array,
    bias: Array | None,
    functions: tuple[str, str],
    mask: Array | None,
) -> Array:
    """Return the states of an LSTM, GRU or SimpleRNN after each step, (samples, steps, u).

    Args:
        inputs: (samples, steps, m), in the order in which they are taken.
        kernel: (m, gates u).
        recurrent: (u, gates u); the number of gates tells the cell.
        bias: (gates u,), or (2, gates u) of a GRU that resets after the product.
        functions: Activation and recurrent activation.
        mask: Which steps count, (samples, steps): at others the state stays.
    """
    units = len(recurrent)
    gates = recurrent.shape[1] // units
    outer, inner = (FUNCTIONS[name] for name in functions)
    rows = np.zeros((2, gates * units), np.float32)
    if bias is not None:
        bias = bias.reshape(-1, gates * units)
        rows[: len(bias)] = bias
    after = gates == 3 and bias is not None and len(bias) == 2
    given = inputs.astype(np.float32) @ kernel.astype(np.float32) + rows[0]
    weights = recurrent.astype(np.float32)
    state = np.zeros((len(inputs), units), np.float32)
    cell = state
    found = np.empty((*inputs.shape[:2], units), np.float32)
    for step in range(inputs.shape[1]):
        x = given[:, step]
        new_cell = cell
        if gates == 1:
            new = outer(x + state @ weights)
        elif gates == 4:
            i, f, c, o = np.split(x + state @ weights, 4, axis=1)
            new_cell = inner(f) * cell + inner(i) * outer(c)
            new = inner(o) * outer(new_cell)
        else:
            new = _gated(x, state, weights, rows[1], (outer, inner), after=after)
        if mask is not None:
            held = ~mask[:, step, None]
            new, new_cell = np.where(held, state, new), np.where(held, cell, new_cell)
        state, cell = new, new_cell
        found[:, step] = state
    return found


def _gated(
    x: Array,
    state: Array,
    weights: Array,
    bias: Array,
    functions: tuple[Function, Function],
    *,
    after: bool,
) -> Array:
    """Return the next state of a GRU, which resets `after` the product or before it."""
    outer, inner = functions
    units = state.shape[1]
    both = 2 * units
    gates = inner(x[:, :both] + state @ weights[:, :both] + bias[:both])
    update, reset = gates[:, :units], gates[:, units:]
    if after:
        proposed = x[:, both:] + reset * (state @ weights[:, both:] + bias[both:])
    else:
        proposed = x[:, both:] + (reset * state) @ weights[:, both:]
    return np.asarray(update * state + (1 - update) * outer(proposed))
