"""Working out the rows of a comparison, arm by arm."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.api.calibrating import DataOptions, LiveModel, Meter, recorded_scaling
from lrcompress.api.earlier import Earlier, copy_model, take_row
from lrcompress.api.factorizing import factorize
from lrcompress.errors import DatasetError
from lrcompress.layerwise import Calibration, LayerTask, Request, Target
from lrcompress.lowrank import Factors, parameters
from lrcompress.modelfile import DenseLayer, ModelFile, find_head, open_model
from lrcompress.progress import Progress, silent

if TYPE_CHECKING:
    from lrcompress.results import LayerResult
    from lrcompress.training.datasets import Dataset
    from lrcompress.training.recover import SplitHead
    from lrcompress.training.rows import Key, RowFile
    from lrcompress.training.scratch import Trainer

Row = dict[str, Any]
# The arm of a method that trains nothing; auto takes the best that unlabelled inputs allow.
METHODS = {"svd": "svd", "refined": "auto"}


@dataclass(frozen=True)
class Plan:
    """What all rows of a comparison have in common.

    Attributes:
        rows: The results document.
        dataset: What names the data set.
        data: It, unscaled.
        data_dir: The folder in which it was sought first.
        scaling: As asked for, or as the full-rank network's own recipe has it; None to detect it.
        file: The user's full-rank model; None where it is trained here.
        trainers: What trains the arms ``full`` and ``scratch``, as far as they are trained here.
        epochs: What these are trained for.
        earlier: Runs whose rows are taken over.
        finetune_epochs: The extra epochs.
        keep_models: Whether every row's model is kept, not only those that are trained for long.
        progress: Told of every step.
    """

    rows: RowFile
    dataset: str
    data: Dataset
    data_dir: Path | None
    scaling: str | None
    file: Path | None
    trainers: dict[str, Trainer]
    epochs: dict[str, int | None]
    earlier: Sequence[Earlier] = ()
    finetune_epochs: int = 2
    keep_models: bool = False
    progress: Progress = silent

    def full_file(self, seed: int | None) -> Path:
        """Return the full-rank model of a seed, which a row holds by now."""
        if self.file is not None:
            return self.file
        key = ("full", None, seed)
        row = next(row for row in self.rows.read()["rows"] if self.rows.key(row) == key)
        return self.rows.folder / str(row["model"])


def trained(plan: Plan, arm: str, rank: int | None, seed: int) -> Iterator[Row]:
    """Yield the row of a network trained from random weights, an earlier run's where there is one."""
    from lrcompress.training.scratch import model_name

    trainer = plan.trainers[arm]
    name = model_name(plan.dataset, rank, seed)
    if arm == "scratch":
        name += "-scratch" if rank is None else ""
    found = taken(plan, arm, rank, seed, name)
    yield found or {"arm": arm, **trainer.row(rank, seed, name=name)}


def taken(plan: Plan, arm: str, rank: int | None, seed: int | None, name: str) -> Row | None:
    """Return a row that an earlier run left, its model copied; None if there is none."""
    found = take_row(plan.earlier, plan.epochs, arm, rank, seed)
    if found is None:
        return None
    row, source = dict(found[0]), found[1]
    if source is not None:
        target = plan.rows.folder / f"{name}{source.suffix}"
        copy_model(source, target)
        row["model"] = target.name
        if "wrong" not in row:
            # Rows of the first version did not say which samples were wrong.
            row |= plan.trainers[arm].measured(target)
            row["images"] = plan.trainers[arm].images
    return row


def given(plan: Plan) -> Iterator[Row]:
    """Yield the row of the user's own full-rank model, which is the same for every seed."""
    from lrcompress.training.arms import measured

    live = _open(plan, None)
    found = measured(live.model, live.data, plan.progress, f"test, {live.path.name}")
    yield _row("full", None, None) | found | live.counts(None)


def longer(plan: Plan, seed: int) -> Iterator[Row]:
    """Yield the row of the full-rank network given the extra epochs."""
    from lrcompress.training import backend

    live = _open(plan, seed)
    student = backend.load_model(live.path)
    row = _row("full-finetuned", None, seed) | live.finetuned(student, None) | live.counts(None)
    yield row | {"model": live.kept(student, f"full-finetuned-seed{seed}")}


def finetuned(plan: Plan, rank: int, seed: int) -> Iterator[Row]:
    """Yield the row of the network that is factorized, then given the extra epochs."""
    from lrcompress.training import backend

    live = _open(plan, seed)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"small{live.path.suffix}"
        made = factorize(live.path, rank=rank, force=True, output=small)
        student = backend.load_model(small)
    head = _split_head(made.layers[0])
    row = _row("finetuned", rank, seed) | live.finetuned(student, head) | live.counts(rank)
    yield row | {"model": live.kept(student, f"rank{rank}-finetuned-seed{seed}")}


def heads(
    plan: Plan, arms: Sequence[str], ranks: Sequence[int], missing: frozenset[Key], seed: int | None
) -> Iterator[Row]:
    """Yield the rows of the methods that train nothing, all ranks of one from one pass.

    Args:
        plan: What all rows share.
        arms: svd, refined or both.
        ranks: All ranks of the comparison: what a pass finds at a rank depends on those above it.
        missing: The rows wanted.
        seed: Of the held-out part; None where nothing depends on it.
    """
    live = _open(plan, seed)
    for arm in arms:
        started = time.perf_counter()
        task, samples = live.task(arm)
        found = task.at_ranks(ranks)
        # One pass serves all ranks; each bears its part.
        seconds = (time.perf_counter() - started) / len(ranks)
        meter = live.meter(task)
        for rank, factors in found.items():
            if (arm, rank, seed) in missing:
                row = _row(arm, rank, seed) | _measured(meter, factors) | live.counts(rank)
                yield row | {
                    "method": factors.method,
                    "seconds": seconds,
                    "images": 0,
                    "unlabelled_images": samples,
                    "device": live.device,
                }


@dataclass(frozen=True)
class _Full:
    """The full-rank model of a seed as a file and in Keras, and the data that fit it."""

    plan: Plan
    seed: int | None
    path: Path
    opened: ModelFile
    layer: DenseLayer
    live: LiveModel
    device: str

    @property
    def model(self) -> Any:  # noqa: ANN401  # a Keras model
        return self.live.keras_model

    @property
    def data(self) -> Any:  # noqa: ANN401  # a Prepared
        return self.live.data

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
        if arm != "svd":
            calibration, samples = self.live.calibration([target], [method], with_network=False)
        steps = self.plan.progress
        request = Request(method=method)
        return LayerTask(
            self.opened, target, request, calibration,
            lambda done, total: steps(f"{arm}{_of(self.seed)}", done, total, {}),
        ), samples  # fmt: skip

    def meter(self, task: LayerTask) -> Meter:
        """Return what measures heads on the test data."""
        return self.live.test_meter(task)

    def finetuned(self, student: Any, head: SplitHead | None) -> Row:  # noqa: ANN401
        """Fine-tune a student of this model as `lrcompress finetune` does."""
        from lrcompress.training.arms import finetuned
        from lrcompress.training.finetune import FinetuneSettings

        settings = FinetuneSettings(epochs=self.plan.finetune_epochs, seed=self.seed or 0)
        return finetuned(
            student, self.model, self.data, settings, head=head, progress=self.plan.progress
        )

    def kept(self, model: Any, name: str) -> str | None:  # noqa: ANN401
        """Save a fine-tuned model if models are kept, and return its file's name."""
        if not self.plan.keep_models:
            return None
        from lrcompress.training.saving import save_model

        stem = Path(self.plan.dataset.replace(":", "-")).stem
        path = self.plan.rows.folder / f"{stem}-{name}{self.path.suffix}"
        origin = {"dataset": self.plan.dataset, "scaling": self.data.scaling.name}
        save_model(model, path, origin)
        return path.name


def _open(plan: Plan, seed: int | None) -> _Full:
    """Open the full-rank model of a seed.

    Raises:
        ModelFileError: If its file cannot be read.
        DatasetError: If the data do not fit it.
    """
    from lrcompress.training import backend
    from lrcompress.training.session import DataRequest, prepare

    path = plan.full_file(seed)
    opened = open_model(path)
    model = backend.load_model(path)
    scaling = plan.scaling or recorded_scaling(opened, plan.dataset)
    data = prepare(plan.data, model, DataRequest(plan.data_dir, scaling, seed or 0))
    options = DataOptions(plan.dataset, plan.data_dir, scaling, None, seed or 0)
    live = LiveModel(model, data, options, plan.progress)
    device = backend.describe_device()
    return _Full(plan, seed, path, opened, find_head(opened), live, device)


def _row(arm: str, rank: int | None, seed: int | None) -> Row:
    """Return what every row begins with."""
    return {"arm": arm, "rank": rank, "seed": seed, "loss": None, "seconds": None,
            "images": None, "model": None}  # fmt: skip


def _measured(meter: Meter, factors: Factors) -> Row:
    """Return the test error of a head."""
    from lrcompress.training.predictions import pack
    from lrcompress.training.statistics import wilson_interval

    wrong = meter(factors).wrong
    if wrong is None:
        msg = "The predictions cannot be told right from wrong; expected a classifier and its labels."
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


def _split_head(layer: LayerResult) -> SplitHead:
    """Return where the factors of a factorized layer are."""
    from lrcompress.training.recover import SplitHead

    outer = layer.path.removesuffix(layer.name)
    return SplitHead(layer.path, outer + layer.first_name, layer.activation, layer.softmax)


def _of(seed: int | None) -> str:
    return "" if seed is None else f", seed {seed}"
