"""What is known of the original on data, and what a rank-r head alone does to the outputs there.

All that follows a measured head keeps the order of the classes, so the network below it need not run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank import Factors, each
from lrcompress.measure.judging import Judge, Judged

# Logits that a core holds at one time.
BLOCK = 2**21


# Kernel (m, n) and bias (n,), or None to keep the layer's own, by path of the layer.
Kernels = Mapping[str, tuple[NDArray[Any], NDArray[Any] | None]]


class Trial(Protocol):
    """What a changed network was found to do."""

    @property
    def output_error(self) -> float:
        """Against the original's outputs."""

    @property
    def error_rate(self) -> float | None:
        """In percent, None without labels."""

    @property
    def drop(self) -> float | None:
        """Against the original, in points, see `judging`; None without labels."""


class Probe(Protocol):
    """A whole network in which kernels can be tried on held-out data."""

    @property
    def original(self) -> Trial:
        """The network as it is."""

    def __call__(self, kernels: Kernels, task: str = ...) -> Trial:
        """Measure the network with these kernels."""


@dataclass(frozen=True)
class Calibration:
    """What `training` measured on the original model, as plain arrays.

    Attributes:
        activations: Unlabelled inputs of each layer by its path, (samples, m) or (samples, steps, m).
        held_out: The same on validation data; empty where nothing is to be measured.
        labels: Class numbers of the validation data, (samples,) or (samples, steps).
        probe: The network itself on the validation data; None where it is not at hand.
        by_labels: Whether the validation data are new to the original, so that their labels decide.
        labelled: Whether they have labels; else `labels` are the original's own decisions.
    """

    activations: Mapping[str, NDArray[np.float32]]
    held_out: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    labels: NDArray[np.int64] | None = None
    probe: Probe | None = None
    by_labels: bool = False
    labelled: bool = True

    @property
    def judged(self) -> str:
        """How a drop is judged, in words."""
        if not self.labelled:
            return "of agreement with the original on held-out data"
        if self.by_labels:
            return "on the validation data"
        return "on held-out data, by the original's own probabilities"


@dataclass(frozen=True)
class Measured:
    """A head against the original on the same inputs.

    Attributes:
        output_error: Mean Kullback-Leibler divergence from the original's outputs in nats (summed
            over units for sigmoid); for other heads the squared error of the logits relative to
            their variance.
        agreement: Share of predictions that are the original's, in percent.
        error_rate: In percent, None without labels.
        wrong: Which predictions are wrong, (k,); None without labels.
        drop: What it loses, in points, see `judging`; None without labels.
    """

    output_error: float
    agreement: float
    error_rate: float | None
    wrong: NDArray[np.bool_] | None
    drop: float | None = None


class HeadMeter:
    """Measures heads in the place of x A + b."""

    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64] | None,
        *,
        softmax: bool,
        activation: str,
        by_labels: bool = True,
    ) -> None:
        """Remember the original.

        Args:
            kernel: A, (m, n).
            bias: b, (n,), or None.
            inputs: Of the layer, (..., m).
            labels: Class numbers, shaped as `inputs` without its last axis, or None; inputs with
                a negative one do not count.
            softmax: Whether softmax along the classes follows.
            activation: The layer's own.
            by_labels: Whether the labels are new to the original, and a drop counts them.
        """
        self._x = inputs.reshape(-1, inputs.shape[-1])
        self._y = None if labels is None else labels.reshape(-1)
        if self._y is not None and self._y.min(initial=0) < 0:
            counted = self._y >= 0
            self._x, self._y = self._x[counted], self._y[counted]
        self._kernel = kernel.astype(np.float32)
        self._bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias.astype("f4")
        self._kind = "softmax" if softmax else activation
        self._by_labels = by_labels
        mean = self._x.mean(axis=0, dtype=np.float64) @ self._kernel + self._bias
        self._mean = mean.astype(np.float32)
        self.original_wrong = self._wrong()

    @cached_property
    def _judge(self) -> tuple[Judge, Judged] | None:
        """A judge of predictions, and what it says of the original's."""
        if self._y is None:
            return None
        judge = Judge(self._y, self._logits, by_labels=self._by_labels)
        own = np.concatenate([classes(self._raw(block)) for block in self._blocks()])
        return judge, judge(own, self._logits_at(own))

    def _raw(self, rows: slice) -> NDArray[np.float32]:
        return np.asarray(self._x[rows] @ self._kernel + self._bias)

    def _logits(self, rows: slice) -> NDArray[np.float32]:
        """Return the original's logits of all classes: two where one unit says which."""
        return as_logits(self._raw(rows), self._kind)

    def _logits_at(self, picked: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the original's logits of one class for each input, (k,)."""
        if self._kernel.shape[1] == 1:
            return np.where(picked == 1, self._raw(slice(None))[:, 0], 0.0).astype(np.float32)
        own = np.einsum("km,km->k", self._x, self._kernel.T[picked]) + self._bias[picked]
        return np.asarray(own) if self._kind != "sigmoid" else -np.logaddexp(np.float32(0), -own)

    def _blocks(self) -> list[slice]:
        step = max(1, BLOCK // self._kernel.shape[1])
        return [slice(i, i + step) for i in range(0, len(self._x), step)]

    def _wrong(self) -> NDArray[np.bool_] | None:
        if self._y is None:
            return None
        found = each(lambda b: classes(self._x[b] @ self._kernel + self._bias), self._blocks())
        return np.asarray(np.concatenate(found) != self._y)

    def __call__(self, factors: Factors) -> Measured:
        """Measure one head; a bias of None keeps the layer's own."""
        first, second = factors.B.astype(np.float32), factors.C.astype(np.float32)
        bias = self._bias if factors.bias is None else factors.bias.astype(np.float32)

        def measure(block: slice) -> tuple[float, float, int, NDArray[np.int64]]:
            x = self._x[block]
            old, new = x @ self._kernel + self._bias, (x @ first) @ second + bias
            spread = float(np.square(old - self._mean).sum(dtype=np.float64))
            found = classes(new)
            same = int((found == classes(old)).sum())
            return self._distance(old, new), spread, same, found

        parts = each(measure, self._blocks())
        predicted = [part[3] for part in parts]
        apart, spread = sum(part[0] for part in parts), sum(part[1] for part in parts)
        same = sum(part[2] for part in parts)
        scale = len(self._x) if self._kind in ("softmax", "sigmoid") else spread or 1.0
        wrong = None if self._y is None else np.concatenate(predicted) != self._y
        rate = None if wrong is None else 100 * float(wrong.mean())
        drop = None
        if self._judge is not None:
            judge, before = self._judge
            picked = np.concatenate(predicted)
            drop = before.drop_to(judge(picked, self._logits_at(picked)))
        # A divergence is never negative but for rounding.
        return Measured(max(apart / scale, 0.0), 100 * same / len(self._x), rate, wrong, drop)

    def _distance(self, old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
        """Return the summed divergence, or the summed squared error."""
        if self._kind == "softmax":
            before, after = _log_softmax(old), _log_softmax(new)
            return float((np.exp(before) * (before - after)).sum(dtype=np.float64))
        if self._kind == "sigmoid":
            p = 1 / (1 + np.exp(-old))
            ends = np.logaddexp(0, new) - np.logaddexp(0, old)
            return float((ends - p * (new - old)).sum(dtype=np.float64))
        return float(np.square(old - new).sum(dtype=np.float64))


def as_logits(values: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Return logits whose softmax says how likely each class is, of what a layer computes.

    Args:
        values: Before any activation, (k, n); a single one says how likely class 1 is.
        kind: What follows: ``softmax``, ``sigmoid``, or another name for nothing.
    """
    if values.shape[-1] == 1:
        return np.concatenate([np.zeros_like(values), values], axis=-1)
    return values if kind != "sigmoid" else -np.logaddexp(np.float32(0), -values)


def classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return predicted classes; one unit says whether it is class 1."""
    if logits.shape[-1] == 1:
        return np.asarray(logits[..., 0] > 0, np.int64)
    return np.asarray(logits.argmax(axis=-1))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
