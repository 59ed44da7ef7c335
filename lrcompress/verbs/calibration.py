"""What a data set says about some layers of a model: their inputs, and meters for changed heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.layer import LayerTask, Target, in_network, measures_alone
from lrcompress.compression.trial import Calibration
from lrcompress.errors import RankError
from lrcompress.events import before_keras
from lrcompress.lowrank import Factors, learns_from, most_inputs
from lrcompress.modelfile import ModelFile, Site, check_loadable
from lrcompress.records.provenance import name_of
from lrcompress.verbs.context import find_data

if TYPE_CHECKING:
    from lrcompress.live.prepare import Prepared

# Moments of a few thousand inputs are all that the closed forms need.
SAMPLES = 5_000


@dataclass(frozen=True)
class DataOptions:
    """How to find and use a data set; the fields are those of the command line, or hold the data."""

    dataset: Any
    data_dir: str | Path | None = None
    scaling: str | None = None
    samples: int | None = None
    seed: int = 0
    validation: Any = None


@dataclass(frozen=True)
class LiveModel:
    """A model that Keras has loaded, and data that fit it.

    Attributes:
        keras_model: The original.
        data: Training, validation and test parts, unscaled, with their scaling.
        options: What was asked for.
    """

    keras_model: Any
    data: Prepared
    options: DataOptions

    def calibration(
        self, targets: Sequence[Target], methods: Sequence[str], *, with_network: bool
    ) -> tuple[Calibration, int]:
        """Run the network once over the training part and once over the validation part.

        Args:
            targets: The layers.
            methods: As asked for; `refined` gains from every input there is.
            with_network: Whether whole networks are to be tried on the validation part.

        Returns:
            The inputs of the layers, and from how many samples.
        """
        from lrcompress.data.arrays import evenly
        from lrcompress.live.activations import inputs_of
        from lrcompress.live.prepare import countable

        split, scaling = self.data.split, self.data.scaling
        paths = [target.layer.input_path for target in targets]
        some = evenly(split.x_train, self.options.samples or self._samples(targets, methods))
        held_out = scaling(split.x_val)
        labels = countable(self.keras_model, held_out, split.y_val, split.w_val)
        probe = None
        if with_network or labels is None or not all(measures_alone(t) for t in targets):
            probe = self._probe(targets, held_out, split.y_val, split.w_val, "original")
        known = inputs_of(self.keras_model, paths, scaling(some), pack=True)
        calibration = Calibration(
            activations=self._by_layer(targets, known),
            held_out=self._by_layer(targets, inputs_of(self.keras_model, paths, held_out)),
            labels=labels,
            probe=probe,
            by_labels=split.by_labels,
            labelled=self.data.labelled,
        )
        return calibration, len(known[paths[0]])

    def described(self, samples: int) -> dict[str, Any]:
        """Return the data set for the record, with the calibration samples and the share of padding."""
        from lrcompress.live.padding import left_out

        held_out = self.data.scaling(self.data.split.x_val)
        return self.data.description | {
            "calibration_samples": samples, "padding": left_out(self.keras_model, held_out),
        }  # fmt: skip

    def _probe(self, targets: Sequence[Target], x: Any, y: Any, weights: Any, task: str) -> Any:  # noqa: ANN401
        """Return the network on some data, measured by the outputs that the layers lead to."""
        from lrcompress.live.trial import Probe

        return Probe(
            self.keras_model, x, y, task,
            outputs=self.outputs(targets), sample_weight=weights,
            by_labels=task == "test" or self.data.split.by_labels,
        )  # fmt: skip

    def outputs(self, targets: Sequence[Target]) -> list[str]:
        """Return the names of the outputs that some layers lead to."""
        from lrcompress.live.outputs import reached_by

        found = [reached_by(self.keras_model, target.layer.path) for target in targets]
        return list(dict.fromkeys(name for names in found for name in names))

    def check_drop(self, targets: Sequence[Target]) -> None:
        """Refuse a largest drop where nothing is right or wrong.

        Raises:
            RankError: If an output that the layers lead to is numbers.
        """
        from lrcompress.measure.scores import kind_of

        y = self.data.split.y_val
        labels = (
            {name: y[name] for name in self.outputs(targets)} if isinstance(y, dict) else {"": y}
        )
        numbers = [name for name, found in labels.items() if kind_of(found) == "regression"]
        if numbers and not self.data.labelled:
            msg = (
                "max_drop counts percentage points of predictions, and without labels nothing says that the outputs "
                "of this model are classes; give labels, or --rank, --energy or --reduction."
            )
            raise RankError(msg, code="no_error_rate")
        if numbers:
            which = f"output {numbers[0]}" if numbers[0] else name_of(self.options.dataset)
            msg = (
                f"max_drop counts percentage points of an error rate, and the labels of {which} are "
                "numbers, measured by RMSE; give --rank, --energy or --reduction, and see "
                "`lrcompress sweep` for the RMSE at each rank."
            )
            raise RankError(msg, code="no_error_rate")

    def _samples(self, targets: Sequence[Target], methods: Sequence[str]) -> int:
        from lrcompress.live.activations import samples_for

        rows = SAMPLES
        if any(learns_from(name) == "inputs" for name in methods):
            heads = [target.layer for target in targets if target.is_head]
            rows = max([most_inputs(layer.kernel_shape[1]) for layer in heads], default=rows)
        return samples_for(self.keras_model, self.data.split.x_train, rows)

    @staticmethod
    def _by_layer(
        targets: Sequence[Target], inputs: dict[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        return {t.layer.path: inputs[t.layer.input_path] for t in targets}

    def test_meter(self, task: LayerTask) -> Meter:
        """Return a meter for one layer on the test part."""
        from lrcompress.live.activations import layer_inputs
        from lrcompress.live.prepare import countable

        (x, y), split, layer = self.data.test(), self.data.split, task.target.layer
        labels = countable(self.keras_model, x, y, split.w_test)
        if measures_alone(task.target) and labels is not None:
            inputs = layer_inputs(self.keras_model, layer.input_path, x)
            meter = task.head_meter(inputs, labels)
            if meter is not None:
                return meter
        return NetworkMeter(self._probe([task.target], x, y, split.w_test, "test"), layer)


def held_out_meter(task: LayerTask) -> Meter | None:
    """Return a meter for one layer on the validation part, None without data."""
    alone = task.meter()
    if alone is not None:
        return alone
    probe = None if task.calibration is None else task.calibration.probe
    return None if probe is None else NetworkMeter(probe, task.target.layer)


def open_live(
    path: Path,
    opened: ModelFile,
    options: DataOptions,
) -> LiveModel:
    """Load a data set and the model in Keras, and check them against each other.

    Raises:
        DatasetError: If the data set is missing or does not fit the model.
        TrainingError: If Keras cannot load the model.
    """
    check_loadable(opened)
    source = find_data(
        options.dataset, options.data_dir, options.scaling, opened.origin,
        seed=options.seed, validation=options.validation,
    )  # fmt: skip
    loaded = source.load()
    before_keras()
    from lrcompress.live import engine

    original = engine.load_model(path)
    return LiveModel(original, source.prepare(loaded, original), options)


class Meter(Protocol):
    """Measures a layer's factors against the original on some data."""

    @property
    def original_wrong(self) -> NDArray[np.bool_] | None:
        """Which predictions of the original are wrong, (k,)."""

    def __call__(self, factors: Factors) -> Any:  # noqa: ANN401  # Measured, or Probed
        """Return the output error, the agreement and the error rate."""


class NetworkMeter:
    """Measures a layer by running the whole network, where the layer alone does not tell."""

    def __init__(self, probe: Any, layer: Site) -> None:  # noqa: ANN401  # a `probing.Probe`
        """Take the network and the layer."""
        self._probe, self._layer = probe, layer

    @property
    def original_wrong(self) -> NDArray[np.bool_] | None:
        """Which predictions of the original are wrong."""
        wrong: NDArray[np.bool_] | None = self._probe.original.wrong
        return wrong

    @property
    def original(self) -> Any:  # noqa: ANN401  # a `probing.Probed`
        """What the original does."""
        return self._probe.original

    def __call__(self, factors: Factors) -> Any:  # noqa: ANN401
        """Run the network with the factors' product."""
        return self._probe(in_network(self._layer, factors), f"rank {factors.rank}")


def recorded_scaling(opened: ModelFile, dataset: Any) -> str | None:  # noqa: ANN401  # as `load` takes it
    """Return the scaling a model trained by lrcompress records for this data set."""
    return opened.origin.scaling if opened.origin.named == name_of(dataset) else None
