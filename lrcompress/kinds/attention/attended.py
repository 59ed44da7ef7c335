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
    """Moments of what an attention layer is applied to."""

    query: RowMoments
    key: RowMoments  # centred in each sequence: a constant drops out under softmax
    # Of what each head attends to, in its own values without their bias, (heads v,); None where there are too many for
    # a covariance, or a gate follows.
    value: RowMoments | None


Seen = AttentionMoments | None  # None without data


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
    """Add one batch to the moments of a layer."""
    # What masks keep from a step is told by its output: of those among the inputs, the query's own and none, each with
    # and without a look ahead, the ones that come nearest to it are taken.
    drawn = np.random.default_rng(batch.seed)
    axes = config.get("attention_axes")
    tensors, masks = _told_apart(batch.inputs, own)
    x, value, key = (_sequences(tensor, axes) for tensor in tensors)
    (samples, length), known = x.shape[:2], key.shape[1]
    masks += [] if batch.mask is None else [batch.mask]
    chosen = np.arange(samples)
    if (most := max(1, _STEPS // max(length, known))) < samples:
        chosen = np.sort(drawn.choice(samples, most, replace=False))
    steps = np.arange(length)[None].repeat(len(chosen), 0)
    if length > POSITIONS:
        steps = drawn.integers(0, length, (len(chosen), POSITIONS))
    at = chosen[:, None], steps
    counts = np.ones(steps.shape, bool)
    if batch.mask is not None and batch.mask.shape == (samples, length):
        counts = batch.mask[at].astype(bool)
    seen.query.update(x[at][counts])
    # What a step may attend to, (samples, steps or 1, keys).
    allowed = np.ones((len(chosen), 1, known), bool)
    for mask in masks:
        if mask.ndim == 3 and mask.shape[1:] == (length, known):
            allowed = allowed & np.broadcast_to(mask, (samples, length, known))[at].astype(bool)
    if config.get("sliding_window"):
        allowed = allowed & (np.abs(steps[..., None] - np.arange(known)) < config["sliding_window"])
    padding = [m[chosen].astype(bool) for m in masks if m.shape == (samples, known)]
    every = np.ones((len(chosen), known), bool)
    ways = [(allowed & heard[:, None], heard) for heard in (every, *padding)]
    if known == length:
        ways += [(way & (steps[..., None] >= np.arange(known)), heard) for way, heard in ways]
    values = np.tensordot(value[chosen], own["value"].astype(np.float32), 1)
    scores = _scores(own, x[at], key[chosen])
    output = _sequences(_one_axis(batch.output, own), axes)[at][counts]
    found = [_attended(scores, way[:, None], values)[counts] for way, _ in ways]
    gate = _gate(own, x[at][counts])
    best = min(range(len(ways)), key=lambda i: _distance(own, found[i] * gate, output))
    heard = ways[best][1]
    share = heard[..., None] / np.maximum(heard.sum(axis=1), 1)[:, None, None]
    centred = key[chosen] - (key[chosen] * share).sum(axis=1, keepdims=True)
    seen.key.update(centred[heard])
    if seen.value is not None:
        seen.value.update(found[best].reshape(len(found[best]), -1))


def _told_apart(
    inputs: tuple[Array, ...], own: dict[str, Array]
) -> tuple[tuple[Array, Array, Array], list[Array]]:
    """Return the query, the value and the key of a call, and the masks among its tensors."""
    widths = {own[name].shape[0] for name in ("value", "key")}
    query, *others = inputs
    features: list[Array] = []
    masks: list[Array] = []
    for tensor in others:
        fits = tensor.ndim == query.ndim and tensor.shape[-1] in widths
        (features if fits and tensor.dtype.kind not in "biu" else masks).append(tensor)
    value = features[0] if features else query
    return (query, value, features[1] if len(features) > 1 else value), masks


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


def _gate(own: dict[str, Array], queries: Array) -> Array:
    """Return what the attended values are multiplied by."""
    if "gate" not in own:
        return np.ones(1, np.float32)
    made = np.tensordot(queries, own["gate"].astype(np.float32), 1)
    made = made + own["gate_bias"] if "gate_bias" in own else made
    return np.asarray(1 / (1 + np.exp(-made)))


def _distance(own: dict[str, Array], attended: Array, expected: Array) -> float:
    """Return how far an output is from what the layer gave, up to a constant: its biases."""
    kernel = own["output"].reshape(-1, expected.shape[-1]).astype(np.float32)
    rest = attended.reshape(len(attended), -1) @ kernel - expected
    return float(rest.var(axis=0).sum()) if len(rest) else 0.0


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
