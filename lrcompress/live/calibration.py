"""What a data set says about some layers of a live model: their inputs, and trials of other matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression import MaxRise, Target
from lrcompress.compression.head_trial import HeadTrial
from lrcompress.compression.trial import Calibration, Counted, Trial
from lrcompress.data.arrays import count, evenly, take
from lrcompress.errors import RankError
from lrcompress.live.evaluate import NetworkTrial
from lrcompress.live.layers import inputs_of, layer_inputs, samples_for
from lrcompress.live.masks import left_out
from lrcompress.live.network import Networks
from lrcompress.live.outputs import outputs_of, reached_by
from lrcompress.live.predict import outputs_each
from lrcompress.live.prepare import Prepared, countable
from lrcompress.lowrank import learns_from, most_inputs
from lrcompress.measure import MANY_CLASSES, is_language, kind_of, tells_perplexity
from lrcompress.modelfile import ModelFile, read_bias, read_kernel

# Of a whole network: more calibration inputs gain little; to rank candidates by, fewer do.
NETWORK_SAMPLES, JUDGES = 3_000, 1_000
# Outputs of those that judge, which every trial computes anew; samples that judge however many they give.
JUDGED, FEWEST_JUDGES = 2**26, 100
# Moments of a few thousand inputs are all that the closed forms need.
SAMPLES = 5_000


@dataclass(frozen=True)
class LiveModel:
    """A model that Keras has loaded, and data that fit it."""

    keras_model: Any
    data: Prepared
    opened: ModelFile
    samples: int | None = None  # calibration inputs; None for as many as pay off
    # That were read, by the paths of their layers.
    kernels: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    def calibration(
        self, targets: Sequence[Target], methods: Sequence[str]
    ) -> tuple[Calibration, int]:
        """Return the inputs of the layers with a trial of them on the validation part, and from how many samples."""
        split, scaling = self.data.split, self.data.scaling
        paths = [target.layer.input_path for target in targets]
        some = evenly(split.x_train, self.samples or self._samples(targets, methods))
        trial, labels = self._trial(targets, "val", "original", by_labels=self.data.by_labels)
        known = inputs_of(self.keras_model, paths, scaling(some), pack=True)
        judged = "on held-out data, by the original's own probabilities"
        if not self.data.labelled:
            judged = "of agreement with the original on held-out data"
        elif self.data.by_labels:
            judged = "on the validation data"
        calibration = Calibration(
            {target.layer.path: known[target.layer.input_path] for target in targets}, trial, judged,
            counted=0 if labels is None or not self.data.by_labels else int((labels >= 0).sum()),
            kernels=self.kernels,
        )  # fmt: skip
        return calibration, len(known[paths[0]])

    def network(self, *, counts: bool) -> tuple[Networks, int]:
        """Return what loads networks to run them on the data, and how many samples calibrate."""
        split, scaling = self.data.split, self.data.scaling
        some = evenly(split.x_train, self.samples or NETWORK_SAMPLES)
        found = count(split.x_val)
        fewer = max(JUDGED // outputs_each(self.keras_model, split.x_val), FEWEST_JUDGES)
        most = min(found, JUDGES, fewer)
        judges = np.arange(found) if counts else np.arange(most) * found // most
        return Networks(
            scaling(some), scaling(take(split.x_val, judges)), take(split.y_val, judges),
            None if split.w_val is None else split.w_val[judges],
            by_labels=self.data.by_labels, decided=not self.data.labelled,
            original=self.keras_model,
        ), count(some)  # fmt: skip

    def test_trial(self, target: Target) -> Trial:
        """Return a trial of one layer on the test part."""
        return self._trial([target], "test", "test", by_labels=True)[0]

    def described(self, samples: int) -> dict[str, Any]:
        """Return the data set for the record, with the calibration samples and the share of padding."""
        padding = left_out(self.keras_model, self.data.scaling(self.data.split.x_val))
        return self.data.description | {"calibration_samples": samples, "padding": padding}

    @property
    def counts(self) -> Counted | None:
        """In what a drop of the whole network is counted; None where an output is numbers."""
        labels = self._labels(None)
        if any(kind_of(found) == "regression" for found in labels.values()):
            return None
        return "perplexity" if self._tells(is_language, labels) else "points"

    def check_drop(self, targets: Sequence[Target] | None, name: str, rule: str) -> None:
        """Refuse a largest drop where it cannot be counted at the outputs of some layers, or at any."""
        labels = self._labels(targets)
        if rule == MaxRise.name and not self._tells(tells_perplexity, labels):
            msg = (
                f"Received a largest drop in percent of perplexity, which {name} does not tell; expected class "
                f"numbers for one output of {MANY_CLASSES} classes or more, or at each step of a sequence: give "
                "percentage points (--max-drop 0.5)."
            )
            raise RankError(msg, code="no_perplexity")
        numbers = [out for out, found in labels.items() if kind_of(found) == "regression"]
        if not numbers:
            return
        which = f"output {numbers[0]}" if numbers[0] else name
        msg = (
            f"max_drop counts percentage points of an error rate, and the labels of {which} are "
            "numbers, measured by RMSE; give --rank, --energy or --reduction, and see "
            "`lrcompress sweep` for the RMSE at each rank."
        )
        if not self.data.labelled:
            msg = (
                "max_drop counts percentage points of predictions, and without labels nothing says that the outputs "
                "of this model are classes; give labels, or --rank, --energy or --reduction."
            )
        raise RankError(msg, code="no_error_rate")

    def _labels(self, targets: Sequence[Target] | None) -> dict[str, NDArray[Any]]:
        """Return the held-out labels of the outputs that some layers lead to, or of all."""
        y = self.data.split.y_val
        if not isinstance(y, dict):
            return {"": y}
        return y if targets is None else {out: y[out] for out in self._outputs(targets)}

    def _tells(self, measure: Callable[[int, int], bool], labels: dict[str, NDArray[Any]]) -> bool:
        """Return whether the labels are the classes of one output for which a measure is meant."""
        (found, *others), outputs = labels.values(), outputs_of(self.keras_model)
        units = next(
            out.shape[-1] or 0 for out in outputs if out.name in labels or len(outputs) == 1
        )
        return not others and kind_of(found) == "classes" and measure(units, found.ndim)

    def _trial(
        self, targets: Sequence[Target], part: str, task: str, *, by_labels: bool
    ) -> tuple[Trial, NDArray[np.int64] | None]:
        """Return the head alone where it tells the predictions, else the network, on a part of the data; and labels."""
        x, y, weights = self.data.part(part)
        labels, layer = countable(self.keras_model, x, y, weights), targets[0].layer
        if len(targets) == 1 and targets[0].is_head and layer.keeps_order and labels is not None:
            inputs = layer_inputs(self.keras_model, layer.input_path, x)
            if inputs.shape[:-1] == labels.shape:
                if layer.path not in self.kernels:
                    self.kernels[layer.path] = read_kernel(self.opened, layer)
                kernel, bias = self.kernels[layer.path], read_bias(self.opened, layer)
                ending = "softmax" if layer.softmax else layer.activation
                return HeadTrial(
                    kernel, bias, inputs, labels,
                    ending=ending, by_labels=by_labels, decided=not self.data.labelled,
                ), labels  # fmt: skip
        return NetworkTrial(
            self.keras_model, x, y, task,
            outputs=self._outputs(targets), sample_weight=weights, by_labels=by_labels,
            decided=not self.data.labelled,
        ), labels  # fmt: skip

    def _outputs(self, targets: Sequence[Target]) -> list[str]:
        """Return the names of the outputs that some layers lead to."""
        found = [reached_by(self.keras_model, target.layer.path) for target in targets]
        return list(dict.fromkeys(name for names in found for name in names))

    def _samples(self, targets: Sequence[Target], methods: Sequence[str]) -> int:
        """Return from how many samples: those that fit step by step gain from every input there is."""
        rows = SAMPLES
        if any(learns_from(name) == "inputs" for name in methods):
            heads = [target.layer for target in targets if target.is_head]
            rows = max([most_inputs(layer.kernel_shape[1]) for layer in heads], default=rows)
        return samples_for(self.keras_model, self.data.split.x_train, rows)
