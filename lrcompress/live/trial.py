"""A live network in which other matrices are tried, before any file is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.compression import Matrices, Outcome
from lrcompress.data.arrays import Arrays
from lrcompress.data.model_output import Output
from lrcompress.live.activations import find_layer
from lrcompress.live.evaluate import score, together
from lrcompress.live.outputs import output_names, outputs_of
from lrcompress.live.predict import masked_weights, masks_of, predict_all, spread
from lrcompress.lowrank import Factors
from lrcompress.measure import (
    Evaluation,
    OutputDrop,
    classes_of,
    from_outputs,
    kind_of,
)
from lrcompress.modelfile import Site
from lrcompress.modelfile.model import SiteLayer


class NetworkTrial:
    """A Keras model and some inputs; the model is given back unchanged after each trial."""

    def __init__(
        self,
        model: Any,
        x: Arrays,
        y: Arrays | None,
        task: str = "original",
        *,
        outputs: Sequence[str] | None = None,
        sample_weight: NDArray[Any] | None = None,
        by_labels: bool = True,
    ) -> None:
        """Run the original once, on scaled inputs and labels as `evaluate` takes them.

        Args:
            model: A Keras model.
            x: Inputs.
            y: Labels, or None.
            task: What the first run is called.
            outputs: Names of the outputs to measure; None for all.
            sample_weight: Of the samples; None weighs all alike.
            by_labels: Whether the labels are new to the original, and a drop counts them.
        """
        self._model, self._x = model, x
        ends = [end for end in outputs_of(model) if outputs is None or end.name in outputs]
        labels = y if isinstance(y, dict) or y is None else {ends[0].name: y}
        found = predict_all(model, x, task)
        masks = dict(zip(output_names(model), masks_of(model, x), strict=True))
        self._parts = [
            _Part(
                end, found[end.name], None if labels is None else labels[end.name],
                masked_weights(sample_weight, masks[end.name], found[end.name].shape[:-1]),
                by_labels=by_labels,
            )
            for end in ends
        ]  # fmt: skip
        self.original = self._measure(found)

    def __call__(self, matrices: Matrices, task: str = "trial") -> Outcome:
        """Return what the network does with these matrices."""
        with _substituted(self._model, matrices):
            return self.of(self._model, task)

    def of(self, model: Any, task: str = "trial") -> Outcome:
        """Return what another model of the same outputs does on the same inputs."""
        return self._measure(predict_all(model, self._x, task))

    def _measure(self, found: dict[str, NDArray[np.float32]]) -> Outcome:
        pairs = [(part, found[part.output.name]) for part in self._parts]
        evaluations = [part.evaluation(values) for part, values in pairs]
        known = [evaluation for evaluation in evaluations if evaluation is not None]
        whole: Evaluation | None = known[0] if known else None
        if len(known) > 1:
            whole = together([part.output for part in self._parts], known)
        return Outcome(
            output_error=sum(part.distance(values) for part, values in pairs),
            agreement=_mean([part.agreement(values) for part, values in pairs]),
            error_rate=None if whole is None else _error_rate(whole),
            wrong=None if whole is None else whole.wrong,
            # A mean without one of the outputs would let that be ruined unseen.
            drop=_mean(
                [part.drop(values) if part.drop else None for part, values in pairs], whole=True
            ),
            evaluation=whole,
        )


class _Part:
    """One output: what the original gives there, and the labels that it is judged by."""

    def __init__(
        self,
        output: Output,
        original: NDArray[np.float32],
        labels: NDArray[Any] | None,
        weights: NDArray[Any] | None,
        *,
        by_labels: bool,
    ) -> None:
        self.output, self._labels, self._weights = output, labels, weights
        self._kind = "classes" if labels is None else kind_of(labels)
        # What has weight 0, such as padding, is left out.
        self._counted = None if weights is None or (weights > 0).all() else weights > 0
        self._original = self._some(original)
        self.drop: OutputDrop | None = None
        if labels is not None and self._kind != "regression":
            wide = None if weights is None else spread(weights, original.shape[:-1])
            self.drop = OutputDrop(
                original, labels, wide, is_logits=output.is_logits, by_labels=by_labels
            )

    def _some(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values if self._counted is None else values[self._counted]

    def distance(self, values: NDArray[np.float32]) -> float:
        """Return how far outputs are from the original's."""
        return from_outputs(self._original, self._some(values), is_logits=self.output.is_logits)

    def agreement(self, values: NDArray[np.float32]) -> float | None:
        """Return the share of decisions that are the original's, in percent."""
        if self._kind == "regression":
            return None
        old, new = self._original, self._some(values)
        if self._kind == "labels":
            edge = 0.0 if self.output.is_logits else 0.5
            return 100 * float(((old > edge) == (new > edge)).mean())
        before, after = (classes_of(some, self.output.is_logits) for some in (old, new))
        return 100 * float((before == after).mean())

    def evaluation(self, values: NDArray[np.float32]) -> Evaluation | None:
        """Measure outputs by the labels."""
        if self._labels is None:
            return None
        return score(
            values, self._labels, is_logits=self.output.is_logits, sample_weight=self._weights
        )


def _mean(values: Sequence[float | None], *, whole: bool = False) -> float | None:
    """Return the mean of what is known; where the whole is wanted, of nothing less."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and (len(known) == len(values) or not whole) else None


def _error_rate(evaluation: Evaluation) -> float | None:
    if not evaluation.outputs:
        return evaluation.percent_wrong
    return _mean([found.percent_wrong for found in evaluation.outputs.values()], whole=True)


@contextlib.contextmanager
def _substituted(model: Any, matrices: Matrices) -> Iterator[None]:
    """Give layers other matrices while the context lasts."""
    kept: list[tuple[Any, Any]] = []
    try:
        for site, factors in matrices.items():
            for part, matrix, bias in _matrices(site, factors):
                layer = find_layer(model, part.path)
                weights = getattr(layer, "layer", layer).weights
                arrays = site.kind.arrays(part.view, matrix, bias)
                # A layer without a bias cannot be given one while it lives.
                for variable, value in zip(weights, arrays, strict=False):
                    if value is not None:
                        kept.append((variable, keras.ops.convert_to_numpy(variable)))
                        variable.assign(value.astype(np.float32))
        yield
    finally:
        for variable, value in reversed(kept):
            variable.assign(value)


def _matrices(
    site: Site, factors: Factors
) -> Iterator[tuple[SiteLayer, NDArray[Any], NDArray[Any] | None]]:
    """Yield matrix and bias of each layer by which the network computes what it will."""
    first, last = site.layers[0], site.layers[-1]
    if site.rank is None:
        yield last, factors.product(), factors.bias
        return
    # Two layers already: columns and rows of zeros keep their shapes.
    missing = site.rank - factors.rank
    yield first, np.pad(factors.B, ((0, 0), (0, missing))), np.zeros(site.rank)
    yield last, np.pad(factors.C, ((0, missing), (0, 0))), factors.bias
