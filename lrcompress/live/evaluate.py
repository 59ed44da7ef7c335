"""A model measured by labels, or beside the original, with other matrices in it: a few batches at a time."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.trial import Counted, Matrices, Outcome
from lrcompress.data.arrays import Arrays, count
from lrcompress.data.labels import Output
from lrcompress.errors import DatasetError
from lrcompress.live.layers import find_layer
from lrcompress.live.masks import Mask, masked_weights, masks_of, spread
from lrcompress.live.outputs import output_names, outputs_of
from lrcompress.live.predict import Run, outputs_each, run_over
from lrcompress.lowrank import Factors
from lrcompress.measure import Evaluation, Look, Original, kind_of
from lrcompress.modelfile import Site
from lrcompress.modelfile.model import SiteLayer

# Bytes of the original's outputs that are held to compare others with: all, or those of every second, third, ...
# batch. Agreement, distances and what the original's own probabilities tell go by these, what labels tell by all.
HELD = 2**30


def evaluate(
    model: Any,
    x: Arrays,
    y: Arrays,
    task: str = "",
    *,
    sample_weight: NDArray[Any] | None = None,
    run: Run | None = None,  # makes the outputs in the model's place: what it was exported to
    decided: bool = False,  # whether the labels are what the original decides
) -> Evaluation:
    """Measure a model on scaled inputs by labels as `fit_to_model` makes them, and tell the steps of a named task."""
    found, outputs = _by_output(model, y), outputs_of(model)
    masks = masks_of(model, x)
    looks = [
        Original(
            labels, _each_weight(sample_weight, labels, mask),
            is_logits=output.is_logits, by_labels=False, decided=decided,
        ).first
        for labels, output, mask in zip(found, outputs, masks, strict=True)
    ]  # fmt: skip
    for part, values in run_over(model, x, task, run):
        for look, value in zip(looks, values, strict=True):
            look.add(part, value)
    evaluations = [
        _without_padding(look.evaluation, labels, mask)
        for look, labels, mask in zip(looks, found, masks, strict=True)
    ]
    return together(outputs, evaluations) if isinstance(y, dict) else evaluations[0]


def _without_padding(
    found: Evaluation | None, labels: NDArray[Any], mask: Mask | None
) -> Evaluation:
    """Return an evaluation that tells the share of padding, which was left out."""
    if found is None:
        raise AssertionError  # there are labels
    if mask is None or mask.all():
        return found
    padding = 100 * float(1 - spread(mask, predictions_of(labels)).mean())
    return dataclasses.replace(found, figures={**found.figures, "padding": padding})


def together(outputs: list[Output], evaluations: list[Evaluation]) -> Evaluation:
    """Return the evaluation of a model with several outputs from those of each."""
    by_name = {out.name: found for out, found in zip(outputs, evaluations, strict=True)}
    loss = sum(out.loss_weight * by_name[out.name].loss for out in outputs)
    samples = max(found.samples for found in evaluations)
    return Evaluation("outputs", {"samples": samples, "loss": loss}, outputs=by_name)


def _by_output(model: Any, y: Arrays) -> list[NDArray[Any]]:
    if not isinstance(y, dict):
        if len(model.outputs) == 1:
            return [np.asarray(y)]
        y = {}
    names = output_names(model)
    if set(names) != set(y):
        msg = (
            f"Model {model.name} has outputs {', '.join(names)}; received labels for "
            f"{', '.join(y) or 'one'}: give labels for each."
        )
        raise DatasetError(msg, code="model_outputs")
    return [y[name] for name in names]


def predictions_of(labels: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape of the predictions that labels are for, (samples, ...)."""
    return labels.shape if kind_of(labels) == "classes" else labels.shape[:-1]


def _each_weight(
    weights: NDArray[Any] | None, labels: NDArray[Any], mask: Mask | None
) -> NDArray[Any] | None:
    """Return a weight for each prediction; 0 where the mask says so."""
    shape = predictions_of(labels)
    weights = masked_weights(weights, mask, shape)
    return None if weights is None else spread(weights, shape).astype(np.float64)


class NetworkTrial:
    """A Keras model and some inputs, measured batch by batch; the model is given back unchanged after each trial."""

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
        decided: bool = False,
    ) -> None:
        """Run the original once, on scaled inputs and labels as `evaluate` takes them."""
        self._model, self._x = model, x
        self._ends = [end for end in outputs_of(model) if outputs is None or end.name in outputs]
        labels = y if isinstance(y, dict) or y is None else {self._ends[0].name: y}
        masks = dict(zip(output_names(model), masks_of(model, x), strict=True))
        self._known: dict[str, Original] = {}
        batches = -(-4 * count(x) * outputs_each(model, x) // HELD)
        for number, (rows, found) in enumerate(self._outputs(model, task)):
            for end in self._ends:
                values = found[end.name]
                if end.name not in self._known:
                    shape = (count(x), *values.shape[1:-1])
                    weights = masked_weights(sample_weight, masks[end.name], shape)
                    self._known[end.name] = Original(
                        None if labels is None else labels[end.name],
                        None if weights is None else spread(weights, shape),
                        is_logits=end.is_logits, by_labels=by_labels, decided=decided,
                    )  # fmt: skip
                self._known[end.name].first.add(rows, values, hold=number % batches == 0)
        self.original = self._outcome([known.first for known in self._known.values()])

    def __call__(self, matrices: Matrices, task: str = "trial") -> Outcome:
        """Return what the network does with these matrices."""
        with _substituted(self._model, matrices):
            return self.of(self._model, task)

    @property
    def counts(self) -> Counted | None:
        """Points, or of a language model perplexity; None where outputs are numbers."""
        if self.original.error_rate is None:
            return None
        at_steps = len(self._ends) == 1 and next(iter(self._known.values())).first.is_language
        return "perplexity" if at_steps else "points"

    def of(self, model: Any, task: str = "trial") -> Outcome:
        """Return what another model of the same outputs does on the same inputs."""
        looks = {name: Look(known) for name, known in self._known.items()}
        for rows, found in self._outputs(model, task):
            for name, look in looks.items():
                look.add(rows, found[name])
        return self._outcome(list(looks.values()))

    def _outputs(
        self, model: Any, task: str
    ) -> Iterator[tuple[slice, dict[str, NDArray[np.float32]]]]:
        """Yield samples and the outputs on them by name."""
        names = output_names(model)
        for rows, found in run_over(model, self._x, task):
            yield rows, dict(zip(names, found, strict=True))

    def _outcome(self, looks: Sequence[Look]) -> Outcome:
        known = [look.evaluation for look in looks if look.evaluation is not None]
        whole = together(self._ends, known) if len(known) > 1 else next(iter(known), None)
        return Outcome(
            output_error=sum(look.distance for look in looks),
            agreement=_mean([look.agreement for look in looks]),
            error_rate=_mean([found.percent_wrong for found in known], whole=True),
            wrong=None if whole is None else whole.wrong,
            # A mean without one of the outputs would let that be ruined unseen.
            drop=_mean([look.drop for look in looks], whole=True),
            # Of several outputs no perplexity is the model's.
            rise=looks[0].rise if len(looks) == 1 else None,
            evaluation=whole,
        )


def _mean(values: Sequence[float | None], *, whole: bool = False) -> float | None:
    """Return the mean of what is known; where the whole is wanted, of nothing less."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and (len(known) == len(values) or not whole) else None


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
