"""`compare`: compressing a trained network against training a small one, rank by rank."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress import __version__
from lrcompress.api.arms import Plan, finetuned, given, heads, longer, trained
from lrcompress.api.calibrating import recorded_scaling
from lrcompress.api.earlier import find_earlier
from lrcompress.api.evaluating import own_dataset
from lrcompress.api.scratch import (
    BATCH_SIZE,
    EPOCHS,
    MODEL_SUFFIXES,
    check_published,
    network_name,
    own_recipe,
)
from lrcompress.errors import DatasetError, RankError, TrainingError
from lrcompress.hashing import sha256
from lrcompress.modelfile import find_head, open_model
from lrcompress.progress import Progress, nothing, silent

if TYPE_CHECKING:
    from lrcompress.training.rows import Job, Key, Row

RESULTS = "compare.json"
SCHEMA_VERSION = 1
ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")


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
    output: str | Path | None = None,
    command: list[str] | None = None,
    progress: Progress = silent,
    before_keras: Callable[[], None] = nothing,
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
        output: Folder for ``compare.json`` and models; default ``compare-<dataset>``.
        command: Stored in the results.
        progress: Told of every step.
        before_keras: Called before Keras is loaded.

    Returns:
        The results document, see docs/comparing.md.

    Raises:
        RankError: If a rank does not fit the final layer, or none is given where none is published.
        DatasetError: If the data set is missing or does not fit the network.
        OutputError: If the folder holds results of other settings.
        TrainingError: If an arm cannot be had, or Keras cannot build or load the model.
    """
    file = Path(model) if model is not None and _is_file(model) else None
    if dataset is None:
        dataset = None if file is None else own_dataset(open_model(file).provenance)
    if dataset is None:
        msg = "No data set is given, and none is named by a model file; give --dataset."
        raise DatasetError(msg, code="no_dataset")
    wanted = _arms(arms, file, budget)
    if file is None:
        check_published(dataset, model)
    if budget is not None and (budget <= finetune_epochs or epochs is not None):
        msg = (
            f"Received a budget of {budget} epochs, {finetune_epochs} of them for fine-tuning, and "
            f"epochs={epochs}; expected a larger budget, and one of the two."
        )
        raise TrainingError(msg, code="budget")
    from lrcompress.training import datasets

    folder = None if data_dir is None else Path(data_dir)
    data = datasets.load(dataset, folder, progress=progress, before_keras=before_keras)
    before_keras()
    from lrcompress.training import backend, scratch
    from lrcompress.training.rows import RowFile, work_through

    recipe = None
    if model is None:
        recipe = scratch.recipe_for(dataset)
    elif file is None or "scratch" in wanted:
        recipe = own_recipe(model, data, scaling=scaling, batch_size=batch_size)
    ranks = _ranks(ranks, recipe, file)
    if file is not None:
        scaling = scaling or recorded_scaling(open_model(file), dataset)
    elif recipe is not None:
        scaling = recipe.scaling
    trained_epochs = _epochs(recipe, file, epochs, budget, finetune_epochs)
    batch = batch_size or (BATCH_SIZE if recipe is None else recipe.batch_size)
    settings = {
        "dataset": dataset,
        "network": None if model is None else network_name(model),
        "sha256": None if file is None else sha256(file),
        "full_epochs": trained_epochs["full"],
        "scratch_epochs": trained_epochs["scratch"],
        "finetune_epochs": finetune_epochs,
        "batch_size": batch,
        "scaling": scaling if model is not None else None,
        "budget": budget,
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    target = Path(output) if output is not None else default_folder(dataset)
    scratch.make_folder(target)
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "compare",
        "settings": settings,
        "command": command or [],
        "device": backend.describe_device(),
        "versions": backend.versions() | {"lrcompress": __version__},
    }
    rows = RowFile(target / RESULTS, head, ("arm", "rank", "seed"), complete=_complete)
    rows.read()
    trainers = {}
    for arm, count in trained_epochs.items():
        if count is not None and recipe is not None:
            trainers[arm] = scratch.Trainer(
                data, recipe,
                scratch.ScratchSettings(dataset, count, batch),
                target, progress=progress,
            )  # fmt: skip
    plan = Plan(
        rows=rows,
        dataset=dataset,
        data=data,
        data_dir=folder,
        scaling=scaling,
        file=file,
        trainers=trainers,
        epochs=trained_epochs,
        earlier=find_earlier([Path(f) for f in rows_from], settings, trained_epochs),
        finetune_epochs=finetune_epochs,
        keep_models=keep_models,
        progress=progress,
    )
    jobs = [
        job
        for one in range(seed, seed + seeds)
        for job in _jobs(plan, wanted, ranks, one, with_full_scratch=budget is not None)
    ]
    return work_through(rows, jobs)


def default_folder(dataset: str) -> Path:
    """Return where a comparison goes: ``compare-<dataset>`` in the current directory."""
    return Path(f"compare-{Path(dataset.replace(':', '-')).stem}")


def _is_file(model: str | Path) -> bool:
    return Path(model).suffix.lower() in MODEL_SUFFIXES


def _arms(arms: Sequence[str] | None, file: Path | None, budget: int | None) -> tuple[str, ...]:
    """Return the arms wanted, in their order; the full-rank one is always among them."""
    if arms is None:
        return tuple(arm for arm in ARMS if file is None or arm != "scratch")
    wrong = sorted(set(arms) - set(ARMS))
    if wrong:
        msg = f"Unknown arm {wrong[0]!r}; expected some of {', '.join(ARMS)}."
        raise TrainingError(msg, code="unknown_arm")
    if file is not None and budget is not None:
        msg = "A budget counts the epochs of the full-rank network, which a model file does not tell; give --epochs."
        raise TrainingError(msg, code="budget")
    return tuple(arm for arm in ARMS if arm in arms or arm == "full")


def _ranks(ranks: Sequence[int] | None, recipe: Any, file: Path | None) -> list[int]:  # noqa: ANN401
    """Return the ranks from the highest, each checked against the final layer."""
    if ranks is None and recipe is not None:
        ranks = [rank for rank in recipe.ranks if rank is not None]
    if not ranks:
        msg = "No ranks are given and none are published for this network; give --ranks, for example 40,20,10."
        raise RankError(msg, code="no_ranks")
    most = min(find_head(open_model(file)).kernel_shape) if file is not None else None
    for rank in ranks:
        if most is None:
            recipe.check_rank(rank)
        elif not 1 <= rank <= most:
            msg = f"Rank {rank} does not fit the final layer of {file}; expected 1 to {most}."
            raise RankError(msg)
    return sorted(set(ranks), reverse=True)


def _epochs(
    recipe: Any,  # noqa: ANN401  # a Recipe
    file: Path | None,
    epochs: int | None,
    budget: int | None,
    finetune_epochs: int,
) -> dict[str, int | None]:
    """Return what the arms ``full`` and ``scratch`` are trained for, None for a model that is given."""
    usual: int = epochs or (EPOCHS if recipe is None else recipe.epochs)
    full = usual if budget is None else budget - finetune_epochs
    scratch = usual if budget is None else budget
    return {"full": None if file is not None else full, "scratch": scratch}


def _jobs(
    plan: Plan, arms: Sequence[str], ranks: Sequence[int], seed: int, *, with_full_scratch: bool
) -> Iterator[Job]:
    """Yield the work for one seed, what others need first and what takes longest last."""
    from lrcompress.training.rows import Job

    # A model that was given is the same for every seed, and so is its truncated SVD.
    fixed = None if plan.file is not None else seed
    full: Key = ("full", None, fixed)
    key: Key

    def job(name: str, key: Key, run: Callable[[], Iterator[Row]], *needs: Key) -> Job:
        return Job(f"{name}-seed{key[2]}", (key,), lambda missing: run(), needs)

    if plan.file is not None:
        yield job("full", full, partial(given, plan))
    else:
        yield job("full", full, partial(trained, plan, "full", None, seed))
    if "full-finetuned" in arms:
        key = ("full-finetuned", None, seed)
        yield job("full-finetuned", key, partial(longer, plan, seed), full)
    for arm in ("svd", "refined"):
        if arm in arms:
            of = fixed if arm == "svd" else seed
            keys = tuple((arm, rank, of) for rank in ranks)
            yield Job(f"{arm}-seed{of}", keys, _heads(plan, arm, ranks, of), (full,))
    for rank in ranks if "finetuned" in arms else ():
        key = ("finetuned", rank, seed)
        yield job(f"finetuned-rank{rank}", key, partial(finetuned, plan, rank, seed), full)
    if "scratch" in arms:
        for each in [*([None] if with_full_scratch else []), *ranks]:
            name = f"scratch-{'full' if each is None else f'rank{each}'}"
            yield job(name, ("scratch", each, seed), partial(trained, plan, "scratch", each, seed))


def _heads(
    plan: Plan, arm: str, ranks: Sequence[int], seed: int | None
) -> Callable[[frozenset[Key]], Iterator[Row]]:
    return lambda missing: heads(plan, [arm], ranks, missing, seed)


def _complete(document: dict[str, Any]) -> None:
    """Order the rows as tables have them, and add what they say together."""
    from lrcompress.training.arms import summarize_arms

    def place(row: Row) -> tuple[int, int, int]:
        rank, seed = row["rank"], row["seed"]
        return (-(rank or 2**31), ARMS.index(row["arm"]), -1 if seed is None else seed)

    document["rows"].sort(key=place)
    document["summary"] = summarize_arms(document["rows"])
