"""Training full-rank and low-rank networks from random weights, one row a rank and seed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress import __version__
from lrcompress.data.arrays import Arrays, count
from lrcompress.data.dataset import Dataset
from lrcompress.data.scaling import parse
from lrcompress.errors import DatasetError, OutputError, TrainingError
from lrcompress.files import check_output
from lrcompress.live import engine, storing
from lrcompress.live.devices import has_accelerator, replicas
from lrcompress.live.evaluate import evaluate
from lrcompress.live.fit import fit_to_model
from lrcompress.measure import kind_of
from lrcompress.records.schema import ScratchRow
from lrcompress.studies.networks import Recipe
from lrcompress.studies.request import file_stem
from lrcompress.studies.rows import UNFINISHED, Job, Row, RowFile, new_document, work_through
from lrcompress.studies.summary import figures, summarize_ranks
from lrcompress.train.checkpoint import Checkpoint
from lrcompress.train.feed import batches
from lrcompress.train.loop import Loop

# Reading the loss after every step would have an accelerator wait for its next one.
STEPS_AT_ONCE = 32


def train_rows(
    data: Dataset,
    dataset: str,
    recipe: Recipe,
    folder: Path,
    *,
    ranks: Sequence[int | None] | None = None,
    seeds: Sequence[int] = (0,),
    suffix: str = ".keras",
) -> dict[str, Any]:
    """Train one network a rank and seed; save each, and the table after each, from which a killed call goes on."""
    ranks = recipe.ranks if ranks is None else ranks
    for rank in ranks:
        if rank is not None:
            recipe.check_rank(rank)
    rows = results_file(folder, recipe.settings(dataset))
    trainer = Trainer(data, dataset, recipe, folder, suffix)
    return work_through(rows, [
        Job(model_name(dataset, rank, seed), ((rank, seed),), partial(trainer.rows, rank, seed))
        for seed in seeds for rank in ranks
    ])  # fmt: skip


def results_file(folder: Path, settings: dict[str, Any]) -> RowFile:
    """Return the results document of a folder, there or new."""
    return RowFile(
        folder / "results.json", new_document("scratch", 2, settings), ("rank", "seed"),
        complete=summarize_ranks, schema=list[ScratchRow],
    )  # fmt: skip


@dataclass(frozen=True)
class Trainer:
    """Trains rows of one recipe on one data set."""

    data: Dataset  # unscaled
    dataset: str  # what names it
    recipe: Recipe
    folder: Path  # gets the models, and the states of unfinished rows
    suffix: str = ".keras"

    def rows(
        self, rank: int | None, seed: int, missing: object = None, *, name: str | None = None
    ) -> Iterator[Row]:
        """Train one network from random weights, save it as `name`, and yield its row."""
        label = f"{'full' if rank is None else f'rank {rank}'}, seed {seed}"
        name = name or model_name(self.dataset, rank, seed)
        engine.forget_models()
        keras.utils.set_random_seed(seed)
        model = self.recipe.build(rank)
        fitted = fit_to_model(self.data, model)
        scaling = parse(self.recipe.scaling, fitted.x_train)
        path = self.folder / f"{name}{self.suffix}"
        state = self.folder / UNFINISHED / f"{name}.npz"
        # A model whose row is not kept yet has the state of its training beside it.
        is_left = state.is_file()
        check_output(path, overwrite=True)
        if path.exists() and not is_left:
            msg = f"{path} exists, and belongs to no row here; move it away, or give another --output."
            raise OutputError(msg, code="output_exists")
        batch_size = replicas().rounded(self.recipe.batch_size)
        x, y = scaling(fitted.x_train), targets(model, fitted.y_train)
        loop = self._loop(model, state, label, seed)
        # They are the same steps; Keras does one at a time under PyTorch.
        several = has_accelerator() and keras.backend.backend() != "torch"
        model.steps_per_execution = STEPS_AT_ONCE if several else 1
        loop.run(model, lambda epoch: batches(x, y, batch_size))
        seconds = loop.state.fit_seconds
        result = evaluate(model, scaling(fitted.x_test), fitted.y_test, f"{label}, test")
        origin = {"dataset": self.dataset, "scaling": self.recipe.scaling}
        storing.save_model(model, path, origin | {"trained_by": __version__}, overwrite=is_left)
        published = self.recipe.published.get(rank)
        yield {
            "rank": rank,
            "seed": seed,
            **figures(result),
            "paper_parameters": self.recipe.paper_parameters(rank),
            "layer_parameters": self.recipe.layer_parameters(rank),
            "model_parameters": int(model.count_params()),
            "seconds": seconds,
            "images": self.images,
            "images_per_second": self.images / max(seconds, 1e-9),
            "device": engine.describe_device(),
            "batch_size": batch_size,
            "model": path.name,
            "bytes": path.stat().st_size,
            "published": published
            and dict(zip(("error_rate", "parameters", "seconds"), published, strict=True)),
        }
        # The caller, who comes back, has kept the row by now.
        state.unlink(missing_ok=True)

    def _loop(self, model: Any, state: Path, label: str, seed: int) -> Loop:
        """Return the way of a model through the epochs, from where a killed run left it."""
        model.optimizer.build(model.trainable_variables)
        variables = (*model.weights, *model.optimizer.variables)
        identity = {
            **self.recipe.settings(self.dataset),
            # Grown to a multiple of the devices, which may be others after a kill.
            "batch_size": replicas().rounded(self.recipe.batch_size),
            "label": label,
            "variables": [f"{variable.dtype} {tuple(variable.shape)}" for variable in variables],
        }
        checkpoint = Checkpoint(state, identity)
        loop = Loop(label, model, epochs=self.recipe.epochs, seed=seed, checkpoint=checkpoint)
        # What is none of this training, or a stranger's file: begin anew.
        with contextlib.suppress(TrainingError):
            left = checkpoint.load()
            if left is not None:
                loop.resume(left)
        return loop

    @property
    def images(self) -> int:
        """Training images that a row sees, each as often as there are epochs."""
        return self.recipe.epochs * count(self.data.x_train)

    def measured(self, path: Path) -> Row:
        """Return what a row holds of a model that an earlier run trained."""
        model = storing.load_model(path)
        fitted = fit_to_model(self.data, model)
        x_test = parse(self.recipe.scaling, fitted.x_train)(fitted.x_test)
        return figures(evaluate(model, x_test, fitted.y_test, f"test, {path.name}"))


def targets(model: Any, y: Arrays) -> NDArray[Any]:
    """Return class numbers in the form that the model's loss wants."""
    if isinstance(y, dict) or kind_of(y) != "classes":
        msg = f"Model {model.name} is not a classifier with one output; expected one class number per sample."
        raise DatasetError(msg, code="not_a_classifier")
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    if name in ("categorical_crossentropy", "categorical_focal_crossentropy", "kl_divergence"):
        return np.asarray(keras.utils.to_categorical(y, model.outputs[0].shape[-1]))
    if model.outputs[0].shape[-1] == 1:
        return y.astype(np.float32)[..., None]
    return y


def model_name(dataset: str, rank: int | None, seed: int) -> str:
    """Return the stem of a row's file: ``mnist-rank4``, and with its seed where that is not 0."""
    name = f"{file_stem(dataset)}-{'full' if rank is None else f'rank{rank}'}"
    return name if seed == 0 else f"{name}-seed{seed}"
