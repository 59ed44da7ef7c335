"""`evaluate`: the error of one or several models on the same test data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lrcompress.events import before_keras
from lrcompress.modelfile import ModelFile, open_for_keras
from lrcompress.records import runs
from lrcompress.records.results import Shown, figure_of
from lrcompress.verbs.context import find_data, record_beside
from lrcompress.verbs.in_memory import takes_live_models


@dataclass(frozen=True, repr=False)
class EvaluateResult(Shown):
    """One model on the test data.

    Attributes:
        model: The file, or the name of a model in memory.
        samples: Number of predictions, without those of weight 0.
        measure: What the model is measured by: ``error_rate`` (top-1, in percent), ``perplexity`` (of a
            language model), ``binary_error`` (of multi-label models, in percent), ``rmse`` (in the labels'
            unit), or ``outputs`` where it has several.
        value: That figure; for several outputs the loss.
        loss: Mean cross-entropy in nats, or mean squared error; the sum over several outputs.
        figures: All that was measured, by name; for several outputs ``outputs`` holds the figures
            of each.
        scaling: What the inputs went through.
        device: What computed it.
        difference: Against the first model, paired on the same samples; None for the first.
        record: The run record that took the figures in; None where the model is of no run.
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
    record: Path | None = None

    @property
    def error_rate(self) -> float | None:
        """Top-1 error in percent; None for a model that is not a classifier with one output."""
        return self.figures.get("error_rate")

    def facts(self) -> dict[str, str]:
        """Return the main figure."""
        return {
            "model": self.model,
            "test data": figure_of(self.figures),
            "loss": f"{self.loss:.4g}",
            "samples": f"{self.samples:,}",
        }

    def to_json(self) -> dict[str, Any]:
        """Return one entry of what `lrcompress evaluate --json` prints."""
        return {
            "model": self.model,
            **self.figures,
            "scaling": self.scaling,
            "device": self.device,
            "difference": self.difference,
            "record": None if self.record is None else str(self.record),
        }


@takes_live_models()
def evaluate(
    models: Any,  # noqa: ANN401  # paths, or Keras models: one, or several in a list
    *,
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[EvaluateResult]:
    """Measure models on the test part of one data set.

    Args:
        models: Model files or Keras models, or a single one; the first is the one the others are compared
            with, and the one whose loss decides an unknown scaling.
        dataset: As for `lrcompress.factorize`; default the one that the first model's file names. Of data
            without a test part all are measured.
        data_dir: First folder in which a named data set is sought.
        scaling: Default the first model's own, or detected.
        seed: Of the split of an image folder.
        progress: Show on stderr how far it is.

    Raises:
        ModelFileError: If a file cannot be read.
        DatasetError: If the data set is missing or does not fit a model.
        TrainingError: If Keras cannot load a model, or must not.
    """
    paths = [Path(model) for model in (models if isinstance(models, (list, tuple)) else [models])]
    opened = [open_for_keras(path) for path in paths]
    source = find_data(dataset, data_dir, scaling, opened[0].origin, seed=seed)
    loaded = source.load(whole=True)
    loaded.check_labelled(
        "evaluate counts errors against labels (sweep and factorize measure agreement without)"
    )
    before_keras()
    from lrcompress.live import engine, storing
    from lrcompress.live.evaluate import evaluate as measure
    from lrcompress.measure import compare

    results: list[EvaluateResult] = []
    first: Any = None
    for path in paths:
        model = storing.load_model(path)
        # Prepared for each model: all must fit the data, and see it scaled alike.
        data = source.prepare(loaded, model)
        source = replace(source, scaling=data.scaling.name)
        x, y, weights = data.part("test")
        found = measure(model, x, y, f"test, {path.name}", sample_weight=weights)
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
                scaling=data.scaling.name,
                device=engine.describe_device(),
                difference=difference,
            )
        )
    record = _recorded(paths, results, opened, dataset, data.description)
    return [replace(found, record=record) for found in results]


def _recorded(
    paths: list[Path],
    results: list[EvaluateResult],
    opened: list[ModelFile],
    dataset: Any,  # noqa: ANN401
    description: dict[str, Any],
) -> Path | None:
    """Put what was measured of the models of a run into its record, if on its own data and samples, and return it."""
    record = next(filter(None, map(record_beside, paths)), None)
    if record is None or not (record.origin.named is None or record.is_of(dataset)):
        return None
    names = [record.stage_of(path) for path in paths]
    samples = {(record.stage(name) or {}).get("samples") for name in names if name}
    if not any(names) or not samples <= {None, results[0].samples}:
        return None
    with runs.updating(record) as (current, _):
        if current.origin.named is None:
            current.document["dataset"] = description
        for name, path, found, file in zip(names, paths, results, opened, strict=True):
            if name is None:
                continue
            figures = dict(found.figures)
            if names[0] == "original" and found.difference is not None:
                figures["drop"] = found.difference
            current.set_stage(name, path, file.parameters, **figures)
    return record.path
