"""`evaluate`: the error of one or several models on the same test data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.api.calibrating import recorded_scaling
from lrcompress.modelfile import open_for_keras
from lrcompress.progress import Progress, nothing, silent
from lrcompress.provenance import choose


@dataclass(frozen=True)
class EvaluateResult:
    """One model on the test data.

    Attributes:
        model: The file.
        samples: Number of predictions, without those of weight 0.
        measure: What the model is measured by: ``error_rate`` (top-1, in percent), ``binary_error``
            (of labels any of which may hold, in percent), ``rmse`` (in the labels' unit), or
            ``outputs`` where it has several.
        value: That figure; for several outputs the loss.
        loss: Mean cross-entropy in nats, or mean squared error; the sum over several outputs.
        figures: All that was measured, by name; for several outputs ``outputs`` holds the figures
            of each.
        scaling: What the inputs went through.
        device: What computed it.
        difference: Against the first model, paired on the same samples; None for the first.
    """

    model: str
    samples: int
    measure: str
    value: float
    loss: float
    figures: dict[str, Any]
    scaling: str
    device: str
    difference: dict[str, Any] | None

    @property
    def error_rate(self) -> float | None:
        """Top-1 error in percent; None for a model that is not a classifier with one output."""
        return self.figures.get("error_rate")

    def to_json(self) -> dict[str, Any]:
        """Return one entry of what `lrcompress evaluate --json` prints."""
        return {
            "model": self.model,
            **self.figures,
            "scaling": self.scaling,
            "device": self.device,
            "difference": self.difference,
        }


def evaluate(
    models: list[str | Path],
    *,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
    before_keras: Callable[[], None] = nothing,
) -> list[EvaluateResult]:
    """Measure models on the test part of one data set.

    Args:
        models: Model files; the first is the one the others are compared with, and the one whose
            error decides an unknown scaling.
        dataset: Default the one that the first model's file names.
        data_dir: First folder in which a named data set is sought.
        scaling: Default the first model's own, or detected.
        seed: Of the split of an image folder.
        progress: Told of steps done.
        before_keras: Called before Keras is loaded.

    Raises:
        ModelFileError: If a file cannot be read.
        DatasetError: If the data set is missing or does not fit a model.
        TrainingError: If Keras cannot load a model, or must not.
    """
    paths = [Path(model) for model in models]
    opened = [open_for_keras(path) for path in paths]
    dataset = choose(dataset, data_dir, opened[0].origin).dataset

    from lrcompress.training.datasets import load

    folder = None if data_dir is None else Path(data_dir)
    loaded = load(dataset, folder, seed=seed, progress=progress, before_keras=before_keras)
    before_keras()
    from lrcompress.training import backend
    from lrcompress.training.evaluate import evaluate as measure
    from lrcompress.training.measures import compare
    from lrcompress.training.session import DataRequest, prepare

    scaling = scaling or recorded_scaling(opened[0], dataset)
    results: list[EvaluateResult] = []
    first = None
    for path in paths:
        model = backend.load_model(path)
        # Prepared for each model: all must fit the data, and see it scaled alike.
        data = prepare(loaded, model, DataRequest(folder, scaling, seed))
        scaling = data.scaling.name
        (x, y), weights = data.test(), data.split.w_test
        found = measure(model, x, y, progress, f"test, {path.name}", sample_weight=weights)
        difference = None if first is None else compare(first, found).to_json()
        first = first or found
        results.append(
            EvaluateResult(
                model=str(path),
                samples=found.samples,
                measure=found.measure,
                value=found.value,
                loss=found.loss,
                figures=found.to_json(),
                scaling=scaling,
                device=backend.describe_device(),
                difference=difference,
            )
        )
    return results
