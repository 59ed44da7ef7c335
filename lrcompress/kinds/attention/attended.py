"""What the heads of an attention layer see: their queries, their keys, and what they attend to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds.linear import POSITIONS
from lrcompress.kinds.protocol import Array, Batch
from lrcompress.lowrank.responses import WIDE, RowMoments

# Steps of keys of one batch that are looked at: of long sequences fewer samples.
_STEPS = 2**14


@dataclass
class AttentionMoments:
    """Moments of what an attention layer is applied to.

    Attributes:
        query: Of the inputs that make queries.
        key: Of those that make keys, centred in each sequence: a constant drops out under softmax.
        value: Of what each head attends to, in its own values without their bias, (heads v,); None
            where there are too many for a covariance, or a gate follows.
    """

    query: RowMoments
    key: RowMoments
    value: RowMoments | None


def array_names(config: dict[str, Any]) -> list[str]:
    """Return what a layer's arrays do, in Keras' order."""
    kernels = ["query", "key", *["gate"] * bool(config.get("use_gate")), "value", "output"]
    biased = bool(config.get("use_bias", True))
    return [name for kernel in kernels for name in (kernel, f"{kernel}_bias")[: 1 + biased]]


def named(config: dict[str, Any], arrays: Sequence[Any]) -> dict[str, Any] | None:
    """Return a layer's arrays by what they do; None where they do not fit its config."""
    names = array_names(config)
    if len(arrays) != len(names):
        return None
    own = dict(zip(names, arrays, strict=True))
    grouped = "head_dim" in config
    heads = config.get("num_query_heads" if grouped else "num_heads")
    shared = config.get("num_key_value_heads") if grouped else heads
    k = config.get("head_dim" if grouped else "key_dim")
    v = (not grouped and config.get("value_dim")) or k
    ends = {"query": (heads, k), "key": (shared, k), "gate": (heads, v), "value": (shared, v)}
    expected = {f"{name}_bias": end for name, end in ends.items()}
    expected |= {name: (*own[name].shape[:1], *end) for name, end in ends.items() if name in own}
    made = tuple(own["output"].shape[2:])
    expected |= {"output": (heads, v, *made), "output_bias": made}
    fits = made and all(tuple(array.shape) == expected[name] for name, array in own.items())
    return own if fits else None


def new_moments(own: dict[str, Array]) -> AttentionMoments:
    """Return empty moments for a layer's arrays."""
    heads, width = own["output"].shape[:2]
    looked = heads * width <= WIDE and "gate" not in own
    return AttentionMoments(
        RowMoments(flat(own["query"])),
        RowMoments(flat(own["key"])),
        RowMoments(np.zeros((heads * width, 1))) if looked else None,
    )


def flat(kernel: Array) -> Array:
    """Return a kernel (d, heads, k) as a matrix."""
    return kernel.reshape(kernel.shape[0], -1)


def gather_attended(
    config: dict[str, Any], own: dict[str, Array], batch: Batch, seen: AttentionMoments
) -> None:
    """Add one batch to the moments of a layer.

    A padding mask counts where it is that of the query, and for the keys where they are the same
    tensor. Other masks are not in a batch: whether the layer looks back only is told from its
    output, and with a mask of the caller's own what is attended to is approximate.

    Args:
        config: Of the layer.
        own: Its arrays by name.
        batch: What went through it.
        seen: Moments to add to.
    """
    drawn = np.random.default_rng(batch.seed)
    tensors = [_sequences(x, config.get("attention_axes")) for x in batch.inputs[:3]]
    x, value = tensors[0], tensors[min(1, len(tensors) - 1)]
    key = tensors[2] if len(tensors) > 2 else value
    most = max(1, _STEPS // max(x.shape[1], key.shape[1]))
    chosen = np.sort(drawn.choice(len(x), min(most, len(x)), replace=False))
    mask = _mask(batch, x)
    same = len(batch.inputs) < 2 or batch.inputs[1] is batch.inputs[0]
    x, value, key = x[chosen], value[chosen], key[chosen]
    counts = np.ones(x.shape[:2], bool) if mask is None else mask[chosen]
    heard = counts if same and mask is not None else np.ones(key.shape[:2], bool)

    length = x.shape[1]
    steps = np.arange(length)[None].repeat(len(x), 0)
    if length > POSITIONS:
        steps = drawn.integers(0, length, (len(x), POSITIONS))
    at = np.arange(len(x))[:, None], steps
    queries, counts = x[at], counts[at]
    seen.query.update(queries[counts])
    share = heard[..., None] / np.maximum(heard.sum(axis=1), 1)[:, None, None]
    seen.key.update((key - (key * share).sum(axis=1, keepdims=True))[heard])
    if seen.value is None:
        return
    wide = np.tensordot(value, own["value"].astype(np.float32), 1)
    scores = _scores(own, queries, key)
    allowed = heard[:, None, None]
    window = config.get("sliding_window")
    if window:
        near = np.abs(steps[:, :, None] - np.arange(key.shape[1])) < window
        allowed = allowed & near[:, None]
    attended = _attended(scores, allowed, wide)
    if key.shape[1] == length:
        back = steps[:, :, None] >= np.arange(length)
        causal = _attended(scores, allowed & back[:, None], wide)
        output = _sequences(_one_axis(batch.output, own), config.get("attention_axes"))
        expected = output[chosen][at][counts]
        if _distance(own, causal[counts], expected) < _distance(own, attended[counts], expected):
            attended = causal
    seen.value.update(attended[counts].reshape(int(counts.sum()), -1))


def _scores(own: dict[str, Array], queries: Array, key: Array) -> Array:
    """Return the scores (samples, heads, steps, keys)."""
    made = np.tensordot(queries, own["query"].astype(np.float32), 1)
    if "query_bias" in own:
        made = made + own["query_bias"].astype(np.float32)
    keys = np.tensordot(key, own["key"].astype(np.float32), 1)
    keys = np.repeat(keys, made.shape[2] // keys.shape[2], axis=2)
    scores = made.transpose(0, 2, 1, 3) @ keys.transpose(0, 2, 3, 1)
    return np.asarray(scores / np.float32(math.sqrt(made.shape[-1])))


def _attended(scores: Array, allowed: Array, values: Array) -> Array:
    """Return the values (samples, steps, heads, v) that softmax of allowed scores gives."""
    scores = np.where(allowed, scores, np.float32(-1e9))
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    values = np.repeat(values.swapaxes(1, 2), scores.shape[1] // values.shape[2], axis=1)
    return np.asarray(shares @ values).swapaxes(1, 2)


def _distance(own: dict[str, Array], attended: Array, expected: Array) -> float:
    """Return how far an output is from what the layer gave, up to a constant: its biases."""
    kernel = own["output"].reshape(-1, expected.shape[-1]).astype(np.float32)
    rest = attended.reshape(len(attended), -1) @ kernel - expected
    return float(rest.var(axis=0).sum()) if len(rest) else 0.0


def _mask(batch: Batch, x: Array) -> Array | None:
    """Return the mask of the first input where it fits its sequences."""
    if batch.mask is None or batch.mask.shape != x.shape[:2]:
        return None
    return batch.mask.astype(bool)


def _sequences(x: Array, axes: Any) -> Array:
    """Return a tensor (samples, ..., d) as (sequences, steps, d): steps along the attention axes."""
    x = np.asarray(x, np.float32)
    every = tuple(range(1, x.ndim - 1))
    steps = tuple(a % x.ndim for a in axes) if axes else every
    others = tuple(a for a in every if a not in steps)
    moved = x.transpose(0, *others, *steps, x.ndim - 1)
    return moved.reshape(-1, math.prod(x.shape[a] for a in steps), x.shape[-1])


def _one_axis(output: Array, own: dict[str, Array]) -> Array:
    """Return an output with all axes of a step as one."""
    kept = output.ndim - (own["output"].ndim - 2)
    return output.reshape(*output.shape[:kept], -1)
