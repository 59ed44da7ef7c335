"""`train_from_scratch`: networks of full and low rank, from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrcompress.events import before_keras
from lrcompress.modelfile import open_for_keras
from lrcompress.records.provenance import check_named
from lrcompress.studies.request import check_published, file_stem, is_model_file
from lrcompress.verbs.context import DataSource
from lrcompress.verbs.factorize import factorize
from lrcompress.verbs.in_memory import check_file


def train_from_scratch(
    dataset: str,
    *,
    model: str | Path | None = None,
    ranks: Sequence[int | None] | None = None,
    seeds: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    file_format: str = "keras",
    distribute: str = "auto",
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Train networks of full and low rank from random weights, one a rank and seed.

    Every row is saved as it ends, and the state of the one being trained after each epoch: a call
    that was interrupted is repeated and goes on. Several processes may fill one folder.

    Args:
        dataset: mnist, cifar100 or digits for their published networks; anything that
            `lrcompress datasets` describes with `model`.
        model: A network of your own: a model file, whose architecture is trained anew, or
            ``package.module:function`` returning a Keras model, given the rank (None for full) if
            it takes an argument.
        ranks: None among them is full rank; default the published ones, or full rank alone.
        seeds: How many.
        seed: The first; the others follow it.
        epochs: Default as published, 10 for a network of your own.
        batch_size: Default as published, 32.
        data_dir: First folder in which a named data set is sought.
        scaling: Of a network of your own; default as its file records or shows, /255 for bytes.
        file_format: keras or h5.
        distribute: ``auto`` shares each batch out where there are several accelerators or hosts,
            ``data`` also among CPU devices, ``none`` never; see docs/devices.md.
        output: Folder for models and ``results.json``; default ``scratch-<dataset>``.

    Returns:
        The results document, see docs/comparing.md.

    Raises:
        RankError: If a rank does not fit the final layer.
        DatasetError: If the data set is missing or does not fit the network.
        OutputError: If the folder holds results of other settings.
        TrainingError: If there is no network for the data set, or Keras cannot build or load it.
    """
    check_named(dataset, "train_from_scratch")
    if model is not None:
        check_file(model, "train_from_scratch")
    check_published(dataset, model)
    if model is not None and is_model_file(model):
        open_for_keras(Path(model))
    source = DataSource(dataset, None if data_dir is None else Path(data_dir), scaling)
    data = source.load()
    data.check_labelled("training from scratch needs them")
    before_keras()
    from lrcompress.live.devices import over
    from lrcompress.studies.networks import RECIPES, own_recipe
    from lrcompress.studies.scratch import train_rows

    folder = Path(output) if output is not None else default_folder(dataset)
    with over(distribute) as replicas, replicas.folder(folder) as own:
        recipe = RECIPES[dataset] if model is None else own_recipe(model, data, narrow, scaling)
        return train_rows(
            data, dataset, recipe.lasting(epochs, batch_size), own,
            ranks=ranks, seeds=range(seed, seed + seeds), suffix=f".{file_format}",
        )  # fmt: skip


def default_folder(dataset: str) -> Path:
    """Return where the rows of a data set go: ``scratch-<dataset>`` in the current directory."""
    return Path(f"scratch-{file_stem(dataset)}")


def narrow(model: Any, rank: int) -> Any:  # noqa: ANN401  # a Keras model
    """Return a copy of a live model in which the final Dense is two, of any rank."""
    return factorize(model, rank=rank, method="svd", force=True).model
