"""The full-rank network of a seed: what the arms that begin from it need of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression import LayerTask, Request, Target, factorize_file, find_source
from lrcompress.compression.trial import Calibration
from lrcompress.data.arrays import count
from lrcompress.data.dataset import Dataset
from lrcompress.errors import DatasetError
from lrcompress.live import engine, storing
from lrcompress.live.calibration import LiveModel
from lrcompress.live.prepare import prepare
from lrcompress.lowrank import learns_from, parameters
from lrcompress.measure import wilson_interval
from lrcompress.modelfile import Site, find_head, open_model
from lrcompress.studies.rows import Row
from lrcompress.studies.summary import figures, pack
from lrcompress.train.finetune import finetune
from lrcompress.train.loop import INTERRUPTED
from lrcompress.train.part import SplitHead
from lrcompress.train.settings import FinetuneSettings

# The arm of a method that trains nothing; auto takes the best that unlabelled inputs allow.
METHODS = {"svd": "svd", "refined": "auto"}


@dataclass(frozen=True)
class Data:
    """The data set of a comparison."""

    name: str
    loaded: Dataset  # unscaled
    folder: Path | None = None  # in which it was sought first
    # As asked for, or as the network's recipe has it; None takes what its file records, or detects it.
    scaling: str | None = None


@dataclass(frozen=True)
class FullRank:
    """A full-rank model as a file and in Keras, and the data that fit it."""

    path: Path
    seed: int | None  # of the held-out part of the data; None where nothing depends on it
    layer: Site  # its final Dense
    live: LiveModel

    def counts(self, rank: int | None) -> Row:
        """Return the parameters of the layer and the model at a rank."""
        m, n = self.layer.kernel_shape
        stored, kept = parameters(m, n, self.layer.rank), parameters(m, n, rank)
        kept = stored if rank is None else kept
        return {
            "layer_parameters": kept + (n if self.layer.use_bias else 0),
            "model_parameters": self.live.opened.parameters - stored + kept,
        }

    def task(self, arm: str) -> tuple[LayerTask, int]:
        """Return the layer with what its method needs, and the unlabelled images that took."""
        target, method = Target(self.layer, is_head=True), METHODS[arm]
        calibration, samples = Calibration({}), 0
        if learns_from(method) != "kernel":
            calibration, samples = self.live.calibration([target], [method])
        name = arm if self.seed is None else f"{arm}, seed {self.seed}"
        task = LayerTask(self.live.opened, target, Request(method=method), calibration, name)
        return task, samples

    def measured(self) -> Row:
        """Return what a row holds of the model itself."""
        found = self.live.data.measured(self.live.keras_model, f"test, {self.path.name}")
        return {**figures(found), "device": engine.describe_device()}

    def factorized(self, rank: int, output: Path) -> SplitHead:
        """Write the model with its final Dense made two, and return where they are."""
        request = Request({"rank": rank}, output=output, force=True)
        source = find_source(self.live.opened, request)
        # The output has the input's format: there is nothing to convert.
        (layer,) = factorize_file(source, request, lambda *_: None).layers
        return SplitHead.of(**layer.__dict__)

    def finetuned(self, student: Any, epochs: int, seed: int, head: SplitHead | None) -> Row:
        """Fine-tune a student in place, as `lrcompress finetune` does, and return what a row holds of it."""
        model, data = self.live.keras_model, self.live.data
        settings = FinetuneSettings(epochs=epochs, seed=seed)
        outcome = finetune(student, model, data, settings, head=head)
        # Only fine-tuning by itself ends well then.
        if outcome.stopped == INTERRUPTED:
            raise KeyboardInterrupt
        return {
            **figures(outcome.after),
            "epochs": outcome.state.epoch,
            "best_epoch": outcome.state.best_epoch,
            "history": outcome.state.history,
            "seconds": outcome.seconds,
            "images": outcome.state.epoch * count(data.split.x_train),
            "images_per_second": outcome.images_per_second,
            "device": engine.describe_device(),
        }


def open_full(path: Path, data: Data, seed: int | None) -> FullRank:
    """Open a full-rank model and fit the data to it."""
    opened = open_model(path)
    layer, model = find_head(opened), storing.load_model(path)
    scaling = data.scaling or opened.origin.scaling_of(data.name)
    prepared = prepare(data.loaded, model, scaling=scaling, seed=seed or 0, data_dir=data.folder)
    return FullRank(path, seed, layer, LiveModel(model, prepared, opened))


def head_figures(wrong: NDArray[np.bool_] | None) -> Row:
    """Return the test error of a head by which predictions are wrong."""
    if wrong is None:
        msg = (
            "The predictions cannot be told right from wrong; expected a classifier and its labels."
        )
        raise DatasetError(msg, code="dataset_labels")
    errors, samples = int(wrong.sum()), int(wrong.size)
    low, high = wilson_interval(errors, samples)
    return {
        "samples": samples,
        "errors": errors,
        "error_rate": 100 * errors / samples,
        "error_rate_low": low,
        "error_rate_high": high,
        "wrong": pack(wrong.reshape(-1)),
    }
