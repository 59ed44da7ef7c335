"""`compare`: compressing a trained network against training a small one, rank by rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress import __version__
from lrcompress.errors import RankError
from lrcompress.events import before_keras, command
from lrcompress.modelfile import find_head, open_for_keras, open_model
from lrcompress.records.provenance import check_named
from lrcompress.records.schema import Row as RowSchema
from lrcompress.reporting.arms import ARMS
from lrcompress.studies.arms import Plan, jobs
from lrcompress.studies.full_rank import Data
from lrcompress.studies.request import Asked
from lrcompress.studies.reuse import find_earlier
from lrcompress.verbs.context import find_data
from lrcompress.verbs.live_models import check_file
from lrcompress.verbs.train_from_scratch import check_published, own_recipe

if TYPE_CHECKING:
    from lrcompress.studies.networks import Recipe
    from lrcompress.studies.rows import Row, RowFile

RESULTS = "compare.json"
SCHEMA_VERSION = 1


def compare(
    model: str | Path | None = None,
    *,
    dataset: str | None = None,
    ranks: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    seeds: int = 1,
    seed: int = 0,
    epochs: int | None = None,
    budget: int | None = None,
    finetune_epochs: int = 2,
    batch_size: int | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    rows_from: Sequence[str | Path] = (),
    keep_models: bool = False,
    distribute: str = "auto",
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Measure ways to a small network against each other, on the same test samples.

    At each rank and seed: the full-rank network; its head by truncated SVD and by the best method
    on unlabelled inputs; factorized and fine-tuned; trained from scratch at that rank; and the
    full-rank network given the same extra epochs. Every row is saved as it ends; a call that was
    interrupted is repeated and goes on, and several processes may fill one folder.

    Args:
        model: A trained full-rank model file, or ``package.module:function`` returning a network
            to be trained here; default the data set's published network.
        dataset: Default the one that the model file names.
        ranks: Default the published ones.
        arms: Some of full, full-finetuned, svd, refined, finetuned, scratch; default all, without
            scratch for a model file.
        seeds: How many.
        seed: The first; the others follow it.
        epochs: Of full-rank and from-scratch training; default as published, 10 for a network of
            your own.
        budget: Epochs in all for every arm that trains: the full-rank network gets so many less
            `finetune_epochs`, and from-scratch training all of them.
        finetune_epochs: The extra epochs.
        batch_size: Of full-rank and from-scratch training; default as published, 32.
        data_dir: First folder in which a named data set is sought.
        scaling: For a network of your own; default as its file records or shows.
        rows_from: Folders of `train_from_scratch` or `compare` whose rows and models are taken
            over where their settings are the same.
        keep_models: Keep the fine-tuned models too.
        distribute: ``auto`` shares each batch out where there are several accelerators or hosts,
            ``data`` also among CPU devices, ``none`` never; see docs/devices.md.
        output: Folder for ``compare.json`` and models; default ``compare-<dataset>``.

    Returns:
        The results document, see docs/comparing.md.

    Raises:
        RankError: If a rank does not fit the final layer, or none is given where none is published.
        DatasetError: If the data set is missing or does not fit the network.
        OutputError: If the folder holds results of other settings.
        TrainingError: If an arm cannot be had, or Keras cannot build or load the model.
    """
    check_named(dataset, "compare")
    if model is not None:
        check_file(model, "compare")
    asked = Asked(
        None if model is None else str(model), arms, epochs, budget, finetune_epochs, batch_size
    )
    origins = [open_for_keras(asked.file).origin] if asked.file else []
    source = find_data(dataset, data_dir, scaling, *origins)
    dataset, folder = source.dataset, source.folder
    check_published(dataset, model)
    loaded = source.load()
    loaded.check_labelled("training from scratch needs them")
    before_keras()
    from lrcompress.live.devices import over
    from lrcompress.studies import scratch
    from lrcompress.studies.rows import work_through
    from lrcompress.studies.trainer import ScratchSettings, Trainer

    own = Path(output) if output is not None else default_folder(dataset)
    with over(distribute) as team, team.folder(own) as target:
        recipe = None
        if model is None:
            recipe = scratch.recipe_for(dataset)
        elif asked.file is None or "scratch" in asked.arms:
            recipe = own_recipe(model, loaded, scaling=scaling, batch_size=batch_size)
        if asked.file is not None:
            scaling = source.scaling
        elif recipe is not None:
            scaling = recipe.scaling
        wanted = _ranks(ranks, recipe, asked.file)
        scratch.make_folder(target)
        counts = asked.trained_epochs(recipe)
        settings = asked.settings(dataset, recipe, scaling)
        rows = _rows(target, settings)
        # Other settings are refused before anything is trained.
        rows.read()
        trainers = {}
        if recipe is not None:
            trainers = {
                arm: Trainer(
                    loaded, recipe, ScratchSettings(dataset, count, settings["batch_size"]),
                    target,
                )
                for arm, count in counts.items() if count is not None
            }  # fmt: skip
        plan = Plan(
            rows=rows,
            data=Data(dataset, loaded, folder, scaling),
            file=asked.file,
            trainers=trainers,
            epochs=counts,
            earlier=find_earlier([Path(earlier) for earlier in rows_from], settings, counts),
            finetune_epochs=finetune_epochs,
            keep_models=keep_models,
        )
        wanted_seeds = range(seed, seed + seeds)
        todo = [job for one in wanted_seeds for job in jobs(plan, asked.arms, wanted, one)]
        return work_through(rows, todo)


def default_folder(dataset: str) -> Path:
    """Return where a comparison goes: ``compare-<dataset>`` in the current directory."""
    return Path(f"compare-{Path(dataset.replace(':', '-')).stem}")


def _ranks(ranks: Sequence[int] | None, recipe: Recipe | None, file: Path | None) -> list[int]:
    """Return the ranks from the highest, each checked against the final layer."""
    if ranks is None and recipe is not None:
        ranks = [rank for rank in recipe.ranks if rank is not None]
    if not ranks:
        msg = "No ranks are given and none are published for this network; give --ranks, for example 40,20,10."
        raise RankError(msg, code="no_ranks")
    m, n = (0, 0) if recipe is None else (recipe.features, recipe.classes)
    if file is not None:
        m, n = find_head(open_model(file)).kernel_shape
    for rank in ranks:
        if not 1 <= rank <= min(m, n):
            msg = f"Rank {rank} does not fit a final layer of {m} x {n}; expected 1 to {min(m, n)}."
            raise RankError(msg)
    return sorted(set(ranks), reverse=True)


def _rows(folder: Path, settings: dict[str, Any]) -> RowFile:
    """Return the results document of a folder, there or new."""
    from lrcompress.live import engine
    from lrcompress.studies.rows import RowFile

    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "compare",
        "settings": settings,
        "command": command(),
        "device": engine.describe_device(),
        "versions": engine.versions() | {"lrcompress": __version__},
    }
    return RowFile(
        folder / RESULTS, head, ("arm", "rank", "seed"), complete=_complete, kind=list[RowSchema]
    )


def _complete(document: dict[str, Any]) -> None:
    """Order the rows as tables have them, and add what they say together."""
    from lrcompress.studies.summary import summarize_arms

    def place(row: Row) -> tuple[int, int, int]:
        rank, seed = row["rank"], row["seed"]
        return (-(rank or 2**31), ARMS.index(row["arm"]), -1 if seed is None else seed)

    document["rows"].sort(key=place)
    document["summary"] = summarize_arms(document["rows"])
