"""`evaluate`: the error of one or several models on the same test data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.api.calibrating import recorded_scaling
from lrcompress.errors import DatasetError
from lrcompress.modelfile import open_model
from lrcompress.progress import Progress, nothing, silent


@dataclass(frozen=True)
class EvaluateResult:
    """One model on the test data.

    Attributes:
        model: The file.
        samples: Number of predictions.
        error_rate: Top-1 error in percent.
        error_rate_low: Lower end of its 95 % interval (Wilson).
        error_rate_high: Upper end.
        loss: Mean cross-entropy in nats.
        scaling: What the inputs went through.
        device: What computed it.
        difference: Against the first model, paired on the same samples; None for the first.
    """

    model: str
    samples: int
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    loss: float
    scaling: str
    device: str
    difference: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return one entry of what `lrcompress evaluate --json` prints."""
        return dict(self.__dict__)


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
        TrainingError: If Keras cannot load a model.
    """
    paths = [Path(model) for model in models]
    opened = [open_model(path) for path in paths]
    dataset = dataset or own_dataset(opened[0].provenance)
    if dataset is None:
        msg = f"{paths[0]} does not name the data set it was trained on; give --dataset."
        raise DatasetError(msg, code="no_dataset")

    from lrcompress.training.datasets import load

    folder = None if data_dir is None else Path(data_dir)
    loaded = load(dataset, folder, seed=seed, progress=progress, before_keras=before_keras)
    before_keras()
    from lrcompress.training import backend
    from lrcompress.training.evaluate import evaluate as measure
    from lrcompress.training.session import DataRequest, prepare
    from lrcompress.training.statistics import compare_paired

    scaling = scaling or recorded_scaling(opened[0], dataset)
    results: list[EvaluateResult] = []
    first = None
    for path in paths:
        model = backend.load_model(path)
        # Prepared for each model: all must fit the data, and see it scaled alike.
        data = prepare(loaded, model, DataRequest(folder, scaling, seed))
        scaling = data.scaling.name
        x, y = data.test()
        found = measure(model, x, y, progress, f"test, {path.name}")
        difference = None if first is None else compare_paired(first.wrong, found.wrong).to_json()
        first = first or found
        results.append(
            EvaluateResult(
                model=str(path),
                **{key: value for key, value in found.to_json().items() if key != "errors"},
                scaling=scaling,
                device=backend.describe_device(),
                difference=difference,
            )
        )
    return results


def own_dataset(provenance: dict[str, Any] | None) -> str | None:
    """Return the data set that a model file names."""
    name = (provenance or {}).get("dataset")
    return name if isinstance(name, str) else None
