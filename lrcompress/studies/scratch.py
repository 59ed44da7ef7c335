"""Training full-rank and low-rank networks from random weights, one row a rank and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress import __version__
from lrcompress.data.sources import Dataset
from lrcompress.errors import OutputError, TrainingError
from lrcompress.events import command
from lrcompress.live import engine
from lrcompress.records.schema import ScratchRow
from lrcompress.studies.networks import RECIPES, Recipe
from lrcompress.studies.rows import Job, RowFile, work_through
from lrcompress.studies.summary import group_rows, summarize
from lrcompress.studies.trainer import ScratchSettings, Trainer, model_name

RESULTS = "results.json"
SCHEMA_VERSION = 2


def default_settings(
    dataset: str, epochs: int | None = None, batch_size: int | None = None
) -> ScratchSettings:
    """Return the published settings of a data set.

    Raises:
        TrainingError: If there is no network for it.
    """
    recipe = recipe_for(dataset)
    return ScratchSettings(dataset, epochs or recipe.epochs, batch_size or recipe.batch_size)


def recipe_for(dataset: str) -> Recipe:
    """Return the network published for a data set.

    Raises:
        TrainingError: If there is none.
    """
    if dataset not in RECIPES:
        msg = (
            f"No network is published for data set {dataset!r}; expected {', '.join(RECIPES)}, "
            "or a network of your own."
        )
        raise TrainingError(msg, code="no_recipe")
    return RECIPES[dataset]


def train_rows(
    data: Dataset,
    settings: ScratchSettings,
    folder: Path,
    *,
    ranks: Sequence[int | None] | None = None,
    seeds: Sequence[int] = (0,),
    recipe: Recipe | None = None,
    suffix: str = ".keras",
) -> dict[str, Any]:
    """Train one network a rank and seed; save each, and the table after each.

    Rows that the folder's results already hold are not trained again, and a row that was killed
    goes on at its last epoch: an interrupted call is simply repeated. Several processes may work
    on one folder at once.

    Args:
        data: The unscaled data set.
        settings: Epochs and batch size.
        folder: Created if missing; gets ``<dataset>-full.keras``, ``<dataset>-rank4-seed1.keras``,
            ... and ``results.json``.
        ranks: Ranks in order, None meaning full; default the published ones.
        seeds: One row each.
        recipe: The network; default the data set's.
        suffix: ``.keras`` or ``.h5``.

    Returns:
        The results document; see docs/comparing.md.

    Raises:
        RankError: If a rank does not lie between 1 and the number of classes.
        OutputError: If the folder holds results of other settings.
    """
    recipe = recipe or recipe_for(settings.dataset)
    ranks = recipe.ranks if ranks is None else ranks
    for rank in ranks:
        if rank is not None:
            recipe.check_rank(rank)
    make_folder(folder)
    rows = results_file(folder, settings)
    trainer = Trainer(data, recipe, settings, folder, suffix)
    jobs = [_job(trainer, rank, seed) for seed in seeds for rank in ranks]
    return work_through(rows, jobs)


def _job(trainer: Trainer, rank: int | None, seed: int) -> Job:
    name = model_name(trainer.settings.dataset, rank, seed)
    return Job(name, ((rank, seed),), lambda missing: trainer.rows(rank, seed))


def make_folder(folder: Path) -> None:
    """Create a folder of results.

    Raises:
        OutputError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"Cannot create folder {folder} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error


def results_file(folder: Path, settings: ScratchSettings) -> RowFile:
    """Return the results document of a folder, there or new."""
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "scratch",
        "settings": settings.to_json(),
        "command": command(),
        "device": engine.describe_device(),
        "versions": engine.versions() | {"lrcompress": __version__},
    }
    path = folder / RESULTS
    return RowFile(
        path, head, ("rank", "seed"), upgrade=upgrade, complete=_complete, kind=list[ScratchRow]
    )


def upgrade(document: dict[str, Any]) -> None:
    """Put a document of schema 1, one seed among its settings, in today's terms."""
    if document["schema_version"] == 1:
        seed = document["settings"].pop("seed")
        for row in document["rows"]:
            row.setdefault("seed", seed)
            row.setdefault("device", document.get("device"))
        document["schema_version"] = SCHEMA_VERSION


def _complete(document: dict[str, Any]) -> None:
    document["rows"].sort(key=lambda row: (-(row["rank"] or np.inf), row["seed"]))
    groups = group_rows(document["rows"], ("rank",))
    document["summary"] = [{"rank": rank, **summarize(rows)} for (rank,), rows in groups.items()]
