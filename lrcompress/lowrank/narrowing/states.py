"""What the cells of recurrent layers hold after each step, in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lrcompress.lowrank.matrix import Array

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
    """Return the states of an LSTM, GRU or SimpleRNN after each step, (samples, steps, u); masked, the state stays."""
    units = len(recurrent)
    gates = recurrent.shape[1] // units  # their number tells the cell
    outer, inner = (FUNCTIONS[name] for name in functions)
    rows = np.zeros((2, gates * units), np.float32)
    if bias is not None:
        bias = bias.reshape(-1, gates * units)
        rows[: len(bias)] = bias
    # Of a GRU that resets after the product there are two rows.
    after, two = gates == 3 and bias is not None and len(bias) == 2, 2 * units
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
            both = inner(x[:, :two] + state @ weights[:, :two] + rows[1, :two])
            update, reset = both[:, :units], both[:, units:]
            if after:
                proposed = x[:, two:] + reset * (state @ weights[:, two:] + rows[1, two:])
            else:
                proposed = x[:, two:] + (reset * state) @ weights[:, two:]
            new = update * state + (1 - update) * outer(proposed)
        if mask is not None:
            held = ~mask[:, step, None]
            new, new_cell = np.where(held, state, new), np.where(held, cell, new_cell)
        state, cell = new, new_cell
        found[:, step] = state
    return found
