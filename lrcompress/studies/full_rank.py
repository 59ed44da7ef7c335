"""The full-rank network of a seed: what the arms that begin from it need of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression.layer import LayerTask
from lrcompress.compression.request import Request, Target
from lrcompress.compression.trial import Calibration
from lrcompress.errors import DatasetError
from lrcompress.lowrank import learns_from, parameters
from lrcompress.modelfile import ModelFile, Site, find_head, open_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lrcompress.data.sources import Dataset
    from lrcompress.live.calibration import LiveModel
    from lrcompress.live.head import SplitHead
    from lrcompress.records.results import LayerResult
    from lrcompress.train.settings import FinetuneSettings

Row = dict[str, Any]
# The arm of a method that trains nothing; auto takes the best that unlabelled inputs allow.
METHODS = {"svd": "svd", "refined": "auto"}


@dataclass(frozen=True)
class Data:
    """The data set of a comparison.

    Attributes:
        name: What names it.
        loaded: It, unscaled.
        folder: The folder in which it was sought first.
        scaling: As asked for, or as the network's own recipe has it; None to take what its file
            records, or to detect it.
    """

    name: str
    loaded: Dataset
    folder: Path | None = None
    scaling: str | None = None


@dataclass(frozen=True)
class FullRank:
    """A full-rank model as a file and in Keras, and the data that fit it.

    Attributes:
        path: The file.
        seed: Of the held-out part of the data; None where nothing depends on it.
        opened: The file, read.
        layer: Its final Dense.
        live: The Keras model with its data.
    """

    path: Path
    seed: int | None
    opened: ModelFile
    layer: Site
    live: LiveModel

    def counts(self, rank: int | None) -> Row:
        """Return the parameters of the layer and the model at a rank."""
        m, n = self.layer.kernel_shape
        stored, kept = parameters(m, n, self.layer.rank), parameters(m, n, rank)
        bias = n if self.layer.use_bias else 0
        whole = self.opened.parameters - (0 if rank is None else stored - kept)
        return {
            "layer_parameters": (stored if rank is None else kept) + bias,
            "model_parameters": whole,
        }

    def task(self, arm: str) -> tuple[LayerTask, int]:
        """Return the layer with what its method needs, and the unlabelled images that took."""
        target, method = Target(self.layer, is_head=True), METHODS[arm]
        calibration, samples = Calibration({}), 0
        if learns_from(method) != "kernel":
            calibration, samples = self.live.calibration([target], [method])
        request = Request(method=method)
        return LayerTask(
            self.opened, target, request, calibration,
            f"{arm}{_of(self.seed)}",
        ), samples  # fmt: skip

    def finetuned(
        self,
        student: Any,
        settings: FinetuneSettings,
        head: SplitHead | None,
    ) -> Row:
        """Fine-tune a student of this model as `lrcompress finetune` does."""
        from lrcompress.studies.measured_arms import finetuned

        live = self.live
        return finetuned(student, live.keras_model, live.data, settings, head=head)

    def measured(self) -> Row:
        """Return what a row holds of the model itself."""
        from lrcompress.studies.measured_arms import measured

        live = self.live
        task = f"test, {self.path.name}"
        return measured(live.keras_model, live.data, task)


def open_full(path: Path, data: Data, seed: int | None) -> FullRank:
    """Open a full-rank model and fit the data to it.

    Raises:
        ModelFileError: If its file cannot be read.
        UnsupportedModelError: If it has no final Dense that can be factorized.
        DatasetError: If the data do not fit it.
        TrainingError: If Keras cannot load it.
    """
    from lrcompress.live import storing
    from lrcompress.live.calibration import LiveModel
    from lrcompress.live.prepare import prepare

    opened = open_model(path)
    layer, model = find_head(opened), storing.load_model(path)
    scaling = data.scaling or opened.origin.scaling_of(data.name)
    prepared = prepare(data.loaded, model, scaling=scaling, seed=seed or 0, data_dir=data.folder)
    return FullRank(path, seed, opened, layer, LiveModel(model, prepared, opened))


def head_figures(wrong: NDArray[np.bool_] | None) -> Row:
    """Return the test error of a head by which predictions are wrong."""
    from lrcompress.measure import wilson_interval
    from lrcompress.studies.predictions import pack

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


def split_head(layer: LayerResult) -> SplitHead:
    """Return where the factors of a factorized layer are."""
    from lrcompress.live.head import SplitHead

    outer = layer.path.removesuffix(layer.name)
    return SplitHead(layer.path, outer + layer.first_name, layer.activation, layer.softmax)


def _of(seed: int | None) -> str:
    return "" if seed is None else f", seed {seed}"
