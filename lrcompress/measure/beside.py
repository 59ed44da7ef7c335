"""Outputs beside an original's, a block of samples at a time: nobody holds those of all classes for all inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.drop import FITTED_ON, Judge, Judged, temperature
from lrcompress.measure.evaluation import Evaluation, is_language, summarize, tells_perplexity
from lrcompress.measure.paired import rise
from lrcompress.measure.scores import (
    MANY_CLASSES,
    SCORERS,
    Scores,
    classes_of,
    is_softmax,
    kind_of,
    log_sums,
    logits_of,
)
from lrcompress.measure.several import LabelTally

# Probabilities below this are not told apart from 0.
SMALLEST = 1e-30
# So many probabilities are many.
MANY = 1_000
# Samples of a block, and what the original gives for them, without what has no weight.
_Held = tuple[slice, NDArray[np.float32]]


class Original:
    """One output of an original on some inputs; `first` is how it fares itself."""

    def __init__(
        self,
        labels: NDArray[Any] | None,
        weights: NDArray[Any] | None,
        *,
        is_logits: bool,
        by_labels: bool,
        decided: bool,
    ) -> None:
        """Know labels, (samples, ...), and weights of predictions; `first.add(..., hold=True)` brings the outputs."""
        # What compares outputs with outputs goes by the blocks that are held; what labels tell, by all. `by_labels`
        # is whether these are new to the original, and a drop counts them; `decided`, whether it decides them.
        self.labels, self.is_logits, self.by_labels = labels, is_logits, by_labels
        self.kind = "classes" if labels is None else kind_of(labels)
        self.decided, self._weights = decided, weights
        self._plain = weights is None or bool((weights > 0).all())
        self.held: dict[int, _Held] = {}
        self.first = Look(self)

    def some(self, rows: slice, values: NDArray[Any], units: bool = True) -> NDArray[Any]:
        """Return what counts of a block, in one row a prediction; of class numbers there are no `units`."""
        flat = values.reshape(-1, values.shape[-1]) if units else values.reshape(-1)
        if self._plain or self._weights is None:
            return flat
        return flat[self._weights[rows].reshape(-1) > 0]

    def labels_of(self, rows: slice) -> NDArray[Any]:
        """Return the labels of what counts of a block."""
        if self.labels is None:
            raise AssertionError  # asked for where there are some
        return self.some(rows, self.labels[rows], units=self.kind != "classes")

    def weights_of(self, rows: slice = slice(None)) -> NDArray[Any] | None:
        """Return the weights of what counts; None where all weigh alike."""
        return None if self._weights is None else self.some(rows, self._weights[rows], units=False)

    @cached_property
    def spread(self) -> float:
        """Variance of outputs that are no probabilities."""
        return spread_of([values for _, values in self.held.values()]) or 1.0

    @cached_property
    def _judge(self) -> Judge:
        blocks = [slice(None)] if self.by_labels else [rows for rows, _ in self.held.values()]
        labels = np.concatenate([self.labels_of(rows) for rows in blocks])
        every = [self.weights_of(rows) for rows in blocks]
        weights: Any = None if self._weights is None else np.concatenate(every)  # type: ignore[arg-type]
        return Judge(labels, self._logits, by_labels=self.by_labels, weights=weights)

    def _logits(self, rows: slice) -> NDArray[np.float32]:
        """Return logits of some of the rows that are held, two of a single unit."""
        blocks = [values for _, values in self.held.values()]
        wanted, found, start = np.arange(sum(map(len, blocks)))[rows], [], 0
        for values in blocks:
            inside = wanted[(wanted >= start) & (wanted < start + len(values))] - start
            found.append(values[inside])
            start += len(values)
        logits = logits_of(np.concatenate(found), self.is_logits, softmax=self._softmax)
        if logits.shape[-1] > 1:
            return logits
        return np.concatenate([np.zeros_like(logits), logits], axis=-1)

    @cached_property
    def _softmax(self) -> bool:
        return is_softmax(next(iter(self.held.values()))[1])

    def judged(self, picked: NDArray[np.int64]) -> Judged:
        """Judge class numbers that were picked for all, or for what is held."""
        logits = () if self.by_labels else self._at(picked)
        return self._judge(picked, np.concatenate([np.empty(0, np.float32), *logits]))

    def _at(self, picked: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        """Yield the original's logits of the classes that were picked."""
        start = 0
        for _, values in self.held.values():
            own = picked[start : start + len(values)]
            start += len(values)
            single = values.shape[-1] == 1
            found = np.take_along_axis(values, own[:, None] * (not single), axis=-1)
            logits = logits_of(found, self.is_logits, softmax=self._softmax)[:, 0]
            yield np.where(own == 1, logits, np.float32(0)) if single else logits

    def chances(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how likely each of several labels is to hold, (k, n), in the original's eyes."""
        logits = logits_of(values, self.is_logits, softmax=False).astype(np.float64)
        return np.asarray(1 / (1 + np.exp(-np.clip(logits / self._temperature, -500, 500))))

    @cached_property
    def _temperature(self) -> float:
        size = sum(values.size for _, values in self.held.values())
        step, logits, labels = -(-size // FITTED_ON), [], []
        for rows, values in self.held.values():
            logits.append(values.reshape(-1, 1)[::step])
            labels.append(self.labels_of(rows).reshape(-1)[::step])
        some = logits_of(np.concatenate(logits), self.is_logits, softmax=False)
        pairs = np.concatenate([np.zeros_like(some), some], axis=-1)
        return temperature(pairs, np.concatenate(labels).astype(np.int64))

    @cached_property
    def before(self) -> Judged:
        """What is wrong of the original."""
        return self.first.judged()


class Look:
    """What one model gives beside an original, or the original itself."""

    def __init__(self, original: Original) -> None:
        """Begin with nothing."""
        self._of = original
        self._scores: list[Scores] = []
        self._picked: list[NDArray[np.int64]] = []
        self._tally = LabelTally()
        self._apart, self._divergence, self._same = 0.0, 0.0, 0.0
        self._seen, self._units, self._axes = 0, 0, 1

    def add(self, rows: slice, values: NDArray[np.float32], *, hold: bool = False) -> None:
        """Measure outputs, (b, ..., n), of a block of samples; `hold` those of the original."""
        of, some = self._of, self._of.some(rows, values)
        self._units, self._axes = values.shape[-1], values.ndim - 1
        if hold:
            of.held[rows.start] = rows, some.copy()
        if of.labels is not None:
            labels = of.labels_of(rows)
            self._scores.append(SCORERS[of.kind](some, labels, of.is_logits))
            if of.by_labels and of.kind == "labels":
                holds = labels.astype(np.float64)
                self._tally.add(self._decided(some), holds, of.weights_of(rows), _likeliest(some))
        old = of.held.get(rows.start)
        if of.kind == "classes" and (of.by_labels or old is not None):
            self._picked.append(classes_of(some, of.is_logits))
        if old is not None and not hold:
            self._compare(rows, old[1], some)

    def _decided(self, values: NDArray[np.float32]) -> NDArray[np.bool_]:
        return values > (0.0 if self._of.is_logits else 0.5)

    def _compare(self, rows: slice, old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
        of = self._of
        self._seen += len(old)
        self._apart += from_outputs(old, new, is_logits=of.is_logits)
        if of.kind == "classes":
            if of.is_logits and self._tells_rise:
                self._divergence += from_logits(old, new, "softmax")
            before = classes_of(old, of.is_logits)
            self._same += float((before == classes_of(new, of.is_logits)).sum())
        elif of.kind == "labels":
            decided = self._decided(new)
            self._same += float((decided == self._decided(old)).mean(axis=-1).sum())
            if not of.by_labels:
                weights = of.weights_of(rows)
                self._tally.add(decided, of.chances(old), weights, _likeliest(new))

    @property
    def distance(self) -> float:
        """Mean divergence of probabilities; of others the squared error by their variance."""
        apart = self._apart / max(self._seen, 1)
        return apart / self._of.spread if self._of.is_logits else apart

    @property
    def agreement(self) -> float | None:
        """The share of decisions that are the original's, in percent; None of numbers."""
        if self._of.kind == "regression":
            return None
        return 100 * self._same / self._seen if self._seen else 100.0

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """By the labels; None without."""
        of = self._of
        if of.labels is None:
            return None
        whole = {
            key: np.concatenate([part[key] for part in self._scores]) for key in self._scores[0]
        }
        return summarize(
            of.kind, whole, of.weights_of(),
            axes=self._axes, units=self._units, decided=of.decided,
        )  # fmt: skip

    @property
    def drop(self) -> float | None:
        """What it loses, in points; None where nothing is right or wrong."""
        of = self._of
        if of.labels is None or of.kind == "regression":
            return None
        return of.before.drop_to(self.judged())

    def judged(self) -> Judged:
        """Return what is wrong, of classes or labels."""
        of = self._of
        if of.kind == "classes":
            return of.judged(np.concatenate(self._picked))
        if self is of.first and not of.by_labels:
            tally = LabelTally()
            for rows, values in of.held.values():
                weights = of.weights_of(rows)
                tally.add(self._decided(values), of.chances(values), weights, _likeliest(values))
            return tally.judged()
        return self._tally.judged()

    @property
    def rise(self) -> float | None:
        """By how many percent perplexity is higher; None where it is no measure."""
        of = self._of
        if not self._tells_rise:
            return None
        first = of.first.evaluation
        if of.by_labels and not of.decided and first is not None and self.evaluation is not None:
            return rise(self.evaluation.loss - first.loss)
        return rise(self._divergence / max(self._seen, 1) if of.is_logits else self.distance)

    @property
    def is_language(self) -> bool:
        """Whether many classes stand at each step of a sequence."""
        return self._of.kind == "classes" and is_language(self._units, self._axes)

    @property
    def _tells_rise(self) -> bool:
        of = self._of
        known = of.labels is not None and of.kind == "classes"
        return known and tells_perplexity(self._units, self._axes)


def _likeliest(outputs: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """Return which of many labels is the likeliest."""
    return np.asarray(outputs.argmax(axis=-1)) if outputs.shape[-1] >= MANY_CLASSES else None


def from_logits(old: NDArray[np.float32], new: NDArray[np.float32], ending: str) -> float:
    """Return the divergence, summed over logits (k, n), in nats; without an ending the squared error."""
    if ending == "softmax":
        # sum p (z - z') + log sum exp z' - log sum exp z, whatever is added to the logits of an input.
        top = old.max(axis=-1, keepdims=True)
        parts = np.exp(old - top)
        sums = parts.sum(axis=-1, keepdims=True, dtype=np.float64)
        parts *= old - new
        apart = parts.sum(axis=-1, keepdims=True, dtype=np.float64) / sums
        return float((apart + log_sums(new) - np.log(sums) - top).sum())
    if ending == "sigmoid":
        p = 1 / (1 + np.exp(-old))
        ends = np.logaddexp(0, new) - np.logaddexp(0, old)
        return float((ends - p * (new - old)).sum(dtype=np.float64))
    return float(np.square(old - new).sum(dtype=np.float64))


def from_outputs(old: NDArray[np.float32], new: NDArray[np.float32], *, is_logits: bool) -> float:
    """Return the divergence of probabilities, (k, n), summed over k; of others the mean squared errors of each."""
    # Of many probabilities float32 tells the logarithms well enough, in a quarter of the time.
    wide: Any = np.float32 if old.shape[-1] >= MANY and not is_logits else np.float64
    before, after = old.astype(wide, copy=False), new.astype(wide, copy=False)
    if is_logits:
        return float(np.square(before - after).mean(axis=-1).sum())
    divergence = _divergence(before, after)
    if not is_softmax(old):
        divergence += _divergence(1 - before, 1 - after)
    return float(divergence.sum(dtype=np.float64))


def spread_of(parts: Sequence[NDArray[np.float32]]) -> float:
    """Return the variance of outputs, (k, n) each, around the mean of each unit."""
    rows = sum(map(len, parts))
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / rows
    return float(sum(np.square(part - mean).mean(axis=-1).sum() for part in parts) / rows)


def _divergence(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    logs = np.log(np.maximum(old, SMALLEST)) - np.log(np.maximum(new, SMALLEST))
    return np.asarray(old * logs)
