"""`train_from_scratch`: networks of full and low rank, from random weights."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import TrainingError, did_you_mean
from lrcompress.events import before_keras
from lrcompress.modelfile import find_head, open_for_keras, open_model
from lrcompress.records.provenance import check_named
from lrcompress.verbs.factorize import factorize
from lrcompress.verbs.live_models import check_file

if TYPE_CHECKING:
    from lrcompress.data.sources import Dataset
    from lrcompress.studies.networks import Recipe

# Passes over the training data for a network that has no published number.
EPOCHS = 10
BATCH_SIZE = 32
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
# Data sets with a network of their own, known before Keras starts.
PUBLISHED = ("mnist", "cifar100", "digits")


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
    if model is not None and Path(model).suffix.lower() in MODEL_SUFFIXES:
        open_for_keras(Path(model))
    from lrcompress.data import sources

    folder = None if data_dir is None else Path(data_dir)
    data = sources.load(dataset, folder)
    data.check_labelled("training from scratch needs them")
    before_keras()
    from lrcompress.live.devices import over
    from lrcompress.studies import scratch
    from lrcompress.studies.trainer import ScratchSettings

    target = Path(output) if output is not None else default_folder(dataset)
    with over(distribute) as team, team.folder(target) as own:
        recipe = None
        settings = None
        if model is not None:
            recipe = own_recipe(model, data, scaling=scaling, epochs=epochs, batch_size=batch_size)
            settings = ScratchSettings(
                dataset, recipe.epochs, recipe.batch_size, network_name(model), recipe.scaling
            )
        return scratch.train_rows(
            data,
            settings or scratch.default_settings(dataset, epochs, batch_size),
            own,
            ranks=ranks,
            seeds=range(seed, seed + seeds),
            recipe=recipe,
            suffix=f".{file_format}",
        )


def check_published(dataset: str, model: str | Path | None) -> None:
    """Refuse a data set without a network, before anything is loaded.

    Raises:
        TrainingError: With code ``no_recipe``.
    """
    if model is None and dataset not in PUBLISHED:
        msg = (
            f"No network is published for data set {dataset!r}; expected {', '.join(PUBLISHED)}, "
            "or a network of your own: --model module:function or a model file."
            f"{did_you_mean(dataset, PUBLISHED)}"
        )
        raise TrainingError(msg, code="no_recipe")


def default_folder(dataset: str) -> Path:
    """Return where the rows of a data set go: ``scratch-<dataset>`` in the current directory."""
    return Path(f"scratch-{Path(dataset.replace(':', '-')).stem}")


def network_name(model: str | Path) -> str:
    """Return how results call a network: the file's name without its folders, or the function."""
    return Path(model).name


def own_recipe(
    model: str | Path,
    data: Dataset,
    *,
    scaling: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
) -> Recipe:
    """Return how a user's own network is built and trained.

    Raises:
        ModelFileError: If a model file cannot be read.
        UnsupportedModelError: If there is no final Dense that can be made low-rank.
        TrainingError: If Keras cannot build or load the model.
        DatasetError: If no scaling suits a file's model.
    """
    from lrcompress.live import engine
    from lrcompress.live.prepare import prepare
    from lrcompress.live.storing import save_model
    from lrcompress.studies.networks import Recipe
    from lrcompress.studies.own import from_function, from_model

    if Path(model).suffix.lower() in MODEL_SUFFIXES:
        path = Path(model)
        opened = open_model(path)
        head = find_head(opened)
        original = engine.load_model(path)
        build = from_model(original, _narrow)
        said = scaling or opened.origin.scaling_of(data.name)
        scaling = prepare(data, original, scaling=said).scaling.name
    else:
        build = from_function(str(model), _narrow)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            save_model(build(None), path, None)
            head = find_head(open_model(path))
        scaling = scaling or _usual_scaling(data)
    m, n = head.kernel_shape
    return Recipe(
        build=build,
        features=m,
        classes=n,
        ranks=(None,),
        epochs=epochs or EPOCHS,
        batch_size=batch_size or BATCH_SIZE,
        scaling=scaling,
        paper_base=None,
        published={},
        use_bias=head.use_bias,
    )


def _usual_scaling(data: Dataset) -> str:
    """Return the scaling of a network that nothing has been trained for yet: /255 for bytes."""
    x = data.x_train
    return "/255" if not isinstance(x, dict) and x.dtype == "uint8" else "as-is"


def _narrow(model: Any, rank: int) -> Any:  # noqa: ANN401  # a Keras model
    """Return a copy of a live model in which the final Dense is two, of any rank."""
    return factorize(model, rank=rank, method="svd", force=True).model
